"""What attacks and oracle exchange: the problem, a row's job, and what was observed at its probe."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import Enum
from typing import Generic

from torch import Tensor
from typing_extensions import TypeVar

from blindspots.ball import Ball
from blindspots.objective import Objective
from blindspots.rows import Around, Rows
from blindspots.threat import Threat


class Need(Enum):
    """What an attack needs to see at its probes; the value says what that costs."""

    VALUE = "scores: one forward"
    SLOPES = "the slope of the loss along every move of a lattice: one forward, one backward"
    GRAD = "gradients: one forward, one backward"
    JACOBIAN = "one gradient per class: one forward, K backwards"
    LABEL = "labels only: one forward"


# A plain `Problem` is one in a ball.
T_co = TypeVar("T_co", bound=Threat, default=Ball, covariant=True)


@dataclass(frozen=True)
class Problem(Generic[T_co]):
    """The same for all rows of a search."""

    objective: Objective
    threat: T_co
    rejects: bool = False  # the model may refuse an answer: scores are folded, see `goals.folded`


@dataclass(frozen=True)
class Job(Around):
    """One (sample, restart, target): everything an attack may know about a row."""

    start: Tensor  # (B, ...) where a search may begin: the clean input, another image, or an earlier stage's best
    y: Tensor  # (B,) int64 label of the scores
    target: Tensor  # (B,) int64 target class; the label itself where there is none
    key: Tensor  # (B,) int64, the row's own randomness
    scores: Tensor  # (B, C) on the clean input, folded; one-hot of the prediction for an attack that sees labels alone
    against: Tensor | None = None  # (B, ...) what the goal compares outputs with; None: the label

    @property
    def truth(self) -> Tensor:
        return self.y if self.against is None else self.against


@dataclass(frozen=True)
class Question(Rows):
    """What is asked about probes (B, ...), besides the loss."""

    truth: Tensor  # (B, ...) what the goal compares outputs with
    target: Tensor  # (B,) int64 the class that a search runs towards; the label where there is none
    draws: Tensor | None = None  # (B, 2) int64: of a scene, the rows' keys and the numbers of their first draws
    around: Around | None = None  # what the moves are relative to, with `Need.SLOPES`


@dataclass(frozen=True)
class Aim(Rows, ABC):
    """A function whose gradient an attack wants in place of that of the goal's loss: its state's `aim`."""

    @property
    def unfolded(self) -> bool:
        """Whether it takes the scores of a model that rejects unfolded, with that of "reject" last: (B, C + 1)."""
        return False

    @abstractmethod
    def descend(self, objective: Objective, logits: Tensor, y: Tensor, target: Tensor) -> Tensor:
        """The value to differentiate at the probe, for scores (B, C), labels and targets (B,): (B,)."""


@dataclass(frozen=True)
class Seen(Rows):
    """What the oracle saw at the probes (B, ...)."""

    logits: Tensor  # (B, C) scores as the goal reads them: of a classifier its own, folded
    loss: Tensor  # (B,) what is descended
    margin: Tensor  # (B,) negative exactly where the goal is reached
    won: Tensor  # (B,) bool, margin < 0
    # SLOPES: along every move (B, M), and where a threat substitutes back to every place's own token, (B, M + P);
    # GRAD: of the loss or of the state's aim, like the probe; JACOBIAN: of K scores, (B, K, ...)
    grad: Tensor | None
    refused: Tensor  # (B,) bool: the model gave no answer; then the scores say only that the goal is not reached
