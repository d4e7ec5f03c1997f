"""APGD's form for l1 balls: sparse steps whose share of coordinates follows the best point's own sparsity."""

import math
from dataclasses import dataclass, replace
from itertools import accumulate

import torch
from torch import Tensor

from blindspots.attacks.attack import State, full, zeros
from blindspots.attacks.directions import sparse_sign
from blindspots.problem import Job, Problem, Seen
from blindspots.random import normal
from blindspots.rows import col, pick

_SHRINK, _LEAST = 1.5, 0.1  # step length: divided by the first, never below the second (in radii)
_FIRST_SHARE = 0.2  # of the coordinates, for a search that begins at the clean input


@dataclass(frozen=True)
class SparseState(State):
    best: Tensor  # (B, ...) where the loss was lowest in this phase
    best_grad: Tensor  # (B, ...)
    best_loss: Tensor  # (B,)
    share: Tensor  # (B,) of the coordinates that a step moves
    density: Tensor  # (B,) share of changed coordinates at the last checkpoint
    length: Tensor  # (B,) of a step, in radii of the phase


@dataclass(frozen=True)
class SparseAPGD:
    """Croce and Hein 2021 (arXiv 2103.01208), algorithm 1, with its multi-radius start: 30 % of the steps in a ball
    three times as large, 30 % in twice the ball, the rest in the ball itself, each from the last phase's best point.

    Like the published code, it begins at the projection of Gaussian noise, which changes few coordinates, and checks
    the sparsity every 4 % of a phase's steps: with 100 steps in all, after each one.
    """

    steps: int
    random_start: bool

    def init(self, problem: Problem, job: Job) -> SparseState:
        t = zeros(job)
        noisy, radius = job.x + normal(job.key, t, 21, job.x.shape[1:]), job.r * (3 - self._phase(t))
        x = problem.threat.project(noisy, job.within(radius)) if self.random_start else job.start
        density = _density(x, job)
        never, whole = full(job, math.inf), full(job, 1.0)
        return SparseState(x, t, x, torch.zeros_like(x), never, _share(density), density, whole)

    def step(self, problem: Problem, job: Job, state: SparseState, seen: Seen) -> SparseState:
        assert seen.grad is not None
        better = seen.loss < state.best_loss
        s = replace(
            state,
            best=pick(better, state.probe, state.best),
            best_grad=pick(better, seen.grad, state.best_grad),
            best_loss=state.best_loss.minimum(seen.loss),
        )
        s, x, grad = self._check(s, job, seen.grad)
        return self._move(problem, job, s, x, grad)

    def _check(self, s: SparseState, job: Job, grad: Tensor) -> tuple[SparseState, Tensor, Tensor]:
        """At a checkpoint, fewer coordinates and a whole step if the best point became sparser, else a shorter step."""
        due = self.due(s.t)
        density = _density(s.best, job)
        sparser = density < 0.95 * s.density
        length = torch.where(sparser, 1.0, (s.length / _SHRINK).clamp_min(_LEAST))
        checked = replace(
            s,
            share=torch.where(due, _share(density), s.share),
            density=torch.where(due, density, s.density),
            length=torch.where(due, length, s.length),
        )
        return checked, pick(due & sparser, s.best, s.probe), pick(due & sparser, s.best_grad, grad)

    def _move(self, problem: Problem, job: Job, s: SparseState, x: Tensor, grad: Tensor) -> SparseState:
        phase, following = self._phase(s.t), self._phase(s.t + 1)
        radius = job.r * (3 - phase)
        count = (s.share * grad[0].numel()).ceil().long()
        stepped = problem.threat.project(x - col(radius * s.length, x) * sparse_sign(grad, count), job.within(radius))
        fresh = following != phase  # a smaller ball begins: on from the best point so far
        into = problem.threat.project(s.best, job.within(job.r * (3 - following)))
        density = _density(into, job)
        return replace(
            s,
            probe=pick(fresh, into, stepped),
            t=s.t + 1,
            best_loss=torch.where(fresh, math.inf, s.best_loss),
            share=torch.where(fresh, _share(density), s.share),
            density=torch.where(fresh, density, s.density),
            length=torch.where(fresh, 1.0, s.length),
        )

    @property
    def phases(self) -> list[int]:
        """Evaluations in each phase."""
        long = min(math.ceil(0.3 * self.steps), self.steps // 2)
        return [long, long, self.steps + 1 - 2 * long]

    def _phase(self, t: Tensor) -> Tensor:
        """Number of the phase, from 0, that clock `t` lies in."""
        first, second, _ = accumulate(self.phases)
        return (t >= first).long() + (t >= second)

    def due(self, t: Tensor) -> Tensor:
        phase = self._phase(t)
        begins = torch.tensor([0, *accumulate(self.phases[:2])], device=t.device)
        every = torch.tensor([max(int(0.04 * n), 1) for n in self.phases], device=t.device)
        since = t - begins[phase]
        return (since > 0) & (since % every[phase] == 0)


def _density(x: Tensor, job: Job) -> Tensor:
    """The share of coordinates that differ from the clean input: (B,)."""
    return (x != job.x).flatten(1).float().mean(1)


def _share(density: Tensor) -> Tensor:
    return torch.where(density > 0, density / 1.5, _FIRST_SHARE)
