"""Numbers kept in few bits, as graphs of onnxruntime's quantisation compute with them.

Levels are whole numbers in floats. Gradients pass straight through the rounding to them (Bengio et al. 2013), but not
where a level is cut off at the ends of its range.
"""

from typing import Any

import torch
from torch import Tensor

from blindspots.models.onnx.node import Node, Operator, Operators
from blindspots.models.onnx.operators.elementwise import DTYPES, ELEMENTWISE
from blindspots.models.onnx.operators.layers import LAYERS

_LEVELS = 255.0  # of 8 bits, but for 0


def straight(x: Tensor) -> Tensor:
    """Rounded, half to even, with the gradient of x."""
    return x.detach().round() + (x - x.detach())


def _spread(node: Node, one: Tensor, x: Tensor) -> Tensor:
    """A scale or a zero for all, for each place of an axis, or for blocks of it, as it applies to x."""
    axis, block = node.get("axis", 1), node.get("block_size", 0)
    if block:
        return one.repeat_interleave(block, axis).narrow(axis, 0, x.shape[axis])
    return one.reshape([-1 if i == axis % x.ndim else 1 for i in range(x.ndim)]) if one.numel() > 1 else one.reshape(())


def _dequantized(node: Node, x: Tensor, scale: Tensor, zero: Tensor | None = None) -> Tensor:
    moved = x if zero is None else x.to(scale.dtype) - _spread(node, zero, x).to(scale.dtype)
    return moved.to(scale.dtype) * _spread(node, scale, x)


def _quantized(node: Node, x: Tensor, scale: Tensor, zero: Tensor | None = None) -> Tensor:
    dtype = DTYPES[node.get("output_dtype", 2)] if zero is None else zero.dtype
    limits, levels = torch.iinfo(dtype), straight(x / _spread(node, scale, x))
    moved = levels if zero is None else levels + _spread(node, zero, x).to(levels.dtype)
    return moved.clamp(limits.min, limits.max)


