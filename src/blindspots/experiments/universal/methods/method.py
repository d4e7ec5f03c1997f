"""What a method is: hyper-parameters, and how a batch changes the shared numbers."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from blindspots.errors import InputError
from blindspots.experiments.universal.parametrisation import Parametrisation
from blindspots.experiments.universal.task import Batch, Task
from blindspots.experiments.universal.verdict import Pass
from blindspots.models.model import Model

_LEAST = {"passes": 1, "batch": 1, "small": 1, "rounds": 1, "steps": 1, "classes": 2, "patience": 1, "starts": 0}


@dataclass(frozen=True)
class Candidate:
    """A way to begin: the period of the perturbation (see `Additive`), and which order of the rows."""

    period: int | None = None
    start: int = 0

    def __str__(self) -> str:
        period = "no period" if self.period is None else f"period {self.period}"
        return f"{period}, start {self.start + 1}"


class Method(ABC):
    """A frozen dataclass with settings only. `state` is a frozen dataclass of tensors, the first of them `p`.

    Attributes:
        passes: over the fit rows, at most.
        batch: rows per update.
        data_free: whether it searches without looking at fit images.
        judged: whether the fit rows are looked at after every pass, since `enough` depends on how many are fooled.
    """

    passes: int
    batch: int
    data_free: ClassVar[bool] = False
    judged: ClassVar[bool] = False
    threats: ClassVar[tuple[str, ...]] = ("linf", "l2")

    @property
    def targeted(self) -> bool:
        """Whether it can make all inputs be taken for one class."""
        return True

    def check(self, shape: tuple[int, ...]) -> None:
        """Raises InputError: a setting makes no sense, or not for inputs of this shape."""
        for name, least in _LEAST.items():
            value = getattr(self, name, least)
            if value < least:
                raise InputError(f"expected {name} of at least {least}, got {value} in {self!r}: give a larger number")

    def check_model(self, model: Model) -> None:  # noqa: B027 - most methods take any
        """Raises InputError: it cannot search on this model."""

    @abstractmethod
    def begin(self, space: Parametrisation, seed: int, updates: int) -> Any:
        """The state before the first of so many updates."""

    @abstractmethod
    def step(self, task: Task, state: Any, batch: Batch) -> tuple[Any, Tensor]:
        """The state after a batch, and which of its rows were fooled when they were looked at: (B,) bool."""

    def candidates(self, shape: tuple[int, ...]) -> list[Candidate]:
        """Ways to begin; of several, the best one on a part of the fit rows goes on."""
        return [Candidate()]

    def enough(self, history: Sequence[Pass]) -> bool:
        """Whether the search may end before its last pass."""
        return False
