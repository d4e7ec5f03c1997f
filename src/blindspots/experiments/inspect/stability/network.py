"""A network around rows, between its bounds: how steep it can be at most, and how steep it was found to be."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

import torch
from torch import Tensor

from blindspots.box import Box
from blindspots.errors import InputError
from blindspots.experiments.inspect.stability.bounds import Layer
from blindspots.experiments.inspect.stability.gradients import Region, steep, steepest_found
from blindspots.experiments.inspect.stability.graph import Graph
from blindspots.experiments.inspect.stability.local import Interval, steepest

_NUMBERS = 1 << 27  # of a Jacobian of one layer's results, for all rows of a call
_SLACK, _ROUNDING = 1e-5, 2.0**-23  # by which points in float32 may leave a ball


@dataclass(frozen=True)
class Slope:
    """Numbers of the same thing at B rows, the spectral norm of the Jacobian of the scores in l2.

    Args:
        local: bound in the ball around each row, (B,): the best of all bounds here.
        found, point: the largest one that was found in the ball, (B,), and where, (B, *shape) float32.
        found_in_box, point_in_box: the same wherever inputs can be.
        gradient: at the rows, (B,). With more than 32 scores, a little less.
        scores: at the rows, (B, C).
    """

    local: Tensor
    found: Tensor
    point: Tensor
    found_in_box: Tensor
    point_in_box: Tensor
    gradient: Tensor
    scores: Tensor


def slope(
    graph: Graph, layers: Sequence[Layer], x: Tensor, box: Box, radius: float, p: float, best: float, keys: Tensor
) -> Slope:
    """How steep a network is at rows and around them, from above and from below.

    Args:
        x: rows (`graph.rows`, *shape).
        box: where inputs can be.
        radius: of the ball around each row, at least 0, cut off at the box; in l2 where `p` is 2, else in linf.
        best: a bound that holds everywhere.
        keys: int64 (`graph.rows`,), of the noise from which ascents start.

    Raises InputError: the slopes at a row are not finite.
    """
    x = x.double().cpu()
    low, high = (bound.cpu() for bound in box.like(x))
    gradient = steep(graph, x).norm
    if not bool(gradient.isfinite().all()):
        raise InputError(
            "expected scores with finite slopes at all rows, got NaN or infinity at some: leave these rows out, or "
            "rewrite what divides by 0 or takes roots of it"
        )
    within = radius if p == 2 else inf
    region = Region((x - radius).maximum(low), (x + radius).minimum(high), x, within)
    found, point = steepest_found(graph, x, region, keys)
    anywhere, there = steepest_found(graph, x, Region(low, high, x), keys)
    farther = (anywhere > found).view(-1, *[1] * (x.ndim - 1))
    return Slope(
        local=_local(graph, layers, region, best),
        found=found, point=point, found_in_box=anywhere.maximum(found),
        point_in_box=torch.where(farther, there, point), gradient=gradient, scores=graph.scores(x),
    )  # fmt: skip


def _local(graph: Graph, layers: Sequence[Layer], region: Region, best: float) -> Tensor:
    """A little outside of the region, too; what holds everywhere where a Jacobian cannot be followed row by row.

    It is too large, or rows are not in front in some result, as in recurrent layers and attention.
    """
    scores, widest = graph.steps[-1].shape[1], max(torch.Size(step.shape).numel() for step in graph.steps)
    if scores * widest > _NUMBERS or not graph.in_front:
        return torch.full((graph.rows,), best, dtype=torch.float64)
    mid, rad = (region.high + region.low) / 2, (region.high - region.low) / 2
    reach = torch.where(rad > 0, rad * (1 + 2 * _SLACK) + _ROUNDING * mid.abs(), 0.0)
    seeds = torch.eye(scores, dtype=torch.float64)[:, None].expand(scores, graph.rows, scores)
    radius = region.radius * (1 + _SLACK)
    return steepest(graph, layers, Interval(mid, reach), seeds, radius).jacobian.clamp_max(best)
