"""Resize and Upsample: along each axis a product with a matrix, whose rows are the weights of the kernel.

GridSample takes numbers from any places.
"""

import math
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from blindspots.models.onnx.node import Node, Operators, UntranslatedError, numbers
from blindspots.models.resampling import Kernel, along, cubic, linear, weights


def _resize(
    node: Node, x: Tensor, roi: Tensor | None = None, scales: Tensor | None = None, sizes: Tensor | None = None
) -> Tensor:
    axes = [axis % x.ndim for axis in node.get("axes", range(x.ndim))]
    old = [x.shape[axis] for axis in axes]
    new, factors = _sizes(node, old, scales, sizes)
    for axis, n, m, factor in zip(axes, old, new, factors, strict=True):
        if (n, factor) != (m, 1.0):
            x = along(x, axis, _matrix(node, n, m, factor))
    return x


def _upsample(node: Node, x: Tensor, scales: Tensor | None = None) -> Tensor:
    """Resize of opset 9 and before: asymmetric, nearest ones rounded down."""
    given = node.get("scales") if scales is None else scales
    settings = {"mode": node.get("mode", "nearest"), "coordinate_transformation_mode": "asymmetric"}
    same = Node("Resize", 11, node.inputs, node.outputs, {**settings, "nearest_mode": "floor"})
    return _resize(same, x, None, torch.as_tensor(given))


def _sizes(node: Node, old: list[int], scales: Tensor | None, sizes: Tensor | None) -> tuple[list[int], list[float]]:
    if sizes is None or not sizes.numel():
        if scales is None:
            raise UntranslatedError("Resize without scales or sizes")
        factors = numbers(scales)
        return [math.floor(n * factor) for n, factor in zip(old, factors, strict=True)], factors
    if node.get("keep_aspect_ratio_policy", "stretch") != "stretch":
        raise UntranslatedError("Resize that keeps the aspect ratio")
    new = numbers(sizes)
    return new, [m / n for m, n in zip(new, old, strict=True)]


def _matrix(node: Node, n: int, m: int, scale: float) -> Tensor:
    """(m, n): how much of each old number is in each new one."""
    places = _places(node.get("coordinate_transformation_mode", "half_pixel"), n, m, scale)
    if node.get("mode", "nearest") == "nearest":
        chosen = _rounded(places, node.get("nearest_mode", "round_prefer_floor")).clamp(0, n - 1)
        return torch.nn.functional.one_hot(chosen, n).double()
    kernel, reach = _kernel(node)
    stretch = max(1.0, 1 / scale) if node.get("antialias", 0) else 1.0
    return weights(places.double(), n, kernel, reach, stretch, bool(node.get("exclude_outside", 0)))


def _kernel(node: Node) -> tuple[Kernel, float]:
    if node.get("mode") == "cubic":
        return partial(cubic, a=node.get("cubic_coeff_a", -0.75)), 2
    return linear, 1


def _places(mode: str, n: int, m: int, scale: float) -> Tensor:
    """Where each of the m new numbers lies among the n old ones, (m,): float32, whose rounding decides in ties."""
    i = torch.arange(m, dtype=torch.float32)
    half = (i + 0.5) / scale - 0.5
    if mode == "half_pixel" or (mode == "pytorch_half_pixel" and m > 1):
        return half
    if mode == "pytorch_half_pixel":
        return torch.zeros_like(i)
    if mode == "half_pixel_symmetric":
        return n / 2 * (1 - m / torch.tensor(n * scale)) + half
    if mode == "align_corners":
        return i * (n - 1) / (m - 1) if m > 1 else torch.zeros_like(i)
    if mode == "asymmetric":
        return i / scale
    raise UntranslatedError(f"Resize with coordinate_transformation_mode={mode}")


def _rounded(places: Tensor, mode: str) -> Tensor:
    if mode in ("floor", "round_prefer_ceil"):
        return (places if mode == "floor" else places + 0.5).floor().long()
    return (places if mode == "ceil" else places - 0.5).ceil().long()


_SAMPLED = {"linear": "bilinear", "cubic": "bicubic"}  # modes since opset 20 by torch's names, which those before are


def _grid_sample(node: Node, x: Tensor, grid: Tensor) -> Tensor:
    mode = node.get("mode", "linear")
    return F.grid_sample(
        x, grid, _SAMPLED.get(mode, mode), node.get("padding_mode", "zeros"), bool(node.get("align_corners", 0))
    )


RESIZING: Operators = {"GridSample": _grid_sample, "Resize": _resize, "Upsample": _upsample}
