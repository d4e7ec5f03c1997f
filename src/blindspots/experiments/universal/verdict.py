"""What a universal run says, as data."""

from blindspots.records import Interval, Record, Share
from blindspots.runs.metric import Metric, Verdict

FOUND = {
    "v": "(groups, ...) float32 the perturbation, or one for every class that the model may predict",
    "period": "(1,) int64 pixels after which it repeats itself; 0: it does not",
    "passes": "(passes, 2) int64 forwards and backwards until the end of each pass over the fit rows",
    "fooled": "(passes,) float64 share of the fit rows, see `Pass`",
    "trials": "(trials, 3) int64 period, start and passes of every trial",
    "trial_fooled": "(trials,) float64 share of the fit rows set aside",
}
ROWS = {
    "row": "(n,) int64 place in the data",
    "y": "(n,) int64 label",
    "clean": "(n,) int64 prediction without the perturbation,",
    "moved": "(n,) int64 with it, kept in the box,",
    "unclipped": "(n,) int64 and as x + v is, also outside of the box",
}
CONTROLS = {
    "kind": "(k,) int64 place in `CONTROLS_NAMED`",
    "v": "(k, ...) float32",
    "moved": "(k, n) int64 predictions of the held-out rows with each of them",
}
NORMS = {
    "radius": "(k,) float64 size of the scaled perturbation in the threat's norm",
    "moved": "(k, n) int64 predictions of the held-out rows with it,",
    "random": "(k, n) int64 and with random signs of the same size",
}
AGAIN = {"v": "(groups, ...) float32 from another search", "moved": "(n,) int64 predictions of the held-out rows"}
OTHER = {
    "clean": "(n,) int64 what another network predicts for the held-out rows,",
    "moved": "(n,) int64 with the perturbation",
    "random": "(n,) int64 and with random signs of the threat's size",
}
MADE = {"v": "(one, ...) float32 the perturbation of another network"}
CROSSED = {
    "clean": "(n,) int64 what a network predicts for the held-out rows,",
    "moved": "(k, n) int64 and with the perturbation of each network",
}
GEOMETRY = {
    "gram": "(k, k) float64 products of the unit normals at the boundary,",
    "random_gram": "(k, k) float64 and of as many random unit vectors",
    "dimensions": "(1,) int64",
    "span": "(1,) int64 singular vectors that span the subspace",
    "norm": "(1,) float64 l2 norm of the random vectors",
    "clean": "(m,) int64 predictions of held-out rows,",
    "in_span": "(m,) int64 each with a random vector of the span,",
    "random": "(m,) int64 and of the whole space",
    "curvature_singular": "(a,) float64 at points of the boundary, along singular vectors,",
    "curvature_universal": "(b,) float64 the perturbation,",
    "curvature_random": "(c,) float64 and random vectors",
}
SHOWN = {
    "row": "(k,) int64 place in the held-out data, fooled rows first",
    "y": "(k,) int64 label",
    "x": "(k, ...) float32",
    "moved": "(k, ...) float32 with the perturbation, in the box",
    "prediction": "(k,) int64",
    "moved_prediction": "(k,) int64",
    "confidence": "(k,) float32 probability of the prediction",
    "moved_confidence": "(k,) float32",
}
CONTROLS_NAMED = (
    "random signs",
    "random sphere",
    "sum of single-image perturbations",
    "one image's perturbation",
    "mean image",
)


class Effect(Record):
    """What a perturbation does on one set of rows. Fooled: predicted otherwise than before, or as the target."""

    fooled: Share
    clean_accuracy: Share
    accuracy: Share  # with the perturbation


class Pass(Record):
    """How far the search had come after one pass over the fit rows."""

    number: int
    fooled_fit: float  # share of the fit rows: as each was looked at in the pass; of a judged method, after it
    forwards: int
    backwards: int


class Trial(Record):
    """A way to begin that was tried, and the share of the fit rows set aside that it fooled after so many passes."""

    period: int | None  # of the perturbation in pixels; None: it does not repeat itself
    start: int  # which of the orders of rows that begin with this period
    passes: int
    fooled: float


class AtNorm(Record):
    """The perturbation scaled to `radius`, and random signs of the same norm: held out."""

    radius: float
    fooled: Share
    random: Share


