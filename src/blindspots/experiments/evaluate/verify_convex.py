"""Proved bounds of nearest neighbours once more: linear programs, and weak duality for squares."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog, minimize

Array = NDArray[Any]


@dataclass(frozen=True)
class Ground:
    """Where a row may go: x, lo, hi and unit (features,) float64, with lo = hi = x where nothing may change.

    Of a table `step` says what changes are multiples of, 0 for any number, and `groups` which features are a category.
    """

    p: float
    x: Array
    lo: Array
    hi: Array
    unit: Array
    step: Array | None = None
    groups: tuple[slice, ...] = ()


def of_neighbours(estimator: Any, ground: Ground, y: int, short: float) -> bool | None:
    """Of one nearest neighbour: whether an example of another class gets nearer than the label's, within a distance.

    None: that was not decided.
    """
    examples = estimator._fit_X.astype(np.float64)
    own, others = examples[estimator._y == y], examples[estimator._y != y]
    found = [_gets_nearer(ground, own, v, short) for v in others]
    return True if True in found else None if None in found else False


def _gets_nearer(ground: Ground, own: Array, v: Array, short: float) -> bool | None:
    """Whether a point within the distance is nearer to v than to the others; None: neither was shown."""
    sides, most = 2 * (own - v), (own**2).sum(1) - (v**2).sum() - 2 * (own - v) @ ground.x
    dual = {1.0: np.inf, 2.0: 2, np.inf: 1}[ground.p]
    reach = np.linalg.norm(sides * ground.unit, dual, axis=1) * short
    if (reach < -most).any():
        return False
    if ground.p == 2:
        return None if _squares(ground, sides, most) < short else False
    d = len(ground.x)
    bounds = [*zip(ground.lo - ground.x, ground.hi - ground.x, strict=True), *[(0, None)] * d]
    sizes = np.block([[np.eye(d), -np.diag(ground.unit)], [-np.eye(d), -np.diag(ground.unit)]])
    cost = np.r_[np.zeros(d), np.ones(d)]
    if ground.p != 1:  # the largest of the sizes counts
        bounds = [*bounds[:d], *[(0, short)] * d]
    found = linprog(
        cost, A_ub=np.block([[sides, np.zeros_like(sides)], [sizes]]), b_ub=np.r_[most, np.zeros(2 * d)], bounds=bounds
    )
    return bool(found.status == 0 and (ground.p != 1 or (found.fun or 0.0) < short))


def _squares(ground: Ground, sides: Array, most: Array) -> float:
    """At most the length of the shortest moves with sides . moves <= most in the box: any prices give a lower bound."""
    box = np.eye(len(ground.x))
    sides = np.concatenate([sides, box, -box]) * ground.unit
    most = np.concatenate([most, ground.hi - ground.x, ground.x - ground.lo])
    scale = np.linalg.norm(sides, axis=1) + 1e-300
    sides, most = sides / scale[:, None], most / scale

    def lost(prices: Array) -> tuple[float, Array]:
        pull = prices @ sides
        return float(pull @ pull / 2 + prices @ most), sides @ pull + most

    found = minimize(lost, np.zeros(len(most)), jac=True, bounds=[(0, None)] * len(most), method="L-BFGS-B",
                     options={"maxiter": 2000, "ftol": 1e-14, "gtol": 1e-10})  # fmt: skip
    return float(np.sqrt(max(0.0, -2 * found.fun)))
