"""What a graph takes, as far as it can be told: layout, scale and type of its input."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from blindspots.box import Box
from blindspots.errors import InputError
from blindspots.findings import Finding
from blindspots.models.onnx.graph import Graph
from blindspots.models.onnx.node import Node
from blindspots.models.onnx.operators.elementwise import DTYPES

_FLOATS, _STEPS = (1, 10, 11), (2, 3, 4, 5, 6)  # numbers of TensorProto.DataType: floats, and integers of pictures
_PASSING = ("Cast", "Identity", "Transpose", "Unsqueeze", "Squeeze")  # what may stand before a graph's own scaling
_LEVELS = 255.0


@dataclass(frozen=True)
class Form:
    """How the input of a graph differs from pictures (B, C, H, W) in [0, 1], or rows of floats.

    Attributes:
        dtype: of the graph's input.
        dims: its shape, None where the file leaves an axis open.
        channels_last: it takes (B, H, W, C).
        levels: it takes 0 to 255 where inputs lie in [0, 1].
    """

    dtype: torch.dtype
    dims: tuple[int | None, ...]
    channels_last: bool
    levels: bool

    @property
    def whole(self) -> bool:
        """Whether it takes integers."""
        return not self.dtype.is_floating_point

    @property
    def shape(self) -> tuple[int | None, ...]:
        """Of one input as we have it: (C, H, W) for pictures."""
        shape = self.dims[1:]
        return (shape[2], *shape[:2]) if self.channels_last else shape

    @property
    def rows(self) -> int | None:
        """The number of rows that it takes; None: any."""
        return self.dims[0]

    def notes(self) -> Iterator[Finding]:
        """What a reader should know of it."""
        if self.channels_last:
            yield note(
                "onnx-layout", "The graph takes pictures (rows, height, width, channels).", "They are turned before it."
            )
        if self.levels:
            kind = "whole numbers from 0 to 255" if self.whole else "0 to 255, which it scales itself"
            yield note("onnx-scale", f"The graph takes {kind}.", "Inputs in [0, 1] are multiplied by 255 before it.")
        elif self.whole:
            yield note("onnx-scale", "The graph takes whole numbers.", "Inputs are rounded before it.")


def note(code: str, saw: str, do: str) -> Finding:
    """What is good to know of a graph."""
    return Finding(code=code, severity="note", saw=saw, do=do)


def form_of(proto: Any, graph: Graph, box: Box, where: str) -> Form:
    """How a graph takes inputs in the box; only those in [0, 1] may be another scale than the graph's.

    Raises InputError: the graph has not one input of numbers with an axis of rows.
    """
    known = {one.name for one in proto.graph.initializer}
    inputs = [value for value in proto.graph.input if value.name not in known]
    if len(inputs) != 1:
        names = ", ".join(value.name for value in inputs) or "none"
        raise InputError(f"expected a graph of one input x in {where!r}, got {names}: export one with one")
    tensor = inputs[0].type.tensor_type
    dims = tuple(d.dim_value if d.dim_value > 0 else None for d in tensor.shape.dim)
    if tensor.elem_type not in (*_FLOATS, *_STEPS) or not dims:
        raise InputError(
            f"expected an input of floats or of the levels of pictures, with an axis of rows, in {where!r}, got type "
            f"{tensor.elem_type} of shape {dims}: wrap the graph in a file.py:factory"
        )
    last = len(dims) == 4 and dims[3] in (1, 3) and dims[1] not in (1, 3)
    dtype, pictures = DTYPES[tensor.elem_type], last or (len(dims) == 4 and dims[1] in (1, 3))
    takes = dtype is torch.uint8 or (pictures and (not dtype.is_floating_point or _takes_levels(graph)))
    return Form(dtype, dims, last, levels=takes and box.hull == (0.0, 1.0))


def _takes_levels(graph: Graph) -> bool:
    """Whether the first arithmetic in the graph divides by about 255 (or half of it), or subtracts a mean of levels."""
    name, node = graph.inputs[0], None
    while True:
        users = [n for n in graph.nodes if name in n.inputs]
        if len(users) != 1:
            return False
        node = users[0]
        if node.kind not in _PASSING:
            return _scales(node, name, graph)
        name = node.outputs[0]


def _scales(node: Node, name: str, graph: Graph) -> bool:
    others = [graph.constants[other] for other in node.inputs if other != name and other in graph.constants]
    if len(others) != 1 or not others[0].numel():
        return False
    low, high = float(others[0].abs().min()), float(others[0].abs().max())
    if node.kind == "Div":
        return _is_range(low) and _is_range(high)
    if node.kind == "Mul":
        return low > 0 and _is_range(1 / low) and _is_range(1 / high)
    return node.kind in ("Sub", "Add") and 64 <= low <= high <= 192


def _is_range(divisor: float) -> bool:
    return any(abs(divisor - value) < 2 for value in (_LEVELS, _LEVELS / 2))


class Fed(nn.Module):
    """A graph behind what turns our inputs into its own.

    For whole numbers inputs are rounded, as in a file of 8 bits; the gradient passes straight through the rounding.
    Where the graph takes rows of features, pictures with as many pixels are such rows.
    """

    def __init__(self, net: nn.Module, form: Form, exact: bool) -> None:
        super().__init__()
        self.net, self.form, self.exact = net, form, exact

    def forward(self, x: Tensor) -> Any:
        x = x.flatten(1) if len(self.form.dims) == 2 else x
        x = x * _LEVELS if self.form.levels else x
        x = x.detach().round() + (x - x.detach()) if self.form.whole else x
        x = x.permute(0, 2, 3, 1) if self.form.channels_last else x
        # Behind whole numbers gradients need floats, which hold the same values.
        return self.net(x.to(self.form.dtype) if self.exact or not self.form.whole else x)

    def extra_repr(self) -> str:
        return f"{self.form}, exact={self.exact}"
