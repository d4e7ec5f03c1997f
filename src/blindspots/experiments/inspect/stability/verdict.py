"""What the study of stability says, as data."""

from blindspots.records import Interval, Record, Share
from blindspots.runs.metric import Metric, Verdict, metric

INPUT = "input"  # the layer before all others
WEIGHTED = (
    "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "linear", "addmm", "mm",
    "bmm", "matmul",
)  # fmt: skip
GRAPH = {
    "names": "(a,) uint8 of every operation, a line each; the first is the input; normalisation is folded into weights",
    "ops": "(b,) uint8 what each is",
    "reads": "(l, r) int64 places of the results that each takes; -1: no more",
    "followed": "(c,) uint8 names of the operations, as they are",
    "followed_ops": "(d,) uint8 what each is",
}
NORMS = {
    "upper": "(k, r) float64 how far each operation stretches a change of each of its inputs, at most",
    "local": "(k, r) float64 the same at rows alone",
    "lower": "(k,) float64 how far it stretches some change",
    "joint": "(k,) bool changes of several inputs add up as squares",
    "notes": "(n,) uint8 what to know of each, a line each",
}
WHOLE = {
    "eclipse_fast": "(1,) float64 bound of the scores; NaN where it does not apply",
    "margins": "(c, c) float64 bounds of how fast the difference of two scores changes",
}
AROUND = {
    "id": "(n,) int64 place of the row in the data",
    "x": "(n, ...) input",
    "scores": "(n, c) float64",
    "gradient": "(n,) float64 spectral norm of the Jacobian at the row",
    "local": "(n,) float64 bound in the ball",
    "found": "(n,) float64 the largest that was found in the ball",
    "point": "(n, ...) float32 where",
    "found_in_box": "(n,) float64 the largest that was found anywhere",
    "point_in_box": "(n, ...) float32 where",
}
MOVED = {
    "id": "(n,) int64 place of the row in the data",
    "x": "(n, ...) input",
    "moved": "(n, ...) float32 adversarial example",
    "clean": "(n,) int64 prediction",
    "attacked": "(n,) int64 prediction of the example",
    "steps": "(l,) int64 operations that are followed",
    "adversarial": "(n, l) float64 relative size of the perturbation after every operation; NaN where there is none",
    "noise": "(n, l) float64 the same of noise of the same size",
}
HIDDEN = {
    "id": "(n,) int64 place of the row in the data",
    "changes": "(k, ...) float32 of the first rows, what was added to the layer",
    "steps": "(l,) int64 operations that are followed: those that depend on the layer",
    "adversarial": "(n, l) float64 as above",
    "noise": "(n, l) float64",
}


class Middle(Record):
    """A median over rows, with the 95 % interval between two order statistics; None: too few rows."""

    median: float | None
    interval: Interval | None
    rows: int


class LayerNorm(Record):
    """By how much an operation stretches a change of what it reads, in l2."""

    name: str
    op: str
    lower: float  # reached by some change
    upper: list[float | None]  # for each result that it reads; None: no bound
    product: float | None  # bound of everything up to here
    note: str


class Growth(Record):
    """The relative size of perturbations after an operation."""

    layer: str
    op: str
    adversarial: Middle
    noise: Middle
    ratio: Middle  # of the first to the second


class Start(Record):
    """Perturbations that are made at one place."""

    at: str
    layers: list[Growth]


class StabilityVerdict(Verdict):
    bounded: int  # rows
    attacked: Share  # rows whose prediction the perturbation changed
    layers: list[LayerNorm]
    product: float | None  # None: a layer has no bound
    eclipse_fast: float | None  # None: does not apply
    local: float | None  # the largest over rows
    found: float
    found_in_box: float
    gradient: float  # mean over rows
    proved: Middle  # l2 radius within which a row's prediction stays
    starts: list[Start]
    lower_half: Middle  # doublings of the ratio per weighted layer in the lower half of them, less those in the upper

    @property
    def without_bound(self) -> list[LayerNorm]:
        return [layer for layer in self.layers if None in layer.upper]

    @property
    def bound(self) -> float | None:
        """The best one that holds everywhere."""
        found = [b for b in (self.product, self.eclipse_fast) if b is not None]
        return min(found) if found else None

    def metrics(self) -> dict[str, Metric]:
        bounds = {"product": self.product, "eclipse_fast": self.eclipse_fast, "local": self.local}
        found = {"found": self.found, "found_in_box": self.found_in_box}
        gaps = {"gap": _over(self.bound, self.found_in_box), "local_gap": _over(self.local, self.found)}
        middles = {
            "amplification": (self.starts[0].layers[-1].ratio, "times as far as noise"),
            "lower_half": (self.lower_half, "doublings of that a layer, beyond those of the upper half"),
            "proved": (self.proved, "in L2"),
        }
        return {
            **{name: _steep(value, "a proven bound") for name, value in bounds.items() if value is not None},
            **{name: _steep(value, "the largest that a search found") for name, value in found.items()},
            "gradient": _steep(self.gradient, "a mean of these rows alone"),
            **{name: _steep(value, "of numbers without intervals", "times") for name, value in gaps.items() if value},
            **{
                name: _middle(m.median, m.interval, name == "proved", unit)
                for name, (m, unit) in middles.items()
                if m.median is not None
            },
        }


def _over(bound: float | None, found: float) -> float | None:
    return bound / found if bound is not None and found > 0 else None


def _steep(value: float, why: str, unit: str = "change of the scores per change of the input, in L2") -> Metric:
    return metric(value, why, higher_is_better=False, unit=unit)


def _middle(value: float, interval: Interval | None, better: bool, unit: str) -> Metric:
    return Metric(value=value, interval=interval or "too few rows", higher_is_better=better, unit=unit)
