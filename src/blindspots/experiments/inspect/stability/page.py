"""What is shown of a study of stability: bounds beside what was found, layers, and growth from layer to layer."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from blindspots.experiments.inspect.page import Shown
from blindspots.experiments.inspect.stability.config import StabilityConfig
from blindspots.experiments.inspect.stability.verdict import (
    INPUT,
    Growth,
    LayerNorm,
    Middle,
    StabilityVerdict,
    Start,
)
from blindspots.report.charts import Line, Mark, Plot, rising
from blindspots.report.experiment import Table
from blindspots.report.words import ThreatWords, count, listing, number, percent
from blindspots.runs.store import Run

Inspected = Run[StabilityConfig, StabilityVerdict]
_NAMES, _LETTERS = 12, 48  # of layers below a chart, at most
_DECADES = 6  # lines of a chart
_NAMED = 4  # layers in a sentence
_FLAT = 1e-9
_EXACT = 1e-3  # gaps below this are not told apart
_LARGE = 1e6  # from here on numbers are written with a power of ten


@dataclass(frozen=True)
class Bar:
    """One number on a scale of powers of ten; `share`: percent of the width."""

    name: str
    value: str
    share: float
    bound: bool


def shown(run: Inspected) -> Shown:
    """Six numbers of the same thing, then layers, then growth."""
    v = run.verdict
    return Shown(
        name="stability", title="Stability", answer=answer(v), text=_text(run), body="stability/body.html.j2",
        tables=[_numbers(run), growth(v.starts[0])],
        context={
            "bars": bars(run), "least": number(10.0 ** _least(run)), "gap": _gap(v),
            "layers": layers(v), "layers_said": _layers_said(v),
            "notes": [layer.note for layer in v.without_bound],
            "chart": "Bounds above, what was found below." if _has_bounds(v) else "All were found; there is no bound.",
            "plots": [(plot(s), _growth_said(v, s)) for s in v.starts],
            "tables": [growth(s) for s in v.starts],
        },
    )  # fmt: skip


def answer(v: StabilityVerdict) -> str:
    """How much of the bound was found, and how perturbations grow."""
    ratio = v.starts[0].layers[-1].ratio.median
    grown = (
        "" if ratio is None else f"; adversarial perturbations reach the scores {number(ratio)} times as large as noise"
    )
    if v.bound is None:
        return f"Nothing bounds this network everywhere; slopes up to {_said(v.found_in_box)} were found{grown}"
    return f"No slope is above {_said(v.bound)}, and slopes up to {_said(v.found_in_box)} were found{grown}"


def _text(run: Inspected) -> str:
    v, radius = run.verdict, ThreatWords(str(run.config.threat), (0, 1)).text
    proved = v.proved.median
    safe = (
        f" By the bounds that hold everywhere, half of these rows keep their prediction within L2 {number(proved)}."
        if proved
        else ""
    )
    rows = f"in the ball of {radius} around {count(v.bounded, 'row')}"
    stated = (
        f"Bounds hold for all inputs or {rows}; below them stand slopes that were found there."
        if _has_bounds(v)
        else f"Slopes were looked for among all inputs and {rows}; each is a lower bound of the steepest one."
    )
    return (
        "A slope is the spectral norm of the scores' Jacobian: how far they can move per change of the input, both in "
        f"L2. {stated}{safe}"
    )


def _has_bounds(v: StabilityVerdict) -> bool:
    return v.bound is not None or v.local is not None


def _said(value: float) -> str:
    """ "1,473", "8.0e10" """
    return number(value) if value < _LARGE else f"{value:.1e}".replace("e+", "e")


# ------------------------------------------------------------------ bounds


def _named(run: Inspected) -> dict[str, tuple[float | None, bool]]:
    v, radius = run.verdict, ThreatWords(str(run.config.threat), (0, 1)).text
    return {
        "product of the layers": (v.product, True),
        "ECLipsE-Fast": (v.eclipse_fast, True),
        f"best bound within {radius}": (v.local, True),
        "steepest found, any input": (v.found_in_box, False),
        f"steepest found within {radius}": (v.found, False),
        "mean at the rows": (v.gradient, False),
    }


def bars(run: Inspected) -> list[Bar]:
    """From a power of ten below the least to the largest; none for what is not known."""
    known = [(name, value, bound) for name, (value, bound) in _named(run).items() if value is not None]
    low, high = _least(run), math.log10(max(value for _, value, _ in known) or 1)
    width = max(high - low, _FLAT)
    return [
        Bar(name, _said(value), 100 * (math.log10(value) - low) / width if value else 0.0, bound)
        for name, value, bound in known
    ]


def _least(run: Inspected) -> int:
    """The power of ten with which the scale begins."""
    return math.floor(min((math.log10(v) for v, _ in _named(run).values() if v), default=0) - _FLAT)


def _numbers(run: Inspected) -> Table:
    none = "none" if run.verdict.without_bound else "does not apply"
    rows = [[name, none if value is None else _said(value)] for name, (value, _) in _named(run).items()]
    return Table(["Slope", "L2 to L2"], rows, "Bounds and what was found")


def _gap(v: StabilityVerdict) -> str:
    """What the chart shows on this model."""
    local = (
        f" Around the rows the gap is {_said(v.local / v.found)} times." if v.local is not None and v.found > 0 else ""
    )
    if v.bound is None:
        names = list(dict.fromkeys(layer.name for layer in v.without_bound))
        more = [f"{len(names) - _NAMED} others"] if len(names) > _NAMED else []
        named = listing([*names[:_NAMED], *more])
        return f"Nothing bounds {named} everywhere, so nothing does the network.{local}"
    better = (
        f"ECLipsE-Fast is {_said(v.product / v.eclipse_fast)} times below the product. "
        if v.product and v.eclipse_fast
        else "ECLipsE-Fast does not apply: it needs a sequence of linear layers of up to 2,048 units and activations "
        "that never fall. "
    )
    wide = v.bound / v.found_in_box if v.found_in_box else math.inf
    return (
        f"{better}The best bound for all inputs is {_said(wide)} times the steepest slope that was found; the truth "
        f"lies between.{local}"
    )


def layers(v: StabilityVerdict) -> Table:
    """Norms from both sides; what only moves numbers is left out."""
    told = [_layer(layer) for layer in v.layers if layer.upper != [1.0] or layer.lower != 1.0]
    return Table(["Layer", "Operation", "At least", "At most", "Gap", "Product so far"], told, "Layers")


def _layer(layer: LayerNorm) -> list[str]:
    upper = _bound(None) if None in layer.upper else " + ".join(map(_bound, layer.upper))
    (first, *others) = layer.upper
    gap = "–" if others or first is None or not layer.lower else percent(max(first / layer.lower - 1, 0.0))
    return [layer.name, layer.op, number(layer.lower), upper, gap, _bound(layer.product)]


def _bound(value: float | None) -> str:
    return "no bound" if value is None else _said(value)


def _layers_said(v: StabilityVerdict) -> str:
    single = [(u / w.lower - 1, w) for w in v.layers if len(w.upper) == 1 and (u := w.upper[0]) and w.lower]
    longest = max((layer for _, layer in single), key=lambda w: w.upper[0] or 0, default=None)
    widest = max((gap for gap, _ in single), default=0.0)
    said = f"Norms are known to within {percent(max(widest, _EXACT))}. " if single else ""
    among = " of those with a bound" if v.without_bound else ""
    return said + (f"{longest.name} stretches most{among}, {number(longest.lower)} times." if longest else "")


# ------------------------------------------------------------------ growth


def growth(start: Start) -> Table:
    """Medians with intervals, without layers that only move numbers."""
    rows = [
        [g.layer, g.op, _middle(g.adversarial), _middle(g.noise), _middle(g.ratio)] for g in _changing(start.layers)
    ]
    return Table(
        ["After", "Operation", "Adversarial", "Noise", "Ratio"], rows, f"Perturbations made at {_place(start)}"
    )


def _place(start: Start) -> str:
    return "the input" if start.at == INPUT else start.at


def _changing(layers: Sequence[Growth]) -> list[Growth]:
    pairs = zip(layers, [None, *layers], strict=False)
    return [g for g, before in pairs if before is None or g.ratio != before.ratio or g.noise != before.noise]


def _middle(m: Middle) -> str:
    if m.median is None:
        return "–"
    return number(m.median) + (f" ({number(m.interval[0])} to {number(m.interval[1])})" if m.interval else "")


def plot(start: Start) -> Plot:
    """Relative sizes by layer on a scale of powers of ten, with the intervals as bands."""
    told = [g for g in _changing(start.layers) if g.adversarial.median and g.noise.median]
    across = [100 * (i + 0.5) / len(told) for i in range(len(told))]
    scale = _Scale([end for g in told for m in (g.adversarial, g.noise) for end in (m.interval or (m.median,)) if end])
    lines = [
        _line(name, [getattr(g, key) for g in told], across, scale)
        for key, name in (("adversarial", "adversarial"), ("noise", "noise of the same size"))
    ]
    fitting = min(_NAMES, _LETTERS // max(len(g.layer) for g in told)) or 1
    step = -(-len(told) // fitting)
    marks = [Mark(a, g.layer) for a, g in list(zip(across, told, strict=True))[::step]]
    title = f"Size relative to the layer, perturbed at {_place(start)}"
    return Plot(title, "after this layer", marks, scale.marks(), lines, [], [g.layer for g in told])


class _Scale:
    """Powers of ten around numbers above 0, in percent of the height."""

    def __init__(self, numbers: Sequence[float]) -> None:
        logs = [math.log10(n) for n in numbers] or [0.0]
        self.low = math.floor(min(logs) - _FLAT)
        self.high = max(math.ceil(max(logs) + _FLAT), self.low + 1)

    def at(self, value: float) -> float:
        return 100 * (math.log10(value) - self.low) / (self.high - self.low) if value > 0 else 0.0

    def marks(self) -> list[Mark]:
        step = -(-(self.high - self.low) // _DECADES)
        return [Mark(self.at(10.0**k), percent(10.0**k)) for k in range(self.low, self.high + 1, step)]


def _line(name: str, middles: Sequence[Middle], across: Sequence[float], scale: _Scale) -> Line:
    points = [(a, scale.at(m.median or 0)) for a, m in zip(across, middles, strict=True)]
    ends: Any = [m.interval for m in middles]
    band = ""
    if all(ends):
        low, high = ([(a, scale.at(e[k])) for a, e in zip(across, ends, strict=True)] for k in (0, 1))
        band = rising([*high, *low[::-1]]) + "Z"
    return Line(name, rising(points), band, points, [_middle(m) for m in middles])


def _growth_said(v: StabilityVerdict, start: Start) -> str:
    """What the chart shows on this model; from the input on, also whether lower or higher layers do it."""
    last = start.layers[-1]
    said = (
        f"At the scores adversarial perturbations are {_middle(last.ratio)} times as large as noise of the same size."
    )
    return f"{said} {_halves(v.lower_half)}" if start.at == INPUT else said


def _halves(m: Middle) -> str:
    if m.median is None or m.interval is None:
        return ""
    each = f"{number(abs(m.median))} doublings of the ratio a layer"
    if m.interval[0] > 0:
        return f"The lower half of the layers does more of it: {each} beyond the upper half."
    if m.interval[1] < 0:
        return f"The upper half of the layers does more of it: {each} beyond the lower half."
    return "Lower and upper layers contribute alike."
