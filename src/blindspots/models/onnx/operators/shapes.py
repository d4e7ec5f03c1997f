"""Operators that move, choose and repeat numbers, and those that speak of shapes."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from blindspots.models.onnx.node import Node, Operators, UntranslatedError, axes_of, numbers
from blindspots.models.onnx.operators.elementwise import dtype_of


def _constant(node: Node) -> Tensor:
    for name in ("value", "value_float", "value_floats", "value_int", "value_ints"):
        if (value := node.get(name)) is not None:
            return value if isinstance(value, Tensor) else torch.tensor(value)
    raise UntranslatedError("Constant of words or of a sparse tensor")


def _constant_of_shape(node: Node, shape: Tensor) -> Tensor:
    value: Tensor = node.get("value", torch.zeros(1))
    return value.to(shape.device).reshape(()).expand(numbers(shape)).clone()


def _shape(node: Node, x: Tensor) -> Tensor:
    return torch.tensor(x.shape[slice(node.get("start", 0), node.get("end"))], dtype=torch.int64, device=x.device)


def _size(node: Node, x: Tensor) -> Tensor:
    return torch.tensor(x.numel(), device=x.device)


def _reshape(node: Node, x: Tensor, sizes: Tensor) -> Tensor:
    keep = not node.get("allowzero", 0)
    return x.reshape(tuple(x.shape[i] if keep and n == 0 else n for i, n in enumerate(numbers(sizes))))


def _flatten(node: Node, x: Tensor) -> Tensor:
    axis = node.get("axis", 1)
    before = x.shape[: axis if axis >= 0 else axis + x.ndim]
    return x.reshape(math.prod(before), -1)


def _transpose(node: Node, x: Tensor) -> Tensor:
    return x.permute(node.get("perm", tuple(reversed(range(x.ndim)))))


def _squeeze(node: Node, x: Tensor, axes: Tensor | None = None) -> Tensor:
    dims = axes_of(node, axes, since=13)
    return x.squeeze() if dims is None else x.squeeze(tuple(dims))


def _unsqueeze(node: Node, x: Tensor, axes: Tensor | None = None) -> Tensor:
    dims = axes_of(node, axes, since=13) or []
    rank = x.ndim + len(dims)
    for axis in sorted(axis % rank for axis in dims):
        x = x.unsqueeze(axis)
    return x


def _concat(node: Node, *parts: Tensor) -> Tensor:
    return torch.cat(parts, node.get("axis", 1))


def _split(node: Node, x: Tensor, sizes: Tensor | None = None) -> tuple[Tensor, ...]:
    axis = node.get("axis", 0)
    given = node.get("split") if node.opset < 13 else None if sizes is None else numbers(sizes)
    count = len(node.outputs)
    return torch.split(x, given or math.ceil(x.shape[axis] / count), axis)


def _slice(
    node: Node, x: Tensor, starts: Tensor | None = None, ends: Tensor | None = None, axes: Tensor | None = None,
    steps: Tensor | None = None,
) -> Tensor:  # fmt: skip
    if starts is None or ends is None:  # before opset 10
        begin, end, along = node.get("starts"), node.get("ends"), node.get("axes")
    else:
        begin, end, along = numbers(starts), numbers(ends), None if axes is None else numbers(axes)
    strides = [1] * len(begin) if steps is None else numbers(steps)
    for axis, *cut in zip(along or range(len(begin)), begin, end, strides, strict=True):
        x = _cut(x, axis, slice(*cut))
    return x


def _cut(x: Tensor, axis: int, part: slice) -> Tensor:
    places = range(x.shape[axis])[part]
    if places.step > 0:
        return x[(slice(None),) * (axis % x.ndim) + (slice(places.start, places.stop, places.step),)]
    return x.index_select(axis, torch.tensor(list(places), dtype=torch.int64, device=x.device))


def _gather(node: Node, x: Tensor, places: Tensor) -> Tensor:
    axis = node.get("axis", 0) % x.ndim
    chosen = x.index_select(axis, _from_start(places, x.shape[axis]).reshape(-1))
    return chosen.reshape((*x.shape[:axis], *places.shape, *x.shape[axis + 1 :]))


def _from_start(places: Tensor, length: int) -> Tensor:
    places = places.long()
    return torch.where(places < 0, places + length, places)


def _gather_elements(node: Node, x: Tensor, places: Tensor) -> Tensor:
    axis = node.get("axis", 0)
    return x.gather(axis, _from_start(places, x.shape[axis]))


def _gather_nd(node: Node, x: Tensor, places: Tensor) -> Tensor:
    rank = node.get("batch_dims", 0)
    rows = (torch.arange(n, device=x.device) for n in places.shape[:rank])
    own = (row.reshape([-1 if i == at else 1 for i in range(places.ndim - 1)]) for at, row in enumerate(rows))
    return x[(*own, *places.long().unbind(-1))]


def _scatter_elements(node: Node, x: Tensor, places: Tensor, updates: Tensor) -> Tensor:
    axis, how = node.get("axis", 0), node.get("reduction", "none")
    places = _from_start(places, x.shape[axis])
    if how == "none":
        return x.scatter(axis, places, updates)
    return x.scatter_reduce(axis, places, updates, {"add": "sum", "mul": "prod", "max": "amax", "min": "amin"}[how])


def _scatter_nd(node: Node, x: Tensor, places: Tensor, updates: Tensor) -> Tensor:
    how = node.get("reduction", "none")
    if how not in ("none", "add"):
        raise UntranslatedError(f"ScatterND with reduction={how}")
    return x.index_put(places.long().unbind(-1), updates, accumulate=how == "add")


def _expand(node: Node, x: Tensor, sizes: Tensor) -> Tensor:
    return x.expand(torch.broadcast_shapes(x.shape, numbers(sizes)))  # type: ignore[no-untyped-call]


def _tile(node: Node, x: Tensor, repeats: Tensor) -> Tensor:
    return x.repeat(numbers(repeats))


def _pad(
    node: Node, x: Tensor, pads: Tensor | None = None, value: Tensor | None = None, axes: Tensor | None = None
) -> Tensor:
    amounts = node.get("pads") if pads is None else numbers(pads)
    along = range(x.ndim) if axes is None else [axis % x.ndim for axis in numbers(axes)]
    fill = node.get("value", 0.0) if value is None else value.item()
    how = node.get("mode", "constant")
    for axis, before, behind in zip(along, amounts[: len(along)], amounts[len(along) :], strict=True):
        x = _padded(x, axis, before, behind, how, fill)
    return x


def _padded(x: Tensor, axis: int, before: int, behind: int, how: str, fill: float) -> Tensor:
    if not before and not behind:
        return x
    if how == "constant":
        return F.pad(x, (0, 0) * (x.ndim - 1 - axis) + (before, behind), value=fill)
    n = x.shape[axis]
    places = torch.arange(-before, n + behind, device=x.device)
    if how == "edge":
        places = places.clamp(0, n - 1)
    elif how == "wrap":
        places = places % n
    else:
        period = max(2 * (n - 1), 1)
        places = places % period
        places = torch.minimum(places, period - places)
    return x.index_select(axis, places)


def _depth_to_space(node: Node, x: Tensor) -> Tensor:
    n, (b, c, h, w) = node.get("blocksize"), x.shape
    if node.get("mode", "DCR") == "CRD":
        return F.pixel_shuffle(x, n)
    blocks = x.reshape(b, n, n, c // n**2, h, w).permute(0, 3, 4, 1, 5, 2)
    return blocks.reshape(b, c // n**2, h * n, w * n)


def _space_to_depth(node: Node, x: Tensor) -> Tensor:
    n, (b, c, h, w) = node.get("blocksize"), x.shape
    if node.get("mode", "DCR") == "CRD":
        return F.pixel_unshuffle(x, n)
    return x.reshape(b, c, h // n, n, w // n, n).permute(0, 3, 5, 1, 2, 4).reshape(b, c * n**2, h // n, w // n)


def _range(node: Node, start: Tensor, limit: Tensor, delta: Tensor) -> Tensor:
    count = max(math.ceil((limit.item() - start.item()) / delta.item()), 0)
    return start + delta * torch.arange(count, device=start.device).to(start.dtype)


def _one_hot(node: Node, places: Tensor, depth: Tensor, values: Tensor) -> Tensor:
    n = int(depth.item())
    hot = places.long().unsqueeze(node.get("axis", -1)) % n
    axis = node.get("axis", -1)
    steps = torch.arange(n, device=places.device)
    steps = steps.reshape([n if i == axis % hot.ndim else 1 for i in range(hot.ndim)])
    inside = ((places >= -n) & (places < n)).unsqueeze(axis)
    return torch.where((hot == steps) & inside, values[1], values[0])


def _eye_like(node: Node, x: Tensor) -> Tensor:
    dtype = dtype_of(node.get("dtype")) if node.get("dtype") else x.dtype
    made = torch.zeros(x.shape, dtype=dtype, device=x.device)
    made.diagonal(node.get("k", 0)).fill_(1)
    return made


def _trilu(node: Node, x: Tensor, k: Tensor | None = None) -> Tensor:
    cut = torch.triu if node.get("upper", 1) else torch.tril
    return cut(x, 0 if k is None else int(k.item()))


def _nonzero(node: Node, x: Tensor) -> Tensor:
    return x.nonzero().T


def _reverse_sequence(node: Node, x: Tensor, lengths: Tensor) -> Tensor:
    time, rows = node.get("time_axis", 0), node.get("batch_axis", 1)
    by_row = x.movedim((rows, time), (0, 1))
    return reversed_until(by_row, lengths).movedim((0, 1), (rows, time))


def reversed_until(x: Tensor, lengths: Tensor) -> Tensor:
    """Rows (B, T, ...) with their first `lengths` (B,) entries in reverse."""
    steps = torch.arange(x.shape[1], device=x.device).expand(x.shape[:2])
    ends = lengths.long()[:, None]
    places = torch.where(steps < ends, ends - 1 - steps, steps)
    return x.gather(1, places.reshape(*places.shape, *[1] * (x.ndim - 2)).expand(x.shape))


SHAPES: Operators = {
    "Concat": _concat,
    "Constant": _constant,
    "ConstantOfShape": _constant_of_shape,
    "DepthToSpace": _depth_to_space,
    "Expand": _expand,
    "EyeLike": _eye_like,
    "Flatten": _flatten,
    "Gather": _gather,
    "GatherElements": _gather_elements,
    "GatherND": _gather_nd,
    "NonZero": _nonzero,
    "OneHot": _one_hot,
    "Pad": _pad,
    "Range": _range,
    "Reshape": _reshape,
    "ReverseSequence": _reverse_sequence,
    "ScatterElements": _scatter_elements,
    "ScatterND": _scatter_nd,
    "Shape": _shape,
    "Size": _size,
    "Slice": _slice,
    "SpaceToDepth": _space_to_depth,
    "Split": _split,
    "Squeeze": _squeeze,
    "Tile": _tile,
    "Transpose": _transpose,
    "Trilu": _trilu,
    "Unsqueeze": _unsqueeze,
}
