"""Trees in ONNX files: TreeEnsembleClassifier and TreeEnsembleRegressor of ai.onnx.ml, and TreeEnsemble of opset 5.

Sums are float32 in the order of the trees, as by onnxruntime in one thread, and base values come last. How a single
score makes two classes the standard does not say, so that is as onnxruntime does it
(onnxruntime/core/providers/cpu/ml/tree_ensemble_aggregator.h); the attributes are those of
https://onnx.ai/onnx/operators/onnx_aionnxml_TreeEnsembleClassifier.html.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from blindspots.errors import InputError
from blindspots.models.trees import onnx_five
from blindspots.models.trees.forest import LEAF, Forest, Link, Tree, above, asked_for, constant, forest
from blindspots.models.trees.reading import Read

_WHAT = "an ONNX model of trees"
_KINDS = ("TreeEnsembleClassifier", "TreeEnsembleRegressor", "TreeEnsemble")
_INSTEAD = "use a file.py:factory that asks onnxruntime itself"
_BEFORE = ("Identity", "Cast")  # what rows may go through before the trees, as float32
_BEHIND = {_KINDS[0]: ("Identity", "Cast", "ZipMap", "Mul"), **dict.fromkeys(_KINDS[1:], ("Identity", "Cast"))}
_TRUE_IS_LEFT = {b"BRANCH_LEQ": True, b"BRANCH_LT": True, b"BRANCH_GT": False, b"BRANCH_GTE": False}
_UP_TO = (b"BRANCH_LEQ", b"BRANCH_GT")  # a number at the threshold goes left
_VALUES: dict[str, Link] = {"NONE": "identity", "LOGISTIC": "sigmoid"}


class _Weights(NamedTuple):
    """What leaves add: to which output, of which node of which tree."""

    tree: Sequence[int]
    node: Sequence[int]
    output: Sequence[int]
    weight: NDArray[np.float64]


def has_trees(content: bytes) -> bool:
    """Whether an ONNX file has a node of trees."""
    return b"TreeEnsemble" in content


def read(content: bytes) -> Read:
    """The forest in an ONNX file.

    Raises InputError: onnx is not installed, or the model does more than the trees, asks for categories, or is damaged.
    """
    try:
        import onnx
        from google.protobuf.message import DecodeError
    except ImportError as error:
        raise InputError("expected onnx to be installed, to read trees from it: pip install onnx") from error
    try:
        graph = onnx.load_model_from_string(content).graph
    except (DecodeError, ValueError, RuntimeError) as error:
        raise InputError(f"expected {_WHAT}, got a damaged file ({error}): save the model again") from error
    node = _trees_of(graph)
    said = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
    for name, value in said.items():
        if isinstance(value, onnx.TensorProto):
            said[name] = onnx.numpy_helper.to_array(value).reshape(-1)
    try:
        reader = _READERS[node.op_type]
        return reader(said, _features(graph, said))
    except InputError:
        raise
    except (KeyError, ValueError, TypeError, AttributeError, IndexError) as error:
        raise InputError(f"expected {_WHAT}, got attributes that do not fit ({error!r}): save it again") from error


def _trees_of(graph: Any) -> Any:
    """The only node of trees. Raises InputError: there are several, of a later kind, or others that compute."""
    found = [node for node in graph.node if node.op_type in _KINDS]
    if len(found) != 1:
        kinds = sorted({node.op_type for node in graph.node if "TreeEnsemble" in node.op_type})
        raise InputError(
            f"expected {_WHAT} with one node of {' or '.join(_KINDS)}, got {len(found)} and {kinds}: {_INSTEAD}"
        )
    ones = {tensor.name for tensor in graph.initializer}
    behind = set(found[0].output)
    for node in graph.node:
        after = bool(behind & set(node.input))
        allowed = _BEHIND[found[0].op_type] if after else _BEFORE
        if node is not found[0] and node.op_type not in allowed:
            raise InputError(f"expected {_WHAT} alone, got a node of {node.op_type} beside it: {_INSTEAD}")
        if node.op_type == "Mul" and not ones & set(node.input):
            raise InputError(f"expected {_WHAT} alone, got products of its outputs: {_INSTEAD}")
        behind |= set(node.output) if after else set()
    return found[0]


def _features(graph: Any, said: Mapping[str, Any]) -> int:
    """As many as the input declares, else as the questions need."""
    shape = graph.input[0].type.tensor_type.shape.dim if graph.input else []
    declared = shape[-1].dim_value if len(shape) else 0
    return int(declared or max(said["nodes_featureids"], default=0) + 1)


def _classifier(said: Mapping[str, Any], features: int) -> Read:
    labels = said.get("classlabels_int64s") or [label.decode() for label in said.get("classlabels_strings", [])]
    weights = _Weights(said["class_treeids"], said["class_nodeids"], said["class_ids"], _floats(said, "class_weights"))
    base = _base(said)
    transform = said.get("post_transform", b"NONE").decode()
    if transform not in ("NONE", "SOFTMAX", "LOGISTIC"):
        raise InputError(f"expected {_WHAT} with SOFTMAX, LOGISTIC or no transform, got {transform}: {_INSTEAD}")
    positive = bool((weights.weight >= 0).all())
    if len(labels) == 2 and len(set(weights.output)) == 1:
        start = base[-1:] if len(base) else np.zeros(1)
        made = _of_one_score(said, weights, start, features, transform, positive)
    else:
        link: Link = "probabilities" if transform == "NONE" and positive and not (base < 0).any() else "logits"
        made = _forest(said, weights, base if len(base) else np.zeros(len(labels)), features, link)
    return Read(made, [str(label) for label in labels])


def _of_one_score(
    said: Mapping[str, Any],
    weights: _Weights,
    start: NDArray[np.float64],
    features: int,
    transform: str,
    positive: bool,
) -> Forest:
    """Two classes by one score s: class 1 where s > 0, or, where no weight is negative, where s > 1/2."""
    alone = weights._replace(output=[0] * len(weights.output))
    if not positive:
        return _forest(said, alone, start, features, "logits")
    if transform != "NONE":
        raise InputError(
            f"expected {_WHAT} with negative weights, too, or without {transform}, got one whose label and whose "
            f"probabilities disagree in onnxruntime: {_INSTEAD}"
        )
    both = _Weights(
        [*weights.tree, *weights.tree],
        [*weights.node, *weights.node],
        [0] * len(weights.tree) + [1] * len(weights.tree),
        np.concatenate([-weights.weight, weights.weight]),
    )
    return _forest(said, both, np.concatenate([1 - start, start]), features, "probabilities")


def _regressor(said: Mapping[str, Any], features: int) -> Read:
    weights = _Weights(
        said["target_treeids"], said["target_nodeids"], said["target_ids"],
        _floats(said, "target_weights"),
    )  # fmt: skip
    transform, total = said.get("post_transform", b"NONE").decode(), said.get("aggregate_function", b"SUM").decode()
    base, averaged = _base(said), total == "AVERAGE"
    if transform not in _VALUES or total not in ("SUM", "AVERAGE") or (averaged and base.any()):
        raise InputError(f"expected {_WHAT} that adds up, got {total} and {transform}: {_INSTEAD}")
    outputs = int(said.get("n_targets", 1))
    start = base if len(base) else np.zeros(outputs)
    return Read(_forest(said, weights, start, features, _VALUES[transform], averaged))


def _base(said: Mapping[str, Any]) -> NDArray[np.float64]:
    """(K,), or nothing."""
    return _floats({"base_values": [], **said}, "base_values")


def _floats(said: Mapping[str, Any], name: str) -> NDArray[np.float64]:
    """From float32 numbers, or from a tensor, which may be float64."""
    given = said.get(f"{name}_as_tensor")
    found = np.asarray(said[name], np.float32) if given is None else np.asarray(given)
    return found.astype(np.float64)


def _forest(
    said: Mapping[str, Any],
    weights: _Weights,
    base: NDArray[np.float64],
    features: int,
    link: Link,
    averaged: bool = False,
) -> Forest:
    ids = list(zip(said["nodes_treeids"], said["nodes_nodeids"], strict=True))
    place = {key: i for i, key in enumerate(ids)}
    value = np.zeros((len(ids), len(base)))
    for tree, node, output, weight in zip(*weights, strict=True):
        if not 0 <= output < len(base):
            raise InputError(f"expected {_WHAT} with {len(base)} outputs, got one for {output}: save it again")
        value[place[tree, node], output] += weight
    joined = _joined(said, ids, place, value)
    numbers = np.asarray(said["nodes_treeids"])
    trees = [_one(joined, np.flatnonzero(numbers == tree)) for tree in dict.fromkeys(said["nodes_treeids"])]
    start = np.zeros_like(base)
    if averaged:
        return forest(trees, start, features, link, "float32", len(trees))
    return forest([*trees, constant(base)] if base.any() else trees, start, features, link, "float32")


def _joined(said: Mapping[str, Any], ids: Sequence[Any], place: Mapping[Any, int], value: Any) -> Tree:
    """All nodes in one tree's form, in the order of the file, whose children are places in it."""
    modes = said["nodes_modes"]
    leaf = np.array([mode == b"LEAF" for mode in modes])
    unknown = sorted({mode.decode() for mode in modes if mode != b"LEAF" and mode not in _TRUE_IS_LEFT})
    if unknown:
        raise InputError(f"expected {_WHAT} that asks which of two numbers is larger, got {unknown}: {_INSTEAD}")
    asked = asked_for(np.asarray(said["nodes_featureids"]), leaf)
    yes, no = (_children(said[name], ids, place, leaf) for name in ("nodes_truenodeids", "nodes_falsenodeids"))
    true_is_left = np.array([_TRUE_IS_LEFT.get(mode, True) for mode in modes])
    t = _floats(said, "nodes_values")
    up_to = np.array([mode in _UP_TO for mode in modes])
    threshold = np.where(up_to, above(t), above(np.nextafter(t, -np.inf)))
    return Tree(asked, threshold, np.where(true_is_left, yes, no), np.where(true_is_left, no, yes), value)


