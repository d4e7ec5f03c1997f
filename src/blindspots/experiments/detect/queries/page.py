"""What is shown of a guard of queries."""

from blindspots.experiments.detect.config import DetectConfig
from blindspots.experiments.detect.queries.verdict import Asked, QueriesVerdict
from blindspots.report.experiment import Page, Table
from blindspots.report.words import ThreatWords, count, interval, number, percent
from blindspots.runs.store import Run

Guarded = Run[DetectConfig, QueriesVerdict]


def page(run: Guarded) -> Page:
    """Whom it refuses: attacks in one table, users in another."""
    v = run.verdict
    return Page(
        kicker="A guard of queries",
        headline=_headline(v),
        text=_text(run),
        tables=[_attacks(v), _users(v)],
        sections=[("numbers", "In numbers")],
        cost=f"{count(sum(a.queries for a in v.attacks))} queries past the guard",
    )


def _headline(v: QueriesVerdict) -> str:
    return (
        f"Behind the guard {percent(v.adaptive_accuracy)} of the rows stay right whatever the attacks ask, without it "
        f"{percent(v.robust.share)}"
    )


def _text(run: Guarded) -> str:
    v, c = run.verdict, run.config
    threat = ThreatWords(c.threat, tuple(run.manifest.world["model"]["bounds"]))
    adaptive = interval(v.adaptive_interval)
    return (
        f"The model is right on {percent(v.clean.share)} of {count(v.rows, 'row')}. Attacks asked up to "
        f"{count(c.queries)} times about each, within {threat.text}, every row with a guard of its own; oars and "
        "oarslabels know it. "
        f"Past the guard a row falls to a query that is answered, and wrongly ({adaptive} of the rows stand). Of "
        f"{count(v.rejected.rows)} queries of users about different rows it refuses "
        f"{percent(v.rejected.share)}. It keeps {count(v.bytes_per_query, 'byte')} of every query."
    )


def _attacks(v: QueriesVerdict) -> Table:
    head = ("Attack", "Fell bare", "Fell past it", "Refused", "First at", "Unnoticed", "AUC")
    return Table(head, list(map(_line, v.attacks)), "Attacks")


def _line(a: Asked) -> tuple[str, ...]:
    return (
        a.attack, percent(a.bare.share), percent(a.guarded.share), percent(a.refused.share),
        "never" if a.first is None else number(a.first), percent(a.unnoticed.share),
        "–" if a.auc is None else f"{a.auc:.3f}",
    )  # fmt: skip


def _users(v: QueriesVerdict) -> Table:
    near = [(f"right after its like: {n.kind}", percent(n.refused.share), interval(n.refused.interval)) for n in v.near]
    rows = [("about another row", percent(v.rejected.share), interval(v.rejected.interval)), *near]
    return Table(("A user's query", "Refused", "95 %"), rows, "Users")
