"""Carlini and Wagner in linf: the bound tau on every component shrinks with success."""

from dataclasses import dataclass

import torch
from torch import Tensor

from blindspots.attacks.adam import Adam
from blindspots.attacks.attack import State, cosine, full, zeros
from blindspots.problem import Job, Problem, Seen
from blindspots.rows import col

_GROWTH = 1.2  # of the bound per step, until the first success
_BREATH = (0.05, 0.001)  # by how much it shrinks after a success and grows after a failure later, first and last
_TINY = 1e-12


@dataclass(frozen=True)
class LinfState(State):
    adam: Adam
    tau: Tensor  # (B,) the bound
    least: Tensor  # (B,) smallest norm of a success so far
    done: Tensor  # (B,) bool


@dataclass(frozen=True)
class LinfSearch:
    """min c max(f + kappa, 0) + sum_i max(|d_i| - tau, 0) in the box, by Adam in steps of the size of tau."""

    steps: int
    confidence: float

    def init(self, problem: Problem, job: Job) -> LinfState:
        none = torch.zeros_like(job.y, dtype=torch.bool)
        return LinfState(job.start, zeros(job), Adam.blank(job.x), full(job, 0), full(job, torch.inf), none)

    def step(self, problem: Problem, job: Job, state: LinfState, seen: Seen) -> LinfState:
        assert seen.grad is not None
        threat, short = problem.threat, seen.margin + self.confidence >= 0
        norm = threat.distance(state.probe, job.x)
        least = torch.where(short, state.least, norm.minimum(state.least))
        tau = self._bound(problem, state, seen, least, ~short)
        adam = state.adam.take(col(short.to(norm), job.x) * seen.grad, 0.5, 0.9)
        rate = tau * cosine(state.t, self.steps, 1.0, 0.01)
        probe = threat.project(state.probe - col(rate, job.x) * adam.direction, job.within(tau))
        return LinfState(probe, state.t + 1, adam, tau, least, state.done)

    def _bound(self, problem: Problem, state: LinfState, seen: Seen, least: Tensor, won: Tensor) -> Tensor:
        assert seen.grad is not None
        threat, breath = problem.threat, cosine(state.t, self.steps, *_BREATH)
        linear = (seen.margin + self.confidence).abs() / threat.dual(seen.grad).clamp_min(_TINY)
        tau = torch.where(state.t == 0, linear, state.tau)
        longer = torch.where(least.isinf(), tau * _GROWTH, (tau * (1 + breath)).minimum(least))
        return torch.where(won, tau.minimum(least) * (1 - breath), longer).clamp_max(threat.span)
