"""What searches with a population share: points (B, S, P) of each row, drawn by lot and kept within the threat."""

import torch
from torch import Tensor

from blindspots.lattice import Substitutions
from blindspots.problem import Job
from blindspots.random import uniform


def drawn(weight: Tensor, u: Tensor) -> Tensor:
    """The place (B, S) that the lots `u` (B, S) in [0, 1) draw, with chances that go as `weight` (B, S, K) >= 0."""
    total = weight.cumsum(2)
    return (total <= u[..., None] * total[..., -1:]).sum(2).clamp_max(weight.shape[2] - 1)


def kept_within(x: Tensor, job: Job, lot: Tensor) -> Tensor:
    """Points (B, S, P), of whose changes those with the largest lots are taken back where they are too many."""
    changed = x != job.x[:, None]
    rank = lot.masked_fill(~changed, torch.inf).argsort(2).argsort(2)
    return torch.where(rank < job.r[:, None, None], x, job.x[:, None])


def moved(threat: Substitutions, job: Job, x: Tensor, clock: Tensor, stream: int) -> Tensor:
    """A random move (B, S) of each point (B, S, P); -1 where there is none."""
    legal = threat.legal_each(x, job)
    lots = uniform(job.key, clock, stream, (2, x.shape[1]))
    place = drawn(legal.sum(3), lots[:, 0])
    here = legal.gather(2, place[:, :, None, None].expand(-1, -1, 1, legal.shape[3]))[:, :, 0]
    return torch.where(here.any(2), place * legal.shape[3] + drawn(here.int(), lots[:, 1]), -1)
