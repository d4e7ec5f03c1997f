"""What an attack is: a frozen object that holds only hyper-parameters and proposes the next point to evaluate.

The engine evaluates every proposal, judges it, keeps the best, counts the cost and decides which rows stay.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Literal

import torch
from torch import Tensor
from typing_extensions import TypeVar

from blindspots.arguments import Checked, check_numbers
from blindspots.ball import Ball
from blindspots.objective import LossName
from blindspots.problem import Aim, Job, Need, Problem, Seen
from blindspots.rows import Rows
from blindspots.threat import Threat


@dataclass(frozen=True)
class State(Rows):
    """What an attack remembers about each row. Subclasses add tensors (B, ...)."""

    probe: Tensor  # (B, ...) the point to be evaluated next
    t: Tensor  # (B,) int64: the row's own clock, the number of its evaluations so far


@dataclass(frozen=True)
class Facts:
    """What a user wants to know before choosing an attack, besides its settings, access and threats.

    Attributes:
        paper: authors and title.
        year: of its publication.
        family: the heading under which attacks are listed.
        cost: forwards and backwards per row, in words.
        use: when to use it.
    """

    paper: str
    year: int
    family: str
    cost: str
    use: str


S = TypeVar("S", bound=State, default=Any)  # an `Attack` is one with whatever state it has
T = TypeVar("T", bound=Threat, default=Ball)  # in a ball, unless it says otherwise


class Attack(Checked, ABC, Generic[S, T]):
    """Everything is row-wise: row i of a result depends on row i of the arguments alone.

    Attributes:
        facts: paper, cost and advice: what lists of attacks say.
        need: the access it needs at the probes.
        requires: what a threat has to offer: `Ball`, or capabilities, see `blindspots.capabilities`.
        threats: names of the balls it can search in: it knows their norms.
        minimal: it minimises the distance, and runs to its end; else any point of the ball will do.
        loss: the loss it descends by default.
        alone: it finds adversarial examples itself; else it only improves those given as `job.start`.
        targeted: it can run towards a target class.
        even: it needs a threat whose box and unit are the same for all features: it moves values from one feature to
            another, or counts in levels.
        begins: the default of `job.start`: the clean input, or the nearest other image whose prediction already
            reaches the goal (the clean input where there is none), or what a solver has computed.
    """

    facts: ClassVar[Facts]
    need: ClassVar[Need]
    requires: ClassVar[type] = Ball
    threats: ClassVar[tuple[str, ...]]
    minimal: ClassVar[bool] = False
    loss: ClassVar[LossName] = "margin"
    alone: ClassVar[bool] = True
    targeted: ClassVar[bool] = True
    even: ClassVar[bool] = False
    begins: ClassVar[Literal["clean", "other", "proved"]] = "clean"
    fewest: ClassVar[int] = 1  # steps that make sense

    @classmethod
    def check_arguments(cls, settings: Mapping[str, Any]) -> None:
        check_numbers(cls.__name__, settings, cls.fewest)

    @property
    @abstractmethod
    def looks(self) -> int:
        """The most evaluations that a row can take."""

    @abstractmethod
    def init(self, problem: Problem[T], job: Job) -> S:
        """The first state; its `probe` is the first point to be evaluated."""

    @abstractmethod
    def step(self, problem: Problem[T], job: Job, state: S, seen: Seen) -> S:
        """The next state, after `state.probe` has been evaluated."""

    def classes_of(self, state: S) -> Tensor | None:
        """(B, K) int64: the classes whose scores are differentiated at the probe. Only with `Need.JACOBIAN`."""
        return None

    def aim_of(self, state: S) -> Aim | None:
        """The value to differentiate at the probe; None: the loss of the goal."""
        return None

    def ahead(self, state: S) -> Tensor | None:
        """(B,) int64: how many of the probes after this one are certain, whatever is seen until then; None: never any.

        The engine evaluates them in one batch, in lanes beside this one, where that saves calls of the model: `step`
        tells it the probes, from states that have seen nothing, and is then given what was seen, one after the other.
        Where that would cost more than the model, `rounds.Ahead` makes and answers all of them at once.
        """
        return None

    def exhausted(self, state: S) -> Tensor:
        """(B,) bool: the row has nothing more to propose."""
        return state.t >= self.looks

    def final(self, state: S) -> Tensor:
        """(B,) bool: the row's probe is surely its last, so its scores are enough (no gradient is wanted)."""
        return state.t >= self.looks - 1

    def scores_enough(self, state: S) -> Tensor:
        """(B,) bool: no gradient is wanted at the row's probe."""
        return self.final(state)

    def unfinished(self, state: S) -> Tensor:
        """(B,) bool: the search was cut short by a limit of its own: the row does not stand by it, others may go on."""
        return torch.zeros_like(state.t, dtype=torch.bool)

    def unstarted(self, state: S) -> Tensor:
        """(B,) bool: the row has not found an adversarial point to start from, and without one there is no search."""
        return torch.zeros_like(state.t, dtype=torch.bool)


def zeros(job: Job) -> Tensor:
    """A clock or counter at 0 for every row: (B,) int64."""
    return torch.zeros_like(job.y)


def full(job: Job, value: float) -> Tensor:
    """The same number for every row: (B,) like the radius."""
    return torch.full_like(job.r, value)


def cosine(t: Tensor, steps: int, start: float, end: float) -> Tensor:
    """From `start` at clock 0 along half a cosine to `end` at clock `steps`: (B,)."""
    return end + (start - end) * (1 + torch.cos(torch.pi * t / steps)) / 2
