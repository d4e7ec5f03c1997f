"""The nearest adversarial example of an ensemble of trees, in Linf, L0, L1 and L2."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from blindspots.exact import program
from blindspots.exact.bracket import Bracket, Stop, never
from blindspots.exact.cheapest import nearest_cheap
from blindspots.exact.cliques import Budget, Choice, Need, reached
from blindspots.exact.goals import Side, sides
from blindspots.exact.leaves import Leaves, largest, leaves_of, sums
from blindspots.exact.peaks import nearest_peak
from blindspots.exact.region import Frame, Region
from blindspots.goals.numbers import Regress
from blindspots.models.trees.forest import Forest
from blindspots.models.trees.model import Trees

Array = NDArray[Any]
Asks = Callable[[Array], bool]
_Way = tuple[Array, Need]  # to succeed: what leaves (L,) add to a sum, and what that has to exceed
_FEW = 1000  # nodes of a first guess
_BEYOND = 1e300  # in place of infinity
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
    """Of a classifier: another class has to get a larger sum than the label. Ties are no success.

    Of a regressor: its prediction has to pass a limit of the goal.
    """

    def __init__(self, trees: Forest, frame: Frame, goal: Regress | None = None) -> None:
        self.trees, self.frame, self.goal, self.leaves = trees, frame, goal, leaves_of(trees)
        self.about = "bisection over the distances of leaves, and cliques of leaves that meet"
        if frame.p != np.inf:
            self.about = "best-first search over boxes of leaves that meet"

    def nearest(self, x: Array, y: int | Array, within: float, nodes: int, stop: Stop = never) -> Bracket:
        """See `Solver`."""
        whole = self.frame.around(x)
        budget, region = Budget(nodes, stop), whole.of(self.leaves.used)
        succeeds = _overtakes(self.trees, int(y)) if self.goal is None else _reaches(self.trees, self.goal, y)

        def asks(point: Array) -> bool:
            return succeeds(_filled(whole, self.leaves.used, point))

        best = Bracket(np.inf)
        for contest in sorted(self._contests(region, self._ways(y, asks)), key=lambda c: c.bound):
            one = _solved(region, contest, min(within, best.upper), budget)
            best = Bracket(
                min(best.lower, one.lower),
                min(best.upper, one.upper),
                one.point if one.upper < best.upper else best.point,
            )
        if best.point is None:
            return best
        return Bracket(best.lower, best.upper, _filled(whole, self.leaves.used, best.point))

    def _ways(self, y: int | Array, asks: Asks) -> list[_Way]:
        if self.goal is None:
            return _leads(self.leaves, int(y), asks)
        return _sides(self.trees, self.leaves, self.goal, y, asks)

    def _contests(self, region: Region, ways: list[_Way]) -> list[_Contest]:
        low, high = np.maximum(self.leaves.low, region.lo), np.minimum(self.leaves.high, region.hi)
        cost = region.cost(np.maximum(np.maximum(low - region.x, region.x - high), 0))
        kept = (low <= high).all(1)
        boxes = self.leaves.low[kept], self.leaves.high[kept]  # unclipped: fewer sides to compare
        trees, plain = self.leaves.tree[kept], self.leaves.plain[kept]
        return [_contest(Choice(*boxes, value[kept], trees, plain), cost[kept], need) for value, need in ways]


def _overtakes(trees: Forest, y: int) -> Asks:
    """Whether another class leads at a row (features,) float32."""

    def fools(row: Array) -> bool:
        scores = sums(trees, row)
        return bool(np.delete(scores, y).max() > scores[y])

    return fools


def _reaches(trees: Forest, goal: Regress, y: float | Array) -> Asks:
    """Whether a goal of numbers is reached at a row (features,) float32."""
    model, truth = Trees(trees), _numbers(y)

    def reached(row: Array) -> bool:
        return bool(goal.margin(model(torch.from_numpy(row)[None]), torch.from_numpy(truth)[None]) < 0)

    return reached


def _leads(leaves: Leaves, y: int, asks: Asks) -> list[_Way]:
    """One for each other class."""
    lead, need, slack = leaves.value - leaves.value[:, [y]], leaves.base[y] - leaves.base, leaves.rounding
    others = (j for j in range(len(need)) if j != y)
    return [(lead[:, j], Need(float(need[j]) - slack, float(need[j]) + slack, asks)) for j in others]


def _sides(trees: Forest, leaves: Leaves, goal: Regress, y: float | Array, asks: Asks) -> list[_Way]:
    """One for each side of each number that counts."""
    return [
        (side.sign * leaves.value[:, side.which], _need(trees, leaves, side, asks)) for side in sides(goal, _numbers(y))
    ]


def _need(trees: Forest, leaves: Leaves, side: Side, asks: Asks) -> Need:
    """The sums between which the model is asked itself: its link, its division and the comparison are rounded."""
    base, eps = float(leaves.base[side.which]), 2 * float(np.finfo(trees.precision).eps)

    def at(beyond: float, way: int) -> float:
        found = _sum_at(trees, side.limit + side.sign * beyond)
        return side.sign * (found - base) + way * (leaves.rounding + eps * abs(found))

    least, sure = at(-side.hidden, -1), at(side.hidden, 1)
    return Need(least, sure, asks) if np.isinf(side.room) else Need(least, np.inf, asks, at(side.room + side.hidden, 1))


def _numbers(y: float | Array) -> Array:
    return np.atleast_1d(np.asarray(y, np.float32))


def _sum_at(trees: Forest, value: float) -> float:
    """The sum at which a regressor predicts a value; `_BEYOND` where all predictions are smaller or larger."""
    if trees.link == "identity":
        return value * trees.divisor
    if value <= 0:
        return -_BEYOND
    if trees.link == "sigmoid" and value >= 1:
        return _BEYOND
    return trees.divisor * (math.log(value) - (math.log1p(-value) if trees.link == "sigmoid" else 0.0))


def is_bounded(trees: Forest) -> bool:
    """Whether no sum of leaves overflows float32, behind the link."""
    limit = float(np.finfo(np.float32).max)
    return largest(trees) / trees.divisor < (math.log(limit) if trees.link == "exp" else limit)


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
