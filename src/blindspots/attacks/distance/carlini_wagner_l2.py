"""Carlini and Wagner in l2, quickly: one descent, during which the constant follows success."""

from dataclasses import dataclass

import torch
from torch import Tensor

from blindspots.attacks.adam import Adam
from blindspots.attacks.attack import State, cosine, full, zeros
from blindspots.problem import Job, Problem, Seen
from blindspots.rows import col

_MOST = 1e10  # the paper's largest constant
_GROWTH = 1.2  # of the constant per step, until the first success
_BREATH = (0.1, 0.002)  # by how much it shrinks after a success and grows after a failure later, first and last
_TINY = 1e-12


@dataclass(frozen=True)
class L2State(State):
    adam: Adam
    const: Tensor  # (B,) c, what a unit of margin is worth in squared distance
    found: Tensor  # (B,) bool: there was a success
    done: Tensor  # (B,) bool


@dataclass(frozen=True)
class L2Search:
    """min |d|^2 + c max(f + kappa, 0) in the box, by projected Adam."""

    steps: int
    learning_rate: float
    leap: float
    confidence: float

    def init(self, problem: Problem, job: Job) -> L2State:
        none = torch.zeros_like(job.y, dtype=torch.bool)
        return L2State(job.start, zeros(job), Adam.blank(job.x), full(job, 0), none, none)

    def step(self, problem: Problem, job: Job, state: L2State, seen: Seen) -> L2State:
        assert seen.grad is not None
        threat, short = problem.threat, seen.margin + self.confidence >= 0
        d = state.probe - job.x
        const = self._at_boundary(problem, state, seen, d, ~short)
        g = 2 * d + col(const * short, d) * seen.grad
        adam = state.adam.take(g, 0.9, 0.9)
        found = state.found | ~short
        rate = torch.where(found, cosine(state.t, self.steps, self.learning_rate, self.learning_rate / 1000), self.leap)
        probe = threat.clip(state.probe - threat.width * col(rate, d) * adam.direction, job)
        breath = cosine(state.t, self.steps, *_BREATH)
        followed = const * torch.where(found, torch.where(short, 1 + breath, 1 - breath), _GROWTH)
        return L2State(probe, state.t + 1, adam, followed.clamp_max(_MOST), found, state.done)

    def _at_boundary(self, problem: Problem, state: L2State, seen: Seen, d: Tensor, won: Tensor) -> Tensor:
        """The constant, set anew at the first step and at the first success to twice what balances the two terms.

        At a nearest boundary point 2 d = -c grad f; a linear model has it at |d| = f / |grad f|.
        """
        assert seen.grad is not None
        slope = problem.threat.dual(seen.grad).clamp_min(_TINY)
        first = 4 * (seen.margin + self.confidence).abs() / slope.square().clamp_min(_TINY)
        const = torch.where(state.t == 0, first.clamp_max(_MOST), state.const)
        balance = 4 * problem.threat.norm(d) / slope
        return torch.where(won & ~state.found, const.minimum(balance), const)
