"""What the report of a detection run draws: ROC and precision-recall curves per attack, and histograms of scores."""

from collections.abc import Callable, Sequence

from blindspots.experiments.detect.verdict import Cell, DetectorRecord, Points
from blindspots.report.charts import Line, Mark, Plot, path, quarters
from blindspots.report.words import number, percent

_FPR = (0.01, 0.05, 0.1, 0.2, 0.5)
_RECALL = (0.25, 0.5, 0.75, 0.9, 1.0)
_TOP = 1.08  # of the tallest column


def roc(cells: Sequence[Cell]) -> Plot:
    """True against false positive rate, one line per attack."""
    lines = [_line(c.attack, c.roc, _FPR, lambda p, x: max(t for f, t in p if f <= x + 1e-12)) for c in cells]
    return Plot("ROC", "false positive rate", quarters(), quarters(), lines, [], [percent(x) for x in _FPR])


def precision_recall(cells: Sequence[Cell]) -> Plot:
    """Precision against recall, one line per attack."""
    lines = [
        _line(c.attack, c.precision_recall, _RECALL, lambda p, x: max(q for r, q in p if r >= x - 1e-12)) for c in cells
    ]
    return Plot("Precision and recall", "recall", quarters(), quarters(), lines, [], [percent(x) for x in _RECALL])


def _line(name: str, points: Points, at: Sequence[float], value: Callable[[Points, float], float]) -> Line:
    drawn = path([(100 * x, 100 - 100 * y) for x, y in points])
    return Line(name, drawn, "", [], [percent(value(points, x)) for x in at])


def histogram(d: DetectorRecord) -> Plot:
    """Scores of clean rows, of examples made without knowing of the detector, and of those that fool the pair."""
    h = d.histogram
    low, high = h.edges[0], h.edges[-1]
    kinds = {"clean": h.clean, "made unaware": h.unaware, "adaptive": h.adaptive}
    shares = {name: [n / sum(counts) for n in counts] for name, counts in kinds.items() if sum(counts)}
    tall = _TOP * max(max(s) for s in shares.values())
    x = [100 * (e - low) / (high - low) for e in h.edges]
    lines = [_columns(name, s, x, tall, d.threshold, h.edges) for name, s in shares.items()]
    marks = [Mark(100 * (d.threshold - low) / (high - low), "rejected above")] if low <= d.threshold <= high else []
    middle = (low + high) / 2
    ticks = [Mark(at, number(value)) for at, value in ((0, low), (50, middle), (100, high))]
    return Plot("Scores", "score", ticks, [Mark(0, "0 %")], lines, marks, ["about, passes", "about, rejected"])


def _columns(
    name: str, shares: Sequence[float], x: Sequence[float], tall: float, threshold: float, edges: Sequence[float]
) -> Line:
    corners: list[tuple[float, float]] = [(x[0], 100.0)]
    for i, share in enumerate(shares):
        y = 100 - 100 * share / tall
        corners += [(x[i], y), (x[i + 1], y)]
    outline = path([*corners, (x[-1], 100.0)])
    passes = sum(s for s, left in zip(shares, edges, strict=False) if left < threshold)
    return Line(name, outline, outline + "Z", [], [percent(passes), percent(1 - passes)])
