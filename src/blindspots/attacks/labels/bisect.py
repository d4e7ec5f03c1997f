"""Bisection between the clean input and an adversarial example: the nearest success on that line."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from blindspots.attacks.attack import Attack, Facts, State, full, zeros
from blindspots.problem import Job, Need, Problem, Seen
from blindspots.rows import col


@dataclass(frozen=True)
class BisectState(State):
    low: Tensor  # (B,) share of the way at which no success is known
    high: Tensor  # (B,) share of the way at which there is one


@dataclass(frozen=True)
class Bisect(Attack[BisectState]):
    """Shortens the perturbation `job.start - job.x` without gradients. Linear in the l2, l1 and linf norm.

    Args:
        steps: halvings; the length is known to 2 ** -steps of the first one.
    """

    steps: int = 8

    facts: ClassVar[Facts] = Facts(
        paper="Brendel, Rauber, Bethge: Decision-Based Adversarial Attacks (its line search towards the clean input)",
        year=2018,
        family="labels",
        cost="steps forwards",
        use="to shorten adversarial examples that another attack found",
    )
    need: ClassVar[Need] = Need.LABEL
    threats: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1")
    minimal: ClassVar[bool] = True
    alone: ClassVar[bool] = False

    @property
    def looks(self) -> int:
        return self.steps

    def init(self, problem: Problem, job: Job) -> BisectState:
        middle = full(job, 0.5)
        return BisectState(
            _between(problem, job, middle), zeros(job), torch.zeros_like(middle), torch.ones_like(middle)
        )

    def step(self, problem: Problem, job: Job, state: BisectState, seen: Seen) -> BisectState:
        middle = (state.low + state.high) / 2
        low, high = torch.where(seen.won, state.low, middle), torch.where(seen.won, middle, state.high)
        return BisectState(_between(problem, job, (low + high) / 2), state.t + 1, low, high)


def _between(problem: Problem, job: Job, share: Tensor) -> Tensor:
    return problem.threat.project(job.x + col(share, job.x) * (job.start - job.x), job)
