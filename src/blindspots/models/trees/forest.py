"""One form for every ensemble of trees: arrays of nodes, and how the sums of their leaves become scores.

Rows are float32, so every library's rule has an equal "x < threshold goes left" with a threshold in float32:

| library | its rule for going left | threshold here |
| --- | --- | --- |
| scikit-learn, all kinds | x <= t, t in float64 | the smallest float32 above t |
| XGBoost | x < t, t in float32 | t |
| LightGBM | x <= t, t in float64 | the smallest float32 above t |
| CatBoost | not x > border, in float32 | the smallest float32 above the border |
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from blindspots.errors import InputError

Link = Literal["logits", "probabilities", "identity", "exp", "sigmoid"]
Precision = Literal["float32", "float64"]
LEAF = -1  # in place of a feature


class Tree(NamedTuple):
    """The nodes of one tree, the first of which is its root; numbers of nodes count from 0 in this tree.

    feature (n,), -1 at leaves; threshold (n,) float32; left, right (n,); value (n, K), read at leaves only.
    """

    feature: NDArray[np.int64]
    threshold: NDArray[np.float32]
    left: NDArray[np.int64]
    right: NDArray[np.int64]
    value: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Forest:
    """T trees with N nodes in all, and K numbers that their leaves add to.

    From each root, a row x goes left where x[feature] < threshold and right elsewhere, until it comes to a leaf. The K
    sums are `base` and then the leaves' values in the order of the trees, added up in `precision`, and divided by
    `divisor` at the end. By `link`, they are

    - "logits": scores of K classes; where K = 1, the logit of class 1 of two;
    - "probabilities": those of K classes;
    - "identity", "exp", "sigmoid": predictions of a regressor, after that function.

    All of these grow with the sums: the prediction of a classifier is the largest sum (the sign of a single one).

    Attributes:
        feature: (N,) int32, the feature that a node asks for; -1 at leaves.
        threshold: (N,) float32, 0 at leaves; infinite where all rows go the same way.
        left, right: (N,) int32, the nodes that follow; a leaf itself at leaves.
        value: (N, K) float64, 0 at inner nodes.
        roots: (T,) int32.
        base: (K,) float64.
        features: how many numbers a row has.
        precision: of the library's sums.
        divisor: of the sums, at the end; 1, but for averages.

    Raises:
        InputError: the arrays are no forest: every node but the roots has exactly one parent, and nothing is a NaN.
    """

    feature: NDArray[np.int32]
    threshold: NDArray[np.float32]
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    value: NDArray[np.float64]
    roots: NDArray[np.int32]
    base: NDArray[np.float64]
    features: int
    link: Link = "logits"
    precision: Precision = "float64"
    divisor: float = 1.0

    def __post_init__(self) -> None:
        _check_shapes(self)
        _check_numbers(self)
        _check_paths(self)

    @property
    def outputs(self) -> int:
        """K, how many sums there are."""
        return len(self.base)

    @property
    def trees(self) -> int:
        """T, how many trees there are."""
        return len(self.roots)

    @property
    def of_values(self) -> bool:
        """Whether it predicts numbers, no classes."""
        return self.link not in ("logits", "probabilities")

    @property
    def leaf(self) -> NDArray[np.bool_]:
        """Which nodes are leaves: (N,)."""
        return np.equal(self.feature, LEAF)

    @cached_property
    def levels(self) -> tuple[NDArray[np.int64], ...]:
        """The nodes of every depth, the roots first."""
        return tuple(_levels(self.feature, self.left, self.right, self.roots))

    @property
    def depth(self) -> int:
        """How many questions the longest path asks."""
        return len(self.levels) - 1

    @property
    def where(self) -> str:
        """In a few words what it is."""
        return f"{self.trees:,} trees of depth {self.depth} with {int(self.leaf.sum()):,} leaves"


def forest(
    trees: Sequence[Tree],
    base: NDArray[np.float64],
    features: int,
    link: Link = "logits",
    precision: Precision = "float64",
    divisor: float = 1.0,
) -> Forest:
    """The trees in one array each, without nodes that no path leads to.

    Raises InputError: they are no trees, see `Forest`.
    """
    if not trees:
        raise InputError("expected at least one tree, got none: save a fitted model")
    kept = [_reachable(tree) for tree in trees]
    starts = np.cumsum([0, *(len(tree.feature) for tree in kept)])
    if starts[-1] > np.iinfo(np.int32).max:
        raise InputError(f"expected at most 2^31 nodes, got {starts[-1]:,}: use fewer trees")
    offsets = np.repeat(starts[:-1], np.diff(starts))
    joined = Tree(*(np.concatenate(parts) for parts in zip(*kept, strict=True)))
    return Forest(
        joined.feature.astype(np.int32),
        joined.threshold.astype(np.float32),
        (joined.left + offsets).astype(np.int32),
        (joined.right + offsets).astype(np.int32),
        joined.value.astype(np.float64),
        starts[:-1].astype(np.int32),
        np.asarray(base, np.float64),
        features,
        link,
        precision,
        divisor,
    )


def asked_for(feature: NDArray[np.integer], leaf: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Features as nodes ask for them, -1 at leaves. Raises InputError: another node asks for a negative one."""
    if len(feature) != len(leaf):
        return feature.astype(np.int64)  # which `forest` refuses
    if (feature[~leaf] < 0).any():
        raise InputError("expected features from 0 on, got a negative one: the file is damaged, save the model again")
    return np.where(leaf, LEAF, feature.astype(np.int64))


