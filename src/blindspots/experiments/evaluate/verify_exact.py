"""Proved bounds once more, for a sample of rows: mixed-integer programs (Kantchelian, Tygar, Joseph 2016) by HiGHS.

Of trees: one binary for every question "is feature f below t?" that is open within the bound, ordered along each
feature, and one variable for every leaf; a program in which another class leads, or a number passes its limit, and the
change is shorter than the bound has to be infeasible. Nothing is shared with the search that found the bound.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import coo_array
from torch import Tensor

from blindspots.experiments.evaluate.verify_convex import Ground, of_neighbours
from blindspots.experiments.evaluate.verify_curves import of_curves
from blindspots.experiments.evaluate.verify_linear import Sides, of_scores
from blindspots.experiments.evaluate.verify_votes import overtaken
from blindspots.models.trees.tables import forest_of

Array = NDArray[Any]
SHORTER = 1e-4  # of the bound: what is looked for is nearer by this share, well above the tolerance of HiGHS
LEAD = 1e-5  # of the sum of the largest leaves: HiGHS takes 1e-6 for a whole number
SHOWN = 1e-6  # of a number: far more than float32 rounds
INFEASIBLE = 2  # status of scipy.optimize.milp


def refuted(
    model: Any, x: Tensor, ground: Ground, y: int | Sides, bound: float, exact: float, seconds: float
) -> bool | None:
    """Whether an example nearer than the bound exists; None: that was not decided within these seconds.

    Of linear models also whether the nearest one, if nothing is rounded, is not at `exact`.

    Args:
        model: a `Model` of trees, or one that is linear.
        x: the row (...) as the model takes it.
        y: the label of the row; of a model of numbers the values beyond which it succeeds.
        seconds: for each other class.
    """
    if (forest := forest_of(model)) is not None:
        return _of_trees(forest, ground, y, bound, seconds)
    if isinstance(y, list):
        return of_scores(model, x, ground, y, bound, exact)
    if hasattr(model, "known"):
        known, short = model.known.estimator, bound * (1 - SHORTER)
        if known.n_neighbors == 1:
            return of_neighbours(known, ground, y, short)
        return overtaken(ground, known._fit_X.astype(np.float64), known._y, known.n_neighbors, y, short, seconds)
    if any(type(layer).__name__ == "Gaussians" for layer in model.net.modules()):
        return of_curves(model, ground, y, bound)
    return of_scores(model, x, ground, y, bound, exact)


def _of_trees(forest: Any, ground: Ground, y: int | Sides, bound: float, seconds: float) -> bool | None:
    lo, hi = ground.lo, ground.hi
    short = bound * (1 - SHORTER)
    if ground.p and np.isfinite(bound):  # every change lies in the cube of this size
        lo, hi = np.maximum(lo, ground.x - short * ground.unit), np.minimum(hi, ground.x + short * ground.unit)
        lo, hi = _whole(lo, 1), _whole(hi, -1)
    program = _Program(forest, ground, lo, hi)
    decided = True
    for ways in _passes(forest, y) if isinstance(y, list) else _leads(forest, y):
        status = program.solved(*ways, short, seconds)
        if status == 0:
            return True
        decided &= status == INFEASIBLE
    return False if decided else None


def _leads(forest: Any, y: int) -> Iterator[tuple[Array, float, float]]:
    """For each other class what leaves add to its lead, and what that has to come to: at least, and at most."""
    known = (np.asarray(forest.value, np.float64), np.asarray(forest.base, np.float64)[None])
    value, base = (np.hstack([np.zeros((len(a), 1)), a]) if a.shape[1] == 1 else a for a in known)
    for j in set(range(value.shape[1])) - {y}:
        gain = value[:, j] - value[:, y]
        yield gain, float(base[0, y] - base[0, j]) + LEAD * _size(forest, gain), np.inf


def _passes(forest: Any, sides: Sides) -> Iterator[tuple[Array, float, float]]:
    """The same for every limit of a number, well beyond what its sum and its link are rounded by."""
    for k, side, *ends in sides:
        gain, base = side * forest.value[:, k].astype(np.float64), side * float(forest.base[k])
        shown = SHOWN * side * abs(ends[0])
        near, far = side * _sum_at(forest, ends[0] + shown), side * _sum_at(forest, ends[1] - shown)
        if np.isfinite(near):
            lead = LEAD * (_size(forest, gain) + abs(base) + abs(near))
            yield gain, near - base + lead, far - base - lead


def _sum_at(forest: Any, end: float) -> float:
    """The sum behind which the link gives this value: infinite where it is never reached."""
    with np.errstate(divide="ignore", invalid="ignore"):
        if forest.link == "exp":
            end = float(np.log(max(end, 0.0)))
        elif forest.link == "sigmoid":
            end = min(max(end, 0.0), 1.0)
            end = float(np.log(end) - np.log(1 - end))
    return end * float(forest.divisor)


def _size(forest: Any, gain: Array) -> float:
    """Of the largest leaves in all, of what leaves (N,) add."""
    return float(sum(np.abs(gain[_below(forest, int(root))]).max() for root in forest.roots)) or 1.0


def _below(forest: Any, root: int) -> list[int]:
    """All leaves of a tree."""
    if forest.feature[root] < 0:
        return [root]
    return _below(forest, int(forest.left[root])) + _below(forest, int(forest.right[root]))


def _whole(edge: Array, side: int) -> Array:
    """The nearest float32 that is not outside, of lower edges (side 1) or upper ones (side -1): as float64."""
    near = edge.astype(np.float32)
    outside = side * (near - edge) < 0
    inside: Array = np.where(outside, np.nextafter(near, np.float32(side * np.inf)), near).astype(np.float64)
    return inside


class _Program:
    """The constraints that say what a row is: bits of questions, and leaves that follow from them."""

    def __init__(self, forest: Any, ground: Ground, lo: Array, hi: Array) -> None:
        self.ground, self.lo, self.hi, self.forest = ground, lo, hi, forest
        self.bits: dict[tuple[int, float], int] = {}
        self.entries: list[tuple[int, int, float]] = []  # row, column, factor
        self.low: list[float] = []
        self.high: list[float] = []
        self.columns, self.leaves = 0, []  # type: ignore[var-annotated]
        for root in forest.roots:
            self.row([(leaf, 1.0) for leaf in self.follow(int(root))], 1, 1)
        self.order()

    def row(self, terms: list[tuple[int, float]], low: float, high: float) -> None:
        self.entries += [(len(self.low), column, factor) for column, factor in terms]
        self.low.append(low)
        self.high.append(high)

    def column(self) -> int:
        self.columns += 1
        return self.columns - 1

    def follow(self, node: int) -> list[int]:
        """The columns of the leaves below a node; those on one side add up to no more than the bit allows."""
        f = int(self.forest.feature[node])
        if f < 0:
            self.leaves.append((self.column(), node))
            return [self.columns - 1]
        t = float(self.forest.threshold[node])
        if self.hi[f] < t or self.lo[f] >= t:  # not open
            return self.follow(int(self.forest.left[node] if self.hi[f] < t else self.forest.right[node]))
        if (f, t) not in self.bits:
            self.bits[f, t] = self.column()
        bit = self.bits[f, t]
        left, right = self.follow(int(self.forest.left[node])), self.follow(int(self.forest.right[node]))
        self.row([*((leaf, 1.0) for leaf in left), (bit, -1.0)], -np.inf, 0)
        self.row([*((leaf, 1.0) for leaf in right), (bit, 1.0)], -np.inf, 1)
        return left + right

    def order(self) -> None:
        """What is below a threshold is below all larger ones."""
        asked = sorted(self.bits)
        for one, two in pairwise(asked):
            if one[0] == two[0]:
                self.row([(self.bits[one], 1.0), (self.bits[two], -1.0)], -np.inf, 0)

    def cost(self) -> Iterator[tuple[int, float, float]]:
        """What a change costs: for every bit its factor, and what it adds to a constant."""
        for f in {f for f, _ in self.bits}:
            asked = [t for g, t in sorted(self.bits) if g == f]
            for side in (1, -1):
                spent = 0.0
                for t in (t for t in asked[::side] if (t > self.ground.x[f]) == (side > 0)):
                    reach = t if side > 0 else float(np.nextafter(np.float32(t), np.float32(-np.inf)))
                    size = abs(reach - self.ground.x[f]) / self.ground.unit[f]
                    total = size**self.ground.p if self.ground.p else 1.0
                    yield self.bits[f, t], -side * (total - spent), (total - spent) * (side > 0)
                    spent = total

    def solved(self, gain: Array, least: float, most: float, short: float, seconds: float) -> int:
        """HiGHS's status on a row within the distance where gains (N,) of leaves add up to something between."""
        size = _size(self.forest, gain)
        lead = [(c, float(gain[n] / size)) for c, n in self.leaves]
        rows = [(lead, least / size, most / size)]
        if np.isfinite(self.ground.p) and np.isfinite(short):
            parts = list(self.cost())
            power = short**self.ground.p if self.ground.p else max(np.ceil(short) - 1, 0.5)
            spent = sum(k for *_, k in parts) / power
            rows.append(([(c, factor / power) for c, factor, _ in parts], -np.inf, 1 - spent))
        entries = self.entries + [(len(self.low) + i, c, v) for i, (terms, *_) in enumerate(rows) for c, v in terms]
        r, c, v = zip(*entries, strict=True)
        matrix = coo_array((v, (r, c)), shape=(len(self.low) + len(rows), self.columns)).tocsr()
        low, high = [*self.low, *(low for _, low, _ in rows)], [*self.high, *(high for *_, high in rows)]
        whole = np.zeros(self.columns, np.int64)
        whole[list(self.bits.values())] = 1
        found = milp(
            np.zeros(self.columns), constraints=LinearConstraint(matrix, low, high), integrality=whole,
            bounds=Bounds(0, 1), options={"time_limit": seconds},
        )  # fmt: skip
        return int(found.status)
