"""The nearest adversarial example of an ensemble of trees, in Linf, L0, L1 and L2."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blindspots.exact import program
from blindspots.exact.bracket import Bracket, Stop, never
from blindspots.exact.cheapest import nearest_cheap
from blindspots.exact.cliques import Budget, Choice, Need, reached
from blindspots.exact.leaves import leaves_of, sums
from blindspots.exact.peaks import nearest_peak
from blindspots.exact.region import Frame, Region
from blindspots.models.trees.forest import Forest

Array = NDArray[Any]
_FEW = 1000  # nodes of a first guess
_BOXES = 200  # after so many boxes the rest is left to HiGHS, which is faster where many features move


@dataclass(frozen=True)
class _Contest:
    """One class against the label: the values of leaves are what they add to its lead.

    `bound`: no row within it is of the class.
    """

    leaves: Choice
    cost: Array
    need: Need
    radii: Array

    @property
    def bound(self) -> float:
        return float(self.radii[0]) if len(self.radii) else np.inf


class TreeSolver:
    """Of a classifier: another class has to get a larger sum than the label. Ties are no success."""

    def __init__(self, trees: Forest, frame: Frame) -> None:
        self.trees, self.frame, self.leaves = trees, frame, leaves_of(trees)
        self.about = "bisection over the distances of leaves, and cliques of leaves that meet"
        if frame.p != np.inf:
            self.about = "best-first search over boxes of leaves that meet"

    def nearest(self, x: Array, y: int, within: float, nodes: int, stop: Stop = never) -> Bracket:
        """See `Solver`."""
        whole = self.frame.around(x)
        budget, region = Budget(nodes, stop), whole.of(self.leaves.used)

        def fools(point: Array) -> bool:
            scores = sums(self.trees, _filled(whole, self.leaves.used, point))
            return bool(np.delete(scores, y).max() > scores[y])

        best = Bracket(np.inf)
        for contest in sorted(self._contests(region, y, fools), key=lambda c: c.bound):
            one = _solved(region, contest, min(within, best.upper), budget)
            best = Bracket(
                min(best.lower, one.lower),
                min(best.upper, one.upper),
                one.point if one.upper < best.upper else best.point,
            )
        if best.point is None:
            return best
        return Bracket(best.lower, best.upper, _filled(whole, self.leaves.used, best.point))

    def _contests(self, region: Region, y: int, fools: Callable[[Array], bool]) -> list[_Contest]:
        """One for each other class."""
        low, high = np.maximum(self.leaves.low, region.lo), np.minimum(self.leaves.high, region.hi)
        cost = region.cost(np.maximum(np.maximum(low - region.x, region.x - high), 0))
        kept = (low <= high).all(1)
        lead = self.leaves.value - self.leaves.value[:, [y]]
        need, slack = self.leaves.base[y] - self.leaves.base, self.leaves.rounding
        boxes = self.leaves.low[kept], self.leaves.high[kept]  # unclipped: fewer sides to compare
        return [
            _contest(
                Choice(*boxes, lead[kept, j], self.leaves.tree[kept], self.leaves.plain[kept]),
                cost[kept],
                Need(float(need[j]) - slack, float(need[j]) + slack, fools),
            )
            for j in range(lead.shape[1])
            if j != y
        ]


def _contest(leaves: Choice, cost: Array, need: Need) -> _Contest:
    starts = np.flatnonzero(np.r_[True, leaves.tree[1:] != leaves.tree[:-1]])
    kept = np.maximum.reduceat(leaves.value, starts) != np.minimum.reduceat(leaves.value, starts)
    kept = np.repeat(kept, np.diff(np.r_[starts, len(leaves.tree)]))
    others, settled = leaves.settled()
    cost, need = cost[kept], need.less(settled)
    if not len(cost):
        return _Contest(others, cost, need, np.zeros(1 if need.least < 0 else 0))
    radii, total = reached(cost, others.value, others.tree)
    return _Contest(others, cost, need, radii[total > need.least])


def _solved(region: Region, contest: _Contest, within: float, budget: Budget) -> Bracket:
    if contest.bound > within:
        return Bracket(contest.bound)
    if region.p == np.inf or not len(contest.cost):
        return nearest_peak(region, contest.leaves, contest.cost, contest.radii, contest.need, within, budget)
    guess = _first_guess(region, contest, budget)
    near = min(within, guess.upper)
    leaves, settled = contest.leaves.of(contest.cost <= near).settled()
    need, boxes = contest.need.less(settled), min(budget.left, _BOXES)
    few = Budget(boxes, budget.stop)
    found = nearest_cheap(region, leaves, need, near, few)
    budget.left -= boxes - few.left
    if not found.settled and found.lower <= near and budget.left > 0 and not budget.stop():
        found = _better(found, program.solved(region, leaves, need, near))
    return _better(found, guess)


def _better(one: Bracket, other: Bracket) -> Bracket:
    """What both say of the same distance."""
    nearer = other if other.upper < one.upper else one
    return Bracket(min(max(one.lower, other.lower), nearer.upper), nearer.upper, nearer.point)


def _first_guess(region: Region, contest: _Contest, budget: Budget) -> Bracket:
    """Some example: the one that is nearest in Linf, with as many features put back as it can spare."""
    square = replace(region, p=np.inf)
    leaves, need = contest.leaves, contest.need
    moves = np.maximum(np.maximum(leaves.low - region.x, region.x - leaves.high), 0)
    cost = square.cost(moves)
    radii, total = reached(cost, leaves.value, leaves.tree)
    few = Budget(min(budget.left, _FEW), budget.stop)
    found = nearest_peak(square, leaves, cost, radii[total > need.least], need, np.inf, few)
    if found.point is None:
        return Bracket(0.0)
    point = found.point
    for f in np.argsort(-np.abs(point - region.x) / region.unit, kind="stable"):
        back = point.copy()
        back[f] = region.x[f]
        inside = ((leaves.low <= back) & (back <= leaves.high)).all(1)
        point = back if need.met(float(leaves.value[inside].sum()), back) else point
    return Bracket(0.0, float(region.cost(point - region.x)), point)


def _filled(region: Region, used: Array, point: Array) -> Array:
    """A point of the features that trees ask about, the others as they were: (features,) float32."""
    full = region.x.copy()
    full[used] = point
    return full.astype(np.float32)
