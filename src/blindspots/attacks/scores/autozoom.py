"""AutoZOOM: small l2 distances from scores alone, with random directions of low frequency."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from blindspots.attacks.attack import Facts, cosine, full
from blindspots.attacks.scores.estimate import EstimateState, Estimating, tiled
from blindspots.problem import Job, Problem
from blindspots.rows import Rows, col

_LONGER, _SHORTER = 1.2, 0.5  # Rprop's factors: for the same outcome as before, and for a different one
_LEAST = 0.01  # of gamma: the distance never stands still


@dataclass(frozen=True)
class Sphere(Rows):
    mean: Tensor  # (B, ...) of the estimates
    radius: Tensor  # (B,) of the sphere that the base lies on
    gamma: Tensor  # (B,) by how much it changed last
    won: Tensor  # (B,) bool: the base before this one had reached the goal


@dataclass(frozen=True)
class AutoZOOM(Estimating):
    """Tu et al. 2019 (arXiv 1805.11770): what ZOO (Chen et al. 2017, arXiv 1708.03999) finds, with far fewer queries,
    since it estimates along random directions of a small space instead of coordinate by coordinate.

    Differs from the paper in two points. The small space is one of tiles, no autoencoder has to be trained. And there
    is no weighted sum of distance and loss whose weight has to be searched for: as in DDN (Rony et al. 2019, arXiv
    1811.09600) the distance shrinks after each success and grows after each failure. By how much, adapts as in Rprop
    (Riedmiller and Braun 1993), because a hundred steps have to reach the boundary from anywhere and settle on it.

    Args:
        queries: queries per row; every 2 * pairs + 1 of them make a step.
        pairs: pairs of directions per estimate.
        sigma: size of a direction's components, as a share of the box.
        stride: first length of a step in units of the current distance, cosine down to a tenth.
        momentum: share of the old mean of the estimates in the new one.
        norm: first distance.
        gamma: by how much the distance grows or shrinks per step at most, and at first.
        cells: tiles per side of an image on which a direction is constant at first (`estimate.tiled`); None: no tiles.
    """

    queries: int = 5000
    pairs: int = 10
    sigma: float = 0.01
    stride: float = 0.2
    momentum: float = 0.8
    norm: float = 0.1
    gamma: float = 0.3
    cells: int | None = 8

    facts: ClassVar[Facts] = Facts(
        paper="Tu et al.: AutoZOOM: Autoencoder-based Zeroth Order Optimization (the successor of ZOO)",
        year=2019,
        family="scores",
        cost="queries forwards",
        use="smallest l2 distance from scores",
    )
    threats: ClassVar[tuple[str, ...]] = ("l2",)
    minimal: ClassVar[bool] = True

    def remember(self, job: Job) -> Sphere:
        never = torch.zeros_like(job.y, dtype=torch.bool)
        return Sphere(torch.zeros_like(job.x), full(job, self.norm), full(job, self.gamma), never)

    def direction(self, job: Job, t: Tensor) -> Tensor:
        return tiled(job, t, self.cells)

    def apart(self, problem: Problem, job: Job, state: EstimateState) -> Tensor:
        return col(full(job, self.sigma * problem.threat.span), job.x)

    def move(
        self, problem: Problem, job: Job, state: EstimateState, g: Tensor, number: Tensor
    ) -> tuple[Tensor, Sphere]:
        steps, threat, old = self.queries // (2 * self.pairs + 1) + 1, problem.threat, state.memory
        mean = self.momentum * old.mean + (1 - self.momentum) * g
        gamma = old.gamma * torch.where(state.won == old.won, _LONGER, _SHORTER)
        gamma = gamma.clamp(min(_LEAST, self.gamma), self.gamma)
        radius = old.radius * torch.where(state.won, 1 - gamma, 1 + gamma)
        stride = old.radius * cosine(number, steps, self.stride, self.stride / 10)
        d = state.base - job.x - col(stride, g) * threat.steepest(mean)
        d = d * col(radius / threat.norm(d).clamp_min(1e-12), d)
        return threat.clip(job.x + d, job), Sphere(mean, radius, gamma, state.won)
