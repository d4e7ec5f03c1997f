"""Decision regions on a square grid, drawn by a quad-tree: only cells whose corners disagree are divided."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Ask = Callable[[Array], tuple[Array, Array]]
_FIRST = 8  # cells along each side to begin with


@dataclass(frozen=True)
class Drawing:
    """A grid of (cells + 1)^2 points; the first index runs along the first axis.

    Attributes:
        label: (G, G) int64.
        confidence: (G, G) float32; where nobody asked it is interpolated.
        asked: (G, G) bool.
    """

    label: Array
    confidence: Array
    asked: Array


def drawn(ask: Ask, cells: int) -> Drawing:
    """Every point of the grid, though most of them are not asked for.

    A cell is divided if its corners, or those of a neighbour, are of several classes; so what is drawn differs from
    the full grid only by regions that slip between the points of all neighbouring cells.

    Args:
        ask: labels (k,) and confidences (k,) of points, given as pairs of indices (k, 2).
        cells: along each side, a power of two.
    """
    side = cells + 1
    label, confidence = np.zeros((side, side), np.int64), np.zeros((side, side), np.float32)
    asked = np.zeros((side, side), bool)
    step = max(cells // _FIRST, 1)
    active = np.ones((cells // step, cells // step), bool)
    levels: list[tuple[int, Array]] = []
    while True:
        wanted = _corners(active, step, side) & ~asked
        at = np.argwhere(wanted)
        label[wanted], confidence[wanted] = ask(at)
        asked |= wanted
        levels.append((step, active))
        if step == 1:
            break
        active = _halved(active & _near(active & _mixed(label[::step, ::step])))
        step //= 2
    known = label.copy(), confidence.copy()
    for size, cells_there in levels[:-1]:
        _fill(label, confidence, *known, np.argwhere(cells_there), size)
    label[asked], confidence[asked] = known[0][asked], known[1][asked]
    return Drawing(label, confidence, asked)


def _corners(active: Array, step: int, side: int) -> Array:
    """Which points are corners of active cells."""
    corners = np.zeros((len(active) + 1, len(active) + 1), bool)
    for i in (0, 1):
        for j in (0, 1):
            corners[i : i + len(active), j : j + len(active)] |= active
    found = np.zeros((side, side), bool)
    found[::step, ::step] = corners
    return found


def _mixed(label: Array) -> Array:
    """Cells whose corners are not all of one class."""
    first = label[:-1, :-1]
    return np.asarray((first != label[1:, :-1]) | (first != label[:-1, 1:]) | (first != label[1:, 1:]))


def _near(cells: Array) -> Array:
    """These cells and their eight neighbours."""
    padded = np.pad(cells, 1)
    n = len(cells)
    return np.asarray(np.logical_or.reduce([padded[i : i + n, j : j + n] for i in range(3) for j in range(3)]))


def _halved(cells: Array) -> Array:
    return np.asarray(cells.repeat(2, 0).repeat(2, 1))


def _fill(label: Array, confidence: Array, own: Array, sure: Array, cells: Array, size: int) -> None:
    """Give every point of these cells the class of a corner, and confidences in between those of the four."""
    w = np.linspace(0, 1, size + 1, dtype=np.float32)
    for i, j in cells * size:
        a, b, c, d = (sure[i + p, j + q] for p, q in ((0, 0), (0, size), (size, 0), (size, size)))
        here = slice(i, i + size + 1), slice(j, j + size + 1)
        label[here] = own[i, j]
        confidence[here] = np.outer(1 - w, a * (1 - w) + b * w) + np.outer(w, c * (1 - w) + d * w)
