"""What searches with a population share: points (B, S, P) of each row, drawn by lot and kept within the threat."""

import torch
from torch import Tensor

from blindspots.problem import Job


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
