"""Linear classifiers with a box, a mask and units: closed forms in every norm.

To overtake the label's score, feature i moves against the difference w of two classes' weights, by up to the room r_i
that the box leaves. Changes of all features weigh as their units u say.

- Linf: the smallest e with sum |w_i| min(e u_i, r_i) >= margin
- L2: changes are min(t |w_i| u_i^2, r_i), with the smallest t that will do (the KKT conditions)
- L1: the features with the largest |w_i| u_i first, the last one in part (a fractional knapsack)
- L0: the features with the largest |w_i| r_i first
- sum |w_i| r_i < margin: the box holds no example at all
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from blindspots.exact.bracket import Bracket, Stop, never
from blindspots.exact.region import Frame, Region
from blindspots.models.classifiers import Flatten
from blindspots.models.model import Model
from blindspots.models.translate import Affine, Scale

Array = NDArray[Any]
_FLOAT32 = 2.0**-24  # relative rounding of a score


@dataclass(frozen=True)
class Scores:
    """weight (C, features) x + bias (C,), which a model computes in a `precision` of this relative rounding."""

    weight: Array
    bias: Array
    precision: float

    def of(self, x: Array) -> Array:
        """(C,) of a row (features,)."""
        scores: Array = self.weight @ x + self.bias
        return scores

    def rounding(self, x: Array) -> float:
        """How far the model's own sums can be from these, in the box around rows of this size."""
        size = np.abs(self.weight) @ np.abs(x) + np.abs(self.bias)
        return float(2 * (self.weight.shape[1] + 2) * self.precision * size.max())


def scores_of(model: Model, shape: tuple[int, ...]) -> Scores | None:
    """The scores of a model that is linear in its inputs; None: it is not, or not known to be."""
    if type(model) is not Model or model.take is not None or model.table is not None:
        return None
    layers = _layers(model.net)
    if layers is None or model.output not in ("auto", "logits", "logit"):
        return None
    factor, offset = np.ones(shape), np.zeros(shape)
    axes = (-1, *(1 for _ in shape[1:]))
    offset = offset if model.mean is None else offset - np.reshape(model.mean, axes)
    scale = 1.0 if model.std is None else np.reshape(model.std, axes)
    found = _composed(layers, (factor / scale).ravel(), (offset / scale).ravel())
    if found is None:
        return None
    weight, bias = found
    if len(bias) == 1:
        weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    double = all(p.element_size() == 8 for p in model.net.parameters())
    return Scores(weight, bias, np.finfo(np.float64).eps if double else _FLOAT32)


def _layers(net: Any) -> list[nn.Module] | None:
    """The layers of a network one after the other; None where one of them is not linear."""
    if type(net) is nn.Sequential:
        parts = [_layers(part) for part in net]
        return None if None in parts else [layer for part in parts for layer in part or []]
    return [net] if type(net) in (Flatten, nn.Flatten, nn.Identity, Affine, Scale, nn.Linear) else None


def _composed(layers: list[nn.Module], factor: Array, offset: Array) -> tuple[Array, Array] | None:
    """Weight (C, features) and bias (C,) of layers behind x * factor + offset; None without a matrix among them."""
    weight = None
    for layer in layers:
        if isinstance(layer, Scale):
            by, plus = _numbers(layer.factor), _numbers(layer.offset)
            offset = offset * by + plus
            factor, weight = (factor * by, None) if weight is None else (factor, by[:, None] * weight)
        elif isinstance(layer, Affine | nn.Linear):
            matrix = _numbers(layer.weight)
            if matrix.shape[1] != len(offset):
                return None
            offset = matrix @ offset + (0 if layer.bias is None else _numbers(layer.bias))
            weight = matrix * factor if weight is None else matrix @ weight
    return None if weight is None else (weight, offset)


def _numbers(parameter: Any) -> Array:
    found: Array = parameter.detach().cpu().double().numpy()
    return found


class LinearSolver:
    """Of a linear classifier: the nearest of the points at which another class overtakes the label."""

    about = "closed forms of linear models"

    def __init__(self, scores: Scores, frame: Frame) -> None:
        self.scores, self.frame = scores, frame

    def nearest(self, x: Array, y: int, within: float, nodes: int, stop: Stop = never) -> Bracket:
        """See `Solver`. The infimum is not attained: `point` lies beyond the boundary, by what float32 needs."""
        region = self.frame.around(x)
        found = [self._against(region, y, j) for j in range(len(self.scores.bias)) if j != y]
        best = min(found, key=lambda b: b.upper)
        return Bracket(min(b.lower for b in found), best.upper, best.point)

    def _against(self, region: Region, y: int, j: int) -> Bracket:
        scores = self.scores.of(region.x)
        slope, margin = self.scores.weight[y] - self.scores.weight[j], float(scores[y] - scores[j])
        furthest = np.maximum(np.abs(region.lo), np.abs(region.hi))
        slack = self.scores.rounding(furthest)
        least = shortest(region, slope, max(margin - slack, 0.0))
        if least is None:
            return Bracket(np.inf)
        lower = float(region.cost(least))
        beyond = margin + slack + 4 * _FLOAT32 * float(np.abs(scores).max())
        moves = shortest(region, slope, beyond)
        point = _past(region, slope, _room(region, slope) if moves is None else moves)
        upper = float(region.cost(point.astype(np.float64) - region.x))
        return Bracket(min(lower, upper), upper, point)


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


def _past(region: Region, slope: Array, moves: Array) -> Array:
    """The point after the moves in float32, rounded on in their direction, within the box."""
    exact = region.x - np.sign(slope) * moves
    point = exact.astype(np.float32)
    short = (moves > 0) & (np.sign(slope) * (point - exact) > 0)
    point[short] = np.nextafter(point[short], -np.sign(slope[short]).astype(np.float32) * np.float32(np.inf))
    point = np.clip(point, region.lo.astype(np.float32), region.hi.astype(np.float32))
    kept: Array = np.where(moves > 0, point, region.x).astype(np.float32)
    return kept
