"""Proved bounds of linear models once more, in float64: their slopes by automatic differentiation, linear programs."""

import copy
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linprog, minimize_scalar
from torch import Tensor

from blindspots.experiments.evaluate.verify_convex import Ground
from blindspots.experiments.evaluate.verify_whole import TANGENT, falls_whole

Array = NDArray[Any]
NEAR = 1e-6  # of a distance, and of what a score has to fall


Sides = list[tuple[int, int, float, float]]  # of outputs: which, 1 for above and -1 for below, from where, up to where


def of_scores(model: Any, x: Tensor, ground: Ground, y: int | Sides, bound: float, exact: float) -> bool:
    """Of a linear model: whether an example is nearer than `bound`, or the nearest one is not at `exact`.

    Both without any rounding: the network is asked as it is, but in float64.

    Args:
        y: the label, or the values beyond which an output succeeds.
        bound: no example is nearer, or none within the threat.
        exact: the smallest distance; inf: the box holds no example.
    """
    slopes = _slopes(model, x, y)

    def falls(short: float) -> float:
        return max(_falls(ground, slope, short) for slope in slopes)

    near = NEAR if ground.step is None or ground.p != 2 else TANGENT
    too_near = falls(bound * (1 - near)) > 1 + near or falls(exact * (1 - near)) > 1 + near
    return too_near or (bool(np.isfinite(exact)) and falls(exact * (1 + NEAR)) < 1 - NEAR)


def _slopes(model: Any, x: Tensor, y: int | Sides) -> list[Array]:
    """The gradients of the lead over each other class, as shares of that lead."""
    net, mean, std = copy.deepcopy(model.net).double(), *map(_channels, (model.mean, model.std), (0.0, 1.0))
    axes = (1, -1, *(1 for _ in x.shape[1:]))
    with torch.enable_grad():
        at = x[None].double().requires_grad_()
        scores = net((at - mean.view(axes)) / std.view(axes)).reshape(-1)
        if isinstance(y, list):
            leads = [side * (value - scores[k]) for k, side, value, _ in y]
        else:
            scores = torch.cat([-scores / 2, scores / 2]) if len(scores) == 1 else scores
            leads = [scores[y] - scores[j] for j in range(len(scores)) if j != y]
        slopes = [torch.autograd.grad(lead, at, retain_graph=True)[0].numpy().ravel() for lead in leads]
    return [slope / max(float(lead.detach()), 1e-300) for lead, slope in zip(leads, slopes, strict=True)]


def _channels(given: Any, default: float) -> Tensor:
    return torch.tensor([default] if given is None else given, dtype=torch.float32).double()


def _falls(ground: Ground, slope: Array, short: float) -> float:
    """How much a linear function can fall within a distance: by linear programs, or at most by weak duality."""
    if ground.step is not None:
        return falls_whole(ground, slope, short)
    room = np.where(slope > 0, ground.x - ground.lo, ground.hi - ground.x)
    steep = np.abs(slope)
    if np.isinf(short):
        return float(steep @ room)
    if ground.p == 0:
        return float(np.sort(steep * room)[::-1][: int(np.floor(short))].sum())
    if ground.p == 2:
        return _bought(steep, room, ground.unit, max(short, 1e-300))
    cost = [1 / ground.unit] if ground.p == 1 else np.diag(1 / ground.unit)
    found = linprog(
        -steep * short, A_ub=np.array(cost), b_ub=np.ones(len(cost)),
        bounds=[(0.0, float(r) / short if short else 0.0) for r in room],
    )  # fmt: skip
    return float(-np.float64(found.fun or 0.0))


def _bought(steep: Array, room: Array, unit: Array, short: float) -> float:
    """In L2: for every price of the squared length, what is bought at it is an upper bound."""

    def dual(log_price: float) -> float:
        price = np.exp(log_price)
        moves = np.minimum(steep * unit**2 / (2 * price), room)
        return float(steep @ moves - price * np.square(moves / unit).sum() + price * short**2)

    guess = float(np.log((np.linalg.norm(steep * unit) + 1e-300) / (2 * short)))
    best = minimize_scalar(dual, bounds=(guess - 40, guess + 2), method="bounded", options={"xatol": 1e-10})
    return float(best.fun)
