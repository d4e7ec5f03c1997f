"""The two terms of an attack on a model that rejects: a wrong class, and no rejection."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from blindspots.attacks.attack import Attack, State, cosine, zeros
from blindspots.attacks.directions import ascent, descent
from blindspots.objective import LossName, Objective
from blindspots.problem import Aim, Job, Need, Problem, Seen
from blindspots.rows import pick

OPEN, OTHER = range(2)
_COORDINATES = 0.01  # share of coordinates moved per step in an l1 ball


@dataclass(frozen=True)
class Term(Aim):
    """One of the two terms. A point succeeds exactly where both are negative, if the goal's loss is the margin.

    The classifier's is the goal's loss of the classes alone, the detector's the score of rejection less that of the
    largest class. `OPEN` is the one that is not satisfied yet: the classifier's until the goal is reached among the
    classes, then the detector's. `OTHER` is the remaining one.
    """

    which: Tensor  # (B,) int64

    @property
    def unfolded(self) -> bool:
        return True

    def descend(self, objective: Objective, logits: Tensor, y: Tensor, target: Tensor) -> Tensor:
        classes, reject = logits[:, :-1], logits[:, -1]
        classifier, detector = objective.descend(classes, y, target), reject - classes.amax(1)
        fooled = objective.margin(classes, y, target) < 0
        return torch.where(fooled == (self.which == OPEN), detector, classifier)


@dataclass(frozen=True)
class TermsState(State):
    first: Tensor  # (B, ...) gradient of the step's first term at the probe
    aim: Term | None  # None: the model never rejects


@dataclass(frozen=True)
class TermsDescent(Attack[TermsState]):
    """Steps from the gradients of `terms`, each of which costs an evaluation of the same point.

    On a model that never rejects, every evaluation is a step down the goal's loss.

    Args:
        steps: steps; a row costs one evaluation per step and term, all with a gradient, and one last evaluation.
        stride: first length of a step in radii, cosine down to 0.
        random_start: begin at a random point of the ball, else at the job's start.
    """

    steps: int = 20
    stride: float = 0.5
    random_start: bool = True

    need: ClassVar[Need] = Need.GRAD
    threats: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1")
    loss: ClassVar[LossName] = "margin"

    @property
    @abstractmethod
    def terms(self) -> tuple[int, ...]:
        """One or two of the constants above."""

    @abstractmethod
    def served(self, job: Job, first: Tensor, second: Tensor) -> Tensor:
        """What a step goes down, from the gradients (B, ...) of the terms; of a single one, they are the same."""

    @property
    def looks(self) -> int:
        return len(self.terms) * self.steps + 1

    def aim_of(self, state: TermsState) -> Aim | None:
        return state.aim

    def init(self, problem: Problem, job: Job) -> TermsState:
        t = zeros(job)
        x = problem.threat.sample(job, job.key) if self.random_start else job.start
        return TermsState(x, t, torch.zeros_like(x), self._aim(t) if problem.rejects else None)

    def step(self, problem: Problem, job: Job, state: TermsState, seen: Seen) -> TermsState:
        assert seen.grad is not None
        t, looks = state.t + 1, len(self.terms)
        if state.aim is None:
            return TermsState(self._moved(problem, job, state, seen.grad), t, state.first, None)
        first = pick(state.t % looks == 0, seen.grad, state.first)
        moved = self._moved(problem, job, state, self.served(job, first, seen.grad))
        return TermsState(pick(t % looks == 0, moved, state.probe), t, first, self._aim(t))

    def _aim(self, t: Tensor) -> Term:
        return Term(torch.tensor(self.terms, device=t.device)[t % len(self.terms)])

    def _moved(self, problem: Problem, job: Job, state: TermsState, grad: Tensor) -> Tensor:
        length = job.r * cosine(state.t, self.looks, self.stride, 0.0)
        return descent(problem, job, state.probe, ascent(problem.threat, grad, _COORDINATES), length)
