"""What the page of an evaluation draws: accuracy against the radius, and where rows ended by their label."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from blindspots.experiments.evaluate.evidence import Evidence
from blindspots.experiments.evaluate.verdict import EvaluateVerdict
from blindspots.records import clopper_pearson
from blindspots.report.charts import Point, Tick, path, ticks
from blindspots.report.words import ThreatWords

_LARGEST_MATRIX = 20  # classes; above, the commonest confusions are listed
_PAIRS = 20
_MARGIN_RIGHT = 1.12  # of the largest radius: room for the region that nobody searched


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
    axis: str
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


def points(verdict: EvaluateVerdict) -> list[Point]:
    """(radius, accuracy), ascending, beginning with the clean accuracy at radius 0."""
    found = verdict.distances.curve if verdict.distances else []
    return [(0.0, verdict.clean_accuracy), *(p for p in found if p[0] > 0)]


def curve_charts(labels: Sequence[str], runs: Sequence[Evidence]) -> list[CurveChart]:
    """One chart per norm, in the order of the runs."""
    threats = [run.threat for run in runs]
    norms = dict.fromkeys(t.norm for t in threats)
    return [
        _curve_chart(norm, [(la, r, t) for la, r, t in zip(labels, runs, threats, strict=True) if t.norm == norm])
        for norm in norms
    ]


def _curve_chart(norm: str, members: Sequence[tuple[str, Evidence, ThreatWords]]) -> CurveChart:
    ends = [max(points(run.verdict)[-1][0], threat.radius or 0) for _, run, threat in members]
    width = _MARGIN_RIGHT * max(*ends, 0) if any(ends) else 1.0
    marks = ticks(width)
    radii = {t.radius: t.radius_text for *_, t in members if t.radius is not None}
    return CurveChart(
        norm=norm,
        axis=members[0][2].axis,
        curves=[
            _curve(label, run.verdict, end, width, marks) for (label, run, _), end in zip(members, ends, strict=True)
        ],
        ticks=marks,
        radii=[(100 * r / width, text) for r, text in sorted(radii.items())],
        unknown_from=100 * max(ends) / width if radii else None,
    )


def _curve(label: str, verdict: EvaluateVerdict, end: float, width: float, marks: Sequence[Tick]) -> Curve:
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


def confusion(run: Evidence) -> Confusion:
    """Where the rows that were right at first ended, by label."""
    rows = run.rows
    considered = rows.broken | rows.stood
    y, end = rows.y[considered], np.where(rows.broken, rows.adversarial_prediction, rows.y)[considered]
    classes = max(len(run.class_names or []), int(np.concatenate([rows.y, end]).max(initial=-1)) + 1)
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
