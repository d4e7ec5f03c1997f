"""Lengths, directions and shrinking of rows (B, ...), row by row: what balls of the Lp norms are made of."""

import torch
from torch import Tensor

from blindspots.rows import Around, col

FLOAT32_EXACT = 1e-9  # a relative error in float64 that is invisible in a float32 result
TINY = torch.finfo(torch.float32).tiny


def peak(d: Tensor) -> Tensor:
    """max_i |d_i| of each row: (B,)."""
    flat = d.flatten(1)
    return flat.amax(1).abs().maximum(flat.amin(1).abs())


def total(d: Tensor) -> Tensor:
    """sum_i |d_i| of each row: (B,)."""
    return d.flatten(1).abs().sum(1)


def length(d: Tensor) -> Tensor:
    """sqrt(sum_i d_i^2) of each row: (B,), for sizes whose squares float32 can hold."""
    return d.flatten(1).square().sum(1).sqrt()


def scaled(d: Tensor) -> tuple[Tensor, Tensor]:
    """Each row divided by its peak, and the peak: squares of a saturated loss's gradient would vanish in float32."""
    most = peak(d).clamp_min(TINY)
    return d / col(most, d), most


def tail(x: Tensor, value: float | Tensor) -> Tensor:
    """Where rows (B, ..., T) hold nothing but `value` from there to the end, in all channels: (B, 1, ..., T) bool."""
    same = (x == value).flatten(1, -2).all(1) if x.ndim > 2 else x == value
    ends = same.flip(1).long().cumprod(1).flip(1).bool()
    return ends.view(len(x), *[1] * (x.ndim - 2), x.shape[-1])


def largest_entry(g: Tensor) -> Tensor:
    """The sign of the largest |g_i| of each row at its place, zero elsewhere; ties go to the lower index."""
    flat = g.flatten(1)
    at = flat.abs().argmax(1, keepdim=True)
    return torch.zeros_like(flat).scatter_(1, at, flat.gather(1, at).sign()).view_as(g)


def keep_best(scores: Tensor, x: Tensor, around: Around) -> Tensor:
    """`x` at the floor(r) largest scores of each row, else the clean value; ties go to the lower index, NaNs stay."""
    scores = scores.flatten(1)
    count = around.r.clamp_max(scores.shape[1]).long()[:, None]
    everything = count == scores.shape[1]
    ranked = count.masked_fill(everything, 0)
    best = scores.topk(int(ranked.max()), dim=1).values
    least = torch.cat([torch.full_like(scores[:, :1], torch.inf), best], 1).gather(1, ranked)
    least = least.masked_fill(everything, -torch.inf)
    tied = scores == least
    surplus = tied & (tied.cumsum(1) > count - (scores > least).sum(1, keepdim=True))
    return torch.where(((scores < least) | surplus).view_as(x), around.x, x)


def scale_to_length(d: Tensor, low: Tensor, high: Tensor, r: Tensor, scale: Tensor, most: Tensor) -> Tensor:
    """The s <= `most` at which clip(s d, low, high) has the Euclidean norm r, for rows (B, D), from a `scale` below it.

    The set of clipped components only grows with s, so solving for the others gives an increasing sequence that ends
    after finitely many steps; a row that has converged stays where it is.
    """
    squares, wanted, got = d.square(), torch.empty_like(d), torch.empty_like(d)
    while True:
        torch.mul(d, scale[:, None], out=wanted)
        torch.clamp(wanted, low, high, out=got)
        clipped = wanted.sub_(got).sign_().square_()  # 1 where the box stops the component, else 0
        spent = got.square_().mul_(clipped).sum(1)
        free = clipped.mul_(squares).neg_().add_(squares).sum(1)
        larger = ((r.square() - spent) / free).sqrt().minimum(most)
        grows = larger > scale
        if not bool(grows.any()):
            return scale
        scale = torch.where(grows, larger, scale)


def shrinkage(size: Tensor, room: Tensor, r: Tensor) -> Tensor:
    """The t >= 0 at which sum_i clip(size_i - t, 0, room_i) is r, for rows (B, D) where it is more than r at t = 0.

    The sum falls with t, linearly as long as no component reaches 0 or leaves its bound: once it is that near, Newton's
    method is exact. A step that leaves the bracket is replaced by bisection.
    """
    below, above = torch.zeros_like(size[:, 0]), size.amax(1)
    t, wanted, got = below, torch.empty_like(size), torch.empty_like(size)
    while True:
        torch.sub(size, t[:, None], out=wanted).clamp_min_(0)
        torch.minimum(wanted, room, out=got)
        excess = got.sum(1) - r
        clipped = got.sub_(wanted).sign_().sum(1)  # counts -1 each
        free = wanted.sign_().sum(1) + clipped
        below, above = torch.where(excess > 0, t, below), torch.where(excess > 0, above, t)
        newton = t + excess / free
        following = torch.where((newton > below) & (newton <= above), newton, (below + above) / 2)
        off = excess.abs() > FLOAT32_EXACT * r
        going = off & (following > below) & (following != t)
        if not bool(going.any()):
            return torch.where(off, above, t)  # no number lies between the two: take the one inside the ball
        t = torch.where(going, following, t)
