"""Nearest neighbours: the nearest point of another Voronoi cell, by convex programs with screening.

A row leaves its class y where an example v of another class is nearer than all examples u of y. For each v these points
are a polytope, {z : |z - v| <= |z - u| for all u}, and the nearest of them is found with the few u that matter, added
one after the other (Wang et al. 2019, "Evaluating the Robustness of Nearest Neighbor Classifiers: A Primal-Dual
Perspective"; Yang et al. 2020, "Robustness for Non-Parametric Classification"). Each of these programs, and each single
u, bounds the distance from below: most v are never looked at.

Of k > 1 neighbours, where a majority has to be overtaken, all but (k - 1) // 2 of the examples u have to be farther
away than v. That is a bound; the point that is proposed satisfies more. What gap the two leave is closed by programs
that choose who votes (`votes`), where these are small enough.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog, nnls

from blindspots.exact.bracket import Bracket, Stop, never
from blindspots.exact.cliques import Budget, Spent
from blindspots.exact.region import Frame, Region
from blindspots.exact.votes import MOST, Votes, is_same
from blindspots.models.model import Model

Array = NDArray[Any]
# Of what is compared: how far beyond a boundary a float32 point may have to be.
_PAST = (2.0**-40, 2.0**-36, 2.0**-32, 2.0**-29, 2.0**-26, 2.0**-23)
_ROUNDING = 1e-9  # relative, of a program's optimum


def examples_of(model: Model) -> tuple[Array, Array, int] | None:
    """The examples (N, features), their classes (N,) and k of a nearest-neighbours model; None: it is another one.

    Only scikit-learn's own, with Euclidean distances that all count the same.
    """
    estimator: Any = getattr(getattr(model, "known", None), "estimator", None)
    if type(estimator).__name__ != "KNeighborsClassifier" or not type(estimator).__module__.startswith("sklearn."):
        return None
    k, x = int(estimator.n_neighbors), estimator._fit_X
    if estimator.effective_metric_ != "euclidean" or not isinstance(x, np.ndarray):
        return None
    return (x.astype(np.float64), estimator._y, k) if k == 1 or estimator.weights == "uniform" else None


class NeighbourSolver:
    """Of k nearest neighbours: exact for k = 1, and for more where the programs are small enough; else a bracket."""

    def __init__(self, examples: Array, classes: Array, k: int, frame: Frame) -> None:
        self.examples, self.classes, self.k, self.frame = examples, classes, k, frame
        self.about = "convex programs, one for each example of another class that is near enough"
        if k > 1:
            self.about += ", and mixed-integer programs that choose who votes"

    def nearest(self, x: Array, y: int, within: float, nodes: int, stop: Stop = never) -> Bracket:
        """See `Solver`."""
        region, budget = self.frame.around(x), Budget(nodes, stop)
        found = self._first(region, y, within, budget)
        if self.k == 1 or found.settled or found.lower > within:
            return found
        return self._voted(region, y, found, within, budget)

    def _first(self, region: Region, y: int, within: float, budget: Budget) -> Bracket:
        own, others = self.examples[self.classes == y], self.examples[self.classes != y]
        bounds = _bounds(region, own, others, (self.k - 1) // 2)
        lower, upper, point = np.inf, np.inf, None
        for i in np.argsort(bounds, kind="stable"):
            if bounds[i] > min(within, upper):
                lower = min(lower, float(bounds[i]))
                break
            try:
                found = self._towards(region, others[i], own, y, min(within, upper), budget)
            except Spent:
                return Bracket(min(lower, float(bounds[i])), upper, point)
            lower = min(lower, found.lower if self.k == 1 else float(bounds[i]))
            if found.upper < upper:
                upper, point = found.upper, found.point
        return Bracket(min(lower, upper), upper, point)

    def _towards(self, region: Region, v: Array, own: Array, y: int, within: float, budget: Budget) -> Bracket:
        """The nearest point that is nearer to v than to all `own` examples, and for k > 1 to enough like v."""
        slopes, offsets = _sides(region, own, v)
        least = _cheapest(region, slopes, offsets, within, budget)
        if least is None or (size := float(region.cost(least))) > within:
            return Bracket(np.inf if least is None else size * (1 - _ROUNDING))
        point = self._beyond(region, slopes, offsets, y, budget)
        lower = size * (1 - _ROUNDING)
        return Bracket(lower) if point is None else Bracket(lower, float(region.cost(point - region.x)), point)

    def _beyond(self, region: Region, slopes: Array, offsets: Array, y: int, budget: Budget) -> Array | None:
        """The nearest point (features,) float32 on the right side of all, by what it takes for another class to win."""
        reach = np.abs(slopes) @ np.maximum(np.abs(region.lo), np.abs(region.hi)) + np.abs(offsets)
        for past in _PAST:
            moves = _cheapest(region, slopes, offsets - past * reach, np.inf, budget)
            if moves is None:
                break
            point: Array = np.clip(region.x + moves, region.lo, region.hi).astype(np.float32)
            if self._leaves(point.astype(np.float64), y):
                return point
        return None

    def _leaves(self, point: Array, y: int) -> bool:
        """Whether examples of one other class have more votes at the point than the label's."""
        away = np.square(point - self.examples).sum(1)
        if self.k == 1:
            return bool(away[self.classes != y].min() < away[self.classes == y].min(initial=np.inf))
        votes = self.classes[np.argsort(away, kind="stable")[: self.k]]
        counts = np.bincount(votes, minlength=int(self.classes.max()) + 1)
        return bool(np.delete(counts, y).max() > counts[y])

    def _voted(self, region: Region, y: int, known: Bracket, within: float, budget: Budget) -> Bracket:
        """The bracket narrowed by programs, one after the other for each class that can win."""
        best, lowest, exact = known, np.inf, np.inf
        farthest = float(region.cost(np.maximum(region.hi - region.x, region.x - region.lo)))
        for j in np.unique(self.classes[self.classes != y]):
            limit = min(best.upper, farthest, within)
            votes = Votes(region, self.examples - region.x, self.classes == y, self.classes == j, self.k, limit)
            if len(votes.near) > MOST:
                return best
            lower, size, best = self._elected(votes, y, best, budget)
            if limit < farthest:  # beyond it nothing was looked at
                lower, size = min(lower, limit), min(size, limit)
            lowest, exact = min(lowest, lower), min(exact, size)
        lower = min(max(known.lower, lowest), best.upper)
        return Bracket(lower, best.upper, best.point, exact=max(lower, min(exact, best.upper)))

    def _elected(self, votes: Votes, y: int, best: Bracket, budget: Budget) -> tuple[float, float, Bracket]:
        """A lower bound for this class to win, the same but for the tolerances of HiGHS, and the best point by then."""
        region, lower = votes.region, 0.0
        while True:
            bound, chosen = votes.solved()
            lower = max(lower, bound)
            if chosen is None or lower >= best.upper:
                return lower, lower, best
            slopes, offsets = _apart(votes, chosen)
            try:
                moves = _cheapest(region, slopes, offsets, np.inf, budget)
                point = None if moves is None else self._beyond(region, slopes, offsets, y, budget)
            except Spent:
                return lower, lower, best
            if point is not None and float(region.cost(point - region.x)) < best.upper:
                best = Bracket(best.lower, float(region.cost(point - region.x)), point)
            if moves is None:
                return lower, lower, best
            size = float(region.cost(moves))
            if is_same(lower, size):
                return lower, size, best
            if not votes.touched(moves):
                return lower, lower, best


