"""Proved bounds of Gaussian naive Bayes once more: weak duality, over ever smaller boxes where one does not do."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from blindspots.experiments.evaluate.verify_convex import Ground

Array = NDArray[Any]
NEAR = 1e-6  # of a distance
BOXES = 60


def of_curves(model: Any, ground: Ground, y: int, bound: float) -> bool | None:
    """Whether another class can overtake the label nearer than `bound`; None: that was not decided.

    Args:
        model: whose network ends in `translate.Gaussians`, with numbers to scale by before it, if anything.
    """
    *before, gaussians = _layers(model.net)
    scale, offset = np.ones_like(ground.x), np.zeros_like(ground.x)
    for layer in (layer for layer in before if hasattr(layer, "factor")):
        scale, offset = scale * layer.factor.numpy(), offset * layer.factor.numpy() + layer.offset.numpy()
    white, means, weights = (
        np.stack([w.numpy() for w in gaussians.whitenings]), gaussians.means.numpy(), gaussians.weights.numpy(),
    )  # fmt: skip
    found = [
        _overtaken(ground, _Lead(scale, offset, means[[y, j]], white[[y, j]], weights[y] - weights[j]), bound)
        for j in range(len(weights))
        if j != y
    ]
    return True if True in found else None if None in found else False


def _layers(net: Any) -> list[Any]:
    return [part for layer in net for part in (_layers(layer) if type(layer).__name__ == "Sequential" else [layer])]


class _Lead:
    """weight - sum over features of f, with f(x) = (w_y^2 (z - m_y)^2 - w_j^2 (z - m_j)^2) / 2 at z = scale x + offset.

    In every feature a parabola.
    """

    def __init__(self, scale: Array, offset: Array, means: Array, white: Array, weight: float) -> None:
        self.scale, self.offset, self.means, self.white, self.weight = scale, offset, means, white, weight

    def lost(self, x: Array) -> Array:
        z = self.scale * x + self.offset
        own, other = (np.square(w * (z - m)) / 2 for w, m in zip(self.white, self.means, strict=True))
        found: Array = own - other
        return found

    def bends(self, x: Array, more: Array) -> Array:
        """Where f plus the parabola more[0] (x' - x)^2 + more[1] (x' - x) is level, around x; x where it never is."""
        one, two, three = (self.lost(x + step) for step in (-1.0, 0.0, 1.0))
        square, slope = (one + three) / 2 - two + more[0], (three - one) / 2 + more[1]
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(square != 0, x - slope / (2 * square), x)


def _overtaken(ground: Ground, lead: _Lead, bound: float) -> bool | None:
    x, unit, short = ground.x, ground.unit, bound * (1 - NEAR)
    lo, hi = ground.lo, ground.hi
    if ground.p and np.isfinite(short):
        lo, hi = np.maximum(lo, x - short * unit), np.minimum(hi, x + short * unit)
    still = lead.lost(x)
    gains = _largest(lead, ground, lo, hi, None)[0] - still
    if ground.p == 0:
        gains = np.sort(gains)[::-1][: int(np.ceil(bound)) - 1] if np.isfinite(bound) else gains
    needed = lead.weight - still.sum()
    enough = gains.sum() >= needed
    if not enough or ground.p in (0, np.inf) or np.isinf(short):
        return bool(enough)
    waiting, looked = [(lo, hi)], 0
    while waiting:
        looked += 1
        if looked > BOXES:
            return None
        lo, hi = waiting.pop()
        share, price = _dual(lead, ground, lo, hi, lead.weight, short)
        if share > 1:
            continue
        if any(_overtakes(lead, ground, lo, hi, price * less, short) for less in (1 - 1e-9, 1 - 1e-4, 0.99, 0.9)):
            return True
        f = int(np.argmax((hi - lo) / unit * (np.abs(_largest(lead, ground, lo, hi, None)[0] - still) + 1e-12)))
        middle = (lo[f] + hi[f]) / 2
        left, right = hi.copy(), lo.copy()
        left[f], right[f] = middle, middle
        waiting += [(lo, left), (right, hi)]
    return False


def _overtakes(lead: _Lead, ground: Ground, lo: Array, hi: Array, price: float, short: float) -> bool:
    """Whether the best changes at a price are an example within the distance."""
    _, at = _largest(lead, ground, lo, hi, price)
    length = np.linalg.norm((at - ground.x) / ground.unit, ground.p)
    return bool(length <= short and lead.lost(at).sum() >= lead.weight)


def _largest(lead: _Lead, ground: Ground, lo: Array, hi: Array, price: float | None) -> tuple[Array, Array]:
    """Feature by feature the most of f, less what its change costs at a price, within the box, and where that is."""

    def merit(at: Array) -> Array:
        moves = np.abs(at - ground.x) / ground.unit
        return lead.lost(at) - (0.0 if price is None else price * moves**ground.p)

    flat = np.zeros_like(ground.x)
    if price is None:
        ways = [(flat, flat)]
    elif ground.p == 2:
        ways = [(-price / ground.unit**2, flat)]
    else:
        ways = [(flat, side * price / ground.unit) for side in (1, -1)]
    tried = [lo, hi, np.clip(ground.x, lo, hi)]
    tried += [np.clip(lead.bends(ground.x, np.stack(way)), lo, hi) for way in ways]
    merits = np.array([merit(at) for at in tried])
    best = merits.argmax(0), np.arange(len(lo))
    return merits[best], np.array(tried)[best]


def _dual(lead: _Lead, ground: Ground, lo: Array, hi: Array, needed: float, short: float) -> tuple[float, float]:
    """At most the cost of overtaking within a box, as a share of what is allowed, and the price that says so."""

    def lost(log_price: float) -> float:
        price = float(np.exp(log_price))
        return -float(needed - _largest(lead, ground, lo, hi, price)[0].sum()) / price / float(short**ground.p)

    guess = float(np.log(max(abs(needed - lead.lost(ground.x).sum()), 1e-300) / short**ground.p))
    found = minimize_scalar(lost, bounds=(guess - 12, guess + 12), method="bounded", options={"xatol": 1e-9})
    return float(-found.fun), float(np.exp(found.x))