def _children(
    children: Sequence[int], ids: Sequence[Any], place: Mapping[Any, int], leaf: NDArray[np.bool_]
) -> NDArray[np.int64]:
    pairs = zip(ids, children, leaf, strict=True)
    return np.array([LEAF if end else place[tree, child] for (tree, _), child, end in pairs], np.int64)


def _one(joined: Tree, members: NDArray[np.int64]) -> Tree:
    """The nodes of one tree, its root first: the one that is nobody's child."""
    inner = members[joined.feature[members] != LEAF]
    children = np.concatenate([joined.left[inner], joined.right[inner]])
    roots = np.setdiff1d(members, children)
    if len(roots) != 1:
        raise InputError(f"expected {_WHAT} with one root in every tree, got {len(roots)}: the file is damaged")
    order = np.concatenate([roots, members[members != roots[0]]])
    number = np.full(len(joined.feature), LEAF)
    number[order] = np.arange(len(order))
    feature, threshold, left, right, value = (part[order] for part in joined)
    leaf = feature == LEAF
    left, right = (np.where(leaf, LEAF, number[child]) for child in (left, right))
    return Tree(feature, threshold, left, right, value)


def _of_opset_five(said: Mapping[str, Any], features: int) -> Read:
    return Read(onnx_five.read(said, features))


_READERS = dict(zip(_KINDS, (_classifier, _regressor, _of_opset_five), strict=True))
