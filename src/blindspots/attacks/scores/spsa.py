"""SPSA: a gradient estimated along random signs, followed by Adam."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from blindspots.attacks.scores.estimate import EstimateState, Estimating, reach, tiled
from blindspots.problem import Job, Problem
from blindspots.random import sign
from blindspots.rows import Rows, col


@dataclass(frozen=True)
class Moments(Rows):
    first: Tensor  # (B, ...) mean of the estimates
    second: Tensor  # (B, ...) mean of their squares


@dataclass(frozen=True)
class SPSA(Estimating):
    """Uesato et al. 2018 (arXiv 1802.05666), algorithm 1: simultaneous perturbation, with Adam.

    Args:
        queries: queries per row; every 2 * pairs + 1 of them make a step.
        pairs: pairs of directions per estimate.
        sigma: length of a direction in radii.
        stride: length of a step in radii.
        cells: tiles per side of an image on which a direction is constant at first (`estimate.tiled`); None: no tiles.
    """

    queries: int = 5000
    pairs: int = 16
    sigma: float = 0.25
    stride: float = 0.5
    cells: int | None = 8

    threats: ClassVar[tuple[str, ...]] = ("linf", "l2")

    def remember(self, job: Job) -> Moments:
        return Moments(torch.zeros_like(job.x), torch.zeros_like(job.x))

    def direction(self, job: Job, t: Tensor) -> Tensor:
        return tiled(job, t, self.cells, sign)

    def move(
        self, problem: Problem, job: Job, state: EstimateState, g: Tensor, number: Tensor
    ) -> tuple[Tensor, Moments]:
        first = 0.9 * state.memory.first + 0.1 * g
        second = 0.999 * state.memory.second + 0.001 * g.square()
        unbiased = [m / (1 - col(b ** number.to(g.dtype), g)) for m, b in ((first, 0.9), (second, 0.999))]
        way = unbiased[0] / unbiased[1].sqrt().clamp_min(1e-12)
        return problem.threat.project(state.base - reach(problem, job, self.stride) * way, job.x, job.r), Moments(
            first, second
        )
