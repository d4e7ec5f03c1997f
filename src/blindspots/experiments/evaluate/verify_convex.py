"""Proved bounds of linear models and nearest neighbours once more: linear programs, and weak duality for squares."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linprog, minimize, minimize_scalar
from torch import Tensor

Array = NDArray[Any]


@dataclass(frozen=True)
class Ground:
    """Where a row may go: x, lo, hi and unit (features,) float64, with lo = hi = x where nothing may change."""

    p: float
    x: Array
    lo: Array
    hi: Array
    unit: Array


def of_scores(model: Any, x: Tensor, ground: Ground, y: int, short: float, least: float) -> bool:
    """Of a linear model: whether the lead of the label can fall to 0 within a distance, by its gradient.

    `least`: by this share of the lead more, since gradients are float32.
    """
    with torch.enable_grad():
        at = x[None].clone().requires_grad_()
        scores = model.logits(at)[0]
        others = [j for j in range(len(scores)) if j != y]
        leads = [scores[y] - scores[j] for j in others]
        slopes = [torch.autograd.grad(lead, at, retain_graph=True)[0].double().numpy().ravel() for lead in leads]
    fallen = [_fall(ground, slope, short) for slope in slopes]
    return any(fall > float(lead) * (1 + least) for fall, lead in zip(fallen, leads, strict=True))


def _fall(ground: Ground, slope: Array, short: float) -> float:
    """At least as much as a linear function can fall within a distance: by linear programs, or weak duality."""
    room = np.where(slope > 0, ground.x - ground.lo, ground.hi - ground.x)
    steep = np.abs(slope)
    if np.isinf(short):
        return float(steep @ room)
    if ground.p == 0:
        return float(np.sort(steep * room)[::-1][: max(0, int(np.ceil(short)) - 1)].sum())
    if ground.p == 2:  # for every price of the squared length, what is bought at it is an upper bound
        scale = max(short, 1e-30)

        def dual(log_price: float) -> float:
            price = np.exp(log_price)
            moves = np.minimum(steep * ground.unit**2 / (2 * price), room)
            return float(steep @ moves - price * np.square(moves / ground.unit).sum() + price * scale**2)

        guess = float(np.log((np.linalg.norm(steep * ground.unit) + 1e-30) / (2 * scale)))
        best = minimize_scalar(dual, bounds=(guess - 40, guess + 2), method="bounded", options={"xatol": 1e-9})
        return float(best.fun)
    cost = [1 / ground.unit] if ground.p == 1 else np.diag(1 / ground.unit)
    most = np.full(len(cost), short)
    found = linprog(-steep, A_ub=np.array(cost), b_ub=most, bounds=[(0.0, float(r)) for r in room])
    return float(-np.float64(found.fun or 0.0))


def of_neighbours(estimator: Any, ground: Ground, y: int, short: float) -> bool | None:
    """Of nearest neighbours: whether an example of another class gets nearer than all of the label, within a distance.

    For k > 1: nearer than all but (k - 1) // 2 of these, each taken on its own. None: that was not decided.
    """
    examples, spared = estimator._fit_X.astype(np.float64), (estimator.n_neighbors - 1) // 2
    own, others = examples[estimator._y == y], examples[estimator._y != y]
    found = [_gets_nearer(ground, own, v, short, spared) for v in others]
    return True if True in found else None if None in found else False


def _gets_nearer(ground: Ground, own: Array, v: Array, short: float, spared: int) -> bool | None:
    """Whether a point within the distance is nearer to v than to the others; None: neither was shown."""
    sides, most = 2 * (own - v), (own**2).sum(1) - (v**2).sum() - 2 * (own - v) @ ground.x
    dual = {1.0: np.inf, 2.0: 2, np.inf: 1}[ground.p]
    reach = np.linalg.norm(sides * ground.unit, dual, axis=1) * short
    if (reach < -most).sum() > spared:
        return False
    if spared:
        return True
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
