"""Goals of models whose outputs are numbers."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from blindspots.errors import InputError
from blindspots.goals.goal import Goal, Measures

_TINY = 1e-12


@dataclass(frozen=True)
class Regress(Goal, ABC):
    """Of numbers (B,), (B, k) or (B, ...), as a forecast has them: success is where any of them gets there."""

    name: ClassVar[str]
    reach: ClassVar[str] = "gain"  # the measure that grows the further an adversary comes

    def measures(self, output: Tensor, y: Tensor, clean: Tensor) -> Measures:
        """What is said of f(x), which is k numbers: the largest of the k.

        `error`: |f(x) - y|; `shift`: |f(x) - f(clean x)|; `gain`, of goals with a direction: how far f(x) came that
        way since f(clean x); `output`: f(x) itself, where k = 1.
        """
        error, shift = ((_flat(output) - _flat(other)).abs().amax(1) for other in (y, clean))
        gain = {"gain": self.gain(output, clean)} if self.reach == "gain" else {}
        alone = {"output": _flat(output)[:, 0]} if _flat(output).shape[1] == 1 else {}
        return {"error": error, "shift": shift, **gain, **alone}

    @property
    @abstractmethod
    def threshold(self) -> float:
        """What is named: the change or the value that counts."""

    @abstractmethod
    def gain(self, output: Tensor, clean: Tensor) -> Tensor:
        """How far outputs (B, ...) came the way of the goal since those on the clean inputs: (B,)."""

    def check(self, output: Tensor, y: Tensor, rows: Tensor) -> None:
        if _flat(output).shape[1] != _flat(y).shape[1] or (min(output.ndim, y.ndim) > 2 and output.shape != y.shape):
            raise InputError(
                f"expected as many numbers per input as there are in y {tuple(y.shape[1:])}, got outputs "
                f"{tuple(output.shape[1:])}: use a model of such numbers, or a goal that is a function"
            )
        strange = (~_flat(y).isfinite().all(1)).nonzero()[:, 0]
        if len(strange):
            raise InputError(
                f"expected finite numbers in y, got {y[strange[0]].tolist()} in row {int(rows[strange[0]])}: leave "
                "such rows out"
            )


@dataclass(frozen=True)
class _Tolerant(Regress):
    """Changes by more than a tolerance, in the units of the output. Scores are in tolerances."""

    tolerance: float

    def __post_init__(self) -> None:
        if not 0 < self.tolerance < math.inf:
            raise InputError(
                f"expected a tolerance above 0 for the goal {self.name!r}, got {self.tolerance}: say how large a "
                "change counts, in the units of the output"
            )

    @property
    def spec(self) -> str:
        return f"{self.name}:{self.tolerance!r}"

    @property
    def threshold(self) -> float:
        return self.tolerance

    def truth(self, output: Tensor, y: Tensor) -> Tensor:
        return output

    def gain(self, output: Tensor, clean: Tensor) -> Tensor:
        return torch.cat(self.directions(_flat(output) - _flat(clean)), 1).amax(1)

    def scores(self, output: Tensor, truth: Tensor) -> Tensor:
        change = (_flat(output) - _flat(truth)) / self.tolerance
        return torch.cat([torch.ones_like(change[:, :1]), *self.directions(change)], 1)

    @abstractmethod
    def directions(self, change: Tensor) -> tuple[Tensor, ...]:
        """The changes (B, k) that count, each towards success."""


@dataclass(frozen=True)
class Move(_Tolerant):
    """The output moves by more than the tolerance, up or down, from what it is on the clean input."""

    name: ClassVar[str] = "move"
    reach: ClassVar[str] = "shift"
    ways: ClassVar[tuple[str, ...]] = ("up", "down")

    @property
    def kept(self) -> str:
        return f"moves by no more than {self.tolerance:g}"

    def directions(self, change: Tensor) -> tuple[Tensor, ...]:
        return change, -change


@dataclass(frozen=True)
class Error(Move):
    """The output differs by more than the tolerance from y: rows that do so as they are count as wrong."""

    name: ClassVar[str] = "error"
    reach: ClassVar[str] = "error"

    @property
    def kept(self) -> str:
        return f"is within {self.tolerance:g} of the true value"

    def truth(self, output: Tensor, y: Tensor) -> Tensor:
        return y


@dataclass(frozen=True)
class Up(_Tolerant):
    """The output rises by more than the tolerance."""

    name: ClassVar[str] = "up"
    ways: ClassVar[tuple[str, ...]] = ("up",)

    @property
    def kept(self) -> str:
        return f"rises by no more than {self.tolerance:g}"

    def directions(self, change: Tensor) -> tuple[Tensor, ...]:
        return (change,)


@dataclass(frozen=True)
class Down(_Tolerant):
    """The output falls by more than the tolerance."""

    name: ClassVar[str] = "down"
    ways: ClassVar[tuple[str, ...]] = ("down",)

    @property
    def kept(self) -> str:
        return f"falls by no more than {self.tolerance:g}"

    def directions(self, change: Tensor) -> tuple[Tensor, ...]:
        return (-change,)


@dataclass(frozen=True)
class _Towards(Regress):
    """A value is to be passed or met. Scores are shares of the way that the clean output has to go."""

    value: float

    def __post_init__(self) -> None:
        if not math.isfinite(self.value):
            raise InputError(f"expected a finite number for the goal {self.name!r}, got {self.value}: name a value")

    @property
    def spec(self) -> str:
        return f"{self.name}:{self.value!r}"

    @property
    def threshold(self) -> float:
        return self.value

    def truth(self, output: Tensor, y: Tensor) -> Tensor:
        return output

    def gain(self, output: Tensor, clean: Tensor) -> Tensor:
        start = _flat(clean)
        return (self.left(start, start) - self.left(_flat(output), start)).amax(1)

    def scores(self, output: Tensor, truth: Tensor) -> Tensor:
        way = (_flat(truth) - self.value).abs().amax(1, keepdim=True).clamp_min(_TINY)
        left = self.left(_flat(output), _flat(truth)) / way
        return torch.cat([torch.zeros_like(left[:, :1]), -left], 1)

    @abstractmethod
    def left(self, output: Tensor, clean: Tensor) -> Tensor:
        """How far each number (B, k) still is from reaching the goal; negative where it does.

        `clean`: (B, k) on the clean inputs.
        """


@dataclass(frozen=True)
class Above(_Towards):
    """The output exceeds a value."""

    name: ClassVar[str] = "above"
    ways: ClassVar[tuple[str, ...]] = ("above",)

    @property
    def kept(self) -> str:
        return f"does not exceed {self.value:g}"

    def left(self, output: Tensor, clean: Tensor) -> Tensor:
        return self.value - output


@dataclass(frozen=True)
class Below(_Towards):
    """The output falls below a value."""

    name: ClassVar[str] = "below"
    ways: ClassVar[tuple[str, ...]] = ("below",)

    @property
    def kept(self) -> str:
        return f"does not fall below {self.value:g}"

    def left(self, output: Tensor, clean: Tensor) -> Tensor:
        return output - self.value


@dataclass(frozen=True)
class To(_Towards):
    """The output comes nearer to a value than the tolerance; without one, it passes the value from its clean side."""

    tolerance: float = 0.0

    name: ClassVar[str] = "to"
    ways: ClassVar[tuple[str, ...]] = ("to",)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.tolerance < math.inf:
            raise InputError(
                f"expected a tolerance of at least 0 for the goal 'to', got {self.tolerance}: write "
                f"to:{self.value},TOLERANCE, or to:{self.value} for passing the value"
            )

    @property
    def spec(self) -> str:
        return f"{self.name}:{self.value!r}" + (f",{self.tolerance!r}" if self.tolerance else "")

    @property
    def kept(self) -> str:
        if not self.tolerance:
            return f"does not get to {self.value:g}"
        return f"stays more than {self.tolerance:g} away from {self.value:g}"

    def left(self, output: Tensor, clean: Tensor) -> Tensor:
        if self.tolerance:
            return (output - self.value).abs() - self.tolerance
        return torch.where(clean < self.value, self.value - output, output - self.value)


def _flat(t: Tensor) -> Tensor:
    return t.flatten(1) if t.ndim > 1 else t[:, None]
