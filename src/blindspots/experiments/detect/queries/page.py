"""What is shown of a guard of queries."""

from blindspots.experiments.detect.config import DetectConfig
from blindspots.experiments.detect.queries.verdict import Asked, QueriesVerdict
from blindspots.report.experiment import Page, Table
from blindspots.report.words import ThreatWords, count, interval, listing, number, percent
from blindspots.runs.store import Run

Guarded = Run[DetectConfig, QueriesVerdict]
_NOTE = (
    "Fell: of the rows that the model gets right, without the guard and past it. Refused: of the queries past the "
    "guard. First refused: the median number of a row's first refused query. Unnoticed: of the rows that fell past the "
    "guard, those that fell before it had refused anything. AUC: the probability that a query of the attack has more "
    "in common with an earlier one than a query of a user has."
)


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
        f"Behind the guard {percent(v.adaptive_accuracy)} of the rows stay right under all attacks, without it "
        f"{percent(v.robust.share)}"
    )


def _text(run: Guarded) -> str:
    v, c = run.verdict, run.config
    threat = ThreatWords(c.threat, tuple(run.manifest.world["model"]["bounds"]))
    adaptive = interval(v.adaptive_interval)
    return (
        f"The model is right on {percent(v.clean.share)} of {count(v.rows, 'row')}. Attacks asked up to "
        f"{count(c.queries)} times about each, within {threat.text}, every row with a guard of its own"
        f"{_knowing([a.attack for a in v.attacks])}. Past the guard a row falls to a query that is answered, and "
        f"wrongly ({adaptive} of the rows stand). Of {count(v.rejected.rows)} queries of users about different rows "
        f"it refuses {percent(v.rejected.share)}. It keeps {count(v.bytes_per_query, 'byte')} of every query."
    )


def _knowing(attacks: list[str]) -> str:
    """Which attacks are built to get past a guard."""
    found = [name for name in attacks if name.startswith("oars")]
    return f"; {listing(found)} {'knows' if len(found) == 1 else 'know'} how it works" if found else ""


def _attacks(v: QueriesVerdict) -> Table:
    head = ("Attack", "Fell without", "Fell past it", "Refused", "First refused", "Unnoticed", "AUC")
    return Table(head, list(map(_line, v.attacks)), "Attacks", _NOTE)


def _line(a: Asked) -> tuple[str, ...]:
    return (
        a.attack, percent(a.bare.share), percent(a.guarded.share), percent(a.refused.share),
        "never" if a.first is None else number(a.first), percent(a.unnoticed.share),
        "–" if a.auc is None else f"{a.auc:.3f}",
    )  # fmt: skip


def _users(v: QueriesVerdict) -> Table:
    near = [(f"about the same row: {n.kind}", percent(n.refused.share), interval(n.refused.interval)) for n in v.near]
    rows = [("about another row", percent(v.rejected.share), interval(v.rejected.interval)), *near]
    return Table(("A user's query", "Refused", "95 % interval"), rows, "Users")
