"""Operators that make one number of many, or put numbers in order."""

from collections.abc import Callable

import torch
from torch import Tensor

from blindspots.models.onnx.node import Node, Operator, Operators, axes_of

Reduction = Callable[[Tensor, tuple[int, ...], bool], Tensor]


def _reducing(function: Reduction, since: int = 18) -> Operator:
    """An operator that reduces along axes, which are an input from the opset `since` on."""

    def reduced(node: Node, x: Tensor, axes: Tensor | None = None) -> Tensor:
        dims = axes_of(node, axes, since)
        if not dims:
            if node.get("noop_with_empty_axes", 0):
                return x
            dims = list(range(x.ndim))
        return function(x, tuple(dims), bool(node.get("keepdims", 1)))

    return reduced


def _sum(x: Tensor, dims: tuple[int, ...], keep: bool) -> Tensor:
    return x.sum(dims, keep, dtype=x.dtype)


def _mean(x: Tensor, dims: tuple[int, ...], keep: bool) -> Tensor:
    return x.mean(dims, keep) if x.is_floating_point() else x.double().mean(dims, keep).to(x.dtype)


def _product(x: Tensor, dims: tuple[int, ...], keep: bool) -> Tensor:
    for axis in sorted((axis % x.ndim for axis in dims), reverse=True):
        x = x.prod(axis, keep, dtype=x.dtype)
    return x


def _absolute(x: Tensor, dims: tuple[int, ...], keep: bool) -> Tensor:
    return _sum(x.abs(), dims, keep)


def _squares(x: Tensor, dims: tuple[int, ...], keep: bool) -> Tensor:
    return _sum(x * x, dims, keep)


def _length(x: Tensor, dims: tuple[int, ...], keep: bool) -> Tensor:
    length: Tensor = torch.linalg.vector_norm(x, 2, dims, keep)
    return length


def _log_sum(x: Tensor, dims: tuple[int, ...], keep: bool) -> Tensor:
    return _sum(x, dims, keep).log()


def _arg_max(node: Node, x: Tensor) -> Tensor:
    return _place(node, x)


def _arg_min(node: Node, x: Tensor) -> Tensor:
    return _place(node, -x)


def _place(node: Node, x: Tensor) -> Tensor:
    """Of the largest number: the first of several, or the last one where the node says so."""
    axis, keep = node.get("axis", 0), bool(node.get("keepdims", 1))
    last = bool(node.get("select_last_index", 0))
    place = (x.flip(axis) if last else x).argmax(axis, keep)
    return x.shape[axis] - 1 - place if last else place


def _top_k(node: Node, x: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
    """Of equal numbers the first ones, as the standard has it; torch.topk takes any."""
    axis, count = node.get("axis", -1), int(k.item())
    values, places = x.sort(dim=axis, descending=bool(node.get("largest", 1)), stable=True)
    return values.narrow(axis, 0, count), places.narrow(axis, 0, count)


def _cumsum(node: Node, x: Tensor, axis: Tensor) -> Tensor:
    along = int(axis.item())
    x = x.flip(along) if node.get("reverse", 0) else x
    total = x.cumsum(along, dtype=x.dtype)
    total = total - x if node.get("exclusive", 0) else total
    return total.flip(along) if node.get("reverse", 0) else total


REDUCTIONS: Operators = {
    "ArgMax": _arg_max,
    "ArgMin": _arg_min,
    "CumSum": _cumsum,
    "ReduceL1": _reducing(_absolute),
    "ReduceL2": _reducing(_length),
    "ReduceLogSum": _reducing(_log_sum),
    "ReduceLogSumExp": _reducing(torch.logsumexp),
    "ReduceMax": _reducing(torch.amax),
    "ReduceMean": _reducing(_mean),
    "ReduceMin": _reducing(torch.amin),
    "ReduceProd": _reducing(_product),
    "ReduceSum": _reducing(_sum, since=13),
    "ReduceSumSquare": _reducing(_squares),
    "TopK": _top_k,
}
