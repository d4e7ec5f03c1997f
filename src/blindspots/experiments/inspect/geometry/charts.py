"""What the page of geometry draws besides slices."""

import math
from collections.abc import Callable, Sequence

from torch import Tensor

from blindspots.experiments.inspect.geometry.verdict import Curvature, Spectrum
from blindspots.report.charts import Line, Mark, Plot, Point, quarters, rising, ticks
from blindspots.report.words import number, percent
from blindspots.runs.experiment import Columns

_TOP = 1.04  # of the largest value that an axis shows
_SURE = (0.5, 0.9, 0.99, 0.999, 0.9999, 0.999999, 0.99999999)  # confidences with a mark
_GROUPS = 10  # of rows by confidence, whose median distances make the line

Scale = Callable[[float], float]


def _linear(low: float, high: float) -> Scale:
    return lambda value: 100 * (value - low) / (high - low)


def curvature(measured: Sequence[Curvature]) -> Plot | None:
    """Medians over the distance at which gradients are compared, on a logarithmic axis."""
    told = [c for c in measured if c.adversarial is not None and c.random is not None]
    if len(told) < 2:
        return None
    low, high = math.log(told[0].length / 1.3), math.log(told[-1].length * 1.3)
    across = _linear(low, high)
    most = _TOP * max(max(c.adversarial or 0, c.random or 0) for c in told) or 1
    lines = [
        _line(name, [(across(math.log(c.length)), 100 * value / most) for c, value in zip(told, values, strict=True)],
              [number(value) for value in values])
        for name, values in (
            ("along the adversarial direction", [c.adversarial or 0.0 for c in told]),
            ("along a random direction", [c.random or 0.0 for c in told]),
        )
    ]  # fmt: skip
    where = [number(c.length) for c in told]
    x = [Mark(across(math.log(c.length)), number(c.length)) for c in told]
    return Plot("How fast gradients turn", "h, l2 length", x, _marks(most), lines, [], where)


def _line(name: str, points: list[Point], values: list[str]) -> Line:
    return Line(name, rising(points), "", points, values)


def _marks(most: float) -> list[Mark]:
    return [Mark(t.at, number(t.value)) for t in ticks(most)]


def distances(rows: Columns, boundary: Columns) -> Plot | None:
    """Every row: how far the boundary is, over how sure the model is. The line joins medians of tenths of the rows."""
    found = boundary["found"]
    if int(found.sum()) < 2 * _GROUPS:
        return None
    odds, near = rows["odds"][found], boundary["distance"][found]
    low, high = min(float(odds.min()), 0.0), float(odds.max())
    across, most = _linear(low, _TOP * high), _TOP * float(near.max())
    groups = odds.argsort(stable=True).tensor_split(_GROUPS)
    medians = [(float(odds[g].quantile(0.5)), float(near[g].quantile(0.5))) for g in groups]
    dots = [(across(o), 100 * d / most) for o, d in zip(odds.tolist(), near.tolist(), strict=True)]
    line = Line(
        "median", rising([(across(o), 100 * d / most) for o, d in medians]), "", dots, [number(d) for _, d in medians]
    )  # fmt: skip
    x = [Mark(across(at), _said(p)) for p in _SURE if low <= (at := math.log(p / (1 - p))) <= high]
    where = [_said(1 / (1 + math.exp(-o))) for o, _ in medians]
    return Plot("Distance to the boundary", "confidence", x, _marks(most), [line], [], where)


def _said(p: float) -> str:
    """A confidence: "90 %", "99.9 %", above that what is missing, "1 − 1e-06"."""
    return f"{100 * p:.4g} %" if p < 0.9995 else f"1 − {1 - p:.0e}"


def energy(s: Spectrum) -> Plot:
    """Cumulated energy of the first singular vectors."""
    count = len(s.energy)
    across = _linear(1, max(count, 2))
    lines = [
        Line(name, rising([(across(i + 1), 100 * e) for i, e in enumerate(values)]), "", [], [
            percent(values[i]) for i in _some(count)
        ])
        for name, values in (("to the boundary", s.energy), ("random", s.energy_random))
    ]  # fmt: skip
    x = [Mark(0, "1"), *(Mark(across(t.value), f"{t.value:.0f}") for t in ticks(count) if t.value >= 2)]
    return Plot(
        "Dimensions of the ways to the boundary", "singular vectors", x, quarters(), lines, [],
        [str(i + 1) for i in _some(count)],
    )  # fmt: skip


def _some(count: int) -> list[int]:
    return [i for i in (0, 1, 4, 9, 19, 49) if i < count]


def cosines(own: Tensor, random: Tensor) -> Plot:
    """What share of rows has at most this cosine, from the smallest to the largest."""
    values = {"between both models": own.sort().values, "with a random direction": random.sort().values}
    low = min(-0.2, *(float(v[0]) for v in values.values()))
    high = max(0.4, *(float(v[-1]) for v in values.values()))
    across = _linear(low, high)
    shares = (0.05, 0.25, 0.5, 0.75, 0.95)
    lines = [
        Line(name, rising([(across(float(c)), 100 * (i + 1) / len(v)) for i, c in enumerate(v)]), "", [], [
            number(float(v.quantile(share))) for share in shares
        ])
        for name, v in values.items()
    ]  # fmt: skip
    step = 0.2
    at = [k * step for k in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]
    return Plot(
        "Angles of gradients: share of rows below", "cosine", [Mark(across(a), number(round(a, 1))) for a in at],
        quarters(), lines, [], [f"{percent(s)} of rows" for s in shares],
    )  # fmt: skip
