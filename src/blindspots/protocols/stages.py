"""From a TOML file to the stages of a cascade."""

import tomllib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from blindspots.attacks import parse_attack
from blindspots.ball import Ball
from blindspots.engine.cascade import Stage, Start
from blindspots.engine.targets import parse_targets
from blindspots.errors import InputError
from blindspots.files import read_text
from blindspots.objective import LossName, Objective
from blindspots.tables.threat import TableThreat
from blindspots.threat import Threat
from blindspots.threats import THREATS

ThreatName = Literal["linf", "l2", "l1", "l0", "cost", "words", "chars", "edits", "tokens", "trigger"]


@dataclass(frozen=True)
class Protocol:
    """Attacks in their order.

    Args:
        name: how a run calls it.
        stages: what is run.
        draws: over how many answers of a randomised model every look is averaged.
        literal: a loss that the model has too few classes for is refused; else one that is defined takes its place.
    """

    name: str
    stages: tuple[Stage, ...]
    draws: int = 1
    literal: bool = False

    def for_classes(self, classes: int) -> "Protocol":
        """What is run on a model with so many classes."""
        return self if self.literal else replace(self, stages=tuple(_defined(s, classes) for s in self.stages))


def _defined(stage: Stage, classes: int) -> Stage:
    objective = stage.objective.defined(classes)
    if objective == stage.objective:
        return stage
    form = f"{objective.loss} loss" if objective.loss != "dlr" else "untargeted DLR loss"
    why = f"{stage.why}; here by the {form}, as there are {classes} classes"
    return replace(
        stage, objective=objective, why=why, targets=stage.targets if objective.directed or objective.targeted else None
    )


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _Stage(_Table):
    """A [[stage]]: the fields of `engine.cascade.Stage`, attack and targets in words, and the threats it is for."""

    name: str
    attack: str
    why: str = ""
    threats: list[ThreatName] = ["linf", "l2", "l1", "l0"]
    loss: LossName | None = None
    targeted: bool = False
    targets: str | None = None
    restarts: int = Field(1, ge=1)
    start: Start | None = None
    reach: float = float("inf")
    moved: float = float("inf")
    disagree: float = float("inf")
    wide_reach: float = float("inf")
    flat: bool = False
    who: Literal["standing", "broken", "all"] = "standing"
    share: float = Field(1.0, gt=0, le=1)
    after: str | None = None
    stop_early: bool | None = None
    ignores: bool = False

    def built(self) -> Stage:
        attack = parse_attack(self.attack, alone=False)
        targets = None if self.targets is None else parse_targets(self.targets)
        objective = Objective(self.targeted, targets is not None and not self.targeted, self.loss or attack.loss)
        same = {
            "name", "why", "restarts", "start", "reach", "moved", "disagree", "wide_reach", "flat", "who", "share",
            "after", "stop_early", "ignores",
        }  # fmt: skip
        return Stage(attack=attack, objective=objective, targets=targets, **self.model_dump(include=same))


class _File(_Table):
    about: str = ""
    draws: int = Field(1, ge=1)
    radius: bool | Literal["either"] = True  # whether it asks for a threat with a radius, or for one without
    table: bool = False  # whether it is for tables whose columns a feature file describes
    stage: list[_Stage]


def read_protocol(path: Path, threat: Threat) -> Protocol:
    """The stages of the file for such a threat.

    Raises InputError: the file cannot be read, says something that cannot be run, or has nothing for such a threat.
    """
    file = _read(path)
    _check_table(file, path, threat)
    _check_radius(file, path, threat)
    named = (stage.built() for stage in file.stage if threat.family in stage.threats)
    stages = tuple(stage for stage in named if threat.even or not stage.attack.even)
    if not stages:
        able = [name for name in THREATS if any(name in stage.threats for stage in file.stage)]
        raise InputError(
            f"expected a threat among {', '.join(able)} for protocol {path.stem!r}, got {threat.spec!r}: it has no "
            "stages for that one"
        )
    return Protocol(path.stem if path.parent == Path(__file__).parent else str(path), stages, file.draws)


def about(path: Path) -> str:
    """What the file says of itself."""
    return _read(path).about


def _read(path: Path) -> _File:
    try:
        return _File.model_validate(tomllib.loads(read_text(path, "a protocol")))
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise InputError(f"expected TOML in {path}, but it cannot be read ({error}): mend that place") from error
    except ValidationError as error:
        raise InputError(_sentence(path, error.errors()[0])) from error


def _sentence(path: Path, error: Any) -> str:
    place = ".".join(str(part + 1 if isinstance(part, int) else part) for part in error["loc"])
    said = str(error["msg"]).removeprefix("Input should be ")
    if error["type"] == "extra_forbidden":
        known = ", ".join(_Stage.model_fields if "stage" in error["loc"] else _File.model_fields)
        return f"expected keys among {known} in {path}, got {place!r}: leave it out"
    if error["type"] == "missing":
        return f"expected {place!r} in {path}, which is missing: add it"
    return f"expected {said} for {place!r} in {path}, got {error['input']!r}: change it"


def _check_table(file: _File, path: Path, threat: Threat) -> None:
    if file.table and not isinstance(threat, TableThreat):
        raise InputError(
            f"expected a table for protocol {path.stem!r}, got a threat of which no feature file says what its columns "
            "are: name one with --features, or leave the protocol out"
        )


def _check_radius(file: _File, path: Path, threat: Threat) -> None:
    if file.radius == "either" or not isinstance(threat.plain, Ball | TableThreat):
        return  # texts without a radius may change as much as it takes
    if file.radius and threat.radius is None:
        raise InputError(
            f"expected a threat with a radius for protocol {path.stem!r}, got {threat.spec!r}: write "
            f"{threat.name}:RADIUS"
        )
    if not file.radius and threat.radius is not None:
        raise InputError(
            f"expected a threat without a radius for protocol {path.stem!r}, which searches for the smallest distance, "
            f"got {threat.spec!r}: write {threat.name}"
        )
