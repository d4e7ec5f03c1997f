"""An ensemble of trees as boxes with values: what a search over leaves needs.

Rows are float32, so a half-open leaf [lo, hi) is the closed box [lo, largest float32 below hi], and every distance is
attained.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blindspots.models.trees.forest import Forest

Array = NDArray[Any]
STEP = 2.0**-10  # float32 adds up multiples of it exactly, to 2**13 and more


@dataclass(frozen=True)
class Leaves:
    """All leaves of all trees, tree after tree.

    Attributes:
        used: (F,) the features that are asked about at all.
        low, high: (L, F) float64, of float32 numbers: the closed box of each leaf over these features.
        value: (L, C) what a leaf adds to the score of each class, or to each sum of a regressor.
        tree: (L,) int64, ascending.
        plain: (L,) bool: sums of these leaves alone, in any precision of a model, are exact, since their values and the
            base are multiples of `STEP` and small. Of regressors none: the limit of a goal is no multiple of it.
        base: (C,) the scores before any tree.
        rounding: how far a difference of two sums, as a search adds it up leaf by leaf, can be from the one that the
            model adds up in its own precision.
    """

    used: Array
    low: Array
    high: Array
    value: Array
    tree: Array
    plain: Array
    base: Array
    rounding: float = 0.0


def starts_of(tree: Array) -> Array:
    """Where each tree begins among leaves that are sorted by tree (L,)."""
    return np.flatnonzero(np.r_[True, tree[1:] != tree[:-1]]) if len(tree) else np.zeros(0, np.int64)


def leaves_of(trees: Forest) -> Leaves:
    """The leaves that can be reached. Trees about one feature alone become one table of it, which is then exact."""
    used = np.unique(trees.feature[trees.feature >= 0])
    place = {int(f): i for i, f in enumerate(used)}
    found = [_walk(trees, int(root), place) for root in trees.roots]
    parts = [*_tables([part for part in found if _one(part)]), *(part for part in found if not _one(part))]
    value = _scores(trees, np.concatenate([p.value for p in parts]))
    exact = np.concatenate([p.plain for p in parts]) & _plain(trees.base) & (largest(trees) < 2.0**12)
    return Leaves(
        used,
        np.concatenate([p.low for p in parts]).astype(np.float64),
        np.concatenate([p.high for p in parts]).astype(np.float64),
        value,
        np.repeat(np.arange(len(parts)), [len(p.value) for p in parts]),
        exact & (not trees.of_values),
        _scores(trees, np.asarray(trees.base, np.float64)[None])[0],
        0.0 if exact.all() else _rounding(trees, len(value)),
    )


def largest(trees: Forest) -> float:
    """No sum of leaves is larger in size."""
    sizes = np.maximum.reduceat(np.abs(trees.value).max(1), np.sort(trees.roots))
    return float(sizes.sum() + np.abs(trees.base).max())


def _rounding(trees: Forest, leaves: int) -> float:
    of_model = (len(trees.roots) + 2) * np.finfo(trees.precision).eps
    return float(2 * (of_model + 2 * leaves * np.finfo(np.float64).eps) * largest(trees))


def _plain(values: Array) -> Array:
    """Whether all (..., K) of a leaf's values are multiples of `STEP`: (...)."""
    steps = values / STEP
    found: Array = (steps == np.rint(steps)).all(-1)
    return found


def sums(trees: Forest, x: Array) -> Array:
    """The scores of one row (features,) float32, added up in the order and the precision of the model: (C,)."""
    node = trees.roots
    while (inner := trees.feature[node] >= 0).any():
        left = x[trees.feature[node]] < trees.threshold[node]
        node = np.where(inner, np.where(left, trees.left[node], trees.right[node]), node)
    terms = np.concatenate([trees.base[None], trees.value[node]]).astype(trees.precision)
    found: Array = _scores(trees, np.cumsum(terms, axis=0, dtype=terms.dtype)[-1:] / terms.dtype.type(trees.divisor))[0]
    return found


def _scores(trees: Forest, sums: Array) -> Array:
    """Of a classifier a single score (B, 1), positive for the second of two classes, as scores of both."""
    alone = sums.shape[1] == 1 and not trees.of_values
    return np.concatenate([np.zeros_like(sums), sums], 1) if alone else sums


@dataclass(frozen=True)
class _Tree:
    low: Array  # (l, F) float32
    high: Array
    value: Array  # (l, K)
    plain: Array  # (l,)


def _walk(trees: Forest, root: int, place: dict[int, int]) -> _Tree:
    """The leaves below a root that some finite row reaches."""
    low: list[Array] = []
    high: list[Array] = []
    value: list[Array] = []
    empty = np.full(len(place), -np.inf, np.float32)
    waiting = [(root, empty, -empty)]
    while waiting:
        node, a, b = waiting.pop()
        if trees.feature[node] < 0:
            for column, number in zip((low, high, value), (a, b, trees.value[node]), strict=True):
                column.append(number)
            continue
        f, t = place[int(trees.feature[node])], np.float32(trees.threshold[node])
        below, above = b.copy(), a.copy()
        below[f], above[f] = min(b[f], np.nextafter(t, np.float32(-np.inf))), max(a[f], t)
        waiting += [(n, *box) for n, box in ((trees.right[node], (above, b)), (trees.left[node], (a, below)))
                    if box[0][f] <= box[1][f] and box[0][f] < np.inf and box[1][f] > -np.inf]  # fmt: skip
    values = np.array(value, np.float64)
    return _Tree(np.array(low), np.array(high), values, _plain(values))


def _asks(tree: _Tree) -> Array:
    """The features that a tree asks about."""
    return np.flatnonzero((np.isfinite(tree.low) | np.isfinite(tree.high)).any(0))


def _one(tree: _Tree) -> bool:
    return len(_asks(tree)) == 1


def _tables(trees: list[_Tree]) -> list[_Tree]:
    """Trees about one feature each, added up feature by feature."""
    groups: dict[int, list[_Tree]] = {}
    for tree in trees:
        groups.setdefault(int(_asks(tree)[0]), []).append(tree)
    return [_added(f, members) for f, members in sorted(groups.items())]


def _added(f: int, trees: list[_Tree]) -> _Tree:
    """The sum of functions of the feature f: one leaf for every piece between two thresholds."""
    low = np.unique(np.concatenate([tree.low[:, f] for tree in trees]))
    value, plain = np.zeros((len(low), trees[0].value.shape[1])), np.ones(len(low), bool)
    for tree in trees:
        order = np.argsort(tree.low[:, f])
        at = order[np.searchsorted(tree.low[order, f], low, side="right") - 1]
        value += tree.value[at]
        plain &= tree.plain[at]
    lows = np.full((len(low), trees[0].low.shape[1]), -np.inf, np.float32)
    highs = -lows
    lows[:, f] = low
    highs[:-1, f] = np.nextafter(low[1:], np.float32(-np.inf))
    return _Tree(lows, highs, value, plain)
