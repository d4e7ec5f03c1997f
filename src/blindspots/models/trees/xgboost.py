"""XGBoost's models of versions 1 to 3, as `save_model` writes them in JSON or UBJSON.

Its rows, thresholds, leaves and sums are float32, and a row goes left where x < threshold
(https://xgboost.readthedocs.io/en/stable/tutorials/saving_model.html has the schema).
"""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from blindspots.errors import InputError
from blindspots.models.trees.forest import LEAF, Link, Tree, asked_for, forest
from blindspots.models.trees.reading import Document, Read, from_json, in_column, parsed
from blindspots.models.trees.ubjson import from_ubjson

_WHAT = "a model of XGBoost"
_NEWEST = 3


class _TreeParam(Document):
    size_leaf_vector: int = 1


class _Tree(Document):
    left_children: list[int]
    right_children: list[int]
    split_indices: list[int]
    split_conditions: list[float]
    split_type: tuple[int, ...] = ()
    leaf_weights: tuple[float, ...] = ()
    tree_param: _TreeParam


class _GbtreeParam(Document):
    num_parallel_tree: int = 1


class _Trees(Document):
    gbtree_model_param: _GbtreeParam
    tree_info: list[int]
    trees: list[_Tree]


class _Booster(Document):
    name: str
    model: _Trees | None = None
    gbtree: "_Booster | None" = None
    weight_drop: list[float] | None = None


class _Param(Document):
    base_score: str
    num_class: int
    num_feature: int
    num_target: int = 1


class _Objective(Document):
    name: str


class _Learner(Document):
    attributes: dict[str, str] = Field(default_factory=dict)
    gradient_booster: _Booster
    learner_model_param: _Param
    objective: _Objective


class _Model(Document):
    learner: _Learner
    version: list[int] = Field(min_length=3, max_length=3)


def _same(p: NDArray[np.float32]) -> NDArray[np.float32]:
    return p


