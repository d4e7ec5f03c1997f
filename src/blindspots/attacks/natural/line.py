"""One change that grows until it fools the model, then bisection: what all corruptions share."""

from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from blindspots.attacks.attack import Attack, State, full, zeros
from blindspots.problem import Job, Need, Problem, Seen

_LESS = 0.97  # share of the smallest amount so far at which another draw must succeed
_WIDER, _NARROWER = 1.01, 0.985  # the guess of how much fits into the ball, after a probe inside, and after one outside


@dataclass(frozen=True)
class LineState(State):
    amount: Tensor  # (B,) in (0, 1], of which `probe` was made
    low: Tensor  # (B,) largest amount of this draw at which no success is known
    high: Tensor  # (B,) smallest at which there is one, inf until then
    best: Tensor  # (B,) smallest of all draws that have ended, inf until there is one
    edge: Tensor  # (B,) about the largest that lies in the ball
    halved: Tensor  # (B,) int64 halvings of this draw
    draw: Tensor  # (B,) int64


class LineSearch(Attack[LineState]):
    """Amounts grow evenly until one succeeds; the interval before it is bisected.

    Only the first draw goes through all amounts. Every other one gets a single evaluation: a little below the smallest
    success so far, or, where there is none, at about the largest amount that fits into the ball. Successes there are
    bisected.
    """

    steps: int
    halvings: int

    need: ClassVar[Need] = Need.LABEL
    minimal: ClassVar[bool] = True

    @property
    def rounds(self) -> int:
        """How many random draws of the change are tried."""
        return 1

    @abstractmethod
    def at(self, problem: Problem, job: Job, amount: Tensor, draw: Tensor) -> Tensor:
        """The inputs `job.x` with the `amount` (B,) of draw number `draw` (B,) of the change, anywhere."""

    @property
    def looks(self) -> int:
        return self.steps + self.halvings + (self.rounds - 1) * (1 + self.halvings)

    def exhausted(self, state: LineState) -> Tensor:
        return state.draw >= self.rounds

    def init(self, problem: Problem, job: Job) -> LineState:
        t, none, never = zeros(job), full(job, 0.0), full(job, torch.inf)
        return self._propose(problem, job, LineState(job.x, t, none, none, never, never, none, t, t))

    def step(self, problem: Problem, job: Job, state: LineState, seen: Seen) -> LineState:
        inside = problem.threat.distance(state.probe, job.x) <= job.r
        low = torch.where(seen.won, state.low, state.amount)
        high = torch.where(seen.won, state.amount, state.high)
        halved = state.halved + state.high.isfinite()
        hopeless = (state.draw > 0) | (state.amount >= 1 - 0.5 / self.steps) | ~inside
        over = torch.where(high.isfinite(), halved >= self.halvings, hopeless)
        wider, narrower = state.edge.maximum(_WIDER * state.amount), state.edge.minimum(_NARROWER * state.amount)
        edge = torch.where(inside, wider, narrower).clamp_max(1)
        state = replace(state, t=state.t + 1, low=low, high=high, halved=halved, edge=edge)
        return self._propose(problem, job, _next_draw(over, state))

    def _propose(self, problem: Problem, job: Job, s: LineState) -> LineState:
        single = (_LESS * s.best).minimum(s.edge)
        forward = torch.where(s.draw > 0, single, (s.low + 1 / self.steps).clamp_max(1))
        amount = torch.where(s.high.isfinite(), (s.low + s.high) / 2, forward)
        probe = problem.threat.clip(self.at(problem, job, amount, s.draw), job)
        return replace(s, probe=probe, amount=amount)


def _next_draw(over: Tensor, s: LineState) -> LineState:
    return replace(
        s,
        low=torch.where(over, 0, s.low),
        high=torch.where(over, torch.inf, s.high),
        best=torch.where(over, s.best.minimum(s.high), s.best),
        halved=torch.where(over, 0, s.halved),
        draw=s.draw + over,
    )
