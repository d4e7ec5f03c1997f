"""Whether a majority of k nearest neighbours can be overtaken within a distance: a mixed-integer program by HiGHS.

A bit for every example that may vote; whoever does is nearer than whoever does not, pair by pair.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, milp

from blindspots.experiments.evaluate.verify_convex import Ground

Array = NDArray[Any]
_FEW = 40  # examples: there is a row for each pair
_CUTS = 30
_INFEASIBLE = 2


def overtaken(
    ground: Ground, examples: Array, classes: Array, k: int, y: int, short: float, seconds: float
) -> bool | None:
    """Whether examples of another class can outvote those of y; None: that was not decided."""
    if np.isinf(short):
        short = float(np.linalg.norm(np.maximum(ground.hi - ground.x, ground.x - ground.lo) / ground.unit, ground.p))
    away = examples - ground.x
    dual = {1.0: np.inf, 2.0: 2, np.inf: 1}[ground.p]
    size = np.square(away).sum(1)
    swing = 2 * short * np.linalg.norm(away * ground.unit, dual, axis=1)
    near = size - swing <= np.sort(size + swing)[k - 1]
    if near.sum() > _FEW:
        return None
    found = []
    for j in set(classes.tolist()) - {y}:
        votes = np.where(classes[near] == y, 1, -1.0 * (classes[near] == j))
        found.append(_wins(ground, away[near], size[near], swing[near], votes, k, short, seconds))
    return True if True in found else None if None in found else False


def _wins(
    ground: Ground, away: Array, size: Array, swing: Array, votes: Array, k: int, short: float, seconds: float
) -> bool | None:
    """`votes`: 1 for the label, -1 for the class that is to win, 0 for the others."""
    n, d = away.shape
    scale = float((size + swing).max()) or 1.0
    pairs = np.array([(a, b) for a in range(n) for b in range(n) if a != b])
    a, b = pairs.T
    gap = (size[a] - size[b] + swing[a] + swing[b]) / scale
    big = np.maximum(gap, 0)
    rows = np.zeros((len(pairs), d + n))
    rows[:, :d] = 2 * (away[b] - away[a]) / scale
    rows[np.arange(len(pairs)), d + a] = big
    rows[np.arange(len(pairs)), d + b] = -big
    most = (size[b] - size[a]) / scale + big
    outvoted, count = np.r_[np.zeros(d), votes], np.r_[np.zeros(d), np.ones(n)]
    low, high = ground.lo - ground.x, ground.hi - ground.x
    low, high = np.maximum(low, -short * ground.unit), np.minimum(high, short * ground.unit)
    cuts: list[Array] = []
    columns = d + n + d * (ground.p == 1)
    for _ in range(_CUTS):
        constraints = [
            LinearConstraint(_wide(rows, columns), -np.inf, most),
            LinearConstraint(_wide(outvoted[None], columns), -np.inf, -1.0),
            LinearConstraint(_wide(count[None], columns), float(k), float(k)),
            *(LinearConstraint(_wide(np.r_[cut, np.zeros(n)][None], columns), -np.inf, short) for cut in cuts),
            *(_sum_of_sizes(ground, n, short) if ground.p == 1 else []),
        ]
        found = milp(
            np.zeros(columns), constraints=constraints,
            integrality=np.r_[np.zeros(d), np.ones(n), np.zeros(columns - d - n)],
            bounds=Bounds(np.r_[low, np.zeros(columns - d)], np.r_[high, np.ones(n), np.full(columns - d - n, np.inf)]),
            options={"time_limit": seconds},
        )  # fmt: skip
        if found.status == _INFEASIBLE:
            return False
        if found.x is None:
            return None
        moves = found.x[:d] / ground.unit
        length = float(np.linalg.norm(moves, ground.p))
        if length <= short * (1 + 1e-6):
            voting = np.argsort(np.square(away - found.x[:d]).sum(1), kind="stable")[:k]
            return True if votes[voting].sum() < 0 else None
        cuts.append(moves / length / ground.unit)
    return None


def _wide(rows: Array, columns: int) -> Array:
    return np.pad(rows, ((0, 0), (0, columns - rows.shape[1])))


def _sum_of_sizes(ground: Ground, n: int, short: float) -> list[LinearConstraint]:
    d = len(ground.x)
    each = np.diag(1 / ground.unit)
    none = np.zeros((d, n))
    return [
        LinearConstraint(np.hstack([each, none, -np.eye(d)]), -np.inf, 0),
        LinearConstraint(np.hstack([-each, none, -np.eye(d)]), -np.inf, 0),
        LinearConstraint(np.r_[np.zeros(d + n), np.ones(d)][None], -np.inf, short),
    ]