def _dynamically(node: Node, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Levels, scale and zero of 8 bits, by the smallest and the largest number of the whole tensor and 0."""
    low, high = x.detach().amin().clamp(max=0), x.detach().amax().clamp(min=0)
    scale = (high - low) / _LEVELS
    scale = torch.where(scale == 0, torch.ones_like(scale), scale)
    zero = (-low / scale).round().clamp(0, _LEVELS)
    return (straight(x / scale) + zero).clamp(0, _LEVELS), scale, zero.to(torch.uint8)


# ------------------------------------------------------------------ layers of whole numbers


def _lowered(x: Tensor, zero: Tensor | None, axis: int) -> Tensor:
    """Levels less their zero, which is one for all or one for each place of an axis."""
    x = x if x.is_floating_point() else x.float()
    return x if zero is None else x - _along(zero, x, axis).to(x.dtype)


def _along(one: Tensor, x: Tensor, axis: int) -> Tensor:
    if one.ndim != 1 or one.numel() == 1:
        return one.reshape(()) if one.numel() == 1 else one
    return one.reshape([-1 if i == axis % x.ndim else 1 for i in range(x.ndim)])


def _real(x: Tensor, scale: Tensor, zero: Tensor | None, axis: int = 0) -> Tensor:
    """The number that a level stands for."""
    return _lowered(x, zero, axis) * _along(scale, x, axis)


def _level(x: Tensor, scale: Tensor, zero: Tensor | None) -> Tensor:
    return _quantized(Node("QuantizeLinear", 21, (), ()), x, scale, zero)


def _conv_integer(
    node: Node, x: Tensor, w: Tensor, x_zero: Tensor | None = None, w_zero: Tensor | None = None
) -> Tensor:
    found: Tensor = LAYERS["Conv"](node, _lowered(x, x_zero, 0), _lowered(w, w_zero, 0))
    return found


def _matmul_integer(
    node: Node, a: Tensor, b: Tensor, a_zero: Tensor | None = None, b_zero: Tensor | None = None
) -> Tensor:
    return _lowered(a, a_zero, -2) @ _lowered(b, b_zero, -1)


def _conv(
    node: Node, x: Tensor, x_scale: Tensor, x_zero: Tensor, w: Tensor, w_scale: Tensor, w_zero: Tensor,
    y_scale: Tensor, y_zero: Tensor, bias: Tensor | None = None,
) -> Tensor:  # fmt: skip
    bias = None if bias is None else bias * (x_scale * w_scale)
    return _level(LAYERS["Conv"](node, _real(x, x_scale, x_zero), _real(w, w_scale, w_zero), bias), y_scale, y_zero)


def _matmul(
    node: Node, a: Tensor, a_scale: Tensor, a_zero: Tensor, b: Tensor, b_scale: Tensor, b_zero: Tensor,
    y_scale: Tensor, y_zero: Tensor,
) -> Tensor:  # fmt: skip
    return _level(_real(a, a_scale, a_zero, -2) @ _real(b, b_scale, b_zero, -1), y_scale, y_zero)


def _gemm(
    node: Node, a: Tensor, a_scale: Tensor, a_zero: Tensor, b: Tensor, b_scale: Tensor, b_zero: Tensor,
    c: Tensor | None = None, y_scale: Tensor | None = None, y_zero: Tensor | None = None,
) -> Tensor:  # fmt: skip
    axis = 0 if node.get("transB", 0) else 1
    c = None if c is None else c * (node.get("alpha", 1.0) * a_scale * b_scale)
    made: Tensor = LAYERS["Gemm"](node, _real(a, a_scale, a_zero), _real(b, b_scale, b_zero, axis), c)
    return made if y_scale is None else _level(made, y_scale, y_zero)


def _of_two(kind: str) -> Operator:
    def operator(node: Node, a: Any, a_scale: Any, a_zero: Any, b: Any, b_scale: Any, b_zero: Any, *y: Any) -> Tensor:
        made = ELEMENTWISE[kind](node, _real(a, a_scale, a_zero), _real(b, b_scale, b_zero))
        return _level(made, y[0], y[1] if len(y) > 1 else None)

    return operator


def _of_one(function: Operator) -> Operator:
    def operator(node: Node, x: Tensor, x_scale: Tensor, x_zero: Tensor | None, *y: Any) -> Tensor:
        return _level(function(node, _real(x, x_scale, x_zero)), y[0], y[1] if len(y) > 1 else None)

    return operator


def _concat(node: Node, y_scale: Tensor, y_zero: Tensor, *parts: Tensor) -> Tensor:
    real = [_real(x, scale, zero) for x, scale, zero in zip(parts[::3], parts[1::3], parts[2::3], strict=True)]
    return _level(torch.cat(real, node.get("axis")), y_scale, y_zero)


QUANTISED: Operators = {
    "ConvInteger": _conv_integer,
    "DequantizeLinear": _dequantized,
    "DynamicQuantizeLinear": _dynamically,
    "MatMulInteger": _matmul_integer,
    "QLinearConv": _conv,
    "QLinearMatMul": _matmul,
    "QuantizeLinear": _quantized,
    "com.microsoft:QGemm": _gemm,
    "com.microsoft:QLinearAdd": _of_two("Add"),
    "com.microsoft:QLinearAveragePool": _of_one(LAYERS["AveragePool"]),
    "com.microsoft:QLinearConcat": _concat,
    "com.microsoft:QLinearGlobalAveragePool": _of_one(LAYERS["GlobalAveragePool"]),
    "com.microsoft:QLinearLeakyRelu": _of_one(ELEMENTWISE["LeakyRelu"]),
    "com.microsoft:QLinearMul": _of_two("Mul"),
    "com.microsoft:QLinearSigmoid": _of_one(ELEMENTWISE["Sigmoid"]),
    "com.microsoft:QLinearSoftmax": _of_one(ELEMENTWISE["Softmax"]),
}
ROUNDING = {*QUANTISED} - {"DequantizeLinear"}
