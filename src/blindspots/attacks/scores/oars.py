"""OARS: estimated gradients for models that refuse what is too much like an earlier query."""

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from blindspots.attacks.attack import Facts, full, zeros
from blindspots.attacks.scores.estimate import EstimateState, Estimating, reach, tiled
from blindspots.problem import Job, Problem, Seen
from blindspots.rows import Rows, col

_SMALLEST, _LARGEST = 0.01, 1.0  # radii: the length of a direction


@dataclass(frozen=True)
class Learned(Rows):
    mean: Tensor  # (B, ...) of the estimates
    sigma: Tensor  # (B,) length of a direction in radii
    refused: Tensor  # (B,) int64 queries that were refused since the last step
    void: Tensor  # (B,) bool: the first query of the pair in hand was


@dataclass(frozen=True)
class OARS(Estimating):
    """Feng et al. 2023 (arXiv 2303.06280), section 4: oracle-guided adaptive rejection sampling, with NES.

    A guard such as Blacklight (`guarded-queries:MODEL`) refuses what resembles an earlier query. Its refusals tell how
    far apart queries have to be: pairs that it refuses add nothing to an estimate, and after every step directions grow
    where it refused more than `share` of the queries, and shrink where it refused fewer. Every query carries noise of
    its own on all pixels, which changes a few values in every window that the guard hashes.

    Differs from the paper, which settles the length by bisection before the attack, in that it is learned along the
    way: no query goes into it, and it follows what the guard comes to know.

    Args:
        queries: queries per row; every 2 * pairs + 1 of them make a step.
        pairs: pairs of directions per estimate.
        sigma: length of the first directions in radii.
        stride: length of a step in radii.
        momentum: share of the old mean in the new one.
        share: of the queries that may be refused (paper: 0.05).
        rate: by how much each refusal lengthens directions.
        cells: tiles per side of an image on which a direction is constant at first (`estimate.tiled`); None: no tiles,
            so that no window stays as it was.
    """

    queries: int = 5000
    pairs: int = 16
    sigma: float = 0.5
    stride: float = 0.5
    momentum: float = 0.9
    share: float = 0.05
    rate: float = 0.1
    cells: int | None = None

    facts: ClassVar[Facts] = Facts(
        paper="Feng et al.: Stateful Defenses for Machine Learning Models Are Not Yet Secure Against Black-box Attacks",
        year=2023,
        family="scores",
        cost="queries forwards",
        use="models that refuse queries like earlier ones",
    )
    threats: ClassVar[tuple[str, ...]] = ("linf", "l2")

    def remember(self, job: Job) -> Learned:
        return Learned(torch.zeros_like(job.x), full(job, self.sigma), zeros(job), zeros(job).bool())

    def direction(self, job: Job, t: Tensor) -> Tensor:
        return tiled(job, t, self.cells)

    def apart(self, problem: Problem, job: Job, state: EstimateState) -> Tensor:
        return reach(problem, job, 1.0) * col(state.memory.sigma, job.x)

    def step(self, problem: Problem, job: Job, state: EstimateState, seen: Seen) -> EstimateState:
        """A pair of which one was refused says nothing: as if both had the same loss."""
        memory, first = state.memory, (state.t % self._period) % 2 == 1
        void = seen.refused | (memory.void & ~first)
        memory = replace(memory, refused=memory.refused + seen.refused, void=void & first)
        seen = replace(seen, loss=torch.where(void, state.loss, seen.loss))
        return super().step(problem, job, replace(state, memory=memory), seen)

    def move(
        self, problem: Problem, job: Job, state: EstimateState, g: Tensor, number: Tensor
    ) -> tuple[Tensor, Learned]:
        memory = state.memory
        mean = self.momentum * memory.mean + (1 - self.momentum) * g
        sigma = memory.sigma * (self.rate * (memory.refused - self.share * self._period)).exp()
        way = col(self.stride * job.r, g) * problem.threat.steepest(mean)
        learned = Learned(mean, sigma.clamp(_SMALLEST, _LARGEST), torch.zeros_like(memory.refused), memory.void)
        return problem.threat.project(state.base - way, job), learned