def constant(value: NDArray[np.float64]) -> Tree:
    """A tree of one leaf with the values (K,): for what a library adds last."""
    none = np.full(1, LEAF)
    return Tree(none, np.zeros(1, np.float32), none, none, value[None])


def above(t: NDArray[np.float64] | float) -> NDArray[np.float32]:
    """The smallest float32 greater than each t, so that x <= t is x < above(t) for x in float32; infinity above all."""
    t = np.asarray(t, np.float64)
    with np.errstate(over="ignore"):  # beyond float32 is infinite, which is meant
        near = t.astype(np.float32)
        return np.where(near > t, near, np.nextafter(near, np.float32(np.inf)))


def _reachable(tree: Tree) -> Tree:
    """The tree's nodes that a path leads to, in the order of their levels, numbered anew; leaves follow themselves."""
    count = len(tree.feature)
    if any(len(part) != count for part in tree) or not count:
        raise InputError(
            f"expected as many thresholds, children and values as nodes, got {[len(part) for part in tree]}: the file "
            "is damaged, save the model again"
        )
    _check_children(tree.feature, tree.left, tree.right)
    order = np.concatenate(list(_levels(tree.feature, tree.left, tree.right, np.zeros(1, np.int64))))
    number = np.zeros(count, np.int64)
    number[order] = np.arange(len(order))
    feature, threshold, left, right, value = (part[order] for part in tree)
    leaf = feature == LEAF
    own = np.arange(len(order))
    return Tree(
        feature.astype(np.int64),
        np.where(leaf, np.float32(0), threshold),
        np.where(leaf, own, number[np.where(leaf, 0, left)]),
        np.where(leaf, own, number[np.where(leaf, 0, right)]),
        np.where(leaf[:, None], value, 0.0),
    )


def _check_children(feature: NDArray[np.integer], left: NDArray[np.integer], right: NDArray[np.integer]) -> None:
    inner = feature != LEAF
    for child in (left[inner], right[inner]):
        if len(child) and not 0 <= child.min() <= child.max() < len(feature):
            raise InputError(
                f"expected children among the {len(feature):,} nodes, got {child.min()} to {child.max()}: the file is "
                "damaged, save the model again"
            )


def _levels(
    feature: NDArray[np.integer], left: NDArray[np.integer], right: NDArray[np.integer], roots: NDArray[np.integer]
) -> list[NDArray[np.int64]]:
    """The nodes of every depth. Raises InputError where two paths lead to one node."""
    seen = np.zeros(len(feature), bool)
    level, found = roots.astype(np.int64), []
    while len(level):
        if len(np.unique(level)) < len(level) or seen[level].any():
            raise InputError("expected trees, got two paths to one node: the file is damaged, save the model again")
        seen[level] = True
        found.append(level)
        inner = level[feature[level] != LEAF]
        level = np.concatenate([left[inner], right[inner]]).astype(np.int64)
    return found


def _check_shapes(forest: Forest) -> None:
    nodes, outputs = len(forest.feature), len(forest.base)
    wanted = dict.fromkeys(("feature", "threshold", "left", "right"), (nodes,)) | {"value": (nodes, outputs)}
    for name, shape in wanted.items():
        if getattr(forest, name).shape != shape:
            raise InputError(
                f"expected {name} of shape {shape}, got {getattr(forest, name).shape}: give one entry per node"
            )
    least = 2 if forest.link == "probabilities" else 1
    if outputs < least or not forest.trees or forest.features < 1:
        raise InputError(
            f"expected trees, features and at least {least} outputs, got {forest.trees}, {forest.features} and "
            f"{outputs}: save a fitted model"
        )
    if forest.link not in get_args(Link) or forest.precision not in get_args(Precision):
        raise InputError(f"expected a link among {get_args(Link)}, got {forest.link!r} in {forest.precision!r}")


def _check_numbers(forest: Forest) -> None:
    if np.isnan(forest.threshold).any() or not np.isfinite(forest.value).all() or not np.isfinite(forest.base).all():
        raise InputError("expected numbers in thresholds and leaves, got NaN or infinity: save the model again")
    if not 0 < forest.divisor < np.inf:
        raise InputError(f"expected a positive divisor of the sums, got {forest.divisor}: give the number of trees")
    if not LEAF <= forest.feature.min() <= forest.feature.max() < forest.features:
        raise InputError(
            f"expected features from 0 to {forest.features - 1}, got {forest.feature.min()} to {forest.feature.max()}: "
            "the file is damaged, save the model again"
        )


def _check_paths(forest: Forest) -> None:
    if not 0 <= forest.roots.min() <= forest.roots.max() < len(forest.feature):
        raise InputError("expected roots among the nodes, got others: the file is damaged, save the model again")
    _check_children(forest.feature, forest.left, forest.right)
    if sum(map(len, forest.levels)) < len(forest.feature):
        raise InputError("expected trees, got nodes that no path leads to: leave them out")
