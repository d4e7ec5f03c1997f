"""Directions of descent that several attacks share."""

import torch
from torch import Tensor

from blindspots.ball import L2, Ball
from blindspots.geometry import TINY
from blindspots.problem import Job, Problem
from blindspots.rows import col

_EUCLIDEAN = L2()


def sparse_sign(g: Tensor, count: Tensor) -> Tensor:
    """Signs of the `count` (B,) largest entries of each row of `g` (B, ...), divided by their number: unit l1 norm."""
    flat = g.flatten(1)
    chosen = torch.where(ranks(-flat.abs()) < count[:, None], flat.sign(), 0.0)
    return (chosen / chosen.abs().sum(1, keepdim=True).clamp_min(1)).view_as(g)


def ranks(flat: Tensor) -> Tensor:
    """The place of every entry in its row (B, N), from 0 for the least; ties go to the lower index."""
    order = flat.argsort(dim=1, stable=True)
    return torch.empty_like(order).scatter_(1, order, torch.arange(flat.shape[1], device=flat.device).expand_as(order))


def ascent(threat: Ball, g: Tensor, coordinates: float) -> Tensor:
    """The unit step along which the loss grows fastest; in l1, spread over a share of the coordinates.

    The steepest l1 direction is one coordinate, which a box stops at once: a step over several gets further
    (Tramer and Boneh 2019, SLIDE).
    """
    if threat.p != 1:
        return threat.steepest(g)
    count = torch.full((len(g),), max(1, round(coordinates * g[0].numel())), device=g.device)
    return sparse_sign(g, count)


def unit(g: Tensor) -> Tensor:
    """`g` with every row scaled to Euclidean length 1, however small it is; a zero row stays zero."""
    return _EUCLIDEAN.steepest(g)


def descent(problem: Problem, job: Job, x: Tensor, u: Tensor, length: Tensor) -> Tensor:
    """From `x` against `u`, `length` (B,) times, and back into ball and box."""
    return problem.threat.project(x - col(length, x) * u, job)


def carried(problem: Problem, job: Job, x: Tensor, last: Tensor, new: Tensor, share: float) -> Tensor:
    """`share` of a step from `x` to `new`; the rest repeats the move from `last` (Croce and Hein 2020, eq. 3)."""
    return problem.threat.project(x + share * (new - x) + (1 - share) * (x - last), job)


def balanced(threat: Ball, g: Tensor) -> Tensor:
    """`g` as long as its steepest step in the step's own direction, so that gradients of all sizes weigh the same.

    In linf: over its mean absolute value; in l2: at unit length.
    """
    size = threat.steepest(g).flatten(1).square().sum(1)
    return g / col(threat.dual(g).clamp_min(TINY), g) * col(size, g)
