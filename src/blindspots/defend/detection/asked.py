"""What a run is asked for, with what was left open filled in, and whether it can be done."""

from collections.abc import Sequence
from dataclasses import dataclass

from blindspots.attacks import Attack, parse_attack
from blindspots.data import Dataset
from blindspots.defend.detection.detectors.catalogue import DETECTORS, parse_detector
from blindspots.defend.detection.detectors.detector import Detector
from blindspots.errors import InputError
from blindspots.findings import Finding
from blindspots.fit import check_fit
from blindspots.goal import Goal
from blindspots.models.model import Model
from blindspots.naming import numbered
from blindspots.problem import Need
from blindspots.threat import Threat

# What detectors learn from, and other attacks that they are tested on: per threat, the first as quick, the second as
# different from it as there are.
TRAIN = {
    "linf": ("fgsm", "pgd:steps=10"),
    "l2": ("fgsm", "pgd:steps=10"),
    "l1": ("fgsm", "pgd:steps=10"),
    "l0": ("jsma",),
}
TEST = {
    "linf": ("apgd:steps=50", "deepfool", "square:steps=200"),
    "l2": ("apgd:steps=50", "ddn", "square:steps=200"),
    "l1": ("apgd:steps=50", "ead"),
    "l0": ("sigmazero", "fmn"),
}
RADII = (0.5, 1.0, 2.0)  # shares of the threat's radius that examples are made within


@dataclass(frozen=True)
class Asked:
    """The arguments of `detect`, opened.

    Attributes:
        picky: the detectors were named, so one that cannot be fitted is an error, not a finding.
    """

    model: Model
    data: Dataset
    test: Dataset | None
    threat: Threat
    detectors: dict[str, Detector]
    picky: bool
    train: dict[str, Attack]
    tests: dict[str, Attack]
    fit: int | None
    rows: int | None
    fpr: float
    protocol: str
    bare_protocol: str
    seed: int
    chunk: int

    @property
    def radius(self) -> float:
        assert self.threat.radius is not None
        return float(self.threat.radius)

    @property
    def radii(self) -> list[float]:
        return [share * self.radius for share in RADII]

    @property
    def notes(self) -> list[Finding]:
        """Attacks that detectors learned from and are tested on."""
        both = [name for name, attack in self.tests.items() if attack in self.train.values()]
        said = f"Detectors were fitted on what {', '.join(both)} makes, and are tested on it."
        do = "Such figures say little of other attacks: leave it out of --train-attack or of --test-attack."
        return [Finding(code="seen-attack", severity="warning", saw=said, do=do)] * bool(both)


def check(model: Model, threat: Threat, fpr: float) -> None:
    """Raises InputError: what cannot be done at all."""
    if model.access is not Need.GRAD:
        raise InputError(
            f"expected a model whose gradients can be taken, got {model.name}, which only answers: an attack that "
            "knows a detector has to see through both, so detect on a network like it; "
            "`blindspots evaluate` attacks this one by its answers"
        )
    if model.rejects:
        raise InputError(
            f"expected a model without a detector, got {model.name}, which already rejects: give the bare model"
        )
    if not threat.radius:
        raise InputError(f"expected a threat with a radius, got {threat.spec!r}: write {threat.name}:RADIUS")
    if not 0 < fpr < 1:
        raise InputError(f"expected a false positive rate between 0 and 1, got {fpr}: 0.05 is usual")


def chosen_attacks(
    asked: Sequence[str | Attack] | None, usual: dict[str, tuple[str, ...]], threat: Threat
) -> dict[str, Attack]:
    """By name; those of `usual` where none were asked for. Raises InputError: one does not fit the threat."""
    attacks = [parse_attack(a) if isinstance(a, str) else a for a in (asked or usual[threat.name])]
    for attack in attacks:
        check_fit(attack, threat, Need.GRAD, Goal())
    return dict(zip(numbered(type(a).__name__.lower() for a in attacks), attacks, strict=True))


def chosen_detectors(asked: Sequence[str | Detector] | None) -> dict[str, Detector]:
    """The detectors by name; all that there are where none was asked for."""
    detectors = [parse_detector(d) if isinstance(d, str) else d for d in (asked or DETECTORS)]
    return dict(zip(numbered(d.name for d in detectors), detectors, strict=True))
