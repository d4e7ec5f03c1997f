"""What the report of a hardening run draws: accuracy against radius, and the history of its epochs."""

from collections.abc import Callable, Sequence

from blindspots.experiments.evaluate.charts import points
from blindspots.experiments.evaluate.verdict import EvaluateVerdict
from blindspots.experiments.harden.verdict import Epoch, HardenVerdict, Study
from blindspots.records import Share, clopper_pearson
from blindspots.report.charts import Line, Mark, Plot, Point, quarters, rising, ticks
from blindspots.report.words import ThreatWords, number, percent

_TABLE = 7  # epochs and radii in the tables below the charts, about
_DOTS = 40  # epochs up to which every one has a dot


def against_radius(study: Study, threat: ThreatWords) -> Plot:
    """Accuracy of both networks against the radius, with the bands of exact 95 % intervals."""
    curve = study.curve
    width = curve.radii[-1]
    picked = _spread(len(curve.radii), _TABLE)
    lines = [
        _band(label, [(r / width, a) for r, a in zip(curve.radii, shares, strict=True)], study.rows, picked)
        for label, shares in (("before", curve.before), ("after", curve.after))
    ]
    x = [Mark(t.at, number(t.value)) for t in ticks(width)]
    where = [number(curve.radii[i]) for i in picked]
    return Plot(
        "Accuracy against radius", f"{threat.norm} radius", x, quarters(), lines, _trained(threat, width), where
    )


def within_radius(v: HardenVerdict, threat: ThreatWords) -> Plot:
    """The same from the two evaluations alone, which end at the threat's radius."""
    assert threat.radius is not None
    width = threat.radius
    lines = [_steps(label, verdict, width) for label, verdict in (("before", v.before), ("after", v.after))]
    x = [Mark(t.at, number(t.value)) for t in ticks(width)]
    return Plot("Accuracy against radius", f"{threat.norm} radius", x, quarters(), lines, [], ["0", number(width)])


def history(v: HardenVerdict) -> Plot | None:
    """What was seen after every checked epoch; None where there were fewer than two."""
    kept = [e for e in v.history if not e.undone]
    if len(kept) < 2:
        return None
    first, last = min(e.epoch for e in v.history), max(e.epoch for e in v.history)
    picked = _spread(len(kept), _TABLE)
    measures: list[tuple[str, Callable[[Epoch], Share]]] = [
        ("untouched, held out", lambda e: e.clean),
        ("attacked, held out", lambda e: e.robust),
        ("attacked, trained on", lambda e: e.robust_training),
        ("under one step, held out", lambda e: e.fgsm),
    ]
    lines = [_line(label, kept, share, (first, last), picked) for label, share in measures]
    marks = [Mark(_place(e, (first, last)), "undone") for e in v.history if e.undone]
    if all(abs(m.at - _best(v, (first, last))) > 8 for m in marks):
        marks.append(Mark(_best(v, (first, last)), "best"))
    x = [
        Mark(100 * (t.value - first) / (last - first), f"{t.value:.0f}") for t in ticks(last) if _inside(t.value, first)
    ]
    return Plot("After every epoch", "epoch", x, quarters(), lines, marks, [str(kept[i].epoch) for i in picked])


def _inside(value: float, first: int) -> bool:
    return value >= first and value == round(value)


def _place(e: Epoch, ends: tuple[int, int]) -> float:
    return 100 * (e.epoch - ends[0]) / (ends[1] - ends[0])


def _best(v: HardenVerdict, ends: tuple[int, int]) -> float:
    return 100 * (v.best_epoch - ends[0]) / (ends[1] - ends[0])


def _line(
    label: str, epochs: Sequence[Epoch], share: Callable[[Epoch], Share], ends: tuple[int, int], picked: Sequence[int]
) -> Line:
    at = [(_place(e, ends), 100 * share(e).share) for e in epochs]
    dots = at if len(at) <= _DOTS else []
    return Line(label, rising(at), "", dots, [percent(share(epochs[i]).share) for i in picked])


def _band(label: str, curve: Sequence[Point], rows: int, picked: Sequence[int]) -> Line:
    bounds = [clopper_pearson(round(a * rows), rows) for _, a in curve]
    low, high = ([(100 * r, 100 * b[k]) for (r, _), b in zip(curve, bounds, strict=True)] for k in (0, 1))
    return Line(
        label, rising([(100 * r, 100 * a) for r, a in curve]), rising([*high, *low[::-1]]) + "Z", [],
        [percent(curve[i][1]) for i in picked],
    )  # fmt: skip


def _steps(label: str, verdict: EvaluateVerdict, width: float) -> Line:
    known = [*points(verdict), (width, verdict.robust_accuracy)]
    corners = [(known[0][0], known[0][1])]
    for radius, accuracy in known[1:]:
        corners += [(radius, corners[-1][1]), (radius, accuracy)]
    at = [(100 * r / width, 100 * a) for r, a in corners]
    return Line(label, rising(at), "", [], [percent(verdict.clean_accuracy), percent(verdict.robust_accuracy)])


def _trained(threat: ThreatWords, width: float) -> list[Mark]:
    return [] if threat.radius is None else [Mark(100 * threat.radius / width, f"trained for {threat.radius_text}")]


def _spread(n: int, about: int) -> list[int]:
    """At most `about` of the places 0 .. n - 1, the first and the last among them."""
    k = min(n, about)
    return sorted({round(i * (n - 1) / max(k - 1, 1)) for i in range(k)})
