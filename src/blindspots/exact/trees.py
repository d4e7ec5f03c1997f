"""The nearest adversarial example of an ensemble of trees, in Linf, L0, L1 and L2."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blindspots.exact.bracket import Bracket, Stop, never
from blindspots.exact.cheapest import nearest_cheap
from blindspots.exact.cliques import Budget, Choice, reached
from blindspots.exact.leaves import Trees, leaves_of, sums
from blindspots.exact.peaks import nearest_peak
from blindspots.exact.region import Frame, Region

Array = NDArray[Any]
_FEW = 1000  # nodes of a first guess


@dataclass(frozen=True)
class _Contest:
    """One class against the label: the values of leaves are what they add to its lead.

    `bound`: no row within it is of the class; `need`: what the values have to exceed.
    """

    leaves: Choice
    cost: Array
    need: float
    radii: Array

    @property
    def bound(self) -> float:
        return float(self.radii[0]) if len(self.radii) else np.inf


class TreeSolver:
    """Of a classifier: another class has to get a larger sum than the label. Ties are no success."""

    def __init__(self, trees: Trees, frame: Frame) -> None:
        self.trees, self.frame, self.leaves = trees, frame, leaves_of(trees)
        self.about = "bisection over the distances of leaves, and cliques of leaves that meet"
        if frame.p != np.inf:
            self.about = "best-first search over boxes of leaves that meet"

    def nearest(self, x: Array, y: int, within: float, nodes: int, stop: Stop = never) -> Bracket:
        """See `Solver`."""
        whole = self.frame.around(x)
        budget, region = Budget(nodes, stop), whole.of(self.leaves.used)
        found = self._against_all(region, y, within, self.leaves.rounding, budget)
        if found.point is None or self._fools(full := _filled(whole, self.leaves.used, found.point), y):
            return found if found.point is None else Bracket(found.lower, found.upper, full)
        # So close to a tie that it is rounding which decides, and it decided for the label.
        other = self._against_all(region, y, within, -self.leaves.rounding, budget)
        point = None if other.point is None else _filled(whole, self.leaves.used, other.point)
        if point is not None and not self._fools(point, y):
            return Bracket(found.lower)
        return Bracket(found.lower, other.upper, point)

    def _fools(self, x: Array, y: int) -> bool:
        """Whether the model's own sums say so."""
        scores = sums(self.trees, x)
        return bool(np.delete(scores, y).max() > scores[y])

    def _against_all(self, region: Region, y: int, within: float, slack: float, budget: Budget) -> Bracket:
        """The nearest of all other classes, which have to lead by more than -slack."""
        low, high = np.maximum(self.leaves.low, region.lo), np.minimum(self.leaves.high, region.hi)
        cost = region.cost(np.maximum(np.maximum(low - region.x, region.x - high), 0))
        kept = (low <= high).all(1)
        lead = self.leaves.value - self.leaves.value[:, [y]]
        need = self.leaves.base[y] - self.leaves.base - slack
        boxes = self.leaves.low[kept], self.leaves.high[kept]  # unclipped: fewer sides to compare
        contests = [
            _contest(Choice(*boxes, lead[kept, j], self.leaves.tree[kept]), cost[kept], float(need[j]))
            for j in range(lead.shape[1])
            if j != y
        ]
        best = Bracket(np.inf)
        for contest in sorted(contests, key=lambda c: c.bound):
            one = _solved(region, contest, min(within, best.upper), budget)
            best = Bracket(
                min(best.lower, one.lower),
                min(best.upper, one.upper),
                one.point if one.upper < best.upper else best.point,
            )
        return best


def _contest(leaves: Choice, cost: Array, need: float) -> _Contest:
    starts = np.flatnonzero(np.r_[True, leaves.tree[1:] != leaves.tree[:-1]])
    kept = np.maximum.reduceat(leaves.value, starts) != np.minimum.reduceat(leaves.value, starts)
    kept = np.repeat(kept, np.diff(np.r_[starts, len(leaves.tree)]))
    others, settled = leaves.settled()
    cost, need = cost[kept], need - settled
    if not len(cost):
        return _Contest(others, cost, need, np.zeros(1 if need < 0 else 0))
    radii, total = reached(cost, others.value, others.tree)
    return _Contest(others, cost, need, radii[total > need])


def _solved(region: Region, contest: _Contest, within: float, budget: Budget) -> Bracket:
    if contest.bound > within:
        return Bracket(contest.bound)
    if region.p == np.inf:
        return nearest_peak(region, contest.leaves, contest.cost, contest.radii, contest.need, within, budget)
    within = min(within, _first_guess(region, contest, budget))
    near = contest.cost <= within
    leaves, settled = contest.leaves.of(near).settled()
    return nearest_cheap(region, leaves, contest.need - settled, within, budget)


def _first_guess(region: Region, contest: _Contest, budget: Budget) -> float:
    """What some example costs: the one that is nearest in Linf, with as many features put back as it can spare."""
    square = replace(region, p=np.inf)
    leaves, need = contest.leaves, contest.need
    moves = np.maximum(np.maximum(leaves.low - region.x, region.x - leaves.high), 0)
    cost = square.cost(moves)
    radii, total = reached(cost, leaves.value, leaves.tree)
    few = Budget(min(budget.left, _FEW), budget.stop)
    found = nearest_peak(square, leaves, cost, radii[total > need], need, np.inf, few)
    if found.point is None:
        return np.inf
    point = found.point
    for f in np.argsort(-np.abs(point - region.x) / region.unit, kind="stable"):
        back = point.copy()
        back[f] = region.x[f]
        inside = ((leaves.low <= back) & (back <= leaves.high)).all(1)
        point = back if leaves.value[inside].sum() > need else point
    return float(region.cost(point - region.x))


def _filled(region: Region, used: Array, point: Array) -> Array:
    """A point of the features that trees ask about, the others as they were: (features,) float32."""
    full = region.x.copy()
    full[used] = point
    return full.astype(np.float32)
