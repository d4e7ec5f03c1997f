"""SPSA: a gradient estimated along random signs, followed by Adam."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from blindspots.attacks.adam import Adam
from blindspots.attacks.attack import Facts
from blindspots.attacks.scores.estimate import EstimateState, Estimating, reach, tiled
from blindspots.problem import Job, Problem
from blindspots.random import sign


@dataclass(frozen=True)
class SPSA(Estimating):
    """Uesato et al. 2018 (arXiv 1802.05666), algorithm 1: simultaneous perturbation, with Adam.

    Differs from the paper in that signs are constant on tiles and that a pair never leaves the ball.

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

    facts: ClassVar[Facts] = Facts(
        paper="Uesato et al.: Adversarial Risk and the Dangers of Evaluating Against Weak Attacks",
        year=2018,
        family="scores",
        cost="queries forwards",
        use="as NES, with Adam's steps",
    )
    threats: ClassVar[tuple[str, ...]] = ("linf", "l2")

    def remember(self, job: Job) -> Adam:
        return Adam.blank(job.x)

    def direction(self, job: Job, t: Tensor) -> Tensor:
        return tiled(job, t, self.cells, sign)

    def move(self, problem: Problem, job: Job, state: EstimateState, g: Tensor, number: Tensor) -> tuple[Tensor, Adam]:
        adam = state.memory.take(g)
        way = reach(problem, job, self.stride) * adam.direction
        return problem.threat.project(state.base - way, job), adam
