"""Sigma-zero: descends a smooth count of the changed components and drops those below a threshold that adapts."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from blindspots.attacks.attack import Attack, State, cosine, full, zeros
from blindspots.attacks.distance.adam import Moments
from blindspots.problem import Job, Need, Problem, Seen
from blindspots.rows import col, pick
from blindspots.threat import Linf


@dataclass(frozen=True)
class SigmaZeroState(State):
    moments: Moments  # of the normalised gradient
    threshold: Tensor  # (B,) smaller changes are undone, in units of the box


@dataclass(frozen=True)
class SigmaZero(Attack):
    """Cina et al. 2025 (arXiv 2402.01879), algorithm 1: smallest l0 distance."""

    steps: int = 100
    stride: float = 1.0
    sigma: float = 1e-3
    threshold: float = 0.3
    rate: float = 0.01

    need: ClassVar[Need] = Need.GRAD
    threats: ClassVar[tuple[str, ...]] = ("l0",)
    minimal: ClassVar[bool] = True

    @property
    def looks(self) -> int:
        return self.steps + 1

    def init(self, problem: Problem, job: Job) -> SigmaZeroState:
        return SigmaZeroState(job.start, zeros(job), Moments.none(job.x), full(job, self.threshold))

    def step(self, problem: Problem, job: Job, state: SigmaZeroState, seen: Seen) -> SigmaZeroState:
        assert seen.grad is not None
        width = problem.threat.hi - problem.threat.lo
        d = (state.probe - job.x) / width
        g = pick(seen.won, torch.zeros_like(d), seen.grad * width) + self._count(d)
        moments = state.moments.after(g / col(Linf().norm(g).clamp_min(1e-12), g))
        mean, scale = moments.direction(state.t)
        stride = cosine((state.t - 1).clamp_min(0), self.steps, self.stride, self.stride / 10)
        moved = (state.probe - width * col(stride, d) * mean / scale).clamp(problem.threat.lo, problem.threat.hi)
        change = self.rate * cosine(state.t, self.steps, self.stride, self.stride / 10)
        threshold = (state.threshold + torch.where(seen.won, change, -change)).clamp(0, 1)
        small = (moved - job.x).abs() < col(width * threshold, d)
        return SigmaZeroState(torch.where(small, job.x, moved), state.t + 1, moments, threshold)

    def _count(self, d: Tensor) -> Tensor:
        """Gradient of the mean of d^2 / (d^2 + sigma)."""
        return 2 * self.sigma * d / (d.square() + self.sigma).square() / d[0].numel()
