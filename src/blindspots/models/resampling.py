"""Resampling along an axis: rows of a matrix hold the weights of a kernel around each new place."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

Kernel = Callable[[Tensor], Tensor]


def weights(places: Tensor, n: int, kernel: Kernel, reach: float, stretch: float, inside_only: bool) -> Tensor:
    """The kernel around every place (m,), as a matrix (m, n), float64, whose rows add up to 1.

    Args:
        places: in the coordinates of the n old numbers.
        reach: the kernel is 0 beyond it.
        stretch: how many times wider the kernel is, against aliasing.
        inside_only: nothing is taken from outside; otherwise the numbers at the edges go on there.
    """
    steps = math.ceil(reach * stretch)
    taps = places.floor().long()[:, None] + torch.arange(-steps, steps + 1)
    share = kernel((places[:, None] - taps) / stretch)
    if inside_only:
        share = share * ((taps >= 0) & (taps < n))
    share = share / share.sum(1, keepdim=True)
    return torch.zeros(len(places), n, dtype=torch.float64).scatter_add(1, taps.clamp(0, n - 1), share)


def linear(d: Tensor) -> Tensor:
    """The triangle."""
    return (1 - d.abs()).clamp_min(0)


def cubic(d: Tensor, a: float) -> Tensor:
    """Keys (1981), with the slope `a` at 1."""
    d = d.abs()
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    return torch.where(d <= 1, near, torch.where(d < 2, far, torch.zeros_like(d)))


def lanczos(d: Tensor) -> Tensor:
    """sinc(d) sinc(d / 3) up to 3."""
    return torch.where(d.abs() < 3, torch.sinc(d) * torch.sinc(d / 3), torch.zeros_like(d))


def along(x: Tensor, axis: int, matrix: Tensor) -> Tensor:
    """The axis of length n replaced by one of length m, with weights (m, n)."""
    return (x.movedim(axis, -1) @ matrix.to(x).T).movedim(-1, axis)
