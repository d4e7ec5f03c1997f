"""LightGBM's models of versions 3 and 4 in their text files, as `Booster.save_model` writes them.

Its thresholds, leaves and sums are float64, and a row goes left where x <= threshold; numbers of at most 1e-35 in size
are taken for 0 (src/io/tree.cpp, src/boosting/gbdt_model_text.cpp and src/c_api.cpp).
"""

from collections.abc import Mapping
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from blindspots.errors import InputError
from blindspots.models.trees.forest import LEAF, Link, Tree, above, asked_for, forest
from blindspots.models.trees.reading import Read, in_column

T = TypeVar("T", bound=np.generic)

_WHAT = "a model of LightGBM"
_VERSIONS = ("v3", "v4")
_CATEGORICAL, _DEFAULT_LEFT, _MISSING_IS_ZERO = 1, 2, 1  # bits of a decision; bits 2 and 3 say what is missing
_ZERO = np.float32(1e-35)  # numbers up to this size are zero
_LINKS: dict[str, Link] = {
    **dict.fromkeys(("binary", "multiclass", "multiclassova"), "logits"),
    **dict.fromkeys(("poisson", "gamma", "tweedie"), "exp"),
    **dict.fromkeys(
        ("regression", "regression_l1", "huber", "fair", "quantile", "mape", "lambdarank", "rank_xendcg"), "identity"
    ),
    "cross_entropy": "sigmoid",
}
_EVERY = {"binary", "multiclassova"}  # objectives that multiply sums by `sigmoid` before the sigmoid function


def is_lightgbm(content: bytes) -> bool:
    """Whether a file begins as its models do."""
    return content[:5].split() == [b"tree"]


def read(content: bytes) -> Read:
    """The forest in a file of `save_model`.

    Raises InputError: it is damaged, of another version, for another objective, has linear leaves, or asks for
    categories.
    """
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise InputError(f"expected {_WHAT}, got bytes that are no UTF-8: save the model again") from error
    head, *blocks = text.partition("\nend of trees")[0].replace("\r\n", "\n").split("\nTree=")
    said = _fields(head)
    if "\nend of trees" not in text or not is_lightgbm(content):
        raise InputError(f"expected {_WHAT}, got a file without its beginning or its end: save the model again")
    if said.get("version") not in _VERSIONS:
        raise InputError(
            f"expected {_WHAT} of version {' or '.join(_VERSIONS)}, got {said.get('version')}: save it with LightGBM 3 "
            "or 4"
        )
    link, factor = _objective(said.get("objective", "regression"))
    outputs = int(_numbers(said, "num_tree_per_iteration", np.int64)[0])
    _check_counts(said, len(blocks), outputs)
    rounds = max(1, len(blocks) // max(outputs, 1))
    made = [_tree(_fields(block), i % outputs, outputs) for i, block in enumerate(blocks)]
    features = int(_numbers(said, "max_feature_idx", np.int64)[0]) + 1
    divisor = (rounds if "average_output" in said else 1) / factor
    return Read(forest(made, np.zeros(outputs), features, link, divisor=divisor))


def _fields(block: str) -> dict[str, str]:
    return {name.strip(): value.strip() for name, _, value in (line.partition("=") for line in block.splitlines())}


def _check_counts(said: Mapping[str, str], trees: int, outputs: int) -> None:
    sizes = len(said.get("tree_sizes", "").split())
    if outputs < 1 or sizes != trees or trees % outputs:
        raise InputError(
            f"expected {_WHAT} with {sizes} trees, {outputs} in each round, got {trees}: the file is damaged, save the "
            "model again"
        )


def _objective(said: str) -> tuple[Link, float]:
    """What the sums are, and what they are multiplied by at the end."""
    name, *settings = said.split() or ["regression"]
    known = dict(part.partition(":")[::2] for part in settings)
    if name not in _LINKS or "sqrt" in known:
        raise InputError(
            f"expected {_WHAT} with an objective among {', '.join(_LINKS)}, got {said!r}: use a file.py:factory that "
            "asks LightGBM itself"
        )
    if name not in _EVERY:
        return _LINKS[name], 1.0
    factor = float(_numbers(known, "sigmoid", np.float64)[0])
    if not 0 < factor < np.inf:
        raise InputError(f"expected {_WHAT} with a positive sigmoid, got {factor}: save the model again")
    return _LINKS[name], factor


def _numbers(fields: Mapping[str, str], name: str, dtype: type[T]) -> NDArray[T]:
    try:
        found = np.array(fields[name].split(), np.float64 if dtype is np.float64 else np.int64)
        if len(found):
            return found.astype(dtype)
    except (KeyError, ValueError, OverflowError):
        pass
    raise InputError(f"expected numbers for {name} in {_WHAT}, got {fields.get(name, 'none')[:40]!r}: save it again")


def _tree(fields: Mapping[str, str], k: int, outputs: int) -> Tree:
    leaves = int(_numbers(fields, "num_leaves", np.int64)[0])
    value = in_column(_numbers(fields, "leaf_value", np.float64), k, outputs)
    if fields.get("is_linear", "0") != "0":
        raise InputError(
            f"expected {_WHAT} with a number in each leaf, got linear leaves: use a file.py:factory that asks LightGBM "
            "itself"
        )
    if leaves == 1:
        return Tree(np.array([LEAF]), np.zeros(1, np.float32), np.zeros(1, np.int64), np.zeros(1, np.int64), value)
    asked, left, right = (_numbers(fields, name, np.int64) for name in ("split_feature", "left_child", "right_child"))
    threshold = _numbers(fields, "threshold", np.float64)
    inner = leaves - 1
    if {len(asked), len(left), len(right), len(threshold), len(value) - 1} != {inner} or inner < 1:
        raise InputError(f"expected {leaves} leaves in {_WHAT}, got other numbers of nodes: save the model again")
    _check_decisions(_numbers(fields, "decision_type", np.int64), threshold)
    ends = np.full(leaves, LEAF)
    left, right = (np.concatenate([np.where(child < 0, inner + ~child, child), ends]) for child in (left, right))
    return Tree(
        np.concatenate([asked_for(asked, np.zeros(inner, bool)), ends]),
        np.concatenate([_rule(threshold), np.zeros(leaves, np.float32)]),
        left,
        right,
        np.concatenate([np.zeros((inner, outputs)), value]),
    )


def _rule(threshold: NDArray[np.float64]) -> NDArray[np.float32]:
    """The t of x < t: with thresholds among what is taken for 0, all of that goes the way of 0."""
    of_zero = np.where(threshold >= 0, above(float(_ZERO)), -_ZERO)
    return np.where((threshold >= -_ZERO) & (threshold < _ZERO), of_zero, above(threshold))


def _check_decisions(decisions: NDArray[np.int64], threshold: NDArray[np.float64]) -> None:
    """Refuse categories, and zeros that go elsewhere than the threshold says since they count as missing."""
    if (decisions & _CATEGORICAL).any():
        raise InputError(
            f"expected {_WHAT} that asks for numbers, got questions about categories: encode these one-hot, or use a "
            "file.py:factory that asks LightGBM itself"
        )
    skips = (decisions >> 2 & 3) == _MISSING_IS_ZERO
    goes_left = decisions & _DEFAULT_LEFT > 0
    as_asked = np.where(goes_left, threshold >= _ZERO, threshold < -_ZERO)
    if len(decisions) != len(threshold) or (skips & ~as_asked).any():
        raise InputError(
            f"expected {_WHAT} in which zero is a number, got one that was fitted with zero_as_missing: use a "
            "file.py:factory that asks LightGBM itself"
        )
