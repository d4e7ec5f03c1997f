"""FMN: as far as the linearised boundary until the first success, then a radius that follows success."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from blindspots.attacks.attack import Attack, Facts, State, cosine, full, zeros
from blindspots.attacks.directions import unit
from blindspots.problem import Job, Need, Problem, Seen
from blindspots.rows import col

_PAST = 1.01  # a linear model's boundary is a tie, which is no success: aim one per cent behind it
_TINY, _FAR = 1e-30, 1e12  # a step is lengthened by no more than float32 can hold
_STRIDE = {0: 1.0, 1: 1.0, 2: 1.0, math.inf: 10.0}  # the paper's first strides per norm (table 4 and code)


@dataclass(frozen=True)
class FMNState(State):
    radius: Tensor  # (B,) of the ball that the next probe is projected to
    least: Tensor  # (B,) smallest norm of a success so far; the rule needs it, so it is the attack's own


@dataclass(frozen=True)
class FMN(Attack[FMNState]):
    """Pintor et al. 2021 (arXiv 2102.12827), algorithm 1: smallest l0, l1, l2 or linf distance.

    Differs from the paper in three points. Before the first success the radius reaches 1 % behind the linearised
    boundary, because a tie is not a success; and it grows by gamma at least, because where the box or a curved boundary
    lies in the way, the linearised boundary stays out of reach forever. And a step that ends inside the ball is
    lengthened to its surface (as adv-lib's code does in l2): where gradients vanish, the stride alone would never get
    as far as the boundary.

    Args:
        steps: gradients per row.
        stride: first length of a step along the l2-normalised gradient, in units of the input, cosine down to a
            hundredth; None: the paper's for the norm (10 in linf, else 1).
        gamma: by how much the radius shrinks after a success and grows after a failure at first; 0.001 at last.
    """

    steps: int = 100
    stride: float | None = None
    gamma: float = 0.05

    facts: ClassVar[Facts] = Facts(
        paper="Pintor et al.: Fast Minimum-norm Adversarial Attacks through Adaptive Norm Constraints",
        year=2021,
        family="gradient, smallest distance",
        cost="steps + 1 forwards, steps backwards",
        use="smallest distances in l0, l1, l2 and linf: a whole security curve from one run",
    )
    need: ClassVar[Need] = Need.GRAD
    threats: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1", "l0")
    minimal: ClassVar[bool] = True

    @property
    def looks(self) -> int:
        return self.steps + 1

    def init(self, problem: Problem, job: Job) -> FMNState:
        first = 1.0 if problem.threat.p == 0 else math.inf
        return FMNState(job.start, zeros(job), full(job, first), full(job, math.inf))

    def step(self, problem: Problem, job: Job, state: FMNState, seen: Seen) -> FMNState:
        assert seen.grad is not None
        threat, g = problem.threat, unit(seen.grad)
        norm = threat.distance(state.probe, job.x)
        least = torch.where(seen.won, norm.minimum(state.least), state.least)
        gamma = cosine(state.t, self.steps, self.gamma, 0.001)
        adapt = self._count if threat.p == 0 else self._radius
        radius = adapt(problem, state, seen, norm, least, gamma)
        stride = _STRIDE[threat.p] if self.stride is None else self.stride
        d = state.probe - job.x - col(cosine(state.t, self.steps, stride, stride / 100), g) * g
        if threat.p > 0:
            d = d * col((radius / threat.norm(d).clamp_min(_TINY)).clamp(0 if threat.p == 2 else 1, _FAR), d)
        return FMNState(threat.project(job.x + d, job.within(radius)), state.t + 1, radius, least)

    def _radius(
        self, problem: Problem, state: FMNState, seen: Seen, norm: Tensor, least: Tensor, gamma: Tensor
    ) -> Tensor:
        assert seen.grad is not None
        boundary = norm + _PAST * seen.loss.abs() / problem.threat.dual(seen.grad).clamp_min(1e-12)
        grown = state.radius * (1 + gamma)
        blind = torch.where(grown.isinf(), boundary, boundary.maximum(grown))
        shrunk = (state.radius * (1 - gamma)).minimum(least)
        return torch.where(seen.won, shrunk, torch.where(least.isinf(), blind, grown))

    def _count(
        self, problem: Problem, state: FMNState, seen: Seen, norm: Tensor, least: Tensor, gamma: Tensor
    ) -> Tensor:
        fewer = (state.radius - 1).minimum((state.radius * (1 - gamma)).floor()).minimum(least)
        more = (state.radius + 1).maximum((state.radius * (1 + gamma)).floor())
        return torch.where(seen.won, fewer, more).clamp_min(0)
