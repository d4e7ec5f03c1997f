"""Attacks that ask in rounds: what is asked in one does not depend on its answers, so all of it can share batches."""

import math
from abc import abstractmethod
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from typing_extensions import TypeVar

from blindspots.attacks.attack import Attack, State, T, full, zeros
from blindspots.problem import Job, Problem, Seen
from blindspots.rows import tree

_AT_FIRST = 4  # questions of a round that share a batch


@dataclass(frozen=True)
class RoundState(State):
    codes: Tensor  # (B, W) int64 what a round asks, one number for each question, those that are asked first
    total: Tensor  # (B,) int64 how many are asked; 0: none, the search has ended
    number: Tensor  # (B,) int64 how many have been answered
    losses: Tensor  # (B, W) the answers by code; inf where there is none
    rounds: Tensor  # (B,) int64 rounds that are over


S = TypeVar("S", bound=State)
R = TypeVar("R", bound=RoundState)


class Ahead(Attack[S, T]):
    """Where probes are known ahead, the engine asks for several at once, and gives their answers at once."""

    @abstractmethod
    def proposals(self, problem: Problem[T], job: Job, state: S, lanes: int) -> Tensor:
        """The next probes, (B, lanes, ...): this one and what follows it; those beyond `ahead` mean nothing."""

    @abstractmethod
    def absorb(self, problem: Problem[T], job: Job, state: S, seen: Seen, count: Tensor) -> S:
        """The state after the first `count` (B,) of the proposals, of which this was `seen` (B, K, ...)."""

    def step(self, problem: Problem[T], job: Job, state: S, seen: Seen) -> S:
        return self.absorb(problem, job, state, tree(lambda t: t[:, None], seen), torch.ones_like(state.t))


class Rounds(Ahead[R, T]):
    """The first round asks about code 0 alone, the start."""

    @abstractmethod
    def points(self, problem: Problem[T], job: Job, state: R, codes: Tensor) -> Tensor:
        """What the `codes` (B, K) of this round ask about: (B, K, ...). Code 0 always asks about an allowed point."""

    @abstractmethod
    def next_round(self, problem: Problem[T], job: Job, state: R) -> R:
        """The state with new `codes` and `total` (see `asking`), for rows whose round has been answered."""

    def proposals(self, problem: Problem[T], job: Job, state: R, lanes: int) -> Tensor:
        return self.points(problem, job, state, next_codes(state, lanes))

    def absorb(self, problem: Problem[T], job: Job, state: R, seen: Seen, count: Tensor) -> R:
        lanes = seen.loss.shape[1]
        answered = torch.arange(lanes, device=count.device) < count[:, None]
        loss = seen.loss.masked_fill(~answered, math.inf)
        losses = state.losses.scatter_reduce(1, next_codes(state, lanes), loss, "amin")
        state = replace(state, t=state.t + count, number=state.number + count, losses=losses)
        at = ((state.number >= state.total) & (count > 0) & (state.total > 0)).nonzero()[:, 0]
        if len(at):
            state = state.put(at, self._turned(problem, job[at], state[at]))
        return replace(state, probe=self.proposals(problem, job, state, 1)[:, 0])

    def _turned(self, problem: Problem[T], job: Job, state: R) -> R:
        after = self.next_round(problem, job, state)
        return replace(after, number=torch.zeros_like(state.number), rounds=state.rounds + 1)

    def ahead(self, state: R) -> Tensor:
        """Few at first, then as many as have been answered: what is asked beyond a success was for nothing."""
        return (state.total - state.number - 1).clamp_min(0).minimum(_AT_FIRST - 1 + state.number)

    def exhausted(self, state: R) -> Tensor:
        return super().exhausted(state) | (state.total == 0)

    def unfinished(self, state: R) -> Tensor:
        """Where there is more to ask than `looks` allow."""
        return super().exhausted(state) & (state.total > 0)


def first_round(job: Job, width: int) -> RoundState:
    """Of at most `width` codes in any round."""
    codes = torch.zeros((len(job.y), width), dtype=torch.int64, device=job.y.device)
    losses = full(job, math.inf)[:, None].repeat(1, width)
    return RoundState(job.start, zeros(job), codes, zeros(job) + 1, zeros(job), losses, zeros(job))


def asking(wanted: Tensor, promise: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """`codes` and `total` of a round that asks what is `wanted` (B, W), in order, or by its `promise`, lowest first.

    A row leaves with its first success, so what promises one is asked first.
    """
    total = wanted.sum(1)
    if promise is None:
        order = wanted.int().argsort(dim=1, descending=True, stable=True)
    else:
        order = promise.argsort(dim=1, stable=True)
        order = order.gather(1, wanted.gather(1, order).int().argsort(dim=1, descending=True, stable=True))
    return order.masked_fill((total == 0)[:, None], 0), total


def next_codes(state: RoundState, lanes: int) -> Tensor:
    """The codes that are asked next, this one and what follows it: (B, lanes)."""
    place = state.number[:, None] + torch.arange(lanes, device=state.t.device)
    return state.codes.gather(1, place.clamp_max(state.codes.shape[1] - 1))
