"""ONNX files written by hand, with the torch networks that they should equal."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

FLOAT, UINT8, INT64 = 1, 2, 7
Dims = Sequence[int | str | None]


def node(kind: str, inputs: str, outputs: str, **attributes: Any) -> Any:
    """`node("Gemm", "x w b", "y", transB=1)`; "ai.onnx.ml:Scaler" is of another domain, "-" an input left out."""
    domain, _, name = kind.rpartition(":")
    given = ["" if one == "-" else one for one in inputs.split()]
    return onnx.helper.make_node(name, given, outputs.split(), domain=domain, **attributes)


def model(
    nodes: Sequence[Any], numbers: Mapping[str, Any], dims: Dims, ends: Mapping[str, Dims | None] | None = None,
    dtype: int = FLOAT, opset: int = 20, about: str | None = None,
) -> Any:  # fmt: skip
    """A ModelProto with the input x."""
    constants = [onnx.numpy_helper.from_array(np.array(value), name) for name, value in numbers.items()]
    x = onnx.helper.make_tensor_value_info("x", dtype, dims)
    outputs = [
        onnx.helper.make_tensor_value_info(name, FLOAT, d) for name, d in (ends or {"y": ["rows", "classes"]}).items()
    ]
    graph = onnx.helper.make_graph(list(nodes), "graph", [x], outputs, constants)
    opsets = [onnx.helper.make_opsetid("", opset), onnx.helper.make_opsetid("ai.onnx.ml", 3)]
    made = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=10)
    if about is not None:
        onnx.helper.set_model_props(made, {"blindspots.json": about})
    return made


def saved(folder: Path, proto: Any, name: str = "model.onnx") -> str:
    (folder / name).write_bytes(proto.SerializeToString())
    return str(folder / name)


def weights(net: nn.Module) -> dict[str, Any]:
    return {name: value.numpy() for name, value in net.state_dict().items()}


def mlp(seed: int = 0) -> tuple[nn.Module, Any]:
    """12 features, 4 classes, any number of rows."""
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(12, 16), nn.Tanh(), nn.Linear(16, 4)).eval()
    nodes = [
        node("Gemm", "x 0.weight 0.bias", "a", transB=1),
        node("Tanh", "a", "b"),
        node("Gemm", "b 2.weight 2.bias", "y", transB=1),
    ]
    return net, model(nodes, weights(net), ["rows", 12], {"y": ["rows", 4]})


def cnn(rows: int | str = "rows") -> tuple[nn.Module, Any]:
    """(3, 8, 8), 5 classes; the shape for the last layer is computed in the graph, as exporters write it."""
    torch.manual_seed(1)
    net = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(96, 5)
    ).eval()
    nodes = [
        node("Conv", "x 0.weight 0.bias", "a", pads=[1, 1, 1, 1]),
        node("Relu", "a", "b"),
        node("MaxPool", "b", "c", kernel_shape=[2, 2], strides=[2, 2]),
        node("Shape", "c", "shape"),
        node("Gather", "shape zero", "first", axis=0),
        node("Unsqueeze", "first zeros", "one"),
        node("Concat", "one rest", "sizes", axis=0),
        node("Reshape", "c sizes", "d"),
        node("Gemm", "d 4.weight 4.bias", "y", transB=1),
    ]
    shapes = {"zero": np.int64(0), "zeros": np.array([0]), "rest": np.array([96])}
    return net, model(nodes, weights(net) | shapes, [rows, 3, 8, 8], {"y": [rows, 5]})
