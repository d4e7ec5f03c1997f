"""Operators that treat every number alike: arithmetic, comparisons and activations."""

from collections.abc import Callable
from functools import reduce
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from blindspots.models.onnx.node import Node, Operator, Operators, UntranslatedError

# Numbers of TensorProto.DataType.
DTYPES = {
    1: torch.float32, 2: torch.uint8, 3: torch.int8, 4: torch.uint16, 5: torch.int16, 6: torch.int32, 7: torch.int64,
    9: torch.bool, 10: torch.float16, 11: torch.float64, 12: torch.uint32, 13: torch.uint64, 16: torch.bfloat16,
}  # fmt: skip


def dtype_of(number: int) -> torch.dtype:
    """The type that a graph means. Raises UntranslatedError: torch has none."""
    if number not in DTYPES:
        raise UntranslatedError(f"numbers of type {number}")
    return DTYPES[number]


def _plain(function: Callable[..., Tensor]) -> Operator:
    return lambda node, *given: function(*given)


def _with(function: Callable[..., Tensor], **defaults: float) -> Operator:
    """An operator whose settings are positional arguments of a function, in this order."""
    return lambda node, x: function(x, *(node.get(name, value) for name, value in defaults.items()))


def _of_many(function: Callable[[Tensor, Tensor], Tensor]) -> Operator:
    return lambda node, *given: reduce(function, given)


def _mean(node: Node, *given: Tensor) -> Tensor:
    return reduce(torch.add, given) / len(given)


def _div(node: Node, a: Tensor, b: Tensor) -> Tensor:
    return a / b if a.is_floating_point() else torch.div(a, b, rounding_mode="trunc")


def _mod(node: Node, a: Tensor, b: Tensor) -> Tensor:
    return torch.fmod(a, b) if node.get("fmod", 0) else torch.remainder(a, b)


def _power(node: Node, base: Tensor, exponent: Tensor) -> Tensor:
    if not exponent.ndim and not exponent.requires_grad:  # a number has a simpler gradient, which is finite at 0
        return base.pow(exponent.item()).to(base.dtype)
    return base.pow(exponent).to(base.dtype)


