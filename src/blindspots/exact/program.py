"""Trees in L0, L1 and L2 as a mixed-integer program, where many features have to move a little.

Kantchelian, Tygar, Joseph 2016, "Evasion and Hardening of Tree Ensemble Classifiers": a binary for every question "does
x lie below the side?" that is open within reach, ordered along each feature; a variable between 0 and 1 for every leaf;
the cost is piecewise constant in each feature, so it is linear in the binaries. Leaves are boxes here, so a leaf is
tied to the sides of its box and not to the path that leads to it.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array

from blindspots.exact.bracket import Bracket
from blindspots.exact.cliques import Choice, Need
from blindspots.exact.leaves import STEP, starts_of
from blindspots.exact.region import Region

Array = NDArray[Any]
_TOLERANCE = 1e-6  # of HiGHS, on constraints that are scaled to 1
_SAME = 3e-6  # relative: what these leave between two bounds of one number
_TIES = 10  # that are cut off
_UNIT = 1e3  # what the largest length of interest costs: HiGHS stops at a gap of 1e-6
NODES = 2000  # of HiGHS


def solved(region: Region, leaves: Choice, need: Need, within: float) -> Bracket:
    """A bracket of the cheapest point where the values meet the need, if it costs at most `within`.

    The lower bound is that of HiGHS, less what its tolerances can hide. Where the cheapest point is a tie that falls to
    the label, or no more than what these tolerances let pass, it is cut off, with all that gain no more in any tree,
    and HiGHS goes on.
    """
    program, lower = _Program(region, leaves, need, within), 0.0
    for _ in range(_TIES):
        found = milp(
            program.cost, integrality=program.whole, bounds=Bounds(program.least, 1), constraints=program.constraints,
            options={"node_limit": NODES, "mip_rel_gap": 0},
        )  # fmt: skip
        if found.status == 2:  # infeasible
            return Bracket(np.inf)
        bound = found.mip_dual_bound
        lower = max(lower, 0.0 if bound is None or not np.isfinite(bound) else program.length(bound))
        if found.x is None or lower > within:
            break
        point = program.point(found.x)
        inside = np.all((leaves.low <= point) & (point <= leaves.high), axis=1)
        if np.count_nonzero(inside) < len(starts_of(leaves.tree)):  # beyond reach, or what the tolerances let pass
            break
        total = float(leaves.value[inside].sum())
        if need.met(total, point):
            size = float(region.cost(point - region.x))
            return Bracket(size if lower >= size * (1 - _SAME) else lower, size, point)
        if total > need.most:  # beyond the goal: better leaves lead no nearer to it
            break
        program.cut(leaves, inside, 2 * (need.sure - need.least))
    return Bracket(lower)


class _Program:
    """Columns: a bit for every side (feature, lowest value above it), in ascending order, one for every leaf, and a 1.

    The last carries the constant of the cost, so that the cost is a power of the length and gaps are measured in it.
    """

    def __init__(self, region: Region, leaves: Choice, need: Need, within: float) -> None:
        self.region = region
        self.far = 1.5 * within  # what lies beyond costs no more: no digit is lost to lengths of no interest
        self.scale = _UNIT / within**region.p if region.p and 0 < within < np.inf else 1.0
        self.sides = [self._sides(region, leaves, f) for f in range(len(region.x))]
        self.first = np.concatenate([[0], np.cumsum([len(s) for s in self.sides])])
        bits, count = int(self.first[-1]), len(leaves.value)
        self.whole = np.r_[np.ones(bits, np.int64), np.zeros(count + 1, np.int64)]
        self.least = np.r_[np.zeros(bits + count), 1.0]
        prices, fixed = self._prices()
        self.cost = self.scale * np.r_[prices, np.zeros(count), fixed]
        self.constraints = [self._constraints(leaves, need, bits)]

    @staticmethod
    def _sides(region: Region, leaves: Choice, f: int) -> Array:
        """The values at which a piece of the feature begins, but for the first piece."""
        all_: Array = np.unique(np.concatenate([leaves.low[:, f], _next(leaves.high[:, f])]))
        open_: Array = all_[(all_ > region.lo[f]) & (all_ <= region.hi[f])]
        return open_

    def _prices(self) -> tuple[Array, float]:
        """What it costs that a bit says "below", and what nothing but that changes: in powers of the length."""
        found, fixed = [], 0.0
        for f, sides in enumerate(self.sides):
            x, unit = self.region.x[f], self.region.unit[f]
            up = self._powers((sides[sides > x] - x) / unit)
            below = np.nextafter(sides[sides <= x].astype(np.float32), np.float32(-np.inf)).astype(np.float64)
            down = self._powers((x - below[::-1]) / unit)[::-1]
            found += [
                down,
                -up,
            ]  # that x is not below a side above it costs, and so does being below one that it is above
            fixed += float(up.sum())
        return np.concatenate(found) if found else np.zeros(0), fixed

    def _powers(self, sizes: Array) -> Array:
        """By how much each of these moves, of ascending sizes, costs more than the one before."""
        powers = np.ones_like(sizes) if self.region.p == 0 else np.minimum(sizes, self.far) ** self.region.p
        return np.diff(powers, prepend=0.0)

    def cut(self, leaves: Choice, taken: Array, apart: float) -> None:
        """Some tree has to do better than the leaves taken (R,): if none does, the sum is the same or less.

        A leaf that is worse, but by no more than `apart`, counts as better, since sums are rounded.
        """
        best = leaves.value[taken][np.searchsorted(leaves.tree[taken], leaves.tree)]
        better = (leaves.value > best - apart) & (leaves.value != best)
        row = np.r_[np.zeros(self.first[-1]), better, 0.0]
        self.constraints.append(LinearConstraint(csr_array(row[None]), 1, np.inf))

    def length(self, bound: float) -> float:
        """A length from HiGHS's bound on its power."""
        power = max(0.0, bound - _TOLERANCE * max(1.0, abs(bound))) / self.scale
        if self.region.p == 0:
            return float(np.ceil(power - 1e-4))
        return float(power ** (1 / self.region.p))

    def point(self, x: Array) -> Array:
        """The nearest point of the cell that the bits describe."""
        point = self.region.x.copy()
        for f, sides in enumerate(self.sides):
            above = x[self.first[f] : self.first[f + 1]] < 0.5
            low = sides[above].max(initial=self.region.lo[f])
            rest = np.nextafter(sides[~above].min(initial=np.inf).astype(np.float32), np.float32(-np.inf))
            point[f] = np.clip(point[f], low, min(float(rest), self.region.hi[f]))
        return point

    def _constraints(self, leaves: Choice, need: Need, bits: int) -> LinearConstraint:
        rows: list[tuple[Array, Array]] = []  # columns and factors
        low, high = [], []

        def add(columns: Array, factors: Array, least: float, most: float) -> None:
            rows.append((columns, factors))
            low.append(least)
            high.append(most)

        for f, sides in enumerate(self.sides):
            for i in range(len(sides) - 1):
                at = self.first[f] + i
                add(np.array([at, at + 1]), np.array([1.0, -1.0]), -np.inf, 0)
        starts = starts_of(leaves.tree)
        for a, b in zip(starts, np.r_[starts[1:], len(leaves.tree)], strict=True):
            own = np.arange(a, b)
            add(bits + own, np.ones(len(own)), 1, 1)
            for columns, factors, most in self._ties(leaves, own, bits):
                add(columns, factors, -np.inf, most)
        size = float(np.maximum.reduceat(np.abs(leaves.value), starts).sum()) or 1.0
        every = bits + np.arange(len(leaves.value))
        add(every, leaves.value / size, need.least / size, need.most / size)
        if (enough := _enough(leaves, need)) is not None:
            gains = leaves.value + np.where(leaves.plain, 0.0, enough - need.least)
            add(every, gains / size, enough / size, np.inf)
        index = np.concatenate([columns for columns, _ in rows])
        factors = np.concatenate([f for _, f in rows])
        ends = np.concatenate([[0], np.cumsum([len(columns) for columns, _ in rows])])
        matrix = csr_array((factors, index, ends), shape=(len(rows), len(self.cost)))
        return LinearConstraint(matrix, low, high)

    def _ties(self, leaves: Choice, own: Array, bits: int) -> list[tuple[Array, Array, float]]:
        """For every side of a tree: leaves that lie below it need its bit, and those above it need it not to be set.

        One row for all leaves on the same side together: no two leaves of a tree are chosen.
        """
        found: list[tuple[Array, Array, float]] = []
        for f, sides in enumerate(self.sides):
            low, over = leaves.low[own, f], _next(leaves.high[own, f])
            for side in np.intersect1d(over, sides):
                below = own[over <= side]
                found.append((np.r_[bits + below, self._bit(f, side)], np.r_[np.ones(len(below)), -1.0], 0.0))
            for side in np.intersect1d(low, sides):
                above = own[low >= side]
                found.append((np.r_[bits + above, self._bit(f, side)], np.ones(len(above) + 1), 1.0))
        return found

    def _bit(self, f: int, side: float) -> int:
        return int(self.first[f] + np.searchsorted(self.sides[f], side))


def _enough(leaves: Choice, need: Need) -> float | None:
    """The smallest sum of plain leaves, one of each tree, that is enough: forests that vote would tie all the time.

    Such sums differ by multiples of a step. One that is within rounding of the need is a tie, as the model adds it up
    exactly, too. None: some tree has no plain leaf.
    """
    tree, value = leaves.tree[leaves.plain], leaves.value[leaves.plain]
    starts = starts_of(tree)
    if len(starts) < len(starts_of(leaves.tree)) or not need.sure - need.least < STEP / 2:
        return None
    first = np.repeat(value[starts], np.diff(np.r_[starts, len(tree)]))
    step = STEP * (int(np.gcd.reduce(np.rint((value - first) / STEP).astype(np.int64))) or 1)
    some = float(value[starts].sum())
    return some + step * float(np.floor((need.sure - some) / step) + 1)


def _next(x: Array) -> Array:
    """The float32 above each, as float64."""
    above: Array = np.nextafter(x.astype(np.float32), np.float32(np.inf)).astype(np.float64)
    return above