def _log(p: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rounded to the nearest float32; C's logf, which XGBoost calls, gives the one beside it in 1 of 200 cases."""
    return np.log(p.astype(np.float64)).astype(np.float32)


def _logit(p: NDArray[np.float32]) -> NDArray[np.float32]:
    return -_log(np.float32(1) / p - np.float32(1))


# By objective: what the sums are, and how they begin, given `base_score` in the units of the target.
_OBJECTIVES: dict[str, tuple[Link, Callable[[NDArray[np.float32]], NDArray[np.float32]]]] = {
    "binary:logistic": ("logits", _logit),
    **dict.fromkeys(("binary:logitraw", "binary:hinge", "multi:softprob", "multi:softmax"), ("logits", _same)),
    "reg:logistic": ("sigmoid", _logit),
    **dict.fromkeys(("count:poisson", "reg:gamma", "reg:tweedie", "survival:cox", "survival:aft"), ("exp", _log)),
    **dict.fromkeys(
        (
            "reg:squarederror", "reg:squaredlogerror", "reg:pseudohubererror", "reg:absoluteerror",
            "reg:quantileerror", "reg:expectileerror", "rank:pairwise", "rank:ndcg", "rank:map",
        ),
        ("identity", _same),
    ),
}  # fmt: skip


def is_xgboost(document: Any) -> bool:
    """Whether a JSON value is a model of XGBoost, of whatever version."""
    return isinstance(document, dict) and "learner" in document


def read(content: bytes) -> Read:
    """The forest in a file of `save_model`, JSON or UBJSON.

    Raises InputError: it is damaged, of a newer version, linear, for another objective, or asks for categories.
    """
    packed = content[:1] == b"{" and content[1:2] in b"LlIUi$#"
    return from_document(from_ubjson(content, _WHAT) if packed else from_json(content, _WHAT))


def from_document(document: Any) -> Read:
    """See `read`; the value that JSON or UBJSON stand for."""
    found = parsed(_Model, document, _WHAT)
    if not 1 <= found.version[0] <= _NEWEST:
        raise InputError(
            f"expected {_WHAT} of versions 1 to {_NEWEST}, got {'.'.join(map(str, found.version))}: save it with one "
            "of these"
        )
    learner = found.learner
    trees, weights = _grown(learner.gradient_booster)
    if learner.objective.name not in _OBJECTIVES:
        raise InputError(
            f"expected {_WHAT} with an objective among {', '.join(_OBJECTIVES)}, got {learner.objective.name}: use a "
            "file.py:factory that asks XGBoost itself"
        )
    link, margin = _OBJECTIVES[learner.objective.name]
    param = learner.learner_model_param
    outputs = max(param.num_class, param.num_target, 1)
    if param.num_target > 1 and link in ("logits", "probabilities"):
        raise InputError(
            f"expected {_WHAT} whose rows have one class each, got {outputs} labels that are independent of each "
            "other: fit one model for each label"
        )
    used = _used(learner, trees, outputs)
    made = [
        _tree(tree, k, outputs, np.float32(weight))
        for tree, k, weight in zip(trees.trees[:used], trees.tree_info, weights, strict=False)
    ]
    with np.errstate(divide="ignore", over="ignore"):  # infinite is refused below
        base = margin(_scores(param.base_score, outputs)).astype(np.float64)
    return Read(forest(made, base, param.num_feature, link, "float32"))


def _grown(booster: _Booster) -> tuple[_Trees, list[float]]:
    """The trees, and what each counts for: not 1 for some of dart's."""
    inner = booster.gbtree or booster
    if booster.name not in ("gbtree", "dart") or inner.model is None:
        raise InputError(
            f"expected trees (gbtree or dart) in {_WHAT}, got {booster.name}: use a file.py:factory that asks XGBoost "
            "itself"
        )
    count = len(inner.model.trees)
    weights = booster.weight_drop if booster.weight_drop is not None else [1.0] * count
    if not len(weights) == len(inner.model.tree_info) == count:
        raise InputError(f"expected {_WHAT} that says of each tree what it is for, got fewer: save the model again")
    return inner.model, weights


def _used(learner: _Learner, trees: _Trees, outputs: int) -> int:
    """How many trees predict: all, but up to the best round in what the scikit-learn interface stopped early."""
    best = learner.attributes.get("best_iteration")
    if best is None or "scikit_learn" not in learner.attributes:
        return len(trees.trees)
    if not best.isdecimal():
        raise InputError(f"expected the number of the best round in {_WHAT}, got {best!r}: save the model again")
    vectors = any(tree.tree_param.size_leaf_vector > 1 for tree in trees.trees)
    return (int(best) + 1) * trees.gbtree_model_param.num_parallel_tree * (1 if vectors else outputs)


def _scores(said: str, outputs: int) -> NDArray[np.float32]:
    """`base_score` of every output: "5E-1" before version 3.1, "[1E-1,2E-1]" since."""
    try:
        found = np.atleast_1d(np.asarray(json.loads(said), np.float32))
        return np.broadcast_to(found, (outputs,))
    except (ValueError, TypeError, RecursionError) as error:
        raise InputError(
            f"expected base_score of {outputs} outputs, got {said[:40]!r}: save the model again"
        ) from error


def _tree(tree: _Tree, k: int, outputs: int, weight: np.float32) -> Tree:
    left, right, asked = (
        np.array(part, np.int64) for part in (tree.left_children, tree.right_children, tree.split_indices)
    )
    leaf = left == LEAF
    if any(tree.split_type):
        raise InputError(
            f"expected {_WHAT} that asks for numbers, got questions about categories: encode these one-hot, or use a "
            "file.py:factory that asks XGBoost itself"
        )
    condition = np.array(tree.split_conditions, np.float32)
    if tree.tree_param.size_leaf_vector > 1:
        value = _vectors(tree, leaf, right, outputs)
    else:
        value = in_column(weight * condition, k, outputs)
    return Tree(asked_for(asked, leaf), condition, left, right, value)


def _vectors(tree: _Tree, leaf: Any, right: Any, outputs: int) -> NDArray[np.float64]:
    """Leaves with a number for each output, which the right child of a leaf points to (since version 3.1)."""
    weights = np.array(tree.leaf_weights, np.float64)
    rows = right[leaf] if len(right) == len(leaf) else right
    count, left_over = divmod(len(weights), outputs)
    if not count or left_over or not len(rows) or not 0 <= rows.min() <= rows.max() < count:
        raise InputError(
            f"expected {_WHAT} with {outputs} numbers for each leaf, as versions from 3.1 write them, got others: save "
            "it with one of these"
        )
    value = np.zeros((len(leaf), outputs))
    value[leaf] = weights.reshape(-1, outputs)[rows]
    return value
