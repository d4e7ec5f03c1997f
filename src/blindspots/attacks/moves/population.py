"""What searches with a population share: points (B, S, P) of each row, drawn by lot and kept within the threat."""

import math
from dataclasses import dataclass, replace
from typing import Self, TypeVar

import torch
from torch import Tensor
from torch.nn.functional import pad

from blindspots.attacks.attack import full
from blindspots.attacks.moves.distinct import first_of_each
from blindspots.attacks.rounds import RoundState, asking, first_round
from blindspots.problem import Job
from blindspots.rows import Rows

_KNOWN = 1024  # points of a row whose losses are remembered


@dataclass(frozen=True)
class Known(Rows):
    """The points that a row was told of last."""

    marks: Tensor  # (B, _KNOWN) int64, 0 where there is none
    losses: Tensor  # (B, _KNOWN), inf where there is none

    def taught(self, marks: Tensor, losses: Tensor) -> Self:
        """With points (B, W) and their losses, inf for those that were not asked about."""
        both = torch.cat([losses, self.losses], 1)
        last = both.isinf().int().argsort(dim=1, stable=True)[:, :_KNOWN]
        return type(self)(torch.cat([marks, self.marks], 1).gather(1, last), both.gather(1, last))


@dataclass(frozen=True)
class PopulationState(RoundState):
    """Code 0 asks about a point of its own, the others about the members of a generation, about each point once."""

    first: Tensor  # (B, W) int64 the code that asks about the same point; W + k: it is number k of those that are known
    marks: Tensor  # (B, W) int64 of the points that codes ask about, 0 for code 0
    known: Known

    @property
    def answers(self) -> Tensor:
        """The losses (B, W) of all that a round is about."""
        return torch.cat([self.losses, self.known.losses], 1).gather(1, self.first)


P = TypeVar("P", bound=PopulationState)


def first_generation(job: Job, width: int) -> PopulationState:
    """Of at most `width` codes in any round."""
    first = torch.arange(width, device=job.r.device).repeat(len(job.r), 1)
    none = full(job, math.inf)[:, None].repeat(1, _KNOWN)
    known = Known(torch.zeros_like(none).long(), none)
    return PopulationState(**vars(first_round(job, width)), first=first, marks=torch.zeros_like(first), known=known)


def next_generation(state: P, marks: Tensor, wanted: Tensor, going: Tensor) -> P:
    """A round that asks about the points with these `marks` (B, W - 1), as far as they are `wanted` and not known.

    Where nothing is new, it asks about code 0 once more, as long as it is `going` (B,).
    """
    known, width = state.known.taught(state.marks, state.losses), state.codes.shape[1]
    code = torch.arange(1, width, device=marks.device)
    first = first_of_each(torch.cat([known.marks, torch.where(wanted, marks, code)], 1))[:, _KNOWN:] - _KNOWN
    codes, total = asking(pad(wanted & (first + 1 == code) & going[:, None], (1, 0)))
    return replace(
        state,
        codes=codes,
        total=torch.where(going, total.clamp_min(1), 0),
        losses=torch.full_like(state.losses, math.inf),
        first=pad(torch.where(first < 0, first + _KNOWN + width, first + 1), (1, 0)),
        marks=pad(marks.masked_fill(~wanted, 0), (1, 0)),
        known=known,
    )


def drawn(weight: Tensor, u: Tensor) -> Tensor:
    """The place (B, S) that the lots `u` (B, S) in [0, 1) draw, with chances that go as `weight` (B, S, K) >= 0."""
    total = weight.cumsum(2)
    return (total <= u[..., None] * total[..., -1:]).sum(2).clamp_max(weight.shape[2] - 1)


def kept_within(x: Tensor, job: Job, lot: Tensor) -> Tensor:
    """Points (B, S, P), of whose changes those with the largest lots are taken back where they are too many."""
    changed = x != job.x[:, None]
    rank = lot.masked_fill(~changed, torch.inf).argsort(2).argsort(2)
    return torch.where(rank < job.r[:, None, None], x, job.x[:, None])


def at_place(legal: Tensor, lot: Tensor) -> tuple[Tensor, Tensor]:
    """A place (B, S) of each point, drawn by its number of `legal` moves (B, S, P, C); and these moves (B, S, C)."""
    place = drawn(legal.sum(3), lot)
    return place, legal.gather(2, place[:, :, None, None].expand(-1, -1, 1, legal.shape[3]))[:, :, 0]
