"""Which outputs of a graph are scores, and what they are: labels and maps of probabilities are left out, softmax too.

What is left out becomes an Identity, so that outputs keep their names.
"""

from typing import Any

from blindspots.errors import InputError

FLOATS = (1, 10, 11)  # numbers of TensorProto.DataType


def without_maps(proto: Any) -> list[str] | None:
    """Replaces maps from classes to probabilities (ZipMap of scikit-learn's converter) by the tensors behind them.

    Returns: the names of the classes, if there are any.
    """
    from onnx import helper

    names: list[str] | None = None
    for node in proto.graph.node:
        if node.op_type == "ZipMap":
            (labels,) = node.attribute
            names = [label.decode() for label in labels.strings] or [str(label) for label in labels.ints]
            _pass_on(node)
            value = next(value for value in proto.graph.output if value.name == node.output[0])
            value.CopyFrom(helper.make_tensor_value_info(value.name, FLOATS[0], [None, len(names)]))
    return names


def _pass_on(node: Any) -> None:
    node.op_type, node.domain = "Identity", ""
    del node.attribute[:]


def only_scores(proto: Any, where: str) -> None:
    """Drops outputs that are no tensors of floats, as predicted labels, where others are.

    Raises InputError: there is no other.
    """
    kept = [value for value in proto.graph.output if value.type.tensor_type.elem_type in FLOATS]
    if not kept:
        raise InputError(
            f"expected scores among the outputs of {where!r}, got none, as where it returns labels alone: export it "
            'with scores, or wrap it in bs.BlackBox(function, answers="labels", classes=...)'
        )
    kept = [value.SerializeToString() for value in kept]  # copies, since what is deleted is gone
    del proto.graph.output[:]
    for value in kept:
        proto.graph.output.add().ParseFromString(value)


def without_softmax(proto: Any) -> list[str]:
    """Takes outputs (B, C) from before a softmax, and (B, 1) from before a sigmoid, in which the graph ends.

    Softmax of these is what the graph said, and their gradients do not vanish where a probability rounds to 1.

    Returns: the operators that were left out.
    """
    opset = max((one.version for one in proto.opset_import if one.domain in ("", "ai.onnx")), default=1)
    dims = {value.name: list(value.type.tensor_type.shape.dim) for value in proto.graph.output}
    used = {name for node in proto.graph.node for name in node.input}
    ends = [node for node in proto.graph.node if node.output[0] in dims and node.output[0] not in used]
    found = [node for node in ends if _makes_probabilities(node, dims[node.output[0]], opset)]
    said = [node.op_type for node in found]
    for node in found:
        _pass_on(node)
    return said


def _makes_probabilities(node: Any, dims: list[Any], opset: int) -> bool:
    single = len(dims) == 1 or (len(dims) == 2 and dims[1].dim_value == 1)
    if node.op_type == "Sigmoid":
        return single
    axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), -1 if opset >= 13 else 1)
    return node.op_type == "Softmax" and len(dims) == 2 and axis in (1, -1) and not single
