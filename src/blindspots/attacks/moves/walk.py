"""What searches share that go from one point to a better one."""

import math
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from torch import Tensor

from blindspots.attacks.attack import full, zeros
from blindspots.attacks.rounds import RoundState, first_round
from blindspots.lattice import Neighbours
from blindspots.problem import Job, Problem
from blindspots.rows import pick


@dataclass(frozen=True)
class WalkState(RoundState):
    """From point to point: code 0 of a round is the point itself, code 1 + m where move m leads."""

    base: Tensor  # (B, ...) the point whose moves are evaluated
    loss: Tensor  # (B,) its loss
    last: Tensor  # (B,) int64 the move that led there, -1


def first_walk(job: Job, width: int) -> WalkState:
    """At the start, with at most `width` codes in a round."""
    return WalkState(**vars(first_round(job, width)), base=job.start, loss=full(job, math.inf), last=zeros(job) - 1)


W = TypeVar("W", bound=WalkState)


def walked(problem: Problem[Neighbours], job: Job, state: W) -> tuple[W, Tensor]:
    """The best move of a round is made where that lowers the loss, and answers are forgotten; (B,) bool: where."""
    least, best = state.losses[:, : 1 + problem.threat.moves(job)].min(1)
    better = least < state.loss
    there = problem.threat.leads(state.base, job, best[:, None] - 1)[:, 0]
    return replace(
        state,
        base=pick(better, there, state.base),
        loss=torch.where(better, least, state.loss),
        last=torch.where(better, best - 1, state.last),
        losses=torch.full_like(state.losses, math.inf),
    ), better


def by_place(moves: Tensor, job: Job) -> Tensor:
    """What belongs to the moves (B, M), by places and candidates: (B, P, C)."""
    return moves.reshape(*job.x.shape, -1)
