"""The geometry of the report's charts. Plots are small SVGs in percent of their area; text around them is HTML,
which stays readable at every width and follows the reader's colours.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from blindspots.records import clopper_pearson
from blindspots.report.evidence import Run
from blindspots.report.words import ThreatWords
from blindspots.verdict import Verdict

_LARGEST_MATRIX = 20  # classes; above, the commonest confusions are listed
_PAIRS = 20
_MARGIN_RIGHT = 1.12  # of the largest radius: room for the region that nobody searched
Point = tuple[float, float]


@dataclass(frozen=True)
class Tick:
    at: float  # percent of the axis
    value: float


@dataclass(frozen=True)
class Curve:
    """One run's accuracy against the radius: SVG paths, and the accuracy at every tick (None beyond what is known)."""

    label: str
    line: str
    band: str
    at_ticks: list[float | None]
    ends: tuple[float, float]  # accuracy at radius 0 and where the curve ends


@dataclass(frozen=True)
class CurveChart:
    """All runs whose distances share a norm. `radii`: the distinct threat radii with their place and text."""

    norm: str
    curves: list[Curve]
    ticks: list[Tick]
    radii: list[tuple[float, str]]
    unknown_from: float | None  # percent; None when no run has a radius


@dataclass(frozen=True)
class ClassRow:
    """What became of the rows of one class: `cells[j]` of them ended as class j (the diagonal stood)."""

    name: str
    right: int
    stood: int
    cells: list[int]


@dataclass(frozen=True)
class Confusion:
    """`classes` for a matrix, or, with many classes, only the commonest `pairs` (label, prediction, rows)."""

    names: list[str]
    classes: list[ClassRow]
    pairs: list[tuple[str, str, int]]
    most: int  # the largest off-diagonal count


@dataclass(frozen=True)
class Mark:
    """A place on an axis, in percent of it, and what stands there."""

    at: float
    text: str


@dataclass(frozen=True)
class Line:
    label: str
    line: str  # SVG path in percent, y downwards
    band: str  # "" without intervals
    dots: list[tuple[float, float]]  # percent from the left, percent from the bottom
    values: list[str]  # of the points in `Plot.where`, for the table


@dataclass(frozen=True)
class Plot:
    name: str
    across: str
    x: list[Mark]
    y: list[Mark]
    lines: list[Line]
    marks: list[Mark]  # dashed
    where: list[str]  # x of the points, for the table


def ticks(largest: float, about: int = 6) -> list[Tick]:
    """Round numbers 0, s, 2s, ... up to `largest`, with s = 1, 2 or 5 times a power of ten."""
    rough = largest / about
    power = 10 ** math.floor(math.log10(rough))
    step = next(power * k for k in (1, 2, 5, 10) if power * k >= rough * (1 - 1e-9))
    return [Tick(100 * i * step / largest, i * step) for i in range(int(largest / step + 1e-9) + 1)]


def points(verdict: Verdict) -> list[Point]:
    """(radius, accuracy), ascending, beginning with the clean accuracy at radius 0."""
    found = verdict.distances.curve if verdict.distances else []
    return [(0.0, verdict.clean_accuracy), *(p for p in found if p[0] > 0)]


def curve_charts(labels: Sequence[str], runs: Sequence[Run]) -> list[CurveChart]:
    """One chart per norm, in the order of the runs."""
    threats = [ThreatWords(run.manifest.threat, run.manifest.model.bounds) for run in runs]
    norms = dict.fromkeys(t.norm for t in threats)
    return [
        _curve_chart(norm, [(la, r, t) for la, r, t in zip(labels, runs, threats, strict=True) if t.norm == norm])
        for norm in norms
    ]


def _curve_chart(norm: str, members: Sequence[tuple[str, Run, ThreatWords]]) -> CurveChart:
    ends = [max(points(run.verdict)[-1][0], threat.radius or 0) for _, run, threat in members]
    width = _MARGIN_RIGHT * max(*ends, 0) if any(ends) else 1.0
    marks = ticks(width)
    radii = {t.radius: t.radius_text for *_, t in members if t.radius is not None}
    return CurveChart(
        norm=norm,
        curves=[
            _curve(label, run.verdict, end, width, marks) for (label, run, _), end in zip(members, ends, strict=True)
        ],
        ticks=marks,
        radii=[(100 * r / width, text) for r, text in sorted(radii.items())],
        unknown_from=100 * max(ends) / width if radii else None,
    )


def _curve(label: str, verdict: Verdict, end: float, width: float, marks: Sequence[Tick]) -> Curve:
    known = points(verdict)
    bounds = [clopper_pearson(round(a * verdict.rows), verdict.rows) for _, a in known]
    low, high = ([(r, b[side]) for (r, _), b in zip(known, bounds, strict=True)] for side in (0, 1))
    back = _steps(low, end, width)[::-1]
    return Curve(
        label=label,
        line=path(_steps(known, end, width)),
        band=path(_steps(high, end, width) + back) + "Z",
        ends=(known[0][1], known[-1][1]),
        at_ticks=[_accuracy_at(m.value, known) if m.value <= end * (1 + 1e-9) else None for m in marks],
    )


def _accuracy_at(radius: float, known: Sequence[Point]) -> float:
    return [a for r, a in known if r <= radius * (1 + 1e-9)][-1]


def _steps(known: Sequence[Point], end: float, width: float) -> list[Point]:
    """The corners of the step function through `known` up to the radius `end`, in percent, y downwards."""
    corners: list[Point] = []
    for radius, accuracy in known:
        x, y = 100 * radius / width, 100 - 100 * accuracy
        corners += [(x, corners[-1][1]), (x, y)] if corners else [(x, y)]
    return [*corners, (100 * end / width, corners[-1][1])]


def path(corners: Sequence[Point]) -> str:
    """An SVG path through corners in percent, y downwards."""
    return "M" + "L".join(f"{x:.2f} {y:.2f}" for x, y in corners)


def rising(points: Sequence[Point]) -> str:
    """An SVG path through points in percent, y upwards."""
    return path([(x, 100 - y) for x, y in points])


def quarters() -> list[Mark]:
    """The marks of an axis of shares."""
    return [Mark(share, f"{share} %") for share in (0, 25, 50, 75, 100)]


def confusion(run: Run) -> Confusion:
    """Where the rows that were right at first ended, by label."""
    rows = run.rows
    considered = rows.broken | rows.stood
    y, end = rows.y[considered], np.where(rows.broken, rows.adversarial_prediction, rows.y)[considered]
    classes = max(len(run.manifest.data.class_names or []), int(np.concatenate([rows.y, end]).max(initial=-1)) + 1)
    names = [run.class_name(i) for i in range(classes)]
    if classes > _LARGEST_MATRIX:
        return Confusion(names, [], _commonest(names, y, end), 0)
    counts = np.zeros((classes, classes), int)
    np.add.at(counts, (y, end), 1)
    off_diagonal = counts - np.diag(np.diag(counts))
    of = [ClassRow(n, int(c.sum()), int(c[i]), c.tolist()) for i, (n, c) in enumerate(zip(names, counts, strict=True))]
    return Confusion(names, of, [], int(off_diagonal.max(initial=0)))


def _commonest(names: Sequence[str], y: np.ndarray, end: np.ndarray) -> list[tuple[str, str, int]]:
    fallen = np.stack([y, end], 1)[y != end]
    pairs, counts = np.unique(fallen, axis=0, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:_PAIRS]
    return [(names[pairs[i, 0]], names[pairs[i, 1]], int(counts[i])) for i in order]
