"""What a reader of a verdict on designs should know."""

from collections.abc import Iterator

from blindspots.experiments.design.config import DesignConfig
from blindspots.experiments.design.verdict import DesignVerdict, Estimate
from blindspots.findings import Finding
from blindspots.report.words import listing, number
from blindspots.runs.store import Parts

_FEW = 5
_ROUNDING = 1e-5  # of published optima, which have six digits
_LATE = 0.9  # of the updates, after which climbs should keep to their ceilings
_LOOSE = 0.25  # standard deviations


def findings(config: DesignConfig, verdict: DesignVerdict, parts: Parts) -> Iterator[Finding]:
    """On what the numbers rest."""
    yield from _deceived(verdict)
    yield from _worse(verdict)
    yield from _trained(config, parts)
    yield from _beyond(verdict, parts)
    if verdict.repeats < _FEW:
        yield Finding(
            code="few-repeats", severity="note",
            saw=f"There are {verdict.repeats} repeats, and data and surrogates differ much from one to the next.",
            do="Raise --repeats before methods are compared.",
        )  # fmt: skip


def _deceived(v: DesignVerdict) -> Iterator[Finding]:
    naive = v.method("naive")
    told = {"of all designs": naive.mean.sd.gap, "of the chosen design": naive.chosen.sd.gap}
    if unsure := [which for which, gap in told.items() if not _above(gap)]:
        yield Finding(
            code="no-clear-gap", severity="warning",
            saw=f"Naive ascent shows no clear gap {listing(unsure)}: the interval over repeats is not above 0, so "
            "there is little that another method could cut.",
            do="Fewer points, more repeats or another task show more.",
        )  # fmt: skip


def _above(estimate: Estimate) -> bool:
    return not isinstance(estimate.interval, str) and estimate.interval[0] > 0


def _worse(v: DesignVerdict) -> Iterator[Finding]:
    for m in v.methods:
        ends = m.better.interval
        if m.name != "naive" and not isinstance(ends, str) and ends[1] < 0:
            yield Finding(
                code="worse-design", severity="warning",
                saw=f"The design that {m.name} chooses is worth less than that of naive ascent, by "
                f"{number(-m.better.mean)} standard deviations ({number(-ends[1])} to {number(-ends[0])}).",
                do="A small gap is no merit of its own: look at true values, too."
                + " Raise --tau." * (m.name == "conservative"),
            )  # fmt: skip


def _trained(config: DesignConfig, parts: Parts) -> Iterator[Finding]:
    if "conservative" not in config.method:
        return
    over = parts["networks/conservative"]["over"]
    late = float(over[int(_LATE * len(over)) :].mean())
    if late > _LOOSE:
        yield Finding(
            code="not-conservative", severity="warning",
            saw=f"At the end of conservative training climbs still promised {number(late)} standard deviations more "
            "than they may: it was not done.",
            do="Raise --updates.",
        )  # fmt: skip


def _beyond(v: DesignVerdict, parts: Parts) -> Iterator[Finding]:
    highest = max(float(parts[f"climbs/{m.name}"]["true"].max()) for m in v.methods)
    if v.optimum is not None and highest > v.optimum + _ROUNDING * max(1, abs(v.optimum)):
        yield Finding(
            code="beyond-optimum", severity="error",
            saw=f"A design has the true value {number(highest)}, above the optimum {number(v.optimum)} of the task.",
            do="Correct the optimum, or the truth.",
        )  # fmt: skip
