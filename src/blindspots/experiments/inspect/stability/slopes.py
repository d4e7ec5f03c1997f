"""Activations: between which numbers their slope lies, and their values and slopes over intervals."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

Slope = tuple[float, float]

# The largest slopes of GELU (at sqrt 2), its tanh form, SiLU and Mish, rounded up; the smallest are one minus these for
# the first three, whose slopes at x and -x add up to 1.
_GELU, _GELU_TANH, _SILU, _MISH = 1.128905, 1.128994, 1.099840, 1.088499

_FIXED: dict[str, Slope] = {
    "relu": (0, 1),
    "relu6": (0, 1),
    "hardtanh": (0, 1),
    "clamp": (0, 1),
    "clamp_min": (0, 1),
    "clamp_max": (0, 1),
    "tanh": (0, 1),
    "softplus": (0, 1),
    "softshrink": (0, 1),
    "log_sigmoid": (0, 1),
    "celu": (0, 1),
    "sigmoid": (0, 0.25),
    "hardsigmoid": (0, 1 / 6),
    "hardswish": (-0.5, 1.5),
    "selu": (0, 1.0507009873554805 * 1.6732632423543772),
    "silu": (1 - _SILU, _SILU),
    "mish": (-0.112527, _MISH),
    "abs": (-1, 1),
    "sin": (-1, 1),
    "cos": (-1, 1),
    "atan": (0, 1),
}


def slopes(op: str, given: Mapping[str, Any]) -> Slope | None:
    """The smallest and the largest slope of an activation with these arguments; None if it has no bound, or is none."""
    rule = _WITH_ARGUMENTS.get(op)
    return rule(given) if rule else _FIXED.get(op)


def _leaky(given: Mapping[str, Any]) -> Slope:
    slope = float(given["negative_slope"])
    return min(slope, 1), max(slope, 1)


def _prelu(given: Mapping[str, Any]) -> Slope | None:
    weight = given["weight"]
    if not isinstance(weight, Tensor):
        return None
    return min(float(weight.amin()), 1), max(float(weight.amax()), 1)


def _elu(given: Mapping[str, Any]) -> Slope:
    alpha, scale, inner = (float(given[name]) for name in ("alpha", "scale", "input_scale"))
    return 0, scale * max(1, alpha * inner)


def _gelu(given: Mapping[str, Any]) -> Slope:
    largest = _GELU if given["approximate"] == "none" else _GELU_TANH
    return 1 - largest, largest


_WITH_ARGUMENTS: dict[str, Callable[[Mapping[str, Any]], Slope | None]] = {
    "leaky_relu": _leaky,
    "prelu": _prelu,
    "elu": _elu,
    "gelu": _gelu,
}


def slopes_between(op: str, given: Mapping[str, Any], low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """The smallest and the largest slope of an activation between `low` and `high`, elementwise.

    Of those without a rule here, the ones that hold everywhere.
    """
    everywhere = slopes(op, given)
    assert everywhere is not None
    if op in ("relu", "leaky_relu"):
        left = 0.0 if op == "relu" else float(given["negative_slope"])
        return _pieces(left, low, high, everywhere)
    if op in _CURVED:
        ends = [_CURVED[op](end) for end in (low, high)]
        over = (low < 0) & (high > 0)
        return ends[0].minimum(ends[1]), ends[0].maximum(ends[1]).masked_fill(over, everywhere[1])
    return torch.full_like(low, everywhere[0]), torch.full_like(low, everywhere[1])


def _pieces(left: float, low: Tensor, high: Tensor, everywhere: Slope) -> tuple[Tensor, Tensor]:
    """Of `left` below 0 and 1 above."""
    below, above = high < 0, low > 0
    smallest = torch.full_like(low, everywhere[0]).masked_fill(above, 1.0).masked_fill(below, left)
    return smallest, torch.full_like(low, everywhere[1]).masked_fill(above, 1.0).masked_fill(below, left)


_CURVED: dict[str, Callable[[Tensor], Tensor]] = {  # slopes that rise until 0 and fall behind it
    "tanh": lambda x: 1 - x.tanh().square(),
    "sigmoid": lambda x: x.sigmoid() * (-x).sigmoid(),
}
