"""Lattice: an adversarial example that a picture file can hold."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from blindspots.attacks.attack import Attack, Facts, State, zeros
from blindspots.ball import Ball
from blindspots.box import to_8bit
from blindspots.problem import Job, Need, Problem, Seen
from blindspots.rows import col, pick


@dataclass(frozen=True)
class LatticeState(State):
    free: Tensor  # (B, ...) the point that the probe is a rounding of


@dataclass(frozen=True)
class Lattice(Attack[LatticeState]):
    """Repairs what rounding to 8 bits breaks: every point it proposes lies on the 256 levels of a picture.

    It rounds the example that it begins at, and where that is none any more goes on by descent through the rounding:
    the gradient is taken at the rounded point, the step is made by the free one (a straight-through estimator). A
    rounding that would leave the ball is done towards the clean input instead, which never leaves it if the clean input
    lies on the levels, and in linf as good as never.

    Args:
        steps: gradients per row.
        stride: length of a step in lengths of the perturbation it begins with; never less than one level.
    """

    steps: int = 30
    stride: float = 0.1

    facts: ClassVar[Facts] = Facts(
        paper=(
            "Bengio, Leonard, Courville: Estimating or Propagating Gradients Through Stochastic Neurons "
            "(straight-through)"
        ),
        year=2013,
        family="gradient, repairs",
        cost="up to steps + 1 forwards, steps backwards",
        use="examples that have to survive rounding to 8 bits; begins at those of another attack",
    )
    need: ClassVar[Need] = Need.GRAD
    threats: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1", "l0")
    even: ClassVar[bool] = True
    minimal: ClassVar[bool] = True
    alone: ClassVar[bool] = False

    @property
    def looks(self) -> int:
        return self.steps + 1

    def init(self, problem: Problem, job: Job) -> LatticeState:
        return LatticeState(_rounded(problem.threat, job.start, job), zeros(job), job.start)

    def step(self, problem: Problem, job: Job, state: LatticeState, seen: Seen) -> LatticeState:
        assert seen.grad is not None
        threat = problem.threat
        level = threat.span / 255
        length = (self.stride * threat.distance(job.start, job.x)).clamp_min(level)
        free = state.free - col(length, state.free) * threat.steepest(seen.grad)
        free = threat.project(pick(seen.won, state.free, free), job)
        return LatticeState(_rounded(threat, free, job), torch.where(seen.won, self.looks, state.t + 1), free)


def _rounded(threat: Ball, x: Tensor, job: Job) -> Tensor:
    """The nearest point of the levels; where that is outside the ball, the nearest one towards the clean input."""
    bounds = threat.bounds
    nearest = to_8bit(x, bounds).clamp(*bounds)
    level = threat.span / 255
    d, at = x - job.x, (x - bounds[0]) / level
    toward = torch.where(d > 0, (at + 1e-4).floor(), torch.where(d < 0, (at - 1e-4).ceil(), at))
    inward = to_8bit(bounds[0] + toward * level, bounds).clamp(*bounds)
    return threat.clip(pick(threat.holds(nearest, job), nearest, inward), job)
