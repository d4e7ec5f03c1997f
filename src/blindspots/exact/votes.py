"""k nearest neighbours with k > 1: which examples vote, as a mixed-integer program.

Squared distances from a point differ by linear functions of it, so "these k examples are the nearest" is a polytope. A
binary for every example that can be among them says whether it is nearer than some threshold; k are, and more of them
of another class than of the label. In L2 the length is approached by its tangents, one more after every program. The
examples that the program chose give a polytope again, and its nearest point is an upper bound.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp

from blindspots.exact.bracket import Array
from blindspots.exact.region import Region

_NODES = 5000  # of HiGHS, for each program
_TANGENTS = 40
MOST = 400  # examples in a program: beyond that it would take too long
_SAME = 3e-6  # relative: what the tolerances of HiGHS leave between two bounds of one number
INFEASIBLE = 2


@dataclass
class Votes:
    """The programs of one row and one class, within a length that is known to suffice.

    Attributes:
        away: (n, features) from the row to each example.
        ours, theirs: (n,) bool, of the label and of the other class.
        limit: nothing longer is of interest.
    """

    region: Region
    away: Array
    ours: Array
    theirs: Array
    k: int
    limit: float
    tangents: list[Array] = field(default_factory=list)

    def __post_init__(self) -> None:
        dual = {1.0: np.inf, 2.0: 2, np.inf: 1}[self.region.p]
        self.squares = np.square(self.away).sum(1)
        swing = 2 * self.limit * np.linalg.norm(self.away * self.region.unit, dual, axis=1)
        self.low, self.high = self.squares - swing, self.squares + swing
        self.least, self.most = (np.partition(side, self.k - 1)[self.k - 1] for side in (self.low, self.high))
        self.near = np.flatnonzero(self.low <= self.most)  # the others never vote

    def solved(self) -> tuple[float, Array | None]:
        """A lower bound of the length, and which examples vote at the best point that was found: (n,) bool.

        inf: none within the limit.
        """
        found = self._program()
        if found.status == INFEASIBLE:
            return np.inf, None
        bound = found.mip_dual_bound
        lower = 0.0 if bound is None or not np.isfinite(bound) else max(0.0, bound * (1 - _SAME))
        if found.x is None:
            return lower, None
        chosen = np.zeros(len(self.away), bool)
        chosen[self.near] = found.x[-len(self.near) :] > 0.5
        return lower, chosen

    def touched(self, moves: Array) -> bool:
        """Adds the tangent of the length at these moves; False: there are enough."""
        length = float(self.region.cost(moves))
        if self.region.p != 2 or length == 0 or len(self.tangents) >= _TANGENTS:
            return False
        self.tangents.append(moves / self.region.unit / length)
        return True

    def _program(self) -> Any:
        """Columns: moves (d), sizes (d), length, threshold, and a bit for every example that is near enough."""
        region, d, n = self.region, len(self.region.x), len(self.near)
        eye, unit = np.eye(d), region.unit
        width = 2 * d + 2 + n
        rows: list[tuple[Array, Array]] = []  # rows @ columns <= numbers

        def add(numbers: Any, **parts: Array) -> None:
            numbers = np.atleast_1d(np.asarray(numbers, np.float64))
            row = np.zeros((len(numbers), width))
            places = {"moves": slice(0, d), "sizes": slice(d, 2 * d), "length": slice(2 * d, 2 * d + 1),
                      "edge": slice(2 * d + 1, 2 * d + 2), "bits": slice(2 * d + 2, width)}  # fmt: skip
            for name, part in parts.items():
                row[:, places[name]] = part
            rows.append((row, numbers))

        for sign in (1, -1):
            add(np.zeros(d), moves=sign * eye / unit[:, None], sizes=-eye)
        one = np.ones((1, 1))
        if region.p == 1:
            add(0.0, sizes=np.ones((1, d)), length=-one)
        else:  # every size is a lower bound in L2, too
            add(np.zeros(d), sizes=eye, length=-np.ones((d, 1)))
        for tangent in self.tangents:
            add(0.0, moves=tangent[None] / unit, length=-one)
        scale = max(float(np.abs(self.high[self.near]).max()), 1e-300)
        slope, square = 2 * self.away[self.near] / scale, self.squares[self.near] / scale
        inside = np.maximum(self.high[self.near] - self.least, 0) / scale
        outside = np.maximum(self.most - self.low[self.near], 0) / scale
        edge = np.ones((n, 1))
        add(inside - square, moves=-slope, edge=-edge, bits=np.diag(inside))
        add(square, moves=slope, edge=edge, bits=-np.diag(outside))
        ours, theirs = self.ours[self.near].astype(float), self.theirs[self.near].astype(float)
        add(-1.0, bits=(ours - theirs)[None])
        for sign in (1, -1):
            add(sign * self.k, bits=np.full((1, n), float(sign)))
        low = np.r_[region.lo - region.x, np.zeros(d), 0, self.least / scale, self.high[self.near] < self.least]
        high = np.r_[region.hi - region.x, np.full(d, np.inf), self.limit, self.most / scale, np.ones(n)]
        most = np.concatenate([numbers for _, numbers in rows])
        return milp(
            np.r_[np.zeros(2 * d), 1.0, np.zeros(1 + n)],
            integrality=np.r_[np.zeros(2 * d + 2), np.ones(n)],
            bounds=Bounds(low, np.maximum(low, high)),
            constraints=LinearConstraint(np.concatenate([row for row, _ in rows]), -np.inf, most),
            options={"node_limit": _NODES, "mip_rel_gap": 1e-7},
        )


def is_same(lower: float, upper: float) -> bool:
    """Whether two bounds differ by no more than the tolerances of HiGHS."""
    return lower >= upper * (1 - 2 * _SAME)
