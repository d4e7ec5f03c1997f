"""Points that are the same, so that none is asked about twice in a round: by 64 bits that stand for each."""

import torch
from torch import Tensor

from blindspots.lattice import Substitutions
from blindspots.random import keys
from blindspots.rows import Around


def token_marks(tokens: Tensor, place: Tensor) -> Tensor:
    """One number for each token (B, ...) at its place, which broadcasts: int64."""
    return keys(0, place.expand(tokens.shape), tokens.long())


def marks(x: Tensor) -> Tensor:
    """One number for each point (B, K, P), the sum of those of its tokens: (B, K) int64.

    Points that differ have the same with a chance of 2^-64.
    """
    return token_marks(x, torch.arange(x.shape[2], device=x.device)).sum(2)


def first_of_each(mark: Tensor) -> Tensor:
    """For each of the marks (B, W) the place of the first that is the same: (B, W) int64."""
    order = mark.argsort(dim=1, stable=True)
    ranked = mark.gather(1, order)
    new = torch.cat([torch.ones_like(ranked[:, :1], dtype=torch.bool), ranked[:, 1:] != ranked[:, :-1]], 1)
    begins = torch.where(new, torch.arange(mark.shape[1], device=mark.device), 0).cummax(1).values
    return torch.empty_like(order).scatter(1, order, order.gather(1, begins))


def children_marks(threat: Substitutions, around: Around, x: Tensor) -> Tensor:
    """One number for each point that the change of an unchanged place of `x` (B, K, P) leads to: (B, K, P, C)."""
    place = torch.arange(x.shape[2], device=x.device)[:, None]
    clean, candidates = token_marks(around.x[:, :, None], place), token_marks(threat.tokens(around), place)
    return marks(x)[:, :, None, None] + (candidates - clean)[:, None]
