"""One operation of a graph, and how operators read what they are given."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

Operator = Callable[..., Any]  # of a node and its inputs, to a tensor or a tuple of them
Operators = Mapping[str, Operator]


class UntranslatedError(Exception):
    """A setting of an operator that has no translation."""


@dataclass(frozen=True)
class Node:
    """One operation.

    Attributes:
        kind: the operator's name, behind its domain where that is not ONNX's own: "Conv", "ai.onnx.ml:Scaler".
        opset: the version of the operator set, which decides what inputs and attributes mean.
        inputs: names of values, "" for one that is left out; behind them those that branches take from around them.
        attributes: numbers, words, tensors and graphs by name.
    """

    kind: str
    opset: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)

    def get(self, name: str, default: Any = None) -> Any:
        """An attribute, or what it is where the file leaves it out."""
        return self.attributes.get(name, default)

    def __str__(self) -> str:
        settings = ", ".join(f"{key}={_shown(self.attributes[key])}" for key in sorted(self.attributes))
        given = f"{', '.join(self.inputs)}; {settings}" if settings else ", ".join(self.inputs)
        return f"{', '.join(self.outputs)} = {self.kind}[{self.opset}]({given})"


def _shown(value: Any) -> str:
    return f"{value.dtype}{value.tolist()}" if isinstance(value, Tensor) else str(value)


def numbers(value: Tensor) -> list[Any]:
    """What a small tensor holds."""
    return list(value.reshape(-1).tolist())


def axes_of(node: Node, given: Tensor | None, since: int) -> list[int] | None:
    """Axes, which are an attribute before the opset `since`, and an input from there on; None: left out."""
    found = node.get("axes") if node.opset < since else given
    return numbers(found) if isinstance(found, Tensor) else found
