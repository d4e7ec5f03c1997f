"""Leaves that go together: one of every tree, with a large sum of values.

Boxes that meet in pairs meet in one point (Helly's theorem for boxes), so the leaves that some row reaches together are
a clique in the graph of the leaves that meet (Chen et al. 2019, "Robustness Verification of Tree-based Models"). The
search keeps, for every partial choice of leaves, all leaves that meet the whole of it, and bounds the sum by each
tree's best leaf among these (Devos, Meert, Davis 2021, "Versatile Verification of Tree Ensembles").
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blindspots.exact.bracket import Stop
from blindspots.exact.leaves import starts_of

Array = NDArray[Any]


class Spent(Exception):  # noqa: N818  # no error: the search has used up what it may cost
    """The limit in nodes or seconds is reached."""


class Budget:
    """Counts the nodes of a row's search; raises `Spent` where there are no more."""

    def __init__(self, nodes: int, stop: Stop) -> None:
        self.left, self.stop = nodes, stop

    def spend(self) -> None:
        """One node."""
        if self.left <= 0 or self.stop():
            raise Spent
        self.left -= 1


@dataclass(frozen=True)
class Need:
    """What a sum of values has to exceed for another class to lead, or for a goal to be reached.

    Attributes:
        least: no sum up to this is enough, however the model rounds.
        sure: every sum above this is.
        asks: what the model itself says of a point (F,) whose sum lies between the two.
        most: no sum above this is enough, either.
    """

    least: float
    sure: float
    asks: Callable[[Array], bool]
    most: float = np.inf

    def less(self, settled: float) -> "Need":
        """What the other values have to exceed, once some add up to `settled`."""
        return Need(self.least - settled, self.sure - settled, self.asks, self.most - settled)

    def met(self, total: float, point: Array) -> bool:
        """Whether this sum is enough at this point."""
        return total > self.sure or (self.least < total <= self.most and self.asks(point))

    def passed(self, value: Array, starts: Array) -> bool:
        """Whether even the smallest values (R,), one of each tree, add up to too much."""
        return self.most < np.inf and float(np.minimum.reduceat(value, starts).sum()) > self.most


@dataclass(frozen=True)
class Choice:
    """Leaves to choose from, one of each tree: boxes low, high (R, F), values (R,) and trees (R,) ascending.

    `plain` (R,): a sum of nothing but these is exact, so that where it is a tie, it is one for the model as well.
    """

    low: Array
    high: Array
    value: Array
    tree: Array
    plain: Array

    def of(self, kept: Array) -> "Choice":
        """Some of them, by a mask or by places."""
        return Choice(self.low[kept], self.high[kept], self.value[kept], self.tree[kept], self.plain[kept])

    def settled(self) -> tuple["Choice", float]:
        """Without the trees whose leaves all have the same value, and the sum of these values."""
        starts = starts_of(self.tree)
        if not len(starts):
            return self, 0.0
        most, least = np.maximum.reduceat(self.value, starts), np.minimum.reduceat(self.value, starts)
        same = most == least
        gone = np.repeat(same, np.diff(np.r_[starts, len(self.tree)]))
        rest = replace(self, plain=self.plain & self.plain[gone].all())
        return rest.of(~gone), float(most[same].sum())