class AtImages(Record):
    """A search with only so many fit images: held out."""

    images: int
    fooled: Share


class Edge(Record):
    """Of `rows` inputs of one predicted class that were fooled, `most` were taken for the class `to`."""

    source: int
    to: int
    rows: int
    most: int


class DominantLabels(Record):
    """Where fooled inputs go: a directed graph with one edge per class, and its components (paper: fig. 7)."""

    edges: list[Edge]
    components: list[list[int]]  # classes of each weakly connected component, the largest first
    dominant: list[tuple[int, int]]  # (class, fooled rows taken for it), the commonest first, at most 20
    top_share: dict[str, float]  # "1", "5", "10": share of the fooled rows that the commonest 1, 5, 10 labels take


class OnModel(Record):
    """The perturbation on another network: held out."""

    model: str
    digest: str
    fooled: Share
    random: Share


class Cross(Record):
    """A perturbation for each of several networks, tried on all of them: held out. Rows made for, columns tried on."""

    models: list[str]
    fooled: list[list[Share]]


class Geometry(Record):
    """Singular values of the smallest perturbations r(x) / |r(x)| against those of random unit vectors (section 4)."""

    rows: int
    dimensions: int
    singular_values: list[float]  # descending, at most 500
    singular_values_random: list[float]
    energy: dict[str, tuple[float, float]]  # first k: share of the squares (perturbations, random unit vectors)
    span: int  # how many singular vectors span the subspace below
    norm: float  # l2 norm of the vectors whose fooling rates follow
    fooled_in_span: Share  # a random vector of the span, held-out rows
    fooled_random: Share  # a random vector of the whole space
    curvature: dict[str, float]  # "singular", "universal", "random": median of the boundary's curvature along it


class UniversalVerdict(Verdict):
    """The rate that counts is `fooling_rate_heldout`: of rows that the search never saw, kept in the box."""

    fooling_rate_fit: float
    fooling_rate_heldout: float
    interval: Interval  # of fooling_rate_heldout
    fooling_rate_heldout_unclipped: float  # x + v as it is, also outside of the box, as in the paper
    control_rates: dict[str, float]  # changes of the same norm, held out: random signs, random sphere, ...
    passes: int
    forwards: int
    backwards: int
    norm: float  # of the perturbation in the threat's norm; of the largest one where there is one per class
    fit: Effect
    heldout: Effect
    fit_unclipped: Effect
    heldout_unclipped: Effect
    controls: dict[str, Share]
    history: list[Pass]
    period: int | None  # the perturbation repeats itself after so many pixels; None: it does not
    trials: list[Trial]  # how period and start were found; [] where there was nothing to choose
    against_norm: list[AtNorm]
    against_images: list[AtImages]
    inner_products: list[list[float]]  # normalised, of several perturbations from other shuffles; [] if not asked for
    several: list[Share]  # their fooling rates, held out
    labels: DominantLabels
    on_models: list[OnModel]
    cross: Cross | None
    geometry: Geometry | None

    def metrics(self) -> dict[str, Metric]:
        shares = {
            "fooling_rate_fit": self.fit.fooled,
            "fooling_rate_unclipped": self.heldout_unclipped.fooled,
            **{f"fooling_rate@{m.model}": m.fooled for m in self.on_models},
        }
        return {
            "fooling_rate": self._rate(),
            **{name: Metric.of(share, higher_is_better=False) for name, share in shares.items()},
            "accuracy": Metric.of(self.heldout.accuracy),
            "clean_accuracy": Metric.of(self.heldout.clean_accuracy),
            **self._strongest_control(),
        }

    def _strongest_control(self) -> dict[str, Metric]:
        best = max(self.controls.values(), key=lambda share: share.share, default=None)
        return {} if best is None else {"strongest_control": Metric.of(best, higher_is_better=False)}

    def _rate(self) -> Metric:
        """Gates go by what was tried: a perturbation of zero, or none of the rows that count, proves nothing."""
        found = Metric.of(self.heldout.fooled, higher_is_better=False)
        if self.norm and self.heldout.fooled.rows:
            return found
        what = "the perturbation is zero" if not self.norm else "all unseen rows are taken for the target as they are"
        return found.model_copy(update={"shown": (1.0, (0.0, 1.0)), "why": f"{what}: there is no evidence to go by"})