def _clip(node: Node, x: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
    if node.opset < 11:
        return x.clamp(node.get("min", -torch.inf), node.get("max", torch.inf))
    x = x if low is None else torch.maximum(x, low.to(x.dtype)) if low.requires_grad else x.clamp(min=low.item())
    return x if high is None else torch.minimum(x, high.to(x.dtype)) if high.requires_grad else x.clamp(max=high.item())


def _cast(node: Node, x: Tensor) -> Tensor:
    return x.to(dtype_of(node.get("to")))


def _cast_like(node: Node, x: Tensor, like: Tensor) -> Tensor:
    return x.to(like.dtype)


def _where(node: Node, condition: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return torch.where(condition, a, b)


def _is_inf(node: Node, x: Tensor) -> Tensor:
    found = torch.zeros_like(x, dtype=torch.bool)
    found = found | (x == torch.inf) if node.get("detect_positive", 1) else found
    return found | (x == -torch.inf) if node.get("detect_negative", 1) else found


def _softmax(node: Node, x: Tensor) -> Tensor:
    return _along(node, x, torch.softmax)


def _log_softmax(node: Node, x: Tensor) -> Tensor:
    return _along(node, x, torch.log_softmax)


def _hardmax(node: Node, x: Tensor) -> Tensor:
    return _along(node, x, lambda z, dim: F.one_hot(z.argmax(dim), z.shape[dim]).movedim(-1, dim).to(z.dtype))


def _along(node: Node, x: Tensor, function: Callable[[Tensor, int], Tensor]) -> Tensor:
    """Along one axis; before opset 13 along that axis and all behind it together."""
    if node.opset >= 13:
        return function(x, node.get("axis", -1))
    axis = node.get("axis", 1) % x.ndim
    return function(x.reshape(*x.shape[:axis], -1), axis).reshape(x.shape)


def hard_sigmoid(x: Tensor, alpha: float, beta: float) -> Tensor:
    """A line, cut off at 0 and 1."""
    return (alpha * x + beta).clamp(0, 1)


def _prelu(node: Node, x: Tensor, slope: Tensor) -> Tensor:
    return torch.where(x < 0, slope * x, x)


def _selu(x: Tensor, alpha: float, gamma: float) -> Tensor:
    return gamma * F.elu(x, alpha)


def _shrink(x: Tensor, bias: float, lambd: float) -> Tensor:
    return torch.where(x < -lambd, x + bias, torch.where(x > lambd, x - bias, torch.zeros_like(x)))


def thresholded_relu(x: Tensor, alpha: float) -> Tensor:
    """What is larger than alpha, else 0."""
    return torch.where(x > alpha, x, torch.zeros_like(x))


def _gelu(node: Node, x: Tensor) -> Tensor:
    return F.gelu(x, approximate=node.get("approximate", "none"))


def _swish(x: Tensor, alpha: float) -> Tensor:
    return x * torch.sigmoid(alpha * x)


def _identity(node: Node, x: Any) -> Any:
    return x


def _dropout(node: Node, x: Tensor, ratio: Tensor | None = None, training: Tensor | None = None) -> tuple[Tensor, ...]:
    if training is not None and training.item() and (ratio is None or ratio.item()):
        raise UntranslatedError("Dropout that is left on")
    return x, torch.ones_like(x, dtype=torch.bool)


_PLAIN: dict[str, Callable[..., Tensor]] = {
    "Abs": torch.abs, "Acos": torch.acos, "Acosh": torch.acosh, "Add": torch.add, "And": torch.logical_and,
    "Asin": torch.asin, "Asinh": torch.asinh, "Atan": torch.atan, "Atanh": torch.atanh, "BitwiseAnd": torch.bitwise_and,
    "BitwiseNot": torch.bitwise_not, "BitwiseOr": torch.bitwise_or, "BitwiseXor": torch.bitwise_xor, "Ceil": torch.ceil,
    "Cos": torch.cos, "Cosh": torch.cosh, "Equal": torch.eq, "Erf": torch.erf, "Exp": torch.exp,
    "Floor": torch.floor, "Greater": torch.gt, "GreaterOrEqual": torch.ge, "HardSwish": F.hardswish,
    "IsNaN": torch.isnan, "Less": torch.lt, "LessOrEqual": torch.le, "Log": torch.log, "MatMul": torch.matmul,
    "Mish": F.mish, "Mul": torch.mul, "Neg": torch.neg, "Not": torch.logical_not, "Or": torch.logical_or,
    "Reciprocal": torch.reciprocal, "Relu": torch.relu, "Round": torch.round, "Sigmoid": torch.sigmoid,
    "Sign": torch.sign, "Sin": torch.sin, "Sinh": torch.sinh, "Softplus": F.softplus, "Softsign": F.softsign,
    "Sqrt": torch.sqrt, "Sub": torch.sub, "Tan": torch.tan, "Tanh": torch.tanh, "Xor": torch.logical_xor,
}  # fmt: skip

ELEMENTWISE: Operators = {
    **{kind: _plain(function) for kind, function in _PLAIN.items()},
    "Cast": _cast,
    "CastLike": _cast_like,
    "Celu": _with(F.celu, alpha=1.0),
    "Clip": _clip,
    "Div": _div,
    "Dropout": _dropout,
    "Elu": _with(F.elu, alpha=1.0),
    "Gelu": _gelu,
    "HardSigmoid": _with(hard_sigmoid, alpha=0.2, beta=0.5),
    "Hardmax": _hardmax,
    "Identity": _identity,
    "IsInf": _is_inf,
    "LeakyRelu": _with(F.leaky_relu, alpha=0.01),
    "LogSoftmax": _log_softmax,
    "Max": _of_many(torch.maximum),
    "Mean": _mean,
    "Min": _of_many(torch.minimum),
    "Mod": _mod,
    "PRelu": _prelu,
    "Pow": _power,
    "Selu": _with(_selu, alpha=1.67326319217681884765625, gamma=1.05070102214813232421875),
    "Shrink": _with(_shrink, bias=0.0, lambd=0.5),
    "Softmax": _softmax,
    "Sum": _of_many(torch.add),
    "Swish": _with(_swish, alpha=1.0),
    "ThresholdedRelu": _with(thresholded_relu, alpha=1.0),
    "Where": _where,
}
