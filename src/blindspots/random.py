"""Randomness as a pure function of (row key, row clock, stream): no generator state exists.

So a draw does not depend on the rest of the batch, on the slot, or on how often a run was interrupted.
Counter-based: splitmix64 (Steele, Lea, Flood 2014) over a hash of key, clock and stream. The integer part is exact on
every device; `normal` goes through log and cos, which may differ in the last bit between devices.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

_GOLDEN = -7046029254386353131  # 0x9E3779B97F4A7C15 as a signed 64-bit integer


def _shift(z: Tensor, bits: int) -> Tensor:
    return (z >> bits) & ((1 << 64 - bits) - 1)  # a logical shift: int64 would carry the sign


def _mix(z: Tensor) -> Tensor:
    z = (z ^ _shift(z, 30)) * -4658895280553007687
    z = (z ^ _shift(z, 27)) * -7723592293110705685
    return z ^ _shift(z, 31)


def keys(seed: int, *parts: Tensor | int) -> Tensor:
    """One 64-bit key per row from the seed and the row's own coordinates, e.g. (sample id, restart, target).

    At least one part is an int64 tensor (B,); integers are broadcast.
    """
    sizes = [p for p in parts if isinstance(p, Tensor)]
    key = _mix(torch.full_like(sizes[0], seed) + _GOLDEN)
    for part in parts:
        key = _mix(key * 31 + part + _GOLDEN)
    return key


def _bits(key: Tensor, t: Tensor, stream: int, count: int) -> Tensor:
    start = _mix(key ^ _mix(t * 8191 + stream))
    return _mix(start[:, None] + _GOLDEN * torch.arange(1, count + 1, device=key.device))


def uniform(key: Tensor, t: Tensor, stream: int, shape: Sequence[int]) -> Tensor:
    """U[0, 1) of shape (B, *shape), float32 with 24 random bits. `key`, `t`: int64 (B,)."""
    return (_shift(_bits(key, t, stream, math.prod(shape)), 40).float() * 2.0**-24).view(-1, *shape)


def normal(key: Tensor, t: Tensor, stream: int, shape: Sequence[int]) -> Tensor:
    """N(0, 1) of shape (B, *shape) by Box-Muller. Uses `stream` and `stream + 1`."""
    u, v = uniform(key, t, stream, shape), uniform(key, t, stream + 1, shape)
    return (-2 * torch.log1p(-u)).sqrt() * (2 * math.pi * v).cos()


def sign(key: Tensor, t: Tensor, stream: int, shape: Sequence[int]) -> Tensor:
    """-1 or 1 with equal probability, of shape (B, *shape), float32."""
    return uniform(key, t, stream, shape).lt(0.5).float() * 2 - 1


def randint(key: Tensor, t: Tensor, stream: int, high: Tensor | int, shape: Sequence[int]) -> Tensor:
    """Integers 0 .. high - 1 of shape (B, *shape), int64; `high`: an int or a tensor that broadcasts."""
    return (uniform(key, t, stream, shape).double() * high).long()
