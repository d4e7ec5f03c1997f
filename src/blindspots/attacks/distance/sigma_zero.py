"""Sigma-zero: descends a smooth count of the changed components and drops those below a threshold that adapts."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from blindspots.attacks.adam import Adam
from blindspots.attacks.attack import Attack, Facts, State, cosine, full, zeros
from blindspots.ball import Linf
from blindspots.problem import Job, Need, Problem, Seen
from blindspots.rows import col, pick

_MAXIMUM = Linf()


@dataclass(frozen=True)
class SigmaZeroState(State):
    adam: Adam  # of the normalised gradient
    threshold: Tensor  # (B,) smaller changes are undone, in units of the box


@dataclass(frozen=True)
class SigmaZero(Attack[SigmaZeroState]):
    """Cina et al. 2025 (arXiv 2402.01879), algorithm 1: smallest l0 distance.

    Descends the margin, as long as it is positive, plus a smooth count of the changed components, with Adam on the
    gradient scaled to a peak of 1; changes below a threshold are undone, and the threshold rises after a success and
    falls after a failure. Works on differences in units of the box, so that the settings fit every box; the paper's
    box is [0, 1]. As in the code of the authors, the loss ends at a tie, the step falls to a tenth of the first and
    the threshold's step with it.

    Args:
        steps: gradients per row; the authors take 1000.
        stride: first step of every component, in units of the box.
        sigma: width of the smooth count d^2 / (d^2 + sigma).
        threshold: below which a change is undone at first, in units of the box.
        rate: change of the threshold per step, in units of the stride.
    """

    steps: int = 100
    stride: float = 1.0
    sigma: float = 1e-3
    threshold: float = 0.3
    rate: float = 0.01

    facts: ClassVar[Facts] = Facts(
        paper="Cina et al.: Sigma-zero: Gradient-based Optimization of l0-norm Adversarial Examples",
        year=2025,
        family="gradient, smallest distance",
        cost="steps + 1 forwards, steps backwards",
        use="fewest components",
    )
    need: ClassVar[Need] = Need.GRAD
    threats: ClassVar[tuple[str, ...]] = ("l0",)
    minimal: ClassVar[bool] = True

    @property
    def looks(self) -> int:
        return self.steps + 1

    def init(self, problem: Problem, job: Job) -> SigmaZeroState:
        return SigmaZeroState(job.start, zeros(job), Adam.blank(job.x), full(job, self.threshold))

    def step(self, problem: Problem, job: Job, state: SigmaZeroState, seen: Seen) -> SigmaZeroState:
        assert seen.grad is not None
        width = problem.threat.width
        g = pick(seen.won, torch.zeros_like(seen.grad), seen.grad) * width
        g = g + self._count((state.probe - job.x) / width)
        adam = state.adam.take(g / col(_MAXIMUM.norm(g).clamp_min(1e-12), g))
        stride = cosine((state.t - 1).clamp_min(0), self.steps, self.stride, self.stride / 10)
        change = self.rate * cosine(state.t, self.steps, self.stride, self.stride / 10)
        threshold = (state.threshold + torch.where(seen.won, change, -change)).clamp(0, 1)
        moved = problem.threat.clip(state.probe - width * col(stride, g) * adam.direction, job)
        small = (moved - job.x).abs() < width * col(threshold, g)
        return SigmaZeroState(torch.where(small, job.x, moved), state.t + 1, adam, threshold)

    def _count(self, d: Tensor) -> Tensor:
        """Gradient of the mean of d^2 / (d^2 + sigma) over a row's components."""
        return 2 * self.sigma * d / (d.square() + self.sigma).square() / d[0].numel()
