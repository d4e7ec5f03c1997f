"""The threat, the attacks and the detectors of a run, opened from its settings."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from blindspots.attacks import Attack, parse_attack
from blindspots.ball import Ball, parse_ball
from blindspots.engine.cascade import Stage
from blindspots.errors import InputError
from blindspots.experiments.detect.config import DetectConfig
from blindspots.experiments.detect.detectors.catalogue import DETECTORS, parse_detector
from blindspots.experiments.detect.detectors.detector import Detector
from blindspots.findings import Finding
from blindspots.fit import check_fit
from blindspots.models.model import Model
from blindspots.naming import numbered
from blindspots.objective import Objective
from blindspots.problem import Need
from blindspots.protocols import Protocol, protocol
from blindspots.runs.world import World

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
SMALLEST = {"linf": "fmn", "l2": "ddn", "l1": "fmn", "l0": "fmn"}  # attacks for the smallest distance
RADII = (0.5, 1.0, 2.0)  # shares of the threat's radius that examples are made within


@dataclass(frozen=True)
class Chosen:
    """Attacks and detectors by the names that parts and pages call them by."""

    threat: Ball
    detectors: dict[str, Detector]
    train: dict[str, Attack]
    tests: dict[str, Attack]

    @property
    def radius(self) -> float:
        assert self.threat.radius is not None
        return float(self.threat.radius)

    @property
    def radii(self) -> list[float]:
        return [share * self.radius for share in RADII]

    def findings(self) -> list[Finding]:
        """Attacks that detectors learned from and are tested on."""
        both = [name for name, attack in self.tests.items() if attack in self.train.values()]
        said = f"Detectors were fitted on what {', '.join(both)} makes, and are tested on it."
        do = "Such figures say little of other attacks: leave it out of --train-attack or of --test-attack."
        return [Finding(code="seen-attack", severity="warning", saw=said, do=do)] * bool(both)


def chosen(config: DetectConfig, world: World) -> Chosen:
    """What the settings name. Raises InputError: a word is unknown, or an attack does not fit the threat."""
    return world.once("chosen", lambda: _chosen(config, world))


def _chosen(config: DetectConfig, world: World) -> Chosen:
    threat = world.thing("threat", parse_ball)
    for name in (config.protocol, config.bare_protocol):
        protocol(name, threat)
    detectors = list(map(parse_detector, config.detector or DETECTORS))
    if not threat.radius:
        raise InputError(f"expected a threat with a radius, got {threat.spec!r}: write {threat.name}:RADIUS")
    return Chosen(
        threat,
        dict(zip(numbered(d.name for d in detectors), detectors, strict=True)),
        _attacks(world.thing("train_attack", _or(TRAIN[threat.name])), threat),
        _attacks(world.thing("test_attack", _or(TEST[threat.name])), threat),
    )


def _or(usual: tuple[str, ...]) -> Callable[[Any], Any]:
    return lambda said: said or usual


def _attacks(said: Iterable[str | Attack], threat: Ball) -> dict[str, Attack]:
    attacks = [parse_attack(a) if isinstance(a, str) else a for a in said]
    for attack in attacks:
        check_fit(attack, threat, Need.GRAD, Objective())
    return dict(zip(numbered(type(a).__name__.lower() for a in attacks), attacks, strict=True))


def smallest(threat: Ball) -> Protocol:
    """The search for the smallest change."""
    attack = parse_attack(SMALLEST[threat.name])
    stage = Stage(type(attack).__name__, attack, "the smallest change", Objective(loss=attack.loss))
    return Protocol("smallest", (stage,))


def check(model: Model) -> None:
    """Raises InputError: nothing can be said of detectors for this model."""
    if model.access is not Need.GRAD:
        raise InputError(
            f"expected a model whose gradients can be taken, got {model.name}, which is known only through its "
            "outputs: an attack that knows a detector has to see through both, so detect on a network like it; "
            "`blindspots evaluate` attacks this one by its outputs"
        )
    if model.rejects:
        raise InputError(
            f"expected a model without a detector, got {model.name}, which already rejects: give the bare model"
        )
