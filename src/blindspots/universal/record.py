"""What a universal run says, as data: run.json of `blindspots universal`."""

from typing import Literal

from blindspots.findings import Finding
from blindspots.records import DataRecord, ModelRecord, Record, Share
from blindspots.verdict import Provenance, Sealed


class UniversalManifest(Provenance):
    """Everything that decides the bits of a run. Resuming refuses a manifest that differs."""

    kind: Literal["universal"] = "universal"
    model: ModelRecord
    data: DataRecord
    heldout: DataRecord | None  # None: held-out rows are rows of `data` that the search never saw
    fit_rows: int
    heldout_rows: int
    threat: str  # e.g. "linf:0.0392..."
    method: str  # the constructor call, e.g. "SGD(passes=5, ...)"
    target: int | None  # the class that every input is to be taken for; None: any other class
    per_class: bool  # one perturbation for every predicted class instead of one for all
    clip: bool  # the search kept x + v in the box
    chunk: int
    extras: list[str]  # what else was asked for, e.g. "images 50,100", "several 4", "geometry", "on mobilenet"


class Effect(Record):
    """What a perturbation does on one set of rows. Fooled: predicted otherwise than before, or as the target."""

    fooled: Share
    clean_accuracy: Share
    accuracy: Share  # with the perturbation


class Pass(Record):
    """How far the search had come after one pass over the fit rows."""

    number: int
    fooled_fit: float  # share of the fit rows: as each was looked at in the pass; of a judged method, after it
    seconds: float  # since the search began
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


class UniversalVerdict(Record):
    """The rate that counts is `fooling_rate_heldout`: of rows that the search never saw, kept in the box."""

    fooling_rate_fit: float
    fooling_rate_heldout: float
    interval: tuple[float, float]  # 95 %, exact, of fooling_rate_heldout
    fooling_rate_heldout_unclipped: float  # x + v as it is, also outside of the box, as in the paper
    control_rates: dict[str, float]  # changes of the same norm, held out: random signs, random sphere, ...
    seconds: float  # of the search
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
    findings: list[Finding]


class UniversalFile(Sealed):
    """The whole of run.json."""

    manifest: UniversalManifest
    perturbation_sha256: str | None  # of perturbation.safetensors; None while the run is not finished
    verdict: UniversalVerdict | None
    seal: str | None
