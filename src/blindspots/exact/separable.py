"""Sums of one quadratic function for each feature, such as Gaussian naive Bayes.

With G_f(s), the most that a move of at most s in feature f takes from the label's lead:

- Linf: the smallest e with sum G_f(e u_f) >= lead, by bisection
- L0: the features that take most anywhere in the box first
- L1, L2: for every price t, the sum over features of min (cost - t gain), plus t lead, is a lower bound (weak duality).
  Where the best move of a feature jumps at that price, its range is split, and the half with the smaller bound is
  looked at next, until the nearest point that is known costs no more
"""

import heapq
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from torch import nn

from blindspots.exact.affine import UNIT, numbers_of
from blindspots.exact.bracket import Array, Bracket, Stop, never
from blindspots.exact.cliques import Budget, Spent
from blindspots.exact.region import Frame, Region
from blindspots.models.classifiers import Flatten
from blindspots.models.model import Model
from blindspots.models.translate import Gaussians, Scale

_SAME = 1e-9  # relative: two bounds of one length
_HALVINGS = 120
_TRIES = 8  # at a float32 point that suffices


@dataclass(frozen=True)
class Curves:
    """Score c of z = factor x + offset is weights_c - sum (scale_c (z - mean_c))^2 / 2; all (C, features) but weights.

    They are computed in float64.
    """

    factor: Array
    offset: Array
    mean: Array
    scale: Array
    weights: Array

    def standard(self, x: Array) -> Array:
        """(C, features): how many of its deviations a row is away from each mean."""
        return self.scale * (self.factor * x + self.offset - self.mean)  # type: ignore[no-any-return]

    def of(self, x: Array) -> Array:
        """(C,)"""
        return self.weights - np.square(self.standard(x)).sum(1) / 2  # type: ignore[no-any-return]

    def stray(self, reach: Array) -> float:
        """How far the model's own sums can be from the true ones, for inputs of at most these sizes."""
        z = np.abs(self.scale) * (np.abs(self.factor) * reach + np.abs(self.offset) + np.abs(self.mean))
        size = np.square(z).sum(1) + np.abs(self.weights)
        return float((len(reach) + 20) * 2.0**-53 * size.max())


def curves_of(model: Model) -> Curves | None:
    """Of scikit-learn's GaussianNB, also behind scalers; None: the model is something else."""
    layers = _layers(model.net) if type(model) is Model else []
    if not layers or type(layers[-1]) is not Gaussians or model.mean is not None or model.std is not None:
        return None
    gaussians, before = layers[-1], layers[:-1]
    whitenings = [numbers_of(w) for w in gaussians.whitenings]
    if any(w.ndim != 1 for w in whitenings) or not all(type(layer) in (Flatten, Scale) for layer in before):
        return None
    factor, offset = np.ones(len(whitenings[0])), np.zeros(len(whitenings[0]))
    for layer in before:
        if isinstance(layer, Scale):
            by = numbers_of(layer.factor)
            factor, offset = factor * by, offset * by + numbers_of(layer.offset)
    return Curves(factor, offset, numbers_of(gaussians.means), np.stack(whitenings), numbers_of(gaussians.weights))


def _layers(net: Any) -> list[Any]:
    return [layer for part in net for layer in _layers(part)] if type(net) is nn.Sequential else [net]


class SeparableSolver:
    """Of Gaussian naive Bayes: the nearest point at which another class overtakes the label."""

    about = "sums over features: bisection, or prices and branch and bound"

    def __init__(self, curves: Curves, frame: Frame) -> None:
        self.curves, self.frame = curves, frame

    def nearest(self, x: Array, y: int, within: float, nodes: int, stop: Stop = never) -> Bracket:
        """See `Solver`."""
        region, budget = self.frame.around(x), Budget(nodes, stop)
        slack = 2 * self.curves.stray(np.maximum(np.abs(region.lo), np.abs(region.hi)))
        scores = self.curves.of(region.x)
        best = Bracket(np.inf)
        for j in np.argsort(-scores, kind="stable"):
            if j != y:
                one = self._against(region, y, int(j), slack, min(within, best.upper), budget)
                nearer = one if one.upper < best.upper else best
                best = Bracket(min(best.lower, one.lower), nearer.upper, nearer.point, nearer.nearer)
        return best

    def _against(self, region: Region, y: int, j: int, slack: float, within: float, budget: Budget) -> Bracket:
        contest = _contest(self.curves, region, y, j)
        found = _shortest(replace(contest, lead=max(contest.lead - slack, 0.0)), within, budget)
        points = [] if found.moves is None else _points(contest, found, slack)
        if not points:
            return Bracket(found.lower)
        upper = float(region.cost(points[-1].astype(np.float64) - region.x))
        return Bracket(min(found.lower, upper), upper, points[-1], tuple(points[:-1]))


