"""Bandits: a running guess of the gradient, corrected by two queries per step."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from blindspots.attacks.attack import Attack, Facts, State, full, zeros
from blindspots.attacks.scores.estimate import reach, tiled
from blindspots.problem import Job, Need, Problem, Seen
from blindspots.rows import col, pick


@dataclass(frozen=True)
class BanditsState(State):
    base: Tensor  # (B, ...) the point that moves
    prior: Tensor  # (B, ...) the guess of the gradient; in linf before it is squashed
    loss: Tensor  # (B,) at the first point of the pair in hand
    scale: Tensor  # (B,) mean square of the differences of pairs


@dataclass(frozen=True)
class Bandits(Attack[BanditsState]):
    """Ilyas, Engstrom, Madry 2019 (arXiv 1807.07978), algorithms 1 to 3, with both priors: time, since the guess is
    kept from step to step, and data, since it is constant on tiles.

    Differs from the paper in two points. A correction is measured in units of the usual difference of a pair, so one
    rate suits all losses and networks. And both queries of a pair are points of the ball at least a step away, so
    they are likely successes themselves, and none is spent on the point that moves.

    Args:
        queries: queries per row; every 2 of them make a step.
        sigma: distance of a query from the moving point in radii.
        stride: length of a step in radii.
        rate: of the corrections.
        exploration: size of the random part of a query relative to the guess.
        cells: tiles per side of an image on which the guess is constant at first (`estimate.tiled`); None: no tiles.
    """

    queries: int = 5000
    sigma: float = 1.0
    stride: float = 0.3
    rate: float = 0.1
    exploration: float = 0.5
    cells: int | None = 8

    facts: ClassVar[Facts] = Facts(
        paper="Ilyas, Engstrom, Madry: Prior Convictions: Black-box Adversarial Attacks with Bandits and Priors",
        year=2019,
        family="scores",
        cost="queries forwards",
        use="the strongest of those that estimate gradients",
    )
    need: ClassVar[Need] = Need.VALUE
    threats: ClassVar[tuple[str, ...]] = ("linf", "l2")

    @property
    def looks(self) -> int:
        return self.queries

    def init(self, problem: Problem, job: Job) -> BanditsState:
        t, nothing, none = zeros(job), torch.zeros_like(job.x), full(job, 0.0)
        ahead = self._look(problem, job, job.start, nothing, self._noise(job, t))
        return BanditsState(ahead, t, job.start, nothing, none, none)

    def ahead(self, state: BanditsState) -> Tensor:
        """The second of a pair."""
        return 1 - state.t % 2

    def step(self, problem: Problem, job: Job, state: BanditsState, seen: Seen) -> BanditsState:
        closes = state.t % 2 == 1
        prior, scale = self._corrected(job, state, seen)
        prior, scale = pick(closes, prior, state.prior), torch.where(closes, scale, state.scale)
        base = pick(closes, self._moved(problem, job, state.base, prior), state.base)
        noise = self._noise(job, state.t + closes.long())
        probe = self._look(problem, job, base, prior, pick(closes, noise, -noise))
        return BanditsState(probe, state.t + 1, base, prior, torch.where(closes, state.loss, seen.loss), scale)

    def _noise(self, job: Job, t: Tensor) -> Tensor:
        return self.exploration * tiled(job, t, self.cells)

    def _look(self, problem: Problem, job: Job, base: Tensor, prior: Tensor, noise: Tensor) -> Tensor:
        way = _squashed(problem, prior) + noise
        size = way.flatten(1).square().mean(1).sqrt().clamp_min(1e-12)
        return problem.threat.project(base - reach(problem, job, self.sigma) * way / col(size, way), job)

    def _corrected(self, job: Job, state: BanditsState, seen: Seen) -> tuple[Tensor, Tensor]:
        gain = seen.loss - state.loss
        scale = 0.9 * state.scale + 0.1 * gain.square()
        steps = (state.t + 1) // 2
        usual = (scale / (1 - 0.9 ** steps.to(scale.dtype))).sqrt().clamp_min(1e-12)
        noise = self._noise(job, state.t - 1)
        return state.prior + col(self.rate * gain / usual, noise) * noise / self.exploration, scale

    def _moved(self, problem: Problem, job: Job, base: Tensor, prior: Tensor) -> Tensor:
        way = col(self.stride * job.r, base) * problem.threat.steepest(_squashed(problem, prior))
        return problem.threat.project(base - way, job)


def _squashed(problem: Problem, prior: Tensor) -> Tensor:
    """The guess itself; in linf exponentiated gradients are gradients in front of a tanh."""
    return prior.tanh() if problem.threat.p == math.inf else prior
