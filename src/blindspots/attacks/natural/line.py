"""One change, more and more of it until it fools, then bisected: what all corruptions share."""

from abc import abstractmethod
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from blindspots.attacks.attack import Attack, State, full, zeros
from blindspots.problem import Job, Problem, Seen

_LESS = 0.97  # share of the smallest amount so far that another draw has to do with


@dataclass(frozen=True)
class LineState(State):
    amount: Tensor  # (B,) in (0, 1], of which `probe` was made
    low: Tensor  # (B,) largest amount of this draw at which no success is known
    high: Tensor  # (B,) smallest at which there is one, inf until then
    best: Tensor  # (B,) smallest of all draws that have ended, inf until there is one
    halved: Tensor  # (B,) int64 halvings of this draw
    draw: Tensor  # (B,) int64


class LineSearch(Attack):
    """Amounts grow evenly until one wins; the stretch before it is bisected.

    The first draw goes through all amounts, the next one too if there was no success. After a success another draw gets
    one look a little below the smallest amount so far, and only what wins there is bisected.
    """

    steps: int
    halvings: int

    @property
    def rounds(self) -> int:
        """How many random draws of the change are tried."""
        return 1

    @abstractmethod
    def at(self, problem: Problem, job: Job, amount: Tensor, draw: Tensor) -> Tensor:
        """The inputs `job.x` with the `amount` (B,) of draw number `draw` (B,) of the change, anywhere."""

    @property
    def looks(self) -> int:
        return self.steps + self.halvings + (self.rounds - 1) * max(self.steps, 1 + self.halvings)

    def exhausted(self, state: LineState) -> Tensor:
        return state.draw >= self.rounds

    def init(self, problem: Problem, job: Job) -> LineState:
        t, none, never = zeros(job), full(job, 0.0), full(job, torch.inf)
        return self._propose(problem, job, LineState(job.x, t, none, none, never, never, t, t))

    def step(self, problem: Problem, job: Job, state: LineState, seen: Seen) -> LineState:
        low = torch.where(seen.won, state.low, state.amount)
        high = torch.where(seen.won, state.amount, state.high)
        halved = state.halved + state.high.isfinite()
        over = torch.where(high.isfinite(), halved >= self.halvings, self._hopeless(problem, job, state))
        state = replace(state, t=state.t + 1, low=low, high=high, halved=halved)
        return self._propose(problem, job, replace(_next_draw(over, state), t=state.t))

    def _hopeless(self, problem: Problem, job: Job, s: LineState) -> Tensor:
        """(B,) bool: where the probe does not win, more of the same draw is of no use."""
        outside = problem.threat.norm(s.probe - job.x) > job.r
        return (s.amount >= 1 - 0.5 / self.steps) | s.best.isfinite() | outside

    def _propose(self, problem: Problem, job: Job, s: LineState) -> LineState:
        climbing = torch.where(s.best.isfinite(), _LESS * s.best, (s.low + 1 / self.steps).clamp_max(1))
        amount = torch.where(s.high.isfinite(), (s.low + s.high) / 2, climbing)
        probe = self.at(problem, job, amount, s.draw).clamp(problem.threat.lo, problem.threat.hi)
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
