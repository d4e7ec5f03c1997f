"""What an adversary wants of a model that rejects, as two terms: a wrong class, and no rejection."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from blindspots.attacks.attack import Attack, State, cosine, zeros
from blindspots.attacks.directions import ascent, carried, descent
from blindspots.goal import Goal, LossName
from blindspots.problem import Aim, Job, Need, Problem, Seen
from blindspots.rows import pick

CLASSIFIER, DETECTOR, OPEN, OTHER = range(4)
COORDINATES = 0.01  # share of coordinates moved per step in an l1 ball


@dataclass(frozen=True)
class Term(Aim):
    """One of the two terms. A point wins exactly where both are negative, if the goal's loss is the margin.

    `CLASSIFIER` is the goal's loss of the classes alone, `DETECTOR` the score of rejection less the largest class's.
    `OPEN` is the one that is not satisfied yet: the classifier's until the goal is reached among the classes, then the
    detector's. `OTHER` is the remaining one.
    """

    which: Tensor  # (B,) int64

    @property
    def unfolded(self) -> bool:
        return True

    def descend(self, goal: Goal, logits: Tensor, y: Tensor, target: Tensor) -> Tensor:
        classes, reject = logits[:, :-1], logits[:, -1]
        classifier, detector = goal.descend(classes, y, target), reject - classes.amax(1)
        fooled = goal.margin(classes, y, target) < 0
        of_detector = (self.which == DETECTOR) | (fooled & (self.which == OPEN)) | (~fooled & (self.which == OTHER))
        return torch.where(of_detector, detector, classifier)


@dataclass(frozen=True)
class TermsState(State):
    last: Tensor  # (B, ...) the point before the one in hand
    first: Tensor  # (B, ...) gradient of the step's first term at the probe
    aim: Term | None  # None: the model never rejects


@dataclass(frozen=True)
class TermsDescent(Attack):
    """Steps from the gradients of `terms`, each of which costs a look at the same point.

    On a model that never rejects every look is a step down the goal's loss.

    Args:
        steps: steps; a row costs one look per step and term, all with a gradient, and one last look.
        stride: first length of a step in radii, cosine down to 0.
        momentum: share of a step that comes from the new direction, as in `PGD`. 1.0: none.
        random_start: begin at a random point of the ball, else at the job's start.
    """

    steps: int = 20
    stride: float = 0.5
    momentum: float = 0.75
    random_start: bool = True

    need: ClassVar[Need] = Need.GRAD
    threats: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1")
    loss: ClassVar[LossName] = "margin"

    @property
    @abstractmethod
    def terms(self) -> tuple[int, ...]:
        """One or two of the constants above."""

    @abstractmethod
    def direction(self, problem: Problem, job: Job, first: Tensor, second: Tensor) -> Tensor:
        """The step of unit size against which a row moves, from the terms' gradients (B, ...); of one, it is both."""

    @property
    def looks(self) -> int:
        return len(self.terms) * self.steps + 1

    def init(self, problem: Problem, job: Job) -> TermsState:
        t = zeros(job)
        x = problem.threat.sample(job.x, job.r, job.key) if self.random_start else job.start
        return TermsState(x, t, x, torch.zeros_like(x), self._aim(t) if problem.rejects else None)

    def step(self, problem: Problem, job: Job, state: TermsState, seen: Seen) -> TermsState:
        assert seen.grad is not None
        t, looked = state.t + 1, len(self.terms)
        if state.aim is None:
            u = ascent(problem.threat, seen.grad, COORDINATES)
            return TermsState(self._moved(problem, job, state, u, 1), t, state.probe, state.first, None)
        alone = state.t % looked == 0
        first = pick(alone, seen.grad, state.first)
        due, u = t % looked == 0, self.direction(problem, job, first, seen.grad)
        probe = pick(due, self._moved(problem, job, state, u, looked), state.probe)
        return TermsState(probe, t, pick(due, state.probe, state.last), first, self._aim(t))

    def _aim(self, t: Tensor) -> Term:
        return Term(torch.tensor(self.terms, device=t.device)[t % len(self.terms)])

    def _moved(self, problem: Problem, job: Job, state: TermsState, u: Tensor, looked: int) -> Tensor:
        x, length = state.probe, job.r * cosine(state.t, self.looks, self.stride, 0.0)
        new = descent(problem, job, x, u, length)
        return pick(state.t < looked, new, carried(problem, job, x, state.last, new, self.momentum))
