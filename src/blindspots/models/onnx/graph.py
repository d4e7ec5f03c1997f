"""A computation graph of ONNX with torch's tensors, and how it is computed."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from blindspots.models.onnx.control import CONTROL
from blindspots.models.onnx.node import Node
from blindspots.models.onnx.operators import OPERATORS


@dataclass(frozen=True)
class Graph:
    """Nodes in an order in which they can be computed, and the tensors that are known beforehand."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    nodes: tuple[Node, ...]
    constants: Mapping[str, Tensor]

    def __str__(self) -> str:
        return "\n".join([f"({', '.join(self.inputs)}) -> ({', '.join(self.outputs)})", *map(str, self.nodes)])

    @property
    def free(self) -> tuple[str, ...]:
        """Names that a graph inside another one takes from that."""
        own = {*self.inputs, *self.constants, *(name for node in self.nodes for name in node.outputs)}
        asked = [*(name for node in self.nodes for name in node.inputs), *self.outputs]
        return tuple(dict.fromkeys(name for name in asked if name and name not in own))


def unknown(graph: Graph) -> list[str]:
    """Operators of the graph and of those inside it that have no translation."""
    return sorted({node.kind for node in all_nodes(graph)} - {*OPERATORS, *CONTROL})


def all_nodes(graph: Graph) -> Iterator[Node]:
    """The nodes of a graph and of those inside it."""
    for node in graph.nodes:
        yield node
        for _, inner in _inside(node):
            yield from all_nodes(inner)


def _inside(node: Node) -> Iterator[tuple[str, Graph]]:
    """Graphs that a node holds, by the names of its attributes."""
    return ((key, value) for key, value in node.attributes.items() if isinstance(value, Graph))


def needed(graph: Graph) -> Graph:
    """Without the nodes and constants that no output depends on."""
    wanted, kept = set(graph.outputs), []
    for node in reversed(graph.nodes):
        if wanted & set(node.outputs):
            kept.append(node)
            wanted |= set(node.inputs)
    constants = {name: value for name, value in graph.constants.items() if name in wanted}
    return replace(graph, nodes=tuple(reversed(kept)), constants=constants)


def of_any_rows(graph: Graph, rows: int) -> Graph:
    """The graph whose Reshapes leave the first size open where it is that number of rows, for which it was exported.

    Whether it then takes any number of rows, one row at a time or many, has to be tried.
    """
    constants = dict(graph.constants)
    for node in graph.nodes:
        if node.kind == "Reshape" and node.inputs[1] in constants:
            sizes = constants[node.inputs[1]]
            if sizes.numel() and sizes[0] == rows:
                constants[node.inputs[1]] = torch.cat([sizes.new_tensor([0 if -1 in sizes else -1]), sizes[1:]])
    return replace(graph, constants=constants)


@torch.no_grad()
def folded(graph: Graph) -> Graph:
    """What does not depend on the inputs is computed now, as far as operators are known."""
    constants, rest, lacking = dict(graph.constants), [], unknown(graph)
    for node in (_lifted(node, constants) for node in graph.nodes):
        made: dict[str, Any] = {}
        if node.kind not in lacking and all(name in constants for name in node.inputs if name):
            made = computed(node, constants)
        if made and all(isinstance(value, Tensor) for value in made.values()):
            constants |= made
        else:  # or it makes a sequence
            rest.append(node)
    return needed(replace(graph, nodes=tuple(rest), constants=constants))


def _lifted(node: Node, constants: dict[str, Tensor]) -> Node:
    """The node with its graphs folded; what they know beforehand is known around them, by names of its own."""
    for key, inner in _inside(node):
        known = folded(inner)
        names = {name: ".".join([*node.outputs, key, name]) for name in known.constants}
        constants |= {names[name]: value for name, value in known.constants.items()}
        lifted = _renamed(replace(known, constants={}), names)
        node = replace(node, inputs=(*node.inputs, *names.values()), attributes={**node.attributes, key: lifted})
    return node


def _renamed(graph: Graph, names: Mapping[str, str]) -> Graph:
    """With other names for values that come from around it."""

    def of(node: Node) -> Node:
        attributes = {**node.attributes, **{key: _renamed(inner, names) for key, inner in _inside(node)}}
        return replace(node, inputs=tuple(names.get(name, name) for name in node.inputs), attributes=attributes)

    outputs = tuple(names.get(name, name) for name in graph.outputs)
    return replace(graph, outputs=outputs, nodes=tuple(of(node) for node in graph.nodes))


def computed(node: Node, values: Mapping[str, Any]) -> dict[str, Any]:
    """What a node makes of values by name."""
    if node.kind in CONTROL:
        made: Any = CONTROL[node.kind](node, values, _run)
    else:
        made = OPERATORS[node.kind](node, *(values[name] if name else None for name in node.inputs))
    return dict(zip(node.outputs, made if isinstance(made, tuple) else (made,), strict=False))


def _run(graph: Graph, given: Sequence[Any], around: Mapping[str, Any]) -> list[Any]:
    inside = {**around, **graph.constants, **dict(zip(graph.inputs, given, strict=True))}
    for node in graph.nodes:
        inside |= computed(node, inside)
    return [inside[name] for name in graph.outputs]


class Network(nn.Module):
    """A graph of one input as a network: it returns a tensor, or where there are several a dictionary of them by name.

    Weights are parameters, so that devices, digests and training know them; all other numbers are buffers.
    """

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.graph, self.over = replace(graph, constants={}), list(_over(graph))
        self.kept = {name: f"constant_{i}" for i, name in enumerate(graph.constants)}
        for name, value in graph.constants.items():
            self._keep(self.kept[name], value.clone())

    def _keep(self, name: str, value: Tensor) -> None:
        if value.dtype is torch.float32 and value.ndim:
            self.register_parameter(name, nn.Parameter(value, requires_grad=False))
        else:
            self.register_buffer(name, value)

    def forward(self, x: Tensor) -> Any:
        values: dict[str, Any] = {name: getattr(self, kept) for name, kept in self.kept.items()}
        values[self.graph.inputs[0]] = x
        for node, over in zip(self.graph.nodes, self.over, strict=True):
            values |= computed(node, values)
            for name in over:
                del values[name]
        outputs = {name: values[name] for name in self.graph.outputs}
        return outputs if len(outputs) > 1 else outputs[self.graph.outputs[0]]

    def extra_repr(self) -> str:
        return f"{self.graph}\n{self.kept}"


def _over(graph: Graph) -> Iterator[tuple[str, ...]]:
    """For each node the names of values that it is the last to need, so that their memory is free."""
    last = {name: at for at, node in enumerate(graph.nodes) for name in node.inputs if name}
    for at, node in enumerate(graph.nodes):
        yield tuple(name for name in dict.fromkeys(node.inputs) if last.get(name) == at and name not in graph.outputs)
