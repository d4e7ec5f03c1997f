"""ONNX files: checked before anything is computed, then read as a graph of torch's tensors.

Nothing in a file is run: it holds numbers and names of operators. Weights in other files are read only from the folder
of the model and those inside it.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from blindspots.errors import InputError
from blindspots.files import check_regular
from blindspots.models.onnx.graph import Graph
from blindspots.models.onnx.node import Node
from blindspots.models.onnx.operators import OPERATORS

MOST = 1 << 31  # bytes: what a message of protobuf can hold
_OWN = ("", "ai.onnx")  # names of ONNX's own domain


def read(path: Path) -> Any:
    """The checked ModelProto in a file, weights that lie beside it included.

    Raises InputError: it is no valid ONNX model, too large, or names weights outside of its folder.
    """
    import onnx
    from google.protobuf.message import DecodeError

    check_regular(path, "an ONNX model", MOST)
    try:
        proto = onnx.load_model_from_string(path.read_bytes())
    except DecodeError as error:
        raise InputError(f"expected an ONNX model in {str(path)!r}, got other bytes: export it again") from error
    _gather(proto, path)
    try:
        onnx.checker.check_model(proto)
    except (onnx.checker.ValidationError, ValueError, TypeError) as error:
        said = " ".join(str(error).split())[:200]
        raise InputError(f"expected a valid ONNX model in {str(path)!r}, got: {said}: export it again") from error
    return proto


def _gather(proto: Any, path: Path) -> None:
    """Reads weights from files beside the model."""
    from onnx.external_data_helper import ExternalDataInfo, uses_external_data

    outside = [tensor for tensor in _tensors(proto) if uses_external_data(tensor)]
    try:
        files = {_beside(path, ExternalDataInfo(tensor).location) for tensor in outside}
    except ValueError as error:  # of an offset or a length
        raise InputError(f"expected places of weights in {str(path)!r}, got: {error}: export it again") from error
    total = path.stat().st_size + sum(file.stat().st_size for file in files)
    if total > MOST:
        raise InputError(
            f"expected an ONNX model of at most {MOST:,} bytes, got {total:,} with its weights: use another"
        )
    for tensor in outside:
        _load(tensor, path)


def _load(tensor: Any, path: Path) -> None:
    from onnx.external_data_helper import load_external_data_for_tensor

    try:
        load_external_data_for_tensor(tensor, str(path.parent))
    except Exception as error:
        said = " ".join(str(error).split())[:200]
        raise InputError(
            f"expected the weight {tensor.name!r} of {str(path)!r} in a file beside it, got: {said}: keep the files of "
            "an export together"
        ) from error
    tensor.ClearField("external_data")
    tensor.data_location = tensor.DEFAULT


def _beside(path: Path, location: str) -> Path:
    file = (path.parent / location).resolve()
    if not file.is_relative_to(path.parent.resolve()):
        raise InputError(
            f"expected weights in the folder of {str(path)!r}, got {location!r}, which lies outside: export it again"
        )
    check_regular(file, f"weights of {str(path)!r}", MOST)
    return file


def _tensors(proto: Any) -> Iterator[Any]:
    yield from _tensors_of(proto.graph)
    for function in proto.functions:
        yield from _in_nodes(function.node)


def _tensors_of(graph: Any) -> Iterator[Any]:
    yield from graph.initializer
    yield from _in_nodes(graph.node)


def _in_nodes(nodes: Any) -> Iterator[Any]:
    for attribute in (attribute for node in nodes for attribute in node.attribute):
        yield from ([attribute.t] if attribute.HasField("t") else [])
        yield from attribute.tensors
        for graph in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
            yield from _tensors_of(graph)


# ------------------------------------------------------------------ as a graph


def expanded(proto: Any) -> Any:
    """Functions of the file, and operators that the standard defines by others, as far as the table lacks them."""
    from onnx import inliner

    proto = inliner.inline_local_functions(proto)
    lacking = {(node.domain, node.op_type) for node in _nodes(proto.graph) if _kind(node) not in OPERATORS}
    return inliner.inline_selected_functions(proto, sorted(lacking), inline_schema_functions=True)


def _nodes(graph: Any) -> Iterator[Any]:
    """Those of a GraphProto and of the graphs inside it."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _nodes(attribute.g)


def graph_of(proto: Any) -> Graph:
    """The graph of a ModelProto, as it is in the file."""
    return _graph(proto.graph, {opset.domain: opset.version for opset in proto.opset_import})


def _graph(graph: Any, opsets: Mapping[str, int]) -> Graph:
    constants = {one.name: value for one in graph.initializer if (value := tensor_of(one)) is not None}
    return Graph(
        inputs=tuple(value.name for value in graph.input if value.name not in constants),
        outputs=tuple(value.name for value in graph.output),
        nodes=tuple(_node(node, opsets) for node in graph.node),
        constants=constants,
    )


def _kind(node: Any) -> str:
    return node.op_type if node.domain in _OWN else f"{node.domain}:{node.op_type}"


def _node(node: Any, opsets: Mapping[str, int]) -> Node:
    attributes = {attribute.name: _attribute(attribute, opsets) for attribute in node.attribute}
    free = [name for value in attributes.values() if isinstance(value, Graph) for name in value.free]
    opset = opsets.get("" if node.domain in _OWN else node.domain, opsets.get("ai.onnx", 1))
    inputs = (*node.input, *dict.fromkeys(name for name in free if name not in node.input))
    return Node(_kind(node), opset, inputs, tuple(node.output), attributes)


def _attribute(attribute: Any, opsets: Mapping[str, int]) -> Any:
    from onnx import helper

    value = helper.get_attribute_value(attribute)
    if attribute.HasField("g"):
        return _graph(value, opsets)
    if attribute.HasField("t"):
        return tensor_of(value)
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return [v.decode("utf-8", "replace") if isinstance(v, bytes) else v for v in value] if _many(attribute) else value


def _many(attribute: Any) -> bool:
    return bool(len(attribute.floats) or len(attribute.ints) or len(attribute.strings))


def tensor_of(proto: Any) -> Tensor | None:
    """A tensor with the numbers of a TensorProto; None: it holds words, or numbers of a type that torch has not."""
    from onnx import numpy_helper

    array = np.array(numpy_helper.to_array(proto))  # a copy that can be written to
    try:
        return torch.from_numpy(array)
    except TypeError:
        return torch.from_numpy(array.astype(np.float32)).bfloat16() if array.dtype.name == "bfloat16" else None
