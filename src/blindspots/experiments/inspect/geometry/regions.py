"""Decision regions on a square grid, drawn by a quad-tree: only cells whose corners disagree are divided."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Ask = Callable[[Array], tuple[Array, Array]]
_FIRST = 16  # cells along each side to begin with


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

    Cells whose corners are of several classes are divided in four, down to the grid. Then borders are followed: a
    point that nobody asked about, next to one of another class, is asked for, until there is none. So every region
    that an asked point lies in is exactly that of the full grid (walk from it towards a point of the region that is
    drawn otherwise: the first such point has a neighbour of another class, and was asked for); what can be missed is a
    region that lies between the first points as a whole.

    Args:
        ask: labels (k,) and confidences (k,) of points, given as pairs of indices (k, 2).
        cells: along each side, a power of two.
    """
    grid = _Grid(ask, cells + 1)
    step = max(cells // _FIRST, 1)
    active = np.ones((cells // step, cells // step), bool)
    while True:
        grid.ask(_corners(active, step, cells + 1))
        mixed = active & _mixed(grid.label[::step, ::step])
        grid.fill(np.argwhere(active & ~mixed) * step, step)
        if step == 1:
            break
        active, step = mixed.repeat(2, 0).repeat(2, 1), step // 2
    while (border := ~grid.asked & _beside_another(grid.label)).any():
        grid.ask(border)
    return Drawing(grid.label, grid.confidence, grid.asked)


class _Grid:
    """What is known of the points."""

    def __init__(self, ask: Ask, side: int) -> None:
        self.label, self.confidence = np.zeros((side, side), np.int64), np.zeros((side, side), np.float32)
        self.asked, self._ask = np.zeros((side, side), bool), ask

    def ask(self, wanted: Array) -> None:
        """About these points (G, G), but those known already."""
        new = wanted & ~self.asked
        if new.any():
            self.label[new], self.confidence[new] = self._ask(np.argwhere(new))
        self.asked |= new

    def fill(self, cells: Array, size: int) -> None:
        """Give what nobody asked about in these cells (k, 2) the class of the corners, and confidences in between."""
        w = np.linspace(0, 1, size + 1, dtype=np.float32)
        for i, j in cells:
            here = slice(i, i + size + 1), slice(j, j + size + 1)
            (a, b), (c, d) = self.confidence[here][::size, ::size]
            between = np.outer(1 - w, a * (1 - w) + b * w) + np.outer(w, c * (1 - w) + d * w)
            self.confidence[here] = np.where(self.asked[here], self.confidence[here], between)
            self.label[here] = np.where(self.asked[here], self.label[here], self.label[i, j])


def _corners(active: Array, step: int, side: int) -> Array:
    """Which points are corners of active cells."""
    n = len(active)
    corners = np.zeros((n + 1, n + 1), bool)
    for i, j in ((0, 0), (0, 1), (1, 0), (1, 1)):
        corners[i : i + n, j : j + n] |= active
    found = np.zeros((side, side), bool)
    found[::step, ::step] = corners
    return found


def _mixed(label: Array) -> Array:
    """Cells whose corners are not all of one class."""
    first = label[:-1, :-1]
    return np.asarray((first != label[1:, :-1]) | (first != label[:-1, 1:]) | (first != label[1:, 1:]))


def _beside_another(label: Array) -> Array:
    """Points one of whose eight neighbours is of another class."""
    padded, n = np.pad(label, 1, mode="edge"), len(label)
    around = (padded[i : i + n, j : j + n] != label for i in range(3) for j in range(3))
    return np.asarray(np.logical_or.reduce(list(around)))
