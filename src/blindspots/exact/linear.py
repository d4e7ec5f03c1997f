"""Linear classifiers with a box, a mask and units: closed forms in every norm.

To overtake the label's score, feature i moves against the difference w of two classes' weights, by up to the room r_i
that the box leaves. Changes of all features weigh as their units u say.

- Linf: the smallest e with sum |w_i| min(e u_i, r_i) >= margin
- L2: changes are min(t |w_i| u_i^2, r_i), with the smallest t that will do (the KKT conditions)
- L1: the features with the largest |w_i| u_i first, the last one in part (a fractional knapsack)
- L0: the features with the largest |w_i| r_i first
- sum |w_i| r_i < margin: the box holds no example at all
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blindspots.exact import whole
from blindspots.exact.affine import UNIT, Scores
from blindspots.exact.bracket import Bracket, Stop, never
from blindspots.exact.goals import sides
from blindspots.exact.region import Frame, Region
from blindspots.goals.numbers import Regress

Array = NDArray[Any]
_RUNGS = 0.5 ** np.arange(15, -1, -1)  # of what rounding can hide at most: it seldom hides so much


@dataclass(frozen=True)
class Way:
    """A way to succeed: where `factors` (C,) . scores + `constant` falls below 0.

    `hidden`: how far the arithmetic that compares the scores can be from that.
    """

    factors: Array
    constant: float = 0.0
    hidden: float = 0.0


class LinearSolver:
    """Of a linear model: the nearest of the points at which another class overtakes the label, or a goal is reached."""

    about = "closed forms of linear models"

    def __init__(self, scores: Scores, frame: Frame, goal: Regress | None = None) -> None:
        self.scores, self.frame, self.goal = scores, frame, goal

    def nearest(self, x: Array, y: int | Array, within: float, nodes: int, stop: Stop = never) -> Bracket:
        """See `Solver`. The infimum is not attained: points lie beyond the boundary, by what rounding needs.

        y: for a goal what it compares outputs with, (C,).
        """
        region, s = self.frame.around(x), self.scores
        ways = _overtaking(len(s.bias), int(y)) if self.goal is None else _reaching(self.goal, np.atleast_1d(y))
        slopes = [way.factors @ s.weight for way in ways]
        leads = [math.fsum([*(w * region.x), *(way.factors * s.bias), way.constant])
                 for w, way in zip(slopes, ways, strict=True)]  # fmt: skip
        reach = np.maximum(np.abs(region.lo), np.abs(region.hi))

        def slacks(reach: Array) -> list[float]:
            stray = s.stray(reach)
            return [float(np.abs(way.factors) @ stray) + way.hidden for way in ways]

        def sizes(more: list[float]) -> list[float]:
            return [_size(region, w, m + slack) for w, m, slack in zip(slopes, leads, more, strict=True)]

        most = min(sizes(slacks(reach)))
        if region.p and most < np.inf:  # what is nearer has no larger numbers than these
            reach = np.minimum(reach, np.abs(region.x) + most * region.unit)
        slack = slacks(reach)
        least, exact = sizes([-one for one in slack]), sizes([0.0 for _ in ways])
        best = int(np.argmin(exact if min(exact) < np.inf else least))
        if least[best] == np.inf:
            return Bracket(np.inf)
        points = self._points(region, ways[best], leads[best], slack[best])
        if not points:
            return Bracket(min(most, *least), exact=min(exact))
        upper = float(region.cost(points[-1].astype(np.float64) - region.x))
        return Bracket(min(most, upper, *least), upper, points[-1], tuple(points[:-1]), min(exact))

    def _points(self, region: Region, way: Way, lead: float, slack: float) -> list[Array]:
        """Ever farther beyond a boundary, the last one surely far enough, if the box is.

        Scores are returned in float32: so they have to differ by what that resolves, besides what sums can hide.
        """
        slope = way.factors @ self.scores.weight
        sure = _point(region, slope, lead + slack)
        size = np.abs(self.scores.of(region.x if sure is None else sure)) * (way.factors != 0)
        beyond = slack + 4 * UNIT * float(size.max())
        found = [_point(region, slope, lead + share * beyond) for share in _RUNGS]
        if found[-1] is None and region.step is None:
            found.append(_past(region, region.x - np.sign(slope) * _room(region, slope)))
        points = [p for p in found if p is not None]
        return [p for k, p in enumerate(points) if not k or (p != points[k - 1]).any()]


def _overtaking(classes: int, y: int) -> list[Way]:
    eye = np.eye(classes)
    return [Way(eye[y] - eye[j]) for j in range(classes) if j != y]


def _reaching(goal: Regress, truth: Array) -> list[Way]:
    eye = np.eye(len(truth))
    return [Way(-s.sign * eye[s.which], s.sign * s.limit, s.hidden) for s in sides(goal, truth)]


def _size(region: Region, slope: Array, margin: float) -> float:
    """The cost of the cheapest moves that lower a score by `margin`; inf where there are none."""
    if region.step is not None:
        found = whole.moved(region, slope, max(margin, 0.0))
        return np.inf if found is None else found[0]
    moves = shortest(region, slope, max(margin, 0.0))
    return np.inf if moves is None else float(region.cost(moves))


def _point(region: Region, slope: Array, margin: float) -> Array | None:
    if region.step is not None:
        found = whole.moved(region, slope, max(margin, 0.0))
        return None if found is None else _past(region, found[1])
    moves = shortest(region, slope, max(margin, 0.0))
    return None if moves is None else _past(region, region.x - np.sign(slope) * moves)


def shortest(region: Region, slope: Array, margin: float) -> Array | None:
    """The sizes (features,) of the cheapest moves against `slope` (features,) that lower a score by `margin`.

    None: the box does not leave room for it.
    """
    steep, room = np.abs(slope), _room(region, slope)
    gain = steep * room
    if not gain.sum() >= margin:
        return None
    if region.p == 0:
        return _greedy(gain, room, gain, margin, whole=True)
    if region.p == 1:
        return _greedy(steep * region.unit, room, gain, margin, whole=False)
    rate = steep * region.unit if region.p == np.inf else np.square(steep * region.unit)
    moves = np.minimum(_level(rate, gain, margin) * rate, gain)
    found: Array = np.divide(moves, steep, out=np.zeros_like(moves), where=steep > 0)
    return found


def _room(region: Region, slope: Array) -> Array:
    """How far each feature may go in the direction that lowers the score; 0 where it makes no difference."""
    room: Array = np.where(slope > 0, region.x - region.lo, region.hi - region.x) * (slope != 0)
    return room


def _greedy(merit: Array, room: Array, gain: Array, margin: float, whole: bool) -> Array:
    """Moves that take the features with the most merit first, as far as there is room; the last one in part."""
    order = np.argsort(-merit, kind="stable")
    before = np.concatenate([[0.0], np.cumsum(gain[order])[:-1]])
    share = np.divide(margin - before, gain[order], out=np.zeros_like(before), where=gain[order] > 0)
    share = np.where(share > 0, 1.0, 0.0) if whole else np.clip(share, 0, 1)
    moves = np.zeros_like(room)
    moves[order] = share * room[order]
    return moves


def _level(rate: Array, cap: Array, total: float) -> float:
    """The smallest t with sum min(t rate, cap) >= total, walking along the t at which a cap is reached."""
    at = np.divide(cap, rate, out=np.zeros_like(cap), where=rate > 0)
    order = np.argsort(at, kind="stable")
    full = np.concatenate([[0.0], np.cumsum(cap[order])])[:-1]  # of those that are full before
    left = np.cumsum(rate[order][::-1])[::-1]  # the rate of the others
    reached = full + at[order] * left
    k = min(int(np.searchsorted(reached, total)), len(at) - 1)
    return float((total - full[k]) / left[k]) if left[k] > 0 else 0.0


def _past(region: Region, exact: Array) -> Array:
    """A point (features,) in float32, rounded on in the direction in which it moved, within the box."""
    point, down = exact.astype(np.float32), np.sign(exact - region.x)
    short = down * (exact - point) > 0
    point[short] = np.nextafter(point[short], down[short].astype(np.float32) * np.float32(np.inf))
    point = np.clip(point, region.lo.astype(np.float32), region.hi.astype(np.float32))
    kept: Array = np.where(exact != region.x, point, region.x).astype(np.float32)
    return kept