class Meetings:
    """Which of the boxes low, high (R, F) meet each other: computed where it is asked for, since few pairs are."""

    def __init__(self, low: Array, high: Array) -> None:
        self.low, self.high = np.ascontiguousarray(low.T), np.ascontiguousarray(high.T)
        self.known: dict[int, Array] = {}

    def of(self, first: int, last: int) -> Array:
        """Whether each box from `first` to before `last`, those of one tree, meets each box of all: (., R) bool."""
        if first not in self.known:
            low, high = self.low[:, first:last], self.high[:, first:last]
            meet = np.ones((last - first, self.low.shape[1]), bool)
            for f in np.flatnonzero((low > -np.inf).any(1) | (high < np.inf).any(1)):
                meet &= (low[f][:, None] <= self.high[f]) & (self.low[f] <= high[f][:, None])
            self.known[first] = meet
        return self.known[first]

    def conflicts(self, chosen: Array) -> Array:
        """How many of the chosen boxes (T,) each of them does not meet: (T,)."""
        low, high = self.low[:, chosen], self.high[:, chosen]
        apart = np.zeros((len(chosen), len(chosen)), bool)
        for f in np.flatnonzero(low.max(1) > high.min(1)):
            apart |= low[f][:, None] > high[f]
        counted: Array = np.count_nonzero(apart | apart.T, axis=1)
        return counted


def clique(leaves: Choice, need: Need, x: Array, budget: Budget) -> Array | None:
    """The point nearest to x (F,) in leaves that meet, one of every tree, with values that meet the need.

    None: there are no such leaves.

    Raises Spent: the budget is.
    """
    value, starts = leaves.value, starts_of(leaves.tree)
    place = np.repeat(np.arange(len(starts)), np.diff(np.r_[starts, len(value)]))
    ends = np.r_[starts[1:], len(value)]
    meetings = Meetings(leaves.low, leaves.high)
    waiting = [np.ones(len(value), bool)]
    while waiting:
        budget.spend()
        allowed = waiting.pop()
        open_ = np.where(allowed, value, -np.inf)
        best = np.maximum.reduceat(open_, starts)
        total = float(best.sum())
        if not total > need.least or need.passed(np.where(allowed, value, np.inf), starts):
            continue
        hits = np.flatnonzero(open_ == best[place])
        chosen = hits[np.searchsorted(place[hits], np.arange(len(starts)))]
        conflicts = meetings.conflicts(chosen)
        if not conflicts.any():
            point: Array = np.clip(x, leaves.low[chosen].max(0), leaves.high[chosen].min(0))
            if need.met(total, point):
                return point
            conflicts = np.add.reduceat(allowed, starts) - 1  # a tie that falls to the label: other leaves may do
            if not conflicts.any():
                continue
        tree = _disputed(open_, best, chosen, conflicts, starts)
        own = np.arange(starts[tree], ends[tree])
        below = meetings.of(own[0], ends[tree])[allowed[own]] & allowed
        bounds = np.maximum.reduceat(np.where(below, value, -np.inf), starts, axis=1).sum(1)
        order = np.argsort(bounds, kind="stable")  # the most promising one is taken up first
        waiting += [below[i] for i in order[bounds[order] > need.least]]
    return None


def _disputed(value: Array, best: Array, chosen: Array, conflicts: Array, starts: Array) -> int:
    """The tree whose best leaf has many conflicts, and without which much is lost."""
    others = value.copy()
    others[chosen] = -np.inf
    loss = np.minimum(best - np.maximum.reduceat(others, starts), np.ptp(best) + 1)
    return int(np.where(conflicts > 0, loss * conflicts, -1).argmax())


def reached(cost: Array, value: Array, tree: Array) -> tuple[Array, Array]:
    """All costs (M,), ascending, and the sums (M,) of each tree's best leaf at up to that cost.

    An upper bound of what a row can reach at that cost, since the best leaves need not meet.
    """
    order = np.lexsort((cost, tree))
    value, tree, cost = value[order], tree[order], cost[order]
    first = np.diff(tree, prepend=-1) > 0
    known, rank = np.unique(value, return_inverse=True)
    height = len(known) * tree  # lifts every tree above the one before; ranks, so that no digit is lost
    best = known[np.maximum.accumulate(rank + height) - height]
    gains = np.where(first, best, np.diff(best, prepend=0))
    order = np.argsort(cost, kind="stable")
    cost, total = cost[order], np.cumsum(gains[order])
    last = np.diff(cost, append=np.nan) != 0
    return cost[last], total[last]
