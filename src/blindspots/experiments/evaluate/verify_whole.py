"""How much a linear function of whole numbers and categories can fall: a mixed-integer program by HiGHS."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, milp

from blindspots.experiments.evaluate.verify_convex import Ground

Array = NDArray[Any]
TANGENT = 1e-3  # of a length in L2: squares are replaced by tangents, which lie below
_TANGENTS = 100


def falls_whole(ground: Ground, slope: Array, short: float) -> float:
    """At most how much it falls within a distance.

    Columns: a number of steps, or any amount, for every feature outside of categories; a bit for every other value of
    each category; in L0 a bit, in L2 a square, for each of the first.
    """
    grouped = np.zeros(len(slope), bool)
    for group in ground.groups:
        grouped[group] = True
    alone = np.flatnonzero(~grouped)
    assert ground.step is not None
    size = np.where(ground.step[alone] > 0, ground.step[alone], 1.0)
    room = np.where(slope > 0, ground.x - ground.lo, ground.hi - ground.x)[alone] / size
    room = np.where(ground.step[alone] > 0, np.floor(room + 1e-6), room)
    price = size / ground.unit[alone]
    options = [option for group in ground.groups for option in _options(ground, slope, group)]
    gain = np.r_[np.abs(slope[alone]) * size, [g for g, *_ in options]]
    n, m = len(alone), len(options)
    most = np.r_[room, np.ones(m)]
    whole = np.r_[ground.step[alone] > 0, np.ones(m, bool)]
    rows: list[tuple[Array, float]] = []  # row @ columns <= number
    for k in range(len(ground.groups)):
        one = np.array([float(which == k) for *_, which in options])
        rows.append((np.r_[np.zeros(n), one, np.zeros(n)], 1.0))
    prices = np.array([c for _, c, _ in options])
    if np.isfinite(short) and ground.p == np.inf:
        most = np.r_[np.minimum(room, short / price), prices <= short].astype(float)
        most[whole] = np.floor(most[whole] + 1e-9)
    elif np.isfinite(short):
        rows += _within(ground.p, room, price, prices, short)
    bits = ground.p == 0
    matrix, limits = np.array([row for row, _ in rows]), np.array([number for _, number in rows])
    found = milp(
        -np.r_[gain, np.zeros(n)],
        integrality=np.r_[whole, np.full(n, bits)].astype(int),
        bounds=Bounds(0, np.r_[most, np.full(n, 1.0 if bits else np.inf)]),
        constraints=[LinearConstraint(matrix, -np.inf, limits)] if len(rows) else [],
        options={"mip_rel_gap": 1e-9},
    )
    bound: Any = found.fun if found.mip_dual_bound is None else found.mip_dual_bound
    return -float(bound)


def _options(ground: Ground, slope: Array, group: slice) -> list[tuple[float, float, int]]:
    """Of every other value of a category: how much the function falls, what it costs, and which category it is."""
    at = np.arange(len(slope))[group]
    if not (ground.lo[at] < ground.hi[at]).all():
        return []
    old = at[int(ground.x[at].argmax())]
    found = []
    for new in at[at != old]:
        each = 1 / ground.unit[[old, new]]
        price = float(np.linalg.norm(each, ground.p)) if ground.p else 1.0
        found.append((float(slope[old] - slope[new]), price, ground.groups.index(group)))
    return found


def _within(p: float, room: Array, price: Array, prices: Array, short: float) -> list[tuple[Array, float]]:
    """That all costs together are within the distance."""
    n, m = len(room), len(prices)
    eye = np.eye(n)
    if p == 1:
        return [(np.r_[price, prices, np.zeros(n)], short)]
    if p == 0:
        tied = [(np.r_[eye[f], np.zeros(m), -max(room[f], 1.0) * eye[f]], 0.0) for f in range(n)]
        return [*tied, (np.r_[np.zeros(n), np.ones(m), np.ones(n)], float(np.floor(short)))]
    rows = [(np.r_[np.zeros(n), np.square(prices), np.ones(n)], short**2)]
    for f in range(n):
        reach = min(room[f], short / price[f])
        rows += [  # square >= its tangent at these amounts
            (np.r_[2 * at * price[f] ** 2 * eye[f], np.zeros(m), -eye[f]], (at * price[f]) ** 2)
            for at in np.linspace(0, reach, _TANGENTS)
        ]
    return rows
