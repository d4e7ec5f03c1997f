"""Carlini and Wagner in l2 as published: a change of variables and a binary search on the constant."""

from dataclasses import dataclass

import torch
from torch import Tensor

from blindspots.attacks.adam import Adam
from blindspots.attacks.attack import State, full, zeros
from blindspots.ball import Ball
from blindspots.problem import Job, Problem, Seen
from blindspots.rows import col, pick

_INSIDE = 1 - 1e-6  # tanh reaches the box's border nowhere
_UNBOUNDED = 1e10


@dataclass(frozen=True)
class TanhState(State):
    w: Tensor  # (B, ...) the free variable
    adam: Adam
    const: Tensor  # (B,) c
    low: Tensor  # (B,) largest constant that failed
    high: Tensor  # (B,) smallest one that was enough
    found: Tensor  # (B,) bool: success with this constant
    level: Tensor  # (B,) the objective when it was last checked
    turn: Tensor  # (B,) int64 steps with this constant
    round: Tensor  # (B,) int64 constants tried
    done: Tensor  # (B,) bool


@dataclass(frozen=True)
class TanhSearch:
    """min |d|^2 + c max(f + kappa, 0) over w, x + d = lo + (hi - lo) (1 + tanh w) / 2; every row has its own c."""

    searches: int
    steps: int
    learning_rate: float
    initial_const: float
    confidence: float

    def init(self, problem: Problem, job: Job) -> TanhState:
        w, none = _free(problem.threat, job.x), torch.zeros_like(job.y, dtype=torch.bool)
        inf, zero = full(job, torch.inf), full(job, 0)
        return TanhState(
            _image(problem.threat, w, job), zeros(job), w, Adam.blank(w), full(job, self.initial_const),
            zero, full(job, _UNBOUNDED), none, inf, zeros(job), zeros(job), none,
        )  # fmt: skip

    def step(self, problem: Problem, job: Job, state: TanhState, seen: Seen) -> TanhState:
        assert seen.grad is not None
        d, short = state.probe - job.x, seen.margin + self.confidence
        adam = state.adam.take(
            (2 * d + col(state.const * (short > 0), d) * seen.grad) * (1 - _tanh(state.w).square()), 0.9, 0.999
        )  # Adam is blind to the constant factor (hi - lo) / 2 of the slope
        loss = problem.threat.norm(d).square() + state.const * short.clamp_min(0)
        check = state.turn % max(1, self.steps // 10) == 0
        over = (state.turn + 1 >= self.steps) | (check & (loss > 0.9999 * state.level))
        level, found = torch.where(check, loss, state.level), state.found | (short < 0)
        const, low, high = self._search(state, found)
        w = pick(over, _free(problem.threat, job.x), state.w - self.learning_rate * adam.direction)
        round = state.round + over
        return TanhState(
            _image(problem.threat, w, job), state.t + 1, w, adam.reset(over), torch.where(over, const, state.const),
            torch.where(over, low, state.low), torch.where(over, high, state.high), found & ~over,
            level.masked_fill(over, torch.inf), (state.turn + 1).masked_fill(over, 0), round, round >= self.searches,
        )  # fmt: skip

    def _search(self, state: TanhState, found: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The next constant of a row whose turn is over: ten times as large until one suffices, then by bisection."""
        low = torch.where(found, state.low, state.low.maximum(state.const))
        high = torch.where(found, state.high.minimum(state.const), state.high)
        return torch.where(high < _UNBOUNDED, (low + high) / 2, 10 * state.const), low, high


def _image(threat: Ball, w: Tensor, job: Job) -> Tensor:
    return threat.clip(threat.lo + threat.width * (1 + _tanh(w)) / 2, job)


def _free(threat: Ball, x: Tensor) -> Tensor:
    return (_INSIDE * (2 * (x - threat.lo) / threat.width - 1)).double().atanh().to(x.dtype)


def _tanh(w: Tensor) -> Tensor:
    """By way of float64: in float32 its last bit depends on a row's place in memory."""
    return w.double().tanh().to(w.dtype)
