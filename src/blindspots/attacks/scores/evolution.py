"""Evolution: a random share of the numbers is drawn anew, and kept where the loss does not rise. Scores only."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from blindspots.attacks.attack import Attack, Facts, State, full, zeros
from blindspots.problem import Job, Need, Problem, Seen
from blindspots.random import keys, normal, randint, uniform
from blindspots.rows import col, pick

_DRAW, _RATE, _CHANGED, _SURE, _INNER, _DIRECTION = range(6)  # streams of draws


@dataclass(frozen=True)
class EvolutionState(State):
    base: Tensor  # (B, ...) the best point so far
    loss: Tensor  # (B,) its loss


@dataclass(frozen=True)
class Evolution(Attack[EvolutionState]):
    """Doerr et al. 2017 (arXiv 1703.03334), the (1+1) evolutionary algorithm with mutation rates of all sizes.

    Differs from the paper, which flips bits: a number that changes is drawn anew, from a random point of the ball or
    from one of its surface, and the child is projected. Both, since some models are worst at the corners of the ball
    (linear ones) and others anywhere inside (trees, nearest neighbours). The rate is log-uniform between one number and
    half of them, the paper's power law with an exponent of 1. Children that are as good take the parent's place, so a
    search drifts across the plateaus of piecewise constant models.

    Args:
        queries: queries per row.
        inner: share of the changed numbers that are drawn from inside of the ball.
    """

    queries: int = 2000
    inner: float = 0.5

    facts: ClassVar[Facts] = Facts(
        paper="Doerr, Le, Makhmara, Nguyen: Fast Genetic Algorithms",
        year=2017,
        family="scores",
        cost="queries forwards",
        use="rows of numbers; steps and plateaus, where directions say nothing",
    )
    need: ClassVar[Need] = Need.VALUE
    threats: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1", "l0")

    @property
    def looks(self) -> int:
        return self.queries

    def init(self, problem: Problem, job: Job) -> EvolutionState:
        return EvolutionState(job.start, zeros(job), job.start, full(job, math.inf))

    def step(self, problem: Problem, job: Job, state: EvolutionState, seen: Seen) -> EvolutionState:
        kept = seen.loss <= state.loss
        base, t = pick(kept, state.probe, state.base), state.t + 1
        return EvolutionState(self._child(problem, job, t, base), t, base, state.loss.minimum(seen.loss))

    def _child(self, problem: Problem, job: Job, t: Tensor, base: Tensor) -> Tensor:
        inside = problem.threat.sample(job, keys(_DRAW, job.key, t))
        inner = uniform(job.key, t, _INNER, base.shape[1:]) < self.inner
        fresh = torch.where(inner, inside, _on_surface(problem, job, t))
        return problem.threat.project(torch.where(_changed(job, t, base), fresh, base), job)


def _changed(job: Job, t: Tensor, base: Tensor) -> Tensor:
    """Which numbers are drawn anew, one at least: (B, ...)."""
    numbers = base[0].numel()
    rate = 0.5 * (2 / max(numbers, 2)) ** uniform(job.key, t, _RATE, (1,))
    changed = uniform(job.key, t, _CHANGED, (numbers,)) < rate
    return changed.scatter(1, randint(job.key, t, _SURE, numbers, (1,)), True).view_as(base)


def _on_surface(problem: Problem, job: Job, t: Tensor) -> Tensor:
    """A point as far from the clean input as the ball and the box allow, in a random direction: (B, ...)."""
    direction = problem.threat.steepest(normal(job.key, t, _DIRECTION, job.x.shape[1:]))
    return torch.where(direction == 0, job.x, job.x + col(job.r, job.x) * direction)
