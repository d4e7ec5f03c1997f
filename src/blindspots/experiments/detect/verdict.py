"""What a detection run says, as data, and the columns of its parts.

No figure of an area under a curve stands alone: every record that has one has the accuracy of the pair under attacks
that know the detector beside it.
"""

from blindspots.records import Interval, Record, Share
from blindspots.runs.metric import Metric, Verdict

Points = list[tuple[float, float]]


ROWS = {
    "fit_at": "(f,) int64 places in the data of the rows that detectors were fitted on",
    "threshold_at": "(t,) int64 places in the data of those that set the thresholds",
    "measured_at": "(n,) int64 places of the measured rows in the data that they are from",
    "threshold_x": "(t, ...) input",
    "threshold_y": "(t,) int64 label",
    "x": "(n, ...) input",
    "y": "(n,) int64 label",
    "prediction": "(n,) int64 what the model says of x",
}
TRAINING = {
    "x": "(k, ...) float32 what the detectors learned from: examples that fool the model",
    "y": "(k,) int64 label",
}
EXAMPLES = {
    "adversarial": "(radii, n, ...) float32 what a test attack made of the measured rows",
    "prediction": "(radii, n) int64 what the model says of it",
}
DETECTORS = {
    "file": "(b,) uint8 bytes of the detector's file; none where it could not be fitted",
    "left_out": "(c,) uint8 the reason, in UTF-8",
}
SCORES = {
    "pair": "(2,) float64 threshold and scale",
    "clean": "(n,) float32 of the measured rows",
    "attacks": "(attacks, radii, n) float32 of what test attacks made of them",
    "bare": "(n,) float32 of what the evaluation of the model alone made of them",
}
PAIRS = {"score": "(k,) float32 of the examples that fool model and detector together"}
OVERHEAD = {
    "parameters": "(2,) int64 of the model, of the detector",
    "bytes": "(2,) int64",
    "forwards": "() float64 of the model per row",
}


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
    """What the detector costs beside the model. How long it takes stands in the run's log."""

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
    distortion: Distortion
    overhead: Overhead


class DetectVerdict(Verdict):
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

    def metrics(self) -> dict[str, Metric]:
        best = next(d for d in self.detectors if d.name == self.detector)
        return {
            "adaptive_accuracy": Metric.of(best.pair.adaptive),
            "auc": _area(self.auc, self.auc_interval),
            "tpr": Metric.of(best.tpr),
            "clean_accuracy": Metric.of(best.pair.clean),
            "rejected": Metric.of(best.pair.rejected, higher_is_better=False),
            "bare_clean_accuracy": Metric.of(self.clean),
            "bare_robust_accuracy": Metric.of(self.robust),
            **{f"adaptive_accuracy@{d.name}": Metric.of(d.pair.adaptive) for d in self.detectors},
            **{f"auc@{d.name}": _area(d.auc, d.auc_interval) for d in self.detectors},
        }

    def best_first(self) -> list[DetectorRecord]:
        """By the accuracy of the pair under attacks that know it."""
        return sorted(self.detectors, key=lambda d: (-d.adaptive_accuracy, -d.auc))


def _area(value: float, interval: Interval) -> Metric:
    return Metric(value=value, interval=interval, higher_is_better=True)
