"""What a detection run says, as data: the run.json of `blindspots detect`.

No figure of an area under a curve stands alone: every record that has one has the accuracy of the pair under attacks
that know the detector beside it.
"""

from typing import Literal

from blindspots.findings import Finding
from blindspots.records import DataRecord, Interval, ModelRecord, Record, Share
from blindspots.verdict import Provenance, Sealed

Points = list[tuple[float, float]]


class DetectManifest(Provenance):
    """Everything that decides the bits of a run. Resuming refuses a manifest that differs."""

    kind: Literal["detect"] = "detect"
    model: ModelRecord
    data: DataRecord  # detectors are fitted on rows of it
    test: DataRecord | None  # measured on; None: rows of `data` that nothing was fitted on
    fit_rows: int
    threshold_rows: int  # clean rows of `data` that only decide where a detector rejects
    test_rows: int
    threat: str
    radii: list[float]  # that examples are made within; one of them is the threat's
    detectors: dict[str, str]  # how files and reports call them, and the constructor calls
    train_attacks: dict[str, str]
    test_attacks: dict[str, str]
    fpr: float  # share of the threshold rows that the pair may reject
    protocol: str  # of the attacks that know the detector
    bare_protocol: str  # of the attacks on the model alone
    chunk: int


class Cell(Record):
    """A detector on what one attack made of the measured rows within one radius.

    Positives: examples that the model gets wrong, of rows that it gets right. Negatives: these rows as they are.
    """

    attack: str
    radius: float
    fooled: Share  # of the rows that the model gets right
    auc: float | None  # None: nothing fooled the model
    interval: Interval | None  # 95 %, DeLong's for rows with several scores (`measure.auc_interval`)
    average_precision: float | None
    tpr_at_fpr: dict[str, Share]  # at false positive rates "0.01" and "0.05" of the measured clean rows
    detected: Share  # above the threshold of the pair, of the positives
    adaptive_accuracy: float  # of the pair, at the threat's radius, under attacks that know the detector
    roc: Points  # (false positive rate, true positive rate), at most 200
    precision_recall: Points  # (recall, precision), at most 200


class Histogram(Record):
    """Counts of scores between `edges` (one more than bins)."""

    edges: list[float]
    clean: list[int]
    unaware: list[int]  # examples within the threat that fool the model, made without knowing of the detector
    adaptive: list[int]  # examples that fool the pair


class Overhead(Record):
    """What the detector costs beside the model: medians over repeated calls on this machine."""

    seconds_model: dict[str, float]  # per row, in batches of "1" and "32"
    seconds_pair: dict[str, float]
    parameters_model: int
    parameters_detector: int  # numbers that it has learned or keeps, beyond the model's own
    bytes_model: int  # of parameters and buffers
    bytes_detector: int
    forwards: float  # passes of the model that the pair takes per row


class Distortion(Record):
    """The smallest change that was found to fool the pair against the smallest for the model, row by row.

    By the attack for the smallest distance and by the protocols within the threat, whichever found less. Of rows that
    both get right. `factor`: the median of the pair over that of the model (Carlini and Wagner 2017 give such factors,
    of means); None where more than half of the rows have no example for the pair.
    """

    attack: str
    rows: int
    median_model: float | None
    median_pair: float | None
    factor: float | None
    not_found: Share  # rows without an example for the pair


class Pair(Record):
    """Model and detector together, on all measured rows. Right: the label, and not rejected."""

    clean: Share
    rejected: Share  # clean rows that are rejected, right or wrong
    unaware: Share  # under the test attacks and those on the model alone, which do not know of the detector
    evaluated: Share  # under the protocol that knows it, run on the pair itself
    adaptive: Share  # under both: what a row falls to, it falls to


class BatchPower(Record):
    """How often a test of whole batches rejects at the level 5 %."""

    kind: str  # "clean", a test attack within the threat, or "adaptive": examples that fool the pair
    share: float  # of a batch that is of this kind, the others being clean
    size: int  # rows of a batch
    rejected: Share  # of batches
    accuracy: float  # share of the rows that are clean or in a rejected batch


class DetectorRecord(Record):
    """All that was found out of one detector."""

    name: str
    title: str
    paper: str
    spec: str  # the constructor call
    learns_from_attacks: bool
    smooth: bool  # gradients of its score lead somewhere; else they are approximated
    threshold: float  # larger scores are rejected
    scale: float  # of the score beside the logits, see `Guarded`
    auc: float  # all test attacks within the threat together, as usually reported
    auc_interval: Interval
    average_precision: float
    tpr: Share  # of all test attacks within the threat together, where 5 % of the measured clean rows are rejected
    adaptive_accuracy: float
    adaptive_interval: Interval
    pair: Pair
    cells: list[Cell]
    histogram: Histogram
    batches: list[BatchPower]  # of a detector that tests batches
    distortion: Distortion | None  # None: no attack for the smallest distance fits
    overhead: Overhead
    fit_seconds: float


class DetectVerdict(Record):
    """The first fields are those of `detector`: of several, the one whose pair withstands the most."""

    detector: str
    auc: float
    auc_interval: Interval
    tpr_at_fpr: dict[str, dict[str, Share]]  # per test attack, within the threat
    adaptive_accuracy: float
    adaptive_interval: Interval
    overhead: Overhead
    rows: int
    clean: Share  # the model alone
    robust: Share  # the model alone, within the same threat
    detectors: list[DetectorRecord]
    seconds: float
    findings: list[Finding]


class Part(Record):
    """A file of the run that is finished."""

    name: str  # below the run folder, without its ending
    sha256: str
    seconds: float


class DetectFile(Sealed):
    """The whole of run.json."""

    manifest: DetectManifest
    parts: list[Part]
    verdict: DetectVerdict | None
    seal: str | None
