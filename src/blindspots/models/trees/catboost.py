"""CatBoost's models in JSON, as `save_model(file, format="json")` writes them.

Borders are float32, leaves and sums float64, the bias comes last, and a row goes right where x > border. In its
symmetric trees all nodes of a depth ask the same; bit i of a leaf's number is the answer to question i
(https://catboost.ai/docs/en/concepts/json-tree).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from blindspots.errors import InputError
from blindspots.models.trees.forest import LEAF, Link, Tree, above, constant, forest
from blindspots.models.trees.reading import Document, Read, from_json, parsed

_WHAT = "a model of CatBoost"
_DEEPEST = 16  # as CatBoost allows
_LINKS: dict[str, Link] = {
    **dict.fromkeys(("Logloss", "CrossEntropy", "MultiClass", "MultiClassOneVsAll"), "logits"),
    **dict.fromkeys(("Poisson", "Tweedie"), "exp"),
    **dict.fromkeys(
        (
            "RMSE", "MAE", "Quantile", "MultiQuantile", "MAPE", "LogLinQuantile", "Expectile", "Huber", "Lq",
            "MultiRMSE", "LogCosh",
        ),
        "identity",
    ),
}  # fmt: skip


class _Split(Document):
    split_type: str
    float_feature_index: int = -1
    border: float = 0.0


class _Symmetric(Document):
    splits: list[_Split] | None = Field(None, max_length=_DEEPEST)
    leaf_values: list[float]


class _Node(Document):
    split: _Split | None = None
    left: "_Node | None" = None
    right: "_Node | None" = None
    value: float | list[float] | None = None


class _FloatFeature(Document):
    feature_index: int
    flat_feature_index: int = Field(ge=0)


class _Features(Document):
    float_features: tuple[_FloatFeature, ...] = ()
    categorical_features: tuple[Any, ...] = ()
    text_features: tuple[Any, ...] = ()
    embedding_features: tuple[Any, ...] = ()


class _Loss(Document):
    type: str


class _Params(Document):
    loss_function: _Loss


class _ClassParams(Document):
    class_names: tuple[str | int | float, ...] = ()


class _Info(Document):
    params: _Params
    class_params: _ClassParams = _ClassParams()


class _Model(Document):
    features_info: _Features
    model_info: _Info
    scale_and_bias: tuple[float, list[float] | float]
    oblivious_trees: tuple[_Symmetric, ...] = ()
    trees: tuple[_Node, ...] = ()


def is_catboost(document: Any) -> bool:
    """Whether a JSON value is a model of CatBoost."""
    return isinstance(document, dict) and "features_info" in document and "model_info" in document


def read(content: bytes) -> Read:
    """The forest in a JSON file of `save_model`.

    Raises InputError: it is damaged, for another loss, or asks for categories, texts or embeddings.
    """
    return from_document(from_json(content, _WHAT))


def from_document(document: Any) -> Read:
    """See `read`; the value that JSON stands for."""
    found = parsed(_Model, document, _WHAT)
    info, loss = found.features_info, found.model_info.params.loss_function.type
    if info.categorical_features or info.text_features or info.embedding_features:
        raise InputError(
            f"expected {_WHAT} of numbers, got one of categories, texts or embeddings: encode categories one-hot, or "
            "use a file.py:factory that asks CatBoost itself"
        )
    if loss not in _LINKS:
        raise InputError(
            f"expected {_WHAT} with a loss among {', '.join(_LINKS)}, got {loss}: use a file.py:factory that asks "
            "CatBoost itself"
        )
    scale, bias = found.scale_and_bias
    biases = np.atleast_1d(np.asarray(bias, np.float64))
    places = {feature.feature_index: feature.flat_feature_index for feature in info.float_features}
    made = [_symmetric(tree, len(biases), places) for tree in found.oblivious_trees]
    made += [_nested(tree, len(biases), places) for tree in found.trees]
    made = [tree._replace(value=scale * tree.value) for tree in made]
    made += [constant(biases)] if biases.any() else []
    features = max(places.values(), default=-1) + 1
    names = [str(name) for name in found.model_info.class_params.class_names]
    return Read(forest(made, np.zeros(len(biases)), features, _LINKS[loss]), names or None)


def _place(split: _Split, places: dict[int, int]) -> int:
    if split.split_type != "FloatFeature" or split.float_feature_index not in places:
        raise InputError(
            f"expected {_WHAT} that asks for numbers among its features, got {split.split_type} of feature "
            f"{split.float_feature_index}: use a file.py:factory that asks CatBoost itself"
        )
    return places[split.float_feature_index]


def _borders(said: list[float]) -> NDArray[np.float32]:
    """The t of x < t."""
    return above(np.array(said, np.float32).astype(np.float64))


def _symmetric(tree: _Symmetric, outputs: int, places: dict[int, int]) -> Tree:
    """As a heap: the children of node i are 2 i + 1 and 2 i + 2; the last question is asked first."""
    splits = list(reversed(tree.splits or []))
    leaves = 1 << len(splits)
    if len(tree.leaf_values) != leaves * outputs:
        raise InputError(
            f"expected {leaves} leaves with {outputs} numbers each in {_WHAT}, got {len(tree.leaf_values)} numbers: "
            "save the model again"
        )
    times = [1 << depth for depth in range(len(splits))]
    asked = np.repeat([_place(split, places) for split in splits], times)
    threshold = np.repeat(_borders([split.border for split in splits]), times)
    node = np.arange(leaves - 1)
    ends = np.full(leaves, LEAF)
    return Tree(
        np.concatenate([asked.astype(np.int64), ends]),
        np.concatenate([threshold, np.zeros(leaves)]).astype(np.float32),
        np.concatenate([2 * node + 1, ends]),
        np.concatenate([2 * node + 2, ends]),
        np.concatenate([np.zeros((leaves - 1, outputs)), np.reshape(tree.leaf_values, (leaves, outputs))]),
    )


def _nested(root: _Node, outputs: int, places: dict[int, int]) -> Tree:
    """Nodes in the order in which they are met."""
    nodes, asked, threshold, children, values = [root], [], [], [], []
    for node in nodes:  # which grows
        if node.split is not None and node.left is not None and node.right is not None:
            asked.append(_place(node.split, places))
            threshold.append(node.split.border)
            children.append((len(nodes), len(nodes) + 1))
            nodes += [node.left, node.right]
            values.append([0.0] * outputs)
            continue
        value = node.value if isinstance(node.value, list) else [node.value]
        if len(value) != outputs or None in value:
            raise InputError(f"expected {outputs} numbers in every leaf of {_WHAT}, got {value}: save the model again")
        asked.append(LEAF)
        threshold.append(0.0)
        children.append((LEAF, LEAF))
        values.append(value)  # type: ignore[arg-type]  # None was refused
    left, right = np.array(children).T
    return Tree(np.array(asked), _borders(threshold), left, right, np.array(values, np.float64))
