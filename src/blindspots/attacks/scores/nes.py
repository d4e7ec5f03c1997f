"""NES: a gradient estimated along random normal directions, followed as PGD does."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from blindspots.attacks.attack import Facts
from blindspots.attacks.scores.estimate import EstimateState, Estimating, tiled
from blindspots.problem import Job, Problem
from blindspots.rows import Rows, col


@dataclass(frozen=True)
class Momentum(Rows):
    mean: Tensor  # (B, ...) of the estimates


@dataclass(frozen=True)
class NES(Estimating):
    """Ilyas et al. 2018 (arXiv 1804.08598), section 2.3: natural evolution strategies with antithetic sampling.

    Differs from the paper in that directions are constant on tiles, that a pair never leaves the ball, and that lengths
    count in radii. On a natural and on a robust CIFAR-10 network, 1,000 queries broke 52 % and 23 % of 60 rows; with
    the paper's settings 47 % and 13 %.

    Args:
        queries: queries per row; every 2 * pairs + 1 of them make a step.
        pairs: pairs of directions per estimate.
        sigma: length of a direction in radii.
        stride: length of a step in radii.
        momentum: share of the old mean in the new one.
        cells: tiles per side of an image on which a direction is constant at first (`estimate.tiled`); None: no tiles.
    """

    queries: int = 5000
    pairs: int = 16
    sigma: float = 0.25
    stride: float = 0.5
    momentum: float = 0.9
    cells: int | None = 8

    facts: ClassVar[Facts] = Facts(
        paper="Ilyas et al.: Black-box Adversarial Attacks with Limited Queries and Information",
        year=2018,
        family="scores",
        cost="queries forwards",
        use="estimated gradients; smooth models",
    )
    threats: ClassVar[tuple[str, ...]] = ("linf", "l2")

    def remember(self, job: Job) -> Momentum:
        return Momentum(torch.zeros_like(job.x))

    def direction(self, job: Job, t: Tensor) -> Tensor:
        return tiled(job, t, self.cells)

    def move(
        self, problem: Problem, job: Job, state: EstimateState, g: Tensor, number: Tensor
    ) -> tuple[Tensor, Momentum]:
        mean = self.momentum * state.memory.mean + (1 - self.momentum) * g
        way = col(self.stride * job.r, g) * problem.threat.steepest(mean)
        return problem.threat.project(state.base - way, job), Momentum(mean)
