"""What a hardening run says, as data: the run.json of `blindspots harden`."""

from typing import Literal

from blindspots.defend.hardening.study_record import Study
from blindspots.findings import Finding
from blindspots.records import DataRecord, ModelRecord, Record, Share
from blindspots.verdict import Provenance, Sealed, Verdict


class HardenManifest(Provenance):
    """Everything that decides the bits of a hardening run. Resuming refuses a manifest that differs."""

    kind: Literal["harden"] = "harden"
    model: ModelRecord  # as it was given
    data: DataRecord  # what is trained on
    test: DataRecord  # what before and after are measured on
    extra: DataRecord | None  # what fills up batches
    held_out: int  # rows of `data` that choose the best epoch and are never trained on
    threat: str
    recipe: str  # its name
    settings: str  # the whole recipe, as JSON
    from_scratch: bool
    protocol: str  # of the evaluations before and after
    precision: Literal["float32", "bf16"]
    devices: int
    controls: bool
    study_rows: int  # rows of the side studies, 0: none


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
    seconds: float  # of the training steps
    note: str  # "best so far", or what was undone
    closer: Share | None = None  # of held-out rows under all stages of held-out.toml, where the epoch was a finalist


class Control(Record):
    """The same network, trained for as long by something that is not adversarial."""

    name: str  # "more epochs", "noise", "augmentation"
    what: str  # a sentence
    epochs: int
    clean: Share  # on the test rows
    robust: Share  # PGD with restarts on the test rows
    seconds: float


class Claim(Record):
    """Does adversarial training improve clean accuracy here? Compared with the best control, row by row."""

    hardened: Share
    control: Share
    against: str  # name of the control
    only_hardened: int  # rows that only the hardened network gets right
    only_control: int
    p_value: float  # exact McNemar test, two-sided


class HardenVerdict(Record):
    before: Verdict  # as `evaluate` writes it
    after: Verdict
    epochs: int  # trained, those that were undone included
    best_epoch: int
    held_out: Share  # what chose it: its held-out rows that stood a closer look
    held_out_off: float | None  # points by which that promised more than robust accuracy after; None: other threats
    seconds: float  # of the training steps of all epochs
    seconds_epoch: float  # median
    seconds_natural_epoch: float  # the same loop without an adversary, on a copy
    seconds_checks: float  # held-out checks
    seconds_total: float  # of the whole command
    peak_memory: int | None  # bytes: of a GPU what was allocated at most, else what the process held at most
    history: list[Epoch]
    events: list[str]  # what was undone, and when, in sentences
    controls: list[Control]
    claim: Claim | None
    study: Study | None
    findings: list[Finding]


def held_out_off(held_out: Share, after: Verdict) -> float:
    """By how many points the held-out figure lies above the verdict on the test rows."""
    return 100 * (held_out.share - after.robust_accuracy)


class HardenFile(Sealed):
    """The whole of run.json."""

    manifest: HardenManifest
    verdict: HardenVerdict | None
    seal: str | None
