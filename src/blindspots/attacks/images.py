"""Operations on images that views and natural changes share: row-wise, and differentiable."""

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from blindspots.attacks.starts import as_images
from blindspots.ball import Ball
from blindspots.rows import col


def along_axes(x: Tensor, lines: Tensor, columns: Tensor) -> Tensor:
    """lines @ image @ columns^T for every channel of each row of `x` (B, ...), with (B, H, H) and (B, W, W) float64.

    A matrix product may round a row depending on its place in the batch; in float64 that does not show in float32.
    """
    return (lines[:, None] @ as_images(x).double() @ columns[:, None].mT).to(x.dtype).view_as(x)


def sampled(x: Tensor, line: Tensor, column: Tensor, padding: Literal["zeros", "border"]) -> Tensor:
    """`x` (B, ...) at the places `line`, `column` (B, H, W) in pixels, linearly interpolated."""
    image = as_images(x)
    height, width = image.shape[2:]
    grid = torch.stack([(2 * column + 1) / width - 1, (2 * line + 1) / height - 1], -1)
    return F.grid_sample(image, grid, padding_mode=padding, align_corners=False).view_as(x)


def pulled(outer: Tensor, inner: Tensor, grad: Tensor) -> Tensor:
    """The gradient in `inner`, which requires one, of a loss whose gradient in `outer` is `grad`, all of them (B, ...).

    No row of `outer` depends on another row of `inner`; no network is evaluated.
    """
    return torch.autograd.grad(outer, inner, grad)[0]


class _InBox(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, lo: float, hi: float) -> Tensor:
        return x.clamp(lo, hi)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return grad, None, None


def in_box(x: Tensor, threat: Ball) -> Tensor:
    """Clipped to the box; the gradient passes as if it were not, or half of the noise at an edge would be lost."""
    return _InBox.apply(x, threat.lo, threat.hi)  # type: ignore[no-any-return,no-untyped-call]


class _Smoothed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, kernel: Tensor) -> Tensor:
        ctx.save_for_backward(kernel)
        return x.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (kernel,) = ctx.saved_tensors
        height, width = as_images(grad).shape[2:]
        lines, columns = (_band(kernel, size).expand(len(grad), -1, -1) for size in (height, width))
        return along_axes(grad, lines, columns), None


def with_smooth_gradient(x: Tensor, kernel: Tensor) -> Tensor:
    """`x` itself; its gradient is convolved with `kernel` (K,) float64, K odd, along both axes."""
    return _Smoothed.apply(x, kernel)  # type: ignore[no-any-return,no-untyped-call]


def _band(kernel: Tensor, size: int) -> Tensor:
    """The matrix (size, size) that convolves a line of pixels, zeros outside."""
    i = torch.arange(size, device=kernel.device)
    at = i[:, None] - i + len(kernel) // 2
    return torch.where((at >= 0) & (at < len(kernel)), kernel[at.clamp(0, len(kernel) - 1)], 0.0)


def shrunk(pixels: int, size: Tensor, offset: Tensor) -> Tensor:
    """Matrices (B, pixels, pixels) that shrink a line to `size` (B,) pixels, placed at `offset` (B,), zeros outside."""
    i = torch.arange(pixels, device=size.device)
    inside = i - offset[:, None]
    at = ((inside + 0.5).double() * pixels / size[:, None] - 0.5).clamp(0, pixels - 1)
    weight = (1 - (at[:, :, None] - i).abs()).clamp_min(0)
    return weight * ((inside >= 0) & (inside < size[:, None]))[:, :, None]


def gaussian(pixels: int, sigma: Tensor) -> Tensor:
    """Matrices (B, pixels, pixels) that blur a line with `sigma` (B,) pixels, reflected at both ends."""
    i = torch.arange(pixels, device=sigma.device).double()
    gap, mirrored = i[:, None] - i, i[:, None] + i + 1
    width = 2 * col(sigma.double().square(), gap[None]).clamp_min(1e-6)
    weight = torch.zeros_like(gap)
    for turn in (-2, -1, 0, 1, 2):
        for d in (gap + 2 * pixels * turn, mirrored + 2 * pixels * turn):
            weight = weight + torch.exp(-d.square() / width)
    return weight / weight.sum(2, keepdim=True)
