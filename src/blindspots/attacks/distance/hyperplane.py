"""The nearest point of a hyperplane that lies in the box, in the l1, l2 or linf norm."""

import math

import torch
from torch import Tensor

from blindspots.rows import col
from blindspots.threat import Threat

_TINY, _HUGE = torch.finfo(torch.float32).tiny, torch.finfo(torch.float32).max


def to_plane(threat: Threat, x: Tensor, w: Tensor, value: Tensor) -> Tensor:
    """The d (B, ...) of least norm with value + <w, d> = 0 and x + d in the box; `x` lies in it.

    Where no point of the box is on the plane, x + d is the corner nearest to it; w_i = 0 always gives d_i = 0. Every
    component goes against the sign of value * w_i, and the norm says how the way is shared among them: equally (linf),
    in proportion to |w_i| (l2), or the steepest first (l1), each as far as the box lets it (Croce and Hein 2020,
    section 2.2 and the supplement).
    """
    way = -w.sign() * col(value.sign(), w)
    steep = w.abs().flatten(1)
    peak = steep.amax(1, keepdim=True).clamp_min(_TINY)
    steep, wanted = steep / peak, (value.abs()[:, None] / peak).clamp_max(_HUGE)
    room = torch.where(way > 0, threat.hi - x, x - threat.lo).flatten(1) * (steep > 0)
    size = _greedy(steep, room, wanted) if threat.p == 1 else _together(threat, steep, room, wanted)
    return way * size.view_as(x)


def _together(threat: Threat, steep: Tensor, room: Tensor, wanted: Tensor) -> Tensor:
    """min(t speed, room) at the t where its product with `steep` is `wanted`, for rows (B, D).

    The product is concave in t, so Newton's method comes from below, and it ends when no more components are stopped.
    """
    speed = torch.ones_like(steep) if threat.p == math.inf else steep
    slope, stop = steep * speed, torch.where(room > 0, room / speed.clamp_min(_TINY), 0)
    t, count = torch.zeros_like(wanted), torch.full_like(wanted, -1)
    while True:
        free = stop > t
        stopped = (~free).sum(1, keepdim=True).to(t.dtype)
        if not bool((stopped > count).any()):
            return (t * speed).minimum(room)
        left = wanted - (steep * room).masked_fill(free, 0).sum(1, keepdim=True)
        newton = (left / (slope * free).sum(1, keepdim=True).clamp_min(_TINY)).clamp_max(_HUGE).maximum(t)
        t, count = torch.where(stopped > count, newton, t), stopped.maximum(count)


def _greedy(steep: Tensor, room: Tensor, wanted: Tensor) -> Tensor:
    """The whole room of the steepest components, and what is still missing of the next one, for rows (B, D)."""
    order = steep.argsort(dim=1, descending=True, stable=True)
    gain = (steep * room).double().gather(1, order)
    missing = wanted - (gain.cumsum(1) - gain)
    size = (missing / steep.gather(1, order).double().clamp_min(_TINY)).clamp_min(0).to(room.dtype)
    return torch.zeros_like(room).scatter(1, order, size).minimum(room)
