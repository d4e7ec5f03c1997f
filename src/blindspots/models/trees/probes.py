"""Rows at which two readings of one forest would differ: at every threshold, and a float32 below and above it."""

import numpy as np
from numpy.typing import NDArray

from blindspots.models.trees.forest import LEAF, Forest

_LEAST, _MOST = np.float32(-np.inf), np.float32(np.inf)


def probes(forest: Forest, most: int | None = None, seed: int = 0) -> NDArray[np.float32]:
    """Rows (3 n, features) that reach n inner nodes with the number asked for at the threshold, below and above it.

    The features asked for on the way to a node have numbers that lead there, at their thresholds or next to them; all
    others have numbers near the thresholds of other nodes. Nodes that no finite row reaches, and questions with one
    answer, are left out.

    Args:
        most: nodes that are drawn from all. None: all of them.
    """
    draw = np.random.default_rng(seed)
    parent, is_left = _parents(forest)
    inner = np.flatnonzero(forest.feature != LEAF)
    if most is not None and len(inner) > most:
        inner = np.sort(draw.choice(inner, most, replace=False))
    around = _near(forest)
    rows = [_rows(forest, int(node), parent, is_left, around, draw) for node in inner]
    return np.concatenate([np.zeros((0, forest.features), np.float32), *rows])


def _parents(forest: Forest) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Of every node: its parent, -1 at roots, and whether it is the left child."""
    parent, is_left = np.full(len(forest.feature), -1), np.zeros(len(forest.feature), bool)
    inner = np.flatnonzero(forest.feature != LEAF)
    parent[forest.left[inner]] = parent[forest.right[inner]] = inner
    is_left[forest.left[inner]] = True
    return parent, is_left


def _near(forest: Forest) -> list[NDArray[np.float32]]:
    """Of every feature: its thresholds, with the numbers below and above; 0 where none asks for it."""
    found = []
    for feature in range(forest.features):
        t = np.unique(forest.threshold[forest.feature == feature])
        t = np.concatenate([t, np.nextafter(t, _LEAST), np.nextafter(t, _MOST)])
        found.append(np.unique(t[np.isfinite(t)]) if np.isfinite(t).any() else np.zeros(1, np.float32))
    return found


def _rows(
    forest: Forest,
    node: int,
    parent: NDArray[np.int64],
    is_left: NDArray[np.bool_],
    around: list[NDArray[np.float32]],
    draw: np.random.Generator,
) -> NDArray[np.float32]:
    """Three rows that reach the node, fewer where finite numbers do not."""
    asked, t = int(forest.feature[node]), forest.threshold[node]
    tried = np.array([np.nextafter(t, _LEAST), t, np.nextafter(t, _MOST)], np.float32)
    low, high = _box(forest, node, parent, is_left)
    tried = tried[np.isfinite(tried) & (low.get(asked, _LEAST) <= tried) & (tried < high.get(asked, _MOST))]
    row = np.array([draw.choice(near) for near in around], np.float32)
    for feature in {*low, *high}:
        inside = around[feature]
        inside = inside[(low.get(feature, _LEAST) <= inside) & (inside < high.get(feature, _MOST))]
        if not len(inside):
            return np.zeros((0, forest.features), np.float32)
        row[feature] = draw.choice(inside)
    rows = np.repeat(row[None], len(tried), 0)
    rows[:, asked] = tried
    return rows


def _box(
    forest: Forest, node: int, parent: NDArray[np.int64], is_left: NDArray[np.bool_]
) -> tuple[dict[int, np.float32], dict[int, np.float32]]:
    """Of the features asked for on the way: from which number, and below which, rows reach the node."""
    low: dict[int, np.float32] = {}
    high: dict[int, np.float32] = {}
    while parent[node] >= 0:
        above = int(parent[node])
        feature, t = int(forest.feature[above]), forest.threshold[above]
        if is_left[node]:
            high[feature] = min(high.get(feature, _MOST), t)
        else:
            low[feature] = max(low.get(feature, _LEAST), t)
        node = above
    return low, high