def _apart(votes: Votes, chosen: Array) -> tuple[Array, Array]:
    """Half-spaces slopes . moves <= offsets: every chosen example is nearer than every other one."""
    inside, outside = np.flatnonzero(chosen), votes.near[~chosen[votes.near]]
    a, b = (part.ravel() for part in np.meshgrid(inside, outside))
    return 2 * (votes.away[b] - votes.away[a]), votes.squares[b] - votes.squares[a]


def _sides(region: Region, own: Array, v: Array) -> tuple[Array, Array]:
    """Half-spaces slopes (U, features) . moves <= offsets (U,): the points nearer to v than to each of `own`."""
    slopes = 2 * (own - v)
    offsets = np.square(own - region.x).sum(1) - np.square(v - region.x).sum()
    return slopes, offsets


def _bounds(region: Region, own: Array, others: Array, spared: int) -> Array:
    """(V,): no point is nearer that lies on the right side of all `own` examples but `spared` of them."""
    dual = {1.0: np.inf, 2.0: 2, np.inf: 1}[region.p]
    to_own, to_others = (np.square(e - region.x).sum(1) for e in (own, others))
    if len(own) <= spared:
        return np.zeros(len(others))
    found = np.empty(len(others))
    for i, v in enumerate(others):
        steep = np.linalg.norm(2 * (own - v) * region.unit, dual, axis=1)
        away = np.divide(to_others[i] - to_own, steep, out=np.zeros(len(own)), where=steep > 0)
        found[i] = max(0.0, float(np.partition(away, -1 - spared)[-1 - spared])) * (1 - _ROUNDING)
    return found


