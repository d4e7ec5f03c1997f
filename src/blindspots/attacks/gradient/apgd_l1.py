"""APGD's form for l1 balls: sparse steps whose share of coordinates follows the best point's own sparsity."""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from blindspots.attacks.attack import State, full, zeros
from blindspots.attacks.directions import sparse_sign
from blindspots.problem import Job, Problem, Seen
from blindspots.rows import col, pick

_SHRINK, _LEAST = 1.5, 0.1  # step length: divided by the first, never below the second (in radii)


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
    """

    steps: int
    random_start: bool

    def init(self, problem: Problem, job: Job) -> SparseState:
        x = problem.threat.sample(job.x, 3 * job.r, job.key) if self.random_start else job.start
        fifth = full(job, 0.2)
        return SparseState(
            x, zeros(job), x, torch.zeros_like(x), full(job, math.inf), fifth, torch.ones_like(fifth), full(job, 1.0)
        )

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
        """Every 4 % of the steps: fewer coordinates if the best point is sparser, else a shorter step."""
        due = (s.t > 0) & (s.t % max(int(0.04 * self.steps), 1) == 0)
        density = (s.best != job.x).flatten(1).float().mean(1)
        sparser = density < 0.95 * s.density
        length = torch.where(sparser, 1.0, (s.length / _SHRINK).clamp_min(_LEAST))
        checked = replace(
            s,
            share=torch.where(due, density / 1.5, s.share),
            density=torch.where(due, density, s.density),
            length=torch.where(due, length, s.length),
        )
        return checked, pick(due & sparser, s.best, s.probe), pick(due & sparser, s.best_grad, grad)

    def _move(self, problem: Problem, job: Job, s: SparseState, x: Tensor, grad: Tensor) -> SparseState:
        radius = job.r * self._scale(s.t)
        count = (s.share * grad[0].numel()).long().clamp_min(1)
        stepped = problem.threat.project(x - col(radius * s.length, x) * sparse_sign(grad, count), job.x, radius)
        fresh = self._scale(s.t + 1) != self._scale(s.t)  # a smaller ball begins: on from the best point so far
        into = problem.threat.project(s.best, job.x, job.r * self._scale(s.t + 1))
        density = (into != job.x).flatten(1).float().mean(1)
        return replace(
            s,
            probe=pick(fresh, into, stepped),
            t=s.t + 1,
            best_loss=torch.where(fresh, math.inf, s.best_loss),
            share=torch.where(fresh, density / 1.5, s.share),
            density=torch.where(fresh, density, s.density),
            length=torch.where(fresh, 1.0, s.length),
        )

    def _scale(self, t: Tensor) -> Tensor:
        """Radius of the phase that clock `t` lies in, in units of the real one."""
        return 3.0 - (t > 0.3 * self.steps).float() - (t > 0.6 * self.steps).float()
