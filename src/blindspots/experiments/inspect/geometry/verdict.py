"""What the study of geometry says, as data."""

from blindspots.records import Interval, Record, Share
from blindspots.runs.metric import Metric, Verdict, metric

REACH = 2.0  # half the side of a slice, in lengths of the way along its first axis
ROWS = {
    "at": "(n,) int64 places in the data",
    "y": "(n,) int64 labels",
    "prediction": "(n,) int64 class",
    "rival": "(n,) int64 the class with the second largest score",
    "confidence": "(n,) float32 probability of the prediction",
    "odds": "(n,) float64 ln p / (1 - p) of that probability",
    "gap": "(n,) float32 score of the prediction less that of the rival",
    "second_opinion": "(n,) int64 class that the other model says; -1 where there is none",
}
MOVED = {
    "moved": "(n, ...) float32 where the attack led",
    "model": "(n,) int64 what the model says of it",
    "against": "(n,) int64 what the other model says of it; -1 where there is none",
}
UNIVERSAL = {"half": "(n,) int64 0 or 1", "directions": "(2, ...) float32 of each half's rows, made from the other's"}
CROSSINGS = {"labels": "(n, t) int64 classes at equal steps of the way"}
SLICE = {
    "x": "(...) float32 the row",
    "u": "(...) float32 unit of the first coordinate",
    "v": "(...) float32 of the second",
    "ends": "(2, 2) float32 coordinates of the ends of both ways",
    "label": "(g, g) int64 class; -1 where nobody may ask",
    "confidence": "(g, g) float32 its probability, interpolated where nobody asked",
    "asked": "(g, g) bool",
    "size": "(g, g) float32 of the change, in radii",
    "valid": "(g, g) bool in the box",
    "forwards": "(1,) int64",
}
CURVATURE = {
    "lengths": "(h,) float64 l2",
    "slope": "(n,) float64 ||g||",
    "adversarial": "(n, h) float64 ||g(x + hz) - g(x)|| / h",
    "random": "(n, h) float64",
}
BOUNDARY = {
    "found": "(n,) bool",
    "distance": "(n,) float64 l2; inf where none was found",
    "beyond": "(n,) int64 class there; -1",
    "normals": "(m, d) float32 unit vectors to the boundary, of rows where it was found",
    "random_gram": "(m, m) float64 inner products of as many random unit vectors",
    "null": "(b,) float64 correlations of distance and confidence in random orders",
}
SUBSPACE = {
    "length": "(1,) float64 l2",
    "slope": "(n,) float64 ||g||",
    "predicted": "(n,) int64 orthogonal directions, were the score linear",
    "tried": "(n,) int64",
    "crossed": "(n,) int64 of those tried",
}
ANGLES = {
    "cosine": "(n,) float64 between the gradients of both models",
    "random": "(n,) float64 with a random direction",
    "null_forth": "(b,) float64 correlations of angle and transfer to the other model, in random orders",
    "null_back": "(b,) float64 the same from the other model",
}
FEATURES = {
    "y": "(k,) int64 labels",
    "target": "(k,) int64 what rows were relabelled as",
    "believed": "(k,) int64 what the model says of the examples",
    "truth": "(t,) int64 labels of the rows that it was tested on",
    "answers": "(t,) int64",
    "steps": "(1,) int64",
    "classes": "(1,) int64",
    "shown_before": "(s, ...) input",
    "shown": "(s, ...) input",
}
KIND_WORDS = {
    "adversarial": "adversarial",
    "against": "adversarial for the other model",
    "universal": "universal",
    "random": "random",
    "rows": "towards the nearest row of another class",
}


class Crossing(Record):
    """Of all rows: on how many ways to the edge of the threat the class changes."""

    kind: str  # of `KIND_WORDS`
    crossed: Share
    first: float | None  # median share of the way where it changes first, of those where it does


class SliceRecord(Record):
    """A drawn slice."""

    row: int
    second: str  # the kind of its second axis
    points: int  # of its grid
    forwards: int
    regions: int  # classes in it


class Curvature(Record):
    """How much gradients turn over a length h, relative to their size: ||g(x + hz) - g(x)|| / (h ||g(x)||), medians."""

    length: float  # h, l2
    adversarial: float | None
    random: float | None
    more: Share  # rows that turn more along the adversarial direction than along the random one
    straight: Share  # rows whose gradient is the same at the end of the adversarial way


class Correlation(Record):
    """Spearman's, with its interval and exact permutation p."""

    rows: int
    value: float
    interval: Interval | None  # None: too few rows, or none of the values varies
    p: float


class Boundary(Record):
    """The nearest boundary in l2."""

    found: Share
    median: float | None
    confidence: Correlation  # of distance and confidence


class Spectrum(Record):
    """Singular values of unit vectors to the boundary, beside those of as many random vectors."""

    rows: int
    dimensions: int
    energy: list[float]  # of the first k singular vectors, k = 1, 2, ...
    energy_random: list[float]
    effective: float  # 1 / sum of squared shares of the energy
    effective_random: float


class Subspace(Record):
    """Orthogonal directions that are all adversarial (Tramer 2017, GAAS)."""

    length: float  # l2
    median: float  # directions that would do, were scores linear
    tried: int
    share: float  # of those tried, mean over the rows that had any
    whole: Share  # rows on which all of them crossed, of those


class Transfer(Record):
    """Adversarial examples of one model shown to the other, and whether equal gradients decide who is fooled."""

    source: str
    transferred: Share
    fooled: float | None  # mean cosine of rows that fool both
    resisted: float | None  # and of the others
    correlation: Correlation


class Angles(Record):
    """Cosines between the gradients of two models, for the same two classes."""

    rows: int
    median: float
    random: float  # standard deviation of cosines with random directions
    above: Share  # rows that agree more than the most of 100 random directions would
    transfers: list[Transfer]


class Feature(Record):
    """A network that learned from relabelled rows, on clean ones."""

    kind: str
    rows: int
    believed: Share  # examples that the model takes for what they are labelled as
    accuracy: Share
    chance: float
    dependence: float  # p of a chi-square test of independence between new labels and true ones
    steps: int


class GeometryVerdict(Verdict):
    rows: int
    crossings: list[Crossing]
    slices: list[SliceRecord]
    curvature: list[Curvature]
    boundary: Boundary | None
    spectrum: Spectrum | None
    subspace: Subspace | None
    angles: Angles | None
    features: list[Feature]

    def metrics(self) -> dict[str, Metric]:
        told = {f"crossed@{c.kind}": Metric.of(c.crossed, higher_is_better=False) for c in self.crossings}
        return {**told, **self._around(), **self._shared(), **self._learned()}

    def _around(self) -> dict[str, Metric]:
        told = {}
        if self.boundary and self.boundary.median is not None:
            told["median_distance"] = metric(
                self.boundary.median, "a median of what was found", higher_is_better=True, unit="l2"
            )
        if self.spectrum:
            told["effective_dimension"] = metric(
                self.spectrum.effective, "of all rows together", higher_is_better=True,
                unit=f"of {self.spectrum.dimensions}",
            )  # fmt: skip
        return told

    def _shared(self) -> dict[str, Metric]:
        if self.angles is None:
            return {}
        return {
            "cosine": metric(self.angles.median, "a median over rows", higher_is_better=False),
            **{f"transfer@{t.source}": Metric.of(t.transferred, higher_is_better=False) for t in self.angles.transfers},
        }

    def _learned(self) -> dict[str, Metric]:
        return {f"learned@{f.kind}": Metric.of(f.accuracy) for f in self.features}
