"""Greedy search: every move is evaluated, the best one is made, and so on as long as that helps."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from blindspots.attacks.attack import Attack, Facts, State, full, zeros
from blindspots.capabilities import Enumerates
from blindspots.lattice import Neighbours
from blindspots.problem import Job, Need, Problem, Seen
from blindspots.rows import pick


@dataclass(frozen=True)
class GreedyState(State):
    base: Tensor  # (B, ...) the point whose moves are evaluated
    order: Tensor  # (B, M) int64 the moves, legal ones first
    total: Tensor  # (B,) int64 how many are legal,
    number: Tensor  # (B,) int64 and how many of these have been proposed
    best: Tensor  # (B, ...) the best point so far
    loss: Tensor  # (B,) its loss


@dataclass(frozen=True)
class Greedy(Attack[GreedyState, Neighbours]):
    """Kuleshov et al. 2018 (Adversarial Examples for Natural Language Classification Problems), algorithm 1.

    A round's questions do not depend on its answers, so the engine asks them in lanes.

    Args:
        queries: queries per row.
    """

    queries: int = 5000

    facts: ClassVar[Facts] = Facts(
        paper="Kuleshov et al.: Adversarial Examples for Natural Language Classification Problems",
        year=2018,
        family="moves",
        cost="queries forwards at most",
        use="tokens and categories; exact where moves add up",
    )
    need: ClassVar[Need] = Need.VALUE
    requires: ClassVar[type] = Enumerates
    threats: ClassVar[tuple[str, ...]] = ("substitutions",)

    @property
    def looks(self) -> int:
        return self.queries

    def init(self, problem: Problem[Neighbours], job: Job) -> GreedyState:
        nothing = zeros(job)
        order = torch.zeros_like(problem.threat.legal(job.start, job), dtype=torch.int64)
        return GreedyState(job.start, nothing, job.start, order, nothing, nothing, job.start, full(job, math.inf))

    def step(self, problem: Problem[Neighbours], job: Job, state: GreedyState, seen: Seen) -> GreedyState:
        better = seen.loss < state.loss
        best, loss = pick(better, state.probe, state.best), torch.where(better, seen.loss, state.loss)
        over = state.number >= state.total
        base, order, total = state.base, state.order, state.total
        if bool(over.any()):
            base, (order, total) = pick(over, best, base), self._round(problem, job, state, best, over)
        number = torch.where(over, 0, state.number)
        # Beyond the last move there is nothing to propose: such a row is exhausted.
        place = number.clamp_max(order.shape[1] - 1)[:, None]
        probe = pick(number < total, problem.threat.move(base, job, order.gather(1, place)[:, 0]), base)
        return GreedyState(probe, state.t + 1, base, order, total, number + 1, best, loss)

    def _round(
        self, problem: Problem[Neighbours], job: Job, state: GreedyState, best: Tensor, over: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The moves of a new round where one is `over` (B,): none where the last round gained nothing."""
        moved = (best != state.base).flatten(1).any(1) | (state.t == 0)
        legal = problem.threat.legal(best, job) & moved[:, None]
        order = legal.int().argsort(dim=1, descending=True, stable=True)
        return pick(over, order, state.order), torch.where(over, legal.sum(1), state.total)

    def ahead(self, state: GreedyState) -> Tensor:
        return (state.total - state.number).clamp_min(0)

    def exhausted(self, state: GreedyState) -> Tensor:
        return super().exhausted(state) | ((state.total == 0) & (state.t > 0))