def _cheapest(region: Region, slopes: Array, offsets: Array, within: float, budget: Budget) -> Array | None:
    """The shortest moves (features,) with slopes . moves <= offsets within the box; None: there are none.

    Sides are added as they are violated, so what is returned once it is longer than `within` is a lower bound.
    """
    moves, used = np.zeros(len(region.x)), np.zeros(0, np.int64)
    scale = np.abs(slopes).sum(1) + np.abs(offsets) + 1e-300
    while True:
        budget.spend()
        beyond = (slopes @ moves - offsets) / scale
        beyond[used] = -np.inf
        worst = np.argsort(-beyond, kind="stable")[:_AT_ONCE]
        worst = worst[beyond[worst] > 1e-12]
        if not len(worst):
            return moves
        used = np.concatenate([used, worst])
        program = _square if region.p == 2 else _straight
        found = program(region, slopes[used], offsets[used])
        if found is None or float(region.cost(found)) > within:
            return found
        moves = found


_AT_ONCE = 8  # sides that are added before the program is solved again


def _straight(region: Region, slopes: Array, offsets: Array) -> Array | None:
    """L1 and Linf as linear programs: moves = up - down, both at least 0."""
    d = len(region.x)
    room_up, room_down = region.hi - region.x, region.x - region.lo
    sides = np.concatenate([slopes, -slopes], 1)
    if region.p == 1:
        cost, bounds = np.concatenate([1 / region.unit] * 2), np.concatenate([room_up, room_down])
    else:
        cost, bounds = np.r_[np.zeros(2 * d), 1.0], np.r_[room_up, room_down, np.inf]
        longest = np.concatenate([np.eye(d), np.eye(d), -region.unit[:, None]], 1)
        sides = np.concatenate([np.c_[sides, np.zeros(len(sides))], longest])
        offsets = np.concatenate([offsets, np.zeros(d)])
    found = linprog(cost, A_ub=sides, b_ub=offsets, bounds=[(0.0, float(b)) for b in bounds])
    if found.x is None:
        return None
    moves: Array = found.x[:d] - found.x[d : 2 * d]
    return moves


def _square(region: Region, slopes: Array, offsets: Array) -> Array | None:
    """L2: the least distance by non-negative least squares (Lawson, Hanson 1974, chapter 23); the box as sides."""
    free = region.hi > region.lo
    unit = region.unit[free]
    boxed = np.zeros(0, np.int64)  # sides of the box, those of the upper bound first
    room = np.concatenate([(region.hi - region.x)[free], (region.x - region.lo)[free]]) / np.r_[unit, unit]
    identity = np.concatenate([np.eye(len(unit)), -np.eye(len(unit))])
    while True:
        sides = np.concatenate([slopes[:, free] * unit, identity[boxed]])
        d = _least(sides, np.concatenate([offsets, room[boxed]]))
        if d is None:
            return None
        out = np.flatnonzero(identity @ d > room + 1e-12)
        out = np.setdiff1d(out, boxed)
        if not len(out):
            moves = np.zeros(len(region.x))
            moves[free] = d * unit
            return moves
        boxed = np.concatenate([boxed, out])


def _least(sides: Array, most: Array) -> Array | None:
    """The shortest d with sides d <= most; None: there is none."""
    size = np.linalg.norm(sides, axis=1)
    scale = np.where(size > 0, size, 1)
    system = np.concatenate([-(sides / scale[:, None]).T, -(most / scale)[None]])
    target = np.r_[np.zeros(len(system) - 1), 1.0]
    price, _ = nnls(system, target)
    rest = system @ price - target
    if abs(rest[-1]) < 1e-12:
        return None
    found: Array = -rest[:-1] / rest[-1]
    return found