@dataclass(frozen=True)
class _Contest:
    """gain(d) = -(square d^2 + slope d), summed over features, has to reach `lead`; `low` <= d <= `high`."""

    region: Region
    square: Array
    slope: Array
    lead: float
    low: Array
    high: Array

    def gain(self, moves: Array) -> Array:
        """Of moves (..., features), feature by feature."""
        found: Array = -(self.square * moves + self.slope) * moves
        return found

    def most(self, reach: float) -> Array:
        """The moves (features,) of at most `reach` units that gain most."""
        unit = self.region.unit
        low, high = np.maximum(self.low, -reach * unit), np.minimum(self.high, reach * unit)
        with np.errstate(divide="ignore", invalid="ignore"):
            peak = np.where(self.square > 0, -self.slope / (2 * self.square), 0.0)
        return _best([low, high, np.clip(peak, low, high), np.clip(0.0, low, high)], self.gain)

    def bought(self, price: float) -> Array:
        """The moves that a gain is worth this price for: least cost - price gain."""
        unit, low, high = self.region.unit, self.low, self.high
        square, slope = price * self.square, price * self.slope
        tried = [low, high, np.clip(0.0, low, high)]
        with np.errstate(divide="ignore", invalid="ignore"):
            if self.region.p == 2:
                tried.append(np.where(square + unit**-2 > 0, -slope / (2 * (square + unit**-2)), 0.0))
            else:
                tried += [np.where(square > 0, -(slope + side / unit) / (2 * square), 0.0) for side in (1, -1)]
        tried = [np.clip(np.nan_to_num(d), low, high) for d in tried]
        return _best(tried, lambda d: price * self.gain(d) - self.cost(d))

    def cost(self, moves: Array) -> Array:
        """Of each: lengths in L1, their squares in L2."""
        scaled: Array = np.abs(moves) / self.region.unit
        return np.square(scaled) if self.region.p == 2 else scaled


def _best(tried: list[Array], merit: Any) -> Array:
    """Feature by feature, the first of these with the largest merit."""
    moves = np.stack(tried)
    chosen = merit(moves).argmax(0)
    found: Array = moves[chosen, np.arange(moves.shape[1])]
    return found


def _contest(curves: Curves, region: Region, y: int, j: int) -> _Contest:
    z, scores = curves.standard(region.x), curves.of(region.x)
    steep = curves.scale * curves.factor
    square = (np.square(steep[j]) - np.square(steep[y])) / 2
    slope = steep[j] * z[j] - steep[y] * z[y]
    lead = max(float(scores[y] - scores[j]), 0.0)
    return _Contest(region, square, slope, lead, region.lo - region.x, region.hi - region.x)


@dataclass(frozen=True)
class _Found:
    """A lower bound, and moves (features,) that suffice with the range in which they are best."""

    lower: float
    moves: Array | None = None
    within: _Contest | None = None


def _shortest(contest: _Contest, within: float, budget: Budget) -> _Found:
    if contest.gain(contest.most(np.inf)).sum() < contest.lead:
        return _Found(np.inf)
    if contest.region.p == 0:
        return _fewest(contest)
    return _widest(contest) if contest.region.p == np.inf else _cheapest(contest, within, budget)


def _fewest(contest: _Contest) -> _Found:
    moves = contest.most(np.inf)
    order = np.argsort(-contest.gain(moves), kind="stable")
    enough = np.cumsum(contest.gain(moves)[order]) >= contest.lead
    count = int(enough.argmax()) + 1 if contest.lead > 0 else 0
    kept = np.zeros_like(moves)
    kept[order[:count]] = moves[order[:count]]
    return _Found(float(count), kept, contest)


def _widest(contest: _Contest) -> _Found:
    unit = contest.region.unit
    low, high = 0.0, float((np.maximum(-contest.low, contest.high) / unit).max())
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        enough = contest.gain(contest.most(middle)).sum() >= contest.lead
        low, high = (low, middle) if enough else (middle, high)
    return _Found(low, contest.most(high), contest)


@dataclass(order=True)
class _Node:
    bound: float
    number: int
    contest: _Contest = field(compare=False)


