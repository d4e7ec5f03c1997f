"""TreeEnsemble of ai.onnx.ml opset 5, against onnxruntime at every threshold and a float32 on either side."""

from typing import Any

import numpy as np
import pytest
import torch

from blindspots.errors import InputError
from blindspots.models.trees import onnx as reader
from blindspots.models.trees.model import TreeModel
from blindspots.models.trees.probes import probes

onnx = pytest.importorskip("onnx")


class Written:
    """The lists of the node, grown tree by tree; the second tree is nothing but a leaf."""

    def __init__(self, rng: Any, trees: int, depth: int, targets: int) -> None:
        self.rng, self.targets = rng, targets
        names = ("featureids", "modes", "splits", "truenodeids", "trueleafs", "falsenodeids", "falseleafs")
        self.nodes: dict[str, list[Any]] = {name: [] for name in names}
        self.weights: list[float] = []
        self.ids: list[int] = []
        self.roots = [self.alone() if k == 1 else self.grow(depth) for k in range(trees)]

    def node(self) -> int:
        for column in self.nodes.values():
            column.append(0)
        return len(self.nodes["modes"]) - 1

    def leaf(self) -> int:
        self.weights.append(self.rng.normal())
        self.ids.append(int(self.rng.integers(self.targets)))
        return len(self.ids) - 1

    def alone(self) -> int:
        at, end = self.node(), self.leaf()
        for side in ("true", "false"):
            self.nodes[f"{side}nodeids"][at], self.nodes[f"{side}leafs"][at] = end, 1
        return at

    def grow(self, depth: int) -> int:
        at = self.node()
        asked = (self.rng.integers(4), self.rng.integers(4), self.rng.integers(1, 12) / 12)
        for name, value in zip(("featureids", "modes", "splits"), asked, strict=True):
            self.nodes[name][at] = value
        for side in ("true", "false"):
            inner = depth > 1 and self.rng.random() < 0.8
            self.nodes[f"{side}nodeids"][at] = self.grow(depth - 1) if inner else self.leaf()
            self.nodes[f"{side}leafs"][at] = int(not inner)
        return at

    def model(self, **changes: Any) -> bytes:
        tensors = {"nodes_modes": (self.nodes["modes"], np.uint8), "nodes_splits": (self.nodes["splits"], np.float32)}
        tensors["leaf_weights"] = (self.weights, np.float32)
        said = {
            f"nodes_{name}": [int(v) for v in self.nodes[name]] for name in self.nodes if name[-3:] in ("ids", "afs")
        }
        said |= {"tree_roots": self.roots, "leaf_targetids": self.ids, "n_targets": self.targets} | changes
        said |= {name: onnx.numpy_helper.from_array(np.array(said.get(name, values), kind), name)
                 for name, (values, kind) in tensors.items()}  # fmt: skip
        make, number = onnx.helper, onnx.TensorProto.FLOAT
        node = make.make_node("TreeEnsemble", ["X"], ["Y"], domain="ai.onnx.ml", **said)
        ends = [
            make.make_tensor_value_info(name, number, [None, width]) for name, width in (("X", 4), ("Y", self.targets))
        ]
        opsets = [make.make_opsetid("", 18), make.make_opsetid("ai.onnx.ml", 5)]
        graph = make.make_graph([node], "trees", ends[:1], ends[1:])
        return bytes(make.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString())


def test_every_threshold_is_that_of_onnxruntime() -> None:
    runtime = pytest.importorskip("onnxruntime")
    rng, options = np.random.default_rng(0), runtime.SessionOptions()
    options.intra_op_num_threads = 1
    for case in range(20):
        targets = 1 + case % 3
        content = Written(rng, 2 + case % 9, 1 + case % 5, targets).model(aggregate_function=case % 2)
        forest = reader.read(content).forest
        x = probes(forest)
        theirs = runtime.InferenceSession(content, options).run(None, {"X": x})[0]
        ours = TreeModel(forest).logits(torch.from_numpy(x)).numpy().reshape(theirs.shape)
        assert (ours == theirs).all()


def test_a_number_at_the_threshold_goes_as_the_mode_says() -> None:
    written = Written(np.random.default_rng(0), 1, 1, 1)
    written.nodes["splits"][0], written.nodes["featureids"][0], written.weights = 0.5, 0, [1.0, 2.0]
    x = torch.zeros(3, 4)
    x[:, 0] = torch.tensor(
        [np.nextafter(np.float32(0.5), np.float32(0)), 0.5, np.nextafter(np.float32(0.5), np.float32(1))]
    )
    for mode, want in enumerate(([1, 1, 2], [1, 2, 2], [2, 1, 1], [2, 2, 1])):
        written.nodes["modes"][0] = mode
        assert TreeModel(reader.read(written.model()).forest).logits(x).tolist() == want


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"aggregate_function": 2}, "that adds up, got aggregate 2"),
        ({"post_transform": 2}, "and transform 2"),
        ({"nodes_modes": [6]}, "BRANCH_MEMBER"),
        ({"nodes_modes": [4]}, "BRANCH_EQ"),
        ({"tree_roots": [99]}, "whose roots are nodes, got 99"),
        ({"leaf_targetids": [5, 5]}, "add to outputs 0 to 0"),
        ({"nodes_truenodeids": [9]}, "children are in its lists"),
        ({"nodes_truenodeids": [0, 0]}, "two children for each of 1 nodes"),
        ({"nodes_featureids": [-2]}, "got a negative one"),
        ({"nodes_splits": [np.nan]}, "got NaN"),
    ],
)
def test_what_is_not_understood_or_damaged_is_a_sentence(changes: dict[str, Any], message: str) -> None:
    written = Written(np.random.default_rng(0), 1, 1, 1)
    with pytest.raises(InputError, match=message):
        reader.read(written.model(**changes))
