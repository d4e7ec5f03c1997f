"""Trees in ONNX files of ai.onnx.ml opset 5: one node TreeEnsemble, whose inner nodes and leaves are listed apart.

https://onnx.ai/onnx/operators/onnx_aionnxml_TreeEnsemble.html. Sums are float32 in the order of the trees, as by
onnxruntime in one thread. Transforms are left out: by the standard number 2 is LOGISTIC, and onnxruntime 1.32 answers
something else.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blindspots.errors import InputError
from blindspots.models.trees.forest import LEAF, Forest, Tree, above, forest

_WHAT = "an ONNX model of trees"
_INSTEAD = "use a file.py:factory that asks onnxruntime itself"
_LEQ, _LT, _GTE, _GT = range(4)
_OTHERS = {4: "BRANCH_EQ", 5: "BRANCH_NEQ", 6: "BRANCH_MEMBER"}
_AVERAGE, _SUM = 0, 1


def read(said: Mapping[str, Any], features: int) -> Forest:
    """The forest, of numbers, from the attributes of the node; tensors as arrays.

    Raises InputError: it does more than to add up leaves behind comparisons, or its numbers are not float32.
    """
    modes, splits, weights = (np.asarray(said[name]) for name in ("nodes_modes", "nodes_splits", "leaf_weights"))
    unknown = sorted(set(modes.tolist()) - {_LEQ, _LT, _GTE, _GT})
    if unknown:
        names = [_OTHERS.get(mode, mode) for mode in unknown]
        raise InputError(f"expected {_WHAT} that asks which of two numbers is larger, got {names}: {_INSTEAD}")
    total, transform = said.get("aggregate_function", _SUM), said.get("post_transform", 0)
    if total not in (_AVERAGE, _SUM) or transform:
        raise InputError(f"expected {_WHAT} that adds up, got aggregate {total} and transform {transform}: {_INSTEAD}")
    if splits.dtype != np.float32 or weights.dtype != np.float32:
        raise InputError(f"expected {_WHAT} in float32, got {splits.dtype} and {weights.dtype}: {_INSTEAD}")
    outputs = int(said.get("n_targets", 1))
    joined = _joined(said, modes, splits.astype(np.float64), weights.astype(np.float64), outputs)
    trees = [_from(joined, int(root)) for root in said["tree_roots"]]
    divisor = len(trees) if total == _AVERAGE else 1
    return forest(trees, np.zeros(outputs), features, "identity", "float32", divisor)


def _joined(
    said: Mapping[str, Any],
    modes: NDArray[Any],
    splits: NDArray[np.float64],
    weights: NDArray[np.float64],
    outputs: int,
) -> Tree:
    """All trees in one's form: the n inner nodes, and then for each a leaf on its true side and on its false side.

    A leaf may be listed once and be reached from two sides, as where a tree is nothing but a leaf.
    """
    n = len(modes)
    target = np.asarray(said["leaf_targetids"], np.int64)
    if len(target) != len(weights) or (len(target) and not 0 <= target.min() <= target.max() < outputs):
        raise InputError(f"expected {_WHAT} whose leaves add to outputs 0 to {outputs - 1}, got others: save it again")
    value = np.zeros((3 * n, outputs))
    sides: list[NDArray[np.int64]] = []
    for i, side in enumerate(("true", "false")):
        child, ends = (np.asarray(said[f"nodes_{side}{name}"], np.int64) for name in ("nodeids", "leafs"))
        own, leaves = n + i * n + np.arange(n), np.flatnonzero(ends)
        _check(child, ends != 0, n, len(weights))
        value[own[leaves], target[child[leaves]]] = weights[child[leaves]]
        sides.append(np.concatenate([np.where(ends, own, child), np.full(2 * n, LEAF)]).astype(np.int64))
    feature = np.asarray(said["nodes_featureids"], np.int64)
    if (feature < 0).any():
        raise InputError("expected features from 0 on, got a negative one: the file is damaged, save the model again")
    up_to = np.isin(modes, (_LEQ, _GT))  # a number at the threshold goes left
    t = np.where(up_to, above(splits), splits.astype(np.float32))
    left = np.r_[np.isin(modes, (_LEQ, _LT)), np.zeros(2 * n, bool)]
    yes, no = sides
    none = np.zeros(2 * n)
    feature, threshold = np.r_[feature, np.full(2 * n, LEAF)], np.r_[t, none].astype(np.float32)
    return Tree(feature, threshold, np.where(left, yes, no), np.where(left, no, yes), value)


def _check(child: NDArray[np.int64], ends: NDArray[np.bool_], nodes: int, leaves: int) -> None:
    if len(child) != nodes or len(ends) != nodes:
        raise InputError(f"expected {_WHAT} with two children for each of {nodes:,} nodes, got others: save it again")
    if (child < 0).any() or (child >= np.where(ends, leaves, nodes)).any():
        raise InputError(f"expected {_WHAT} whose children are in its lists, got others: the file is damaged")


def _from(joined: Tree, root: int) -> Tree:
    """The same nodes, but for the root, which comes first: it changes places with what is there."""
    count = len(joined.feature)
    if not 0 <= root < count // 3:
        raise InputError(f"expected {_WHAT} whose roots are nodes, got {root}: the file is damaged")
    order = np.arange(count)
    order[[0, root]] = root, 0
    feature = joined.feature[order]
    left, right = (np.where(feature != LEAF, order[side[order]], LEAF) for side in (joined.left, joined.right))
    return Tree(feature, joined.threshold[order], left, right, joined.value[order])
