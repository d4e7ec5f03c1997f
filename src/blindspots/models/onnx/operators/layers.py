"""Operators with weights or windows: products, convolutions, pooling and normalisation."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from blindspots.models.onnx.node import Node, Operators, UntranslatedError, numbers

_CONVOLUTIONS: Sequence[Any] = (F.conv1d, F.conv2d, F.conv3d)
_TRANSPOSED: Sequence[Any] = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)
_MAX_POOLS: Sequence[Any] = (F.max_pool1d, F.max_pool2d, F.max_pool3d)


def _gemm(node: Node, a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
    a, b = (a.T if node.get("transA", 0) else a), (b.T if node.get("transB", 0) else b)
    product: Tensor = node.get("alpha", 1.0) * (a @ b)
    return product if c is None else product + node.get("beta", 1.0) * c


def _einsum(node: Node, *given: Tensor) -> Tensor:
    return torch.einsum(node.get("equation"), *given)


# ------------------------------------------------------------------ windows


def _pads(node: Node, sizes: Sequence[int], kernel: Sequence[int]) -> list[tuple[int, int]]:
    """Before and behind each axis of space; "SAME" leaves the extra one behind (UPPER) or before (LOWER)."""
    how, count = node.get("auto_pad", "NOTSET"), len(kernel)
    if how == "VALID":
        return [(0, 0)] * count
    if how == "NOTSET":
        given = node.get("pads", [0] * 2 * count)
        return list(zip(given[:count], given[count:], strict=True))
    strides, dilations = node.get("strides", [1] * count), node.get("dilations", [1] * count)
    found = []
    for n, k, stride, dilation in zip(sizes, kernel, strides, dilations, strict=True):
        total = max((math.ceil(n / stride) - 1) * stride + (k - 1) * dilation + 1 - n, 0)
        small, large = total // 2, total - total // 2
        found.append((small, large) if how == "SAME_UPPER" else (large, small))
    return found


def _padded(x: Tensor, pads: Sequence[tuple[int, int]], value: float = 0.0) -> Tensor:
    flat = [amount for pair in reversed(pads) for amount in pair]
    return F.pad(x, flat, value=value) if any(flat) else x


def _conv(node: Node, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    count = x.ndim - 2
    pads = _pads(node, x.shape[2:], weight.shape[2:])
    stride, dilation = node.get("strides", [1] * count), node.get("dilations", [1] * count)
    groups, convolution = node.get("group", 1), _CONVOLUTIONS[count - 1]
    if all(before == behind for before, behind in pads):
        made: Tensor = convolution(x, weight, bias, stride, [before for before, _ in pads], dilation, groups)
        return made
    padded: Tensor = convolution(_padded(x, pads), weight, bias, stride, 0, dilation, groups)
    return padded


def _conv_transpose(node: Node, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    count = x.ndim - 2
    stride, dilation = node.get("strides", [1] * count), node.get("dilations", [1] * count)
    kernel = [(k - 1) * d + 1 for k, d in zip(weight.shape[2:], dilation, strict=True)]
    extra = node.get("output_padding", [0] * count)
    whole = _TRANSPOSED[count - 1](x, weight, bias, stride, 0, 0, node.get("group", 1), dilation)
    full = [s * (n - 1) + e + k for s, n, e, k in zip(stride, x.shape[2:], extra, kernel, strict=True)]
    full = [max(sizes) for sizes in zip(full, node.get("output_shape", full)[-count:], strict=True)]
    pads = _cut_off(node, x.shape[2:], stride, full)
    made: Tensor = whole
    for axis, (size, (before, behind)) in enumerate(zip(full, pads, strict=True), 2):
        missing = size - whole.shape[axis]  # places at the end that only the bias reaches
        made = _grown(made, axis, missing, bias).narrow(axis, before, size - before - behind)
    return made


def _grown(x: Tensor, axis: int, count: int, bias: Tensor | None) -> Tensor:
    if not count:
        return x
    shape = [*x.shape[:axis], count, *x.shape[axis + 1 :]]
    filling = x.new_zeros(shape) if bias is None else bias.reshape(1, -1, *[1] * (x.ndim - 2)).expand(shape)
    return torch.cat([x, filling], axis)


def _cut_off(node: Node, sizes: Sequence[int], stride: Sequence[int], full: Sequence[int]) -> list[tuple[int, int]]:
    """What is cut off before and behind each axis, from pads or from the size that the output shall have."""
    how, count = node.get("auto_pad", "NOTSET"), len(full)
    wanted = node.get("output_shape")
    if wanted is None and how in ("NOTSET", "VALID"):
        given = node.get("pads", [0] * 2 * count)
        return list(zip(given[:count], given[count:], strict=True))
    wanted = [n * s for n, s in zip(sizes, stride, strict=True)] if wanted is None else wanted[-count:]
    halves = [divmod(max(size - goal, 0), 2) for size, goal in zip(full, wanted, strict=True)]
    return [(half, half + odd) if how == "SAME_UPPER" else (half + odd, half) for half, odd in halves]


def _max_pool(node: Node, x: Tensor) -> Tensor:
    kernel = node.get("kernel_shape")
    stride, dilation = node.get("strides", [1] * len(kernel)), node.get("dilations", [1] * len(kernel))
    pads = _for_ceil(node, x.shape[2:], kernel, _pads(node, x.shape[2:], kernel))
    lowest = -torch.inf if x.is_floating_point() else torch.iinfo(x.dtype).min
    pooled: Tensor = _MAX_POOLS[len(kernel) - 1](_padded(x, pads, lowest), kernel, stride, 0, dilation)
    return pooled


def _for_ceil(
    node: Node, sizes: Sequence[int], kernel: Sequence[int], pads: list[tuple[int, int]]
) -> list[tuple[int, int]]:
    """Pads with as many more behind as `ceil_mode` asks for; a window that begins in the padding behind is left out."""
    if not node.get("ceil_mode", 0):
        return pads
    count = len(kernel)
    strides, dilations = node.get("strides", [1] * count), node.get("dilations", [1] * count)
    found = []
    for n, k, stride, dilation, (before, behind) in zip(sizes, kernel, strides, dilations, pads, strict=True):
        window = (k - 1) * dilation + 1
        steps = math.ceil((n + before + behind - window) / stride) + 1
        steps -= (steps - 1) * stride >= n + before
        found.append((before, max((steps - 1) * stride + window - n - before, behind)))
    return found


def _average_pool(node: Node, x: Tensor) -> Tensor:
    """Sums over windows, divided by how many numbers of the input, or of it and its pads, lie in each."""
    kernel = node.get("kernel_shape")
    pads = _pads(node, x.shape[2:], kernel)
    larger = _for_ceil(node, x.shape[2:], kernel, pads)
    ones = torch.ones_like(x[:1, :1])
    if node.get("count_include_pad", 0):
        ones = _padded(ones, pads, 1.0)
        more = [(0, b - a) for (_, a), (_, b) in zip(pads, larger, strict=True)]
        return _window_sums(node, _padded(x, larger)) / _window_sums(node, _padded(ones, more))
    return _window_sums(node, _padded(x, larger)) / _window_sums(node, _padded(ones, larger))


def _window_sums(node: Node, x: Tensor) -> Tensor:
    kernel = node.get("kernel_shape")
    count = len(kernel)
    planes = x.reshape(-1, 1, *x.shape[2:])
    stride, dilation = node.get("strides", [1] * count), node.get("dilations", [1] * count)
    sums: Tensor = _CONVOLUTIONS[count - 1](planes, x.new_ones(1, 1, *kernel), None, stride, 0, dilation)
    return sums.reshape(*x.shape[:2], *sums.shape[2:])


def _global_average(node: Node, x: Tensor) -> Tensor:
    return x.mean(tuple(range(2, x.ndim)), keepdim=True)


def _global_max(node: Node, x: Tensor) -> Tensor:
    return x.amax(tuple(range(2, x.ndim)), keepdim=True)


def _col2im(node: Node, x: Tensor, size: Tensor, block: Tensor) -> Tensor:
    """Blocks (B, C * block, L) added up where they overlap."""
    if size.numel() != 2:
        raise UntranslatedError("Col2Im of other than two axes")
    (height, width), (top, left, bottom, right) = numbers(size), node.get("pads", [0] * 4)
    padded, kernel = (height + top + bottom, width + left + right), tuple(numbers(block))
    whole = F.fold(x, padded, kernel, node.get("dilations", [1, 1]), 0, node.get("strides", [1, 1]))
    return whole[..., top : top + height, left : left + width]


# ------------------------------------------------------------------ normalisation


def in_training(node: Node) -> bool:
    """Whether a node normalises by the mean and the variance of what it is given, as networks do in training."""
    if node.kind != "BatchNormalization":
        return False
    return bool(node.get("training_mode", 0)) or (node.opset < 14 and len([name for name in node.outputs if name]) > 1)


def _batch_norm(node: Node, x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, var: Tensor) -> Tensor:
    """In training for weights alone, which some networks standardise so: of inputs, rows would see their neighbours."""
    epsilon = node.get("epsilon", 1e-5)
    if in_training(node):
        return F.batch_norm(x, None, None, scale, bias, True, 0.0, epsilon)
    return F.batch_norm(x, mean, var, scale, bias, False, 0.0, epsilon)


def _instance_norm(node: Node, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    return F.instance_norm(x, weight=scale, bias=bias, eps=node.get("epsilon", 1e-5))


def _layer_norm(node: Node, x: Tensor, scale: Tensor, bias: Tensor | None = None) -> Tensor:
    axis = node.get("axis", -1) % x.ndim
    normal = F.layer_norm(x, x.shape[axis:], eps=node.get("epsilon", 1e-5)) * scale
    return normal if bias is None else normal + bias


def _rms_norm(node: Node, x: Tensor, scale: Tensor) -> Tensor:
    axis = node.get("axis", -1) % x.ndim
    return F.rms_norm(x, x.shape[axis:], eps=node.get("epsilon", 1e-5)) * scale


def _group_norm(node: Node, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    """Before opset 21 scale and bias are those of groups, from there on those of channels."""
    groups = node.get("num_groups")
    if node.opset < 21:
        scale, bias = (one.repeat_interleave(x.shape[1] // groups) for one in (scale, bias))
    return F.group_norm(x, groups, scale, bias, node.get("epsilon", 1e-5))


def _local_response_norm(node: Node, x: Tensor) -> Tensor:
    size = node.get("size")
    around = F.pad((x * x).movedim(1, -1), ((size - 1) // 2, size // 2)).unfold(-1, size, 1).sum(-1).movedim(-1, 1)
    scale: Tensor = (node.get("bias", 1.0) + node.get("alpha", 1e-4) / size * around) ** node.get("beta", 0.75)
    return x / scale


def _lp_normalization(node: Node, x: Tensor) -> Tensor:
    length = torch.linalg.vector_norm(x, node.get("p", 2), node.get("axis", -1), keepdim=True)
    return torch.div(x, torch.where(length == 0, torch.ones_like(length), length))


LAYERS: Operators = {
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_norm,
    "Col2Im": _col2im,
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Einsum": _einsum,
    "Gemm": _gemm,
    "GlobalAveragePool": _global_average,
    "GlobalMaxPool": _global_max,
    "GroupNormalization": _group_norm,
    "InstanceNormalization": _instance_norm,
    "LRN": _local_response_norm,
    "LayerNormalization": _layer_norm,
    "LpNormalization": _lp_normalization,
    "MaxPool": _max_pool,
    "RMSNormalization": _rms_norm,
}
