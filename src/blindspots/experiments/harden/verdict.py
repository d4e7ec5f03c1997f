"""What hardening did to a network, as data."""

from blindspots.experiments.evaluate.verdict import EvaluateVerdict
from blindspots.records import Record, Share
from blindspots.runs.metric import Metric, Verdict

WEIGHTS = "weights/"  # before the names of a network's parameters and buffers, in the parts "training" and "controls/*"
TRAINING = {"log": "(n,) uint8 `Log` as JSON"}  # beside the weights
PROGRAM = {
    "program": "(n,) uint8 the bytes of model.pt2; none where torch.export refused the network",
    "findings": "(m,) uint8 what is to be known of it, as JSON",
}
CONTROL = {
    "diverged": "(1,) bool: then there are no rows",
    "right": "(n,) bool of the test rows",
    "broken": "(k,) int64 the rows that were right and fell to PGD",
    "adversarial": "(k, ...) float32 to what",
}
STUDY = {
    "compared": "(m,) uint8 names, kinds and sentences of the comparisons, as JSON",
    "stands_before": "(comparisons, n) bool: right at first and whatever was tried",
    "stands_after": "(comparisons, n) bool",
    "distance_before": "(n,) float32 the smallest known change, 0 where it is wrong, inf where none is known",
    "distance_after": "(n,) float32",
    "alignment_before": "(n,) float32 |<x, g>| / (|x| |g|) of an input x and its gradient g",
    "alignment_after": "(n,) float32",
    "id": "(k,) int64 rows whose gradients are shown",
    "x": "(k, ...) float32 their inputs",
    "y": "(k,) int64 their labels",
    "gradient_before": "(k, ...) float32 of the predicted class's score minus the strongest other",
    "gradient_after": "(k, ...) float32",
}


class Epoch(Record):
    """What was seen after an epoch. `clean`, `fgsm` and `robust` are on the held-out rows."""

    epoch: int  # 1, 2, ...
    radius: float
    loss: float  # mean over the epoch's rows
    rate: float  # learning rate of its last step
    clean: Share
    fgsm: Share  # one step
    robust: Share  # short descents towards the two likeliest wrong classes
    robust_training: Share  # the same on as many training rows: what overfits parts here
    note: str  # "best so far", or what was undone
    closer: Share | None = None  # of held-out rows under all stages of held-out.toml, where the epoch was a finalist

    @property
    def undone(self) -> bool:
        return self.note.startswith("undone")


class Log(Record):
    """What the training saw."""

    history: list[Epoch]
    events: list[str]
    epochs: int
    best_epoch: int


class Control(Record):
    """The same network, trained for as long by something that is not adversarial."""

    name: str  # "more epochs", "noise", "augmentation"
    what: str  # a sentence
    epochs: int
    clean: Share  # on the test rows
    robust: Share  # PGD with restarts on the test rows


class Claim(Record):
    """Does adversarial training improve clean accuracy here? Compared with the best control, row by row."""

    hardened: Share
    control: Share
    against: str  # name of the control
    only_hardened: int  # rows that only the hardened network gets right
    only_control: int
    p_value: float  # exact McNemar test, two-sided


class Compared(Record):
    """One attack or corruption on the network before and after; of all rows, how many stay right."""

    name: str  # e.g. "l2:0.291" or "blur"
    kind: str  # "norm", "unseen attack", "transfer" or "corruption"
    what: str  # a sentence: what was done to the rows
    before: Share
    after: Share


class RadiusCurve(Record):
    """Accuracy against radius: of all rows, the share that is right and whose smallest known change is larger."""

    norm: str  # e.g. "linf"
    radii: list[float]  # ascending, from 0
    before: list[float]
    after: list[float]


class Alignment(Record):
    """|<x, g>| / (|x| |g|), in [0, 1], of inputs x and input gradients g: the median over the rows."""

    before: float
    after: float


class Study(Record):
    rows: int
    compared: list[Compared]
    curve: RadiusCurve
    alignment: Alignment


class HardenVerdict(Verdict):
    before: EvaluateVerdict
    after: EvaluateVerdict
    epochs: int  # trained, those that were undone included
    best_epoch: int
    held_out: Share  # what chose it: its held-out rows that stood a closer look
    held_out_off: float | None  # points by which that promised more than robust accuracy after; None: other threats
    history: list[Epoch]
    events: list[str]  # what was undone, and when, in sentences
    controls: list[Control]
    claim: Claim | None
    study: Study | None

    def metrics(self) -> dict[str, Metric]:
        before = self.before.metrics()
        return {
            **self.after.metrics(),
            **{f"{name}_before": before[name] for name in ("robust_accuracy", "clean_accuracy")},
            "held_out": Metric.of(self.held_out),
            **{f"control/{c.name.replace(' ', '-')}": Metric.of(c.clean) for c in self.controls},
        }

    @property
    def believable(self) -> bool:
        return super().believable and self.before.believable and self.after.believable
