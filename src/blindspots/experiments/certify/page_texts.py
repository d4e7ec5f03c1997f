"""What is shown of a certification of texts."""

from pathlib import Path

from blindspots.experiments.certify.config import CertifyConfig
from blindspots.experiments.certify.texts import ATTACKED
from blindspots.experiments.certify.verdict import CertifyVerdict
from blindspots.records import Share
from blindspots.report import words
from blindspots.report.charts import Line, Mark, Plot, quarters, rising
from blindspots.report.experiment import Page, Table
from blindspots.report.words import count, interval, number, percent
from blindspots.runs.store import Run

_PROVED = {
    "exact": "Exact: the model adds up what every word says, so the exchanges that gain most together are those that "
    "gain most alone, and one exchange more than a text withstands changes its class.",
    "interval": "Interval bounds: each layer is bounded over all texts within so many exchanges (Jia et al. 2019), by "
    "what each place can change on its own. The true share lies between what is proved and what stands under attack.",
    "votes": "Votes: every place takes one of its choices by lot, and the class that most draws say stays the "
    "likeliest as long as exchanges cannot move the draws by more than its lead (Ye et al. 2020). What is proved is "
    "proved of the vote, not of the model alone.",
}


def page(run: Run[CertifyConfig, CertifyVerdict]) -> Page:
    """The certified accuracy beside that under attack, for the threat and for every number of exchanges."""
    c, v = run.config, run.verdict
    certifying = sum(s for part, s in run.log.seconds.items() if part.startswith("rows/"))
    each = f"; {words.seconds(certifying / v.rows)} per certificate" if certifying else ""
    attacking = run.log.seconds.get(ATTACKED)
    each += f", {words.seconds(attacking / v.rows)} per attacked text" if attacking else ""
    return Page(
        kicker="Certified texts",
        headline=headline(run.manifest.world["model"]["name"], c, v),
        text=meaning(c, v),
        tables=[_table(c, v)],
        sections=[("curve", "Curve"), ("numbers", "Numbers"), ("means", "What it means")],
        template=Path(__file__).with_name("page_texts.html.j2"),
        context={"plot": _plot(v), "points": _points(c, v), "proved": _PROVED[str(c.method)], "price": price(c, v)},
        cost=f"{count(v.forwards, 'forward')}, {count(v.backwards, 'backward')}{each}",
    )


def headline(model: str, c: CertifyConfig, v: CertifyVerdict) -> str:
    """The certified accuracy within the threat."""
    assert v.texts is not None
    who = f"The vote of {model} under random exchanges" if c.method == "votes" else model
    return (
        f"{who} is proved to stay right on {percent(v.texts.certified.share)} of the texts, whatever is exchanged "
        f"within {c.threat}"
    )


def meaning(c: CertifyConfig, v: CertifyVerdict) -> str:
    """How it was proved, what stands under attack, and what the proof costs in accuracy."""
    assert v.texts is not None
    said = [f"Method: {c.method}. {_PROVED[str(c.method)]}"]
    if v.texts.attacked and v.texts.adjusted:
        said.append(
            f"Under attack it stays right on {percent(v.texts.attacked.share)} (interval "
            f"{interval(v.texts.attacked.interval)}), if only valid changes count on "
            f"{percent(v.texts.adjusted.share)}."
        )
    return " ".join([*said, price(c, v)])


def price(c: CertifyConfig, v: CertifyVerdict) -> str:
    """What is left without an attacker."""
    if c.method != "votes":
        return f"Without an attacker it is right on {percent(v.clean_accuracy)}: the model is as it was."
    return (
        f"Without an attacker the vote is right on {percent(v.clean_accuracy)} and abstains on "
        f"{percent(v.abstained.share)}; the model alone is right on {percent(v.base.share)}. Each certificate is wrong "
        f"with a probability of at most {percent(c.alpha)}."
    )


# ------------------------------------------------------------------ tables and curve


def _points(c: CertifyConfig, v: CertifyVerdict) -> list[tuple[str, Share, Share | None]]:
    assert v.texts is not None
    under = dict(v.empirical)
    curve = [(number(k), share, under.get(k)) for k, share in v.certified]
    return [(str(c.threat), v.texts.certified, v.texts.attacked), *curve]


def _table(c: CertifyConfig, v: CertifyVerdict) -> Table:
    rows = [
        (name, percent(sure.share), interval(sure.interval), percent(under.share) if under else "–",
         interval(under.interval) if under else "–")
        for name, sure, under in _points(c, v)
    ]  # fmt: skip
    return Table(("Exchanges", "Certified", "95 % interval", "Under attack", "95 % interval"), rows)


def _plot(v: CertifyVerdict) -> Plot:
    """Shares against the number of exchanges."""
    width = max(1.0, v.certified[-1][0])
    x = [Mark(100 * k / width, number(k)) for k, _ in v.certified]
    lines = [_line("certified", v.certified, width)]
    if v.empirical:
        lines.append(_line("right under attack", v.empirical, width))
    at = [number(k) for k, _ in v.certified]
    return Plot("Accuracy against exchanges", "exchanges", x, quarters(), lines, [], at)


def _line(label: str, points: list[tuple[float, Share]], width: float) -> Line:
    dots = [(100 * k / width, 100 * share.share) for k, share in points]
    return Line(label, rising(dots), "", dots, [percent(share.share) for _, share in points])
