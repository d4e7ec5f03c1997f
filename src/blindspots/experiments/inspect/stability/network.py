"""A network between its bounds: how steep it can be at most, and how steep it was found to be."""

from dataclasses import dataclass
from math import inf
from typing import Literal

import torch
from torch import Tensor

from blindspots.errors import InputError
from blindspots.experiments.inspect.stability.bounds import Layer, eclipse_fast, margins, product
from blindspots.experiments.inspect.stability.folding import folded
from blindspots.experiments.inspect.stability.gradients import steep, steepest_found
from blindspots.experiments.inspect.stability.graph import trace
from blindspots.experiments.inspect.stability.local import Interval, steepest
from blindspots.models.model import Model
from blindspots.random import keys


@dataclass(frozen=True)
class Stability:
    """Five numbers of the same thing, the spectral norm of the Jacobian of the scores in l2, from above to below.

    Args:
        layers: every operation with its gain, and the product bound up to it.
        product: bound everywhere. Infinite where a layer has none; its note says why.
        eclipse_fast: bound everywhere; None where it does not apply.
        local: bound in the ball around each row, (B,): the best of all bounds here.
        found: the largest one that ascent found, at a point of the box.
        gradients: at the rows, (B,). With more than 32 scores, a little less.
        margins: bounds of how fast z_y - z_j can change, everywhere, (C, C).
    """

    layers: list[Layer]
    product: float
    eclipse_fast: float | None
    local: Tensor
    found: float
    gradients: Tensor
    margins: Tensor

    @property
    def without_bound(self) -> list[str]:
        """A sentence for every layer that has no bound."""
        return [layer.gain.note for layer in self.layers if inf in layer.gain.upper]


def stability(model: Model, x: Tensor, radius: float, norm: Literal["linf", "l2"] = "linf", seed: int = 0) -> Stability:
    """How steep a model is, from above and from below.

    Args:
        x: rows (B, *shape), all taken in one call: at these the local bounds hold and the gradients are taken.
        radius: of the ball around each row, at least 0; it is cut off at the model's bounds.
        seed: of the noise from which ascents start.

    Raises:
        InputError: a negative radius, no rows, or a network that cannot be traced.
    """
    if not 0 <= radius < inf or not len(x):
        raise InputError(f"expected rows and a radius of at least 0, got {len(x)} rows and {radius:g}: pass e.g. 0.1")
    graph = folded(trace(model, x))
    x, box = x.double().cpu(), model.box
    layers, eclipse = product(graph, x), eclipse_fast(graph)
    best = min(layers[-1].upper, inf if eclipse is None else eclipse)
    scores = graph.steps[-1].shape[1]
    seeds = torch.eye(scores, dtype=torch.float64)[:, None].expand(scores, len(x), scores)
    ball = Interval.between(box.clip(x - radius), box.clip(x + radius)) if radius else Interval(x, torch.zeros_like(x))
    local = steepest(graph, layers, ball, seeds, radius if norm == "l2" else inf).jacobian.clamp_max(best)
    gradients = steep(graph, x).norm
    found = steepest_found(graph, x, box, keys(seed, torch.arange(len(x))))
    return Stability(
        layers=layers,
        product=layers[-1].upper,
        eclipse_fast=eclipse,
        local=local,
        found=float(found.maximum(gradients).amax()),
        gradients=gradients,
        margins=margins(graph, layers, best),
    )