def _cheapest(contest: _Contest, within: float, budget: Budget) -> _Found:
    """L1 and L2: see above."""
    power = contest.region.p
    limit = within**power
    upper, best, where = np.inf, None, None
    queue = [_Node(0.0, 0, contest)]
    made, lower = 0, np.inf
    while queue:
        node = heapq.heappop(queue)
        if node.bound >= min(upper * (1 - _SAME), limit):
            lower = min(lower, node.bound)
            break
        try:
            budget.spend()
        except Spent:
            lower = min(lower, node.bound)
            break
        bound, less, more = _priced(node.contest)
        bound = max(bound, node.bound)
        if more is not None:
            moves = _least(node.contest, less, more)
            cost = float(contest.cost(moves).sum())
            if cost < upper:
                upper, best, where = cost, moves, node.contest
        if bound >= min(upper * (1 - _SAME), limit) or more is None:
            lower = min(lower, bound)
            continue
        for part in _halves(node.contest, less, more):
            made += 1
            heapq.heappush(queue, _Node(bound, made, part))
    lower = min(lower, upper)
    return _Found(max(lower, 0.0) ** (1 / power), best, where)


def _priced(contest: _Contest) -> tuple[float, Array, Array | None]:
    """The best bound of all prices, and the moves just below and at that price; None: no moves suffice."""
    most = contest.most(np.inf)
    if contest.gain(most).sum() < contest.lead:
        return np.inf, most, None
    low, high = 0.0, 1.0

    def at(price: float) -> tuple[Array, float, float]:
        moves = contest.bought(price)
        gain = float(contest.gain(moves).sum())
        return moves, gain, float(contest.cost(moves).sum()) + price * (contest.lead - gain)

    less, more = contest.bought(0.0), most
    bound = at(0.0)[2]
    if contest.gain(less).sum() >= contest.lead:
        return bound, less, less
    while at(high)[1] < contest.lead and high < 1e30:
        low, high = high, high * 16
    for _ in range(_HALVINGS):
        middle = (low * high) ** 0.5 if low > 0 else high / 16
        moves, gain, value = at(middle)
        bound = max(bound, value)
        if gain < contest.lead:
            low, less = middle, moves
        else:
            high, more = middle, moves
        if high - low <= 1e-15 * high:
            break
    return bound, less, more


def _least(contest: _Contest, less: Array, more: Array) -> Array:
    """On the way from moves that do not suffice to some that do, the first that do; or these, if they cost less."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        enough = contest.gain(less + middle * (more - less)).sum() >= contest.lead
        low, high = (low, middle) if enough else (middle, high)
    between = less + high * (more - less)
    return between if contest.cost(between).sum() < contest.cost(more).sum() else more


def _halves(contest: _Contest, less: Array, more: Array) -> list[_Contest]:
    """The range of the feature that jumps most, split between its two moves."""
    f = int(np.argmax(np.abs(more - less) / contest.region.unit))
    middle = (less[f] + more[f]) / 2
    if not contest.low[f] < middle < contest.high[f]:
        middle = (contest.low[f] + contest.high[f]) / 2
    low, high = contest.low.copy(), contest.high.copy()
    low[f], high[f] = middle, middle
    return [replace(contest, high=high), replace(contest, low=low)]


def _points(contest: _Contest, found: _Found, slack: float) -> list[Array]:
    """Float32 points near the moves that were found which suffice, by ever more: (features,) each."""
    assert found.within is not None
    made: list[Array] = []
    for beyond in (slack + UNIT, slack + 8 * UNIT, slack + 64 * UNIT):
        wanted = beyond
        for _ in range(_TRIES):
            aimed = replace(found.within, lead=contest.lead + wanted)
            moves = _again(aimed)
            if moves is None:
                break
            point = np.clip(contest.region.x + moves, contest.region.lo, contest.region.hi).astype(np.float32)
            point = np.where(moves == 0, contest.region.x, point).astype(np.float32)
            short = contest.lead + beyond - float(contest.gain(point - contest.region.x).sum())
            if short <= 0:
                made.append(point)
                break
            wanted += 2 * short
    return made


def _again(contest: _Contest) -> Array | None:
    """The moves that suffice for another lead, in a range that was found to be the best."""
    if contest.region.p in (0, np.inf):
        return _shortest(contest, np.inf, Budget(1, never)).moves
    _, less, more = _priced(contest)
    return None if more is None else _least(contest, less, more)
