"""How steep a network is somewhere: lower bounds of every bound, at the data and by ascent."""

from dataclasses import dataclass
from math import inf

import torch
from torch import Tensor

from blindspots.experiments.inspect.stability.graph import Graph
from blindspots.random import uniform
from blindspots.rows import Rows, col, pick

_FEW = 32  # scores whose gradients are all taken
_TURNS = 6  # of power iteration, where there are more
_TINY = 1e-300
_FLAT = 1e-9  # slopes of slopes below this are none: the network is linear here


@dataclass(frozen=True)
class Steep:
    """The Jacobian's spectral norm (B,) at rows, its direction among the scores (B, C) and in the input (B, *shape).

    The norm is NaN where the Jacobian is not finite.
    """

    norm: Tensor
    scores: Tensor
    inputs: Tensor


def steep(graph: Graph, x: Tensor) -> Steep:
    """The slopes of the scores at rows x (`graph.rows`, *shape) in l2, in float64.

    With up to 32 scores exactly; else by power iteration from their largest gradients, which is a lower bound.
    """
    x = x.detach().double().requires_grad_()
    with torch.enable_grad():
        z = graph.scores(x)
    return _all(x, z) if z.shape[1] <= _FEW else _iterated(graph, x)


def _all(x: Tensor, z: Tensor) -> Steep:
    count = z.shape[1]
    each = [torch.autograd.grad(z[:, i].sum(), x, retain_graph=True)[0].flatten(1) for i in range(count)]
    jacobian = torch.stack(each, 1)
    finite = jacobian.isfinite().flatten(1).all(1)
    jacobian = torch.where(finite[:, None, None], jacobian, 0.0)
    u = torch.linalg.eigh(jacobian @ jacobian.mT).eigenvectors[..., -1]
    v = torch.einsum("bc,bcn->bn", u, jacobian)
    norm = torch.linalg.vector_norm(v, dim=1)
    return Steep(torch.where(finite, norm, torch.nan), u, (v / norm.clamp_min(_TINY)[:, None]).view_as(x))


def _iterated(graph: Graph, x: Tensor) -> Steep:
    u = torch.nn.functional.one_hot(graph.scores(x.detach()).argmax(1), graph.steps[-1].shape[1]).double()
    for _ in range(_TURNS - 1):
        u = _looked(graph, x, u).turned
    last = _looked(graph, x, u)
    return Steep(last.norm, u, last.along)


@dataclass(frozen=True)
class _Look(Rows):
    """At rows: ||J^T u||, the direction of J^T u and of J J^T u, and the slope of the norm (0 where J is constant)."""

    norm: Tensor
    along: Tensor
    turned: Tensor
    bend: Tensor


def _looked(graph: Graph, x: Tensor, u: Tensor) -> _Look:
    x, u = x.detach().requires_grad_(), u.detach().requires_grad_()
    with torch.enable_grad():
        (back,) = torch.autograd.grad(graph.scores(x), x, u, create_graph=True)
        norm = torch.linalg.vector_norm(back.flatten(1), dim=1)
        along = back.detach() / col(norm.detach().clamp_min(_TINY), back)
        forth, bend = torch.autograd.grad(back, (u, x), along, allow_unused=True)
    turned = torch.nn.functional.normalize(forth, dim=1)
    return _Look(norm.detach(), along, turned, torch.zeros_like(x).detach() if bend is None else bend)


@dataclass(frozen=True)
class Region:
    """Where an ascent may go: between two bounds (B, *shape), and in l2 no farther from rows than a radius."""

    low: Tensor
    high: Tensor
    around: Tensor
    radius: float = inf

    @property
    def size(self) -> Tensor:
        """How far apart two of its points can be, at most: (B,)."""
        size: Tensor = torch.linalg.vector_norm((self.high - self.low).flatten(1), dim=1)
        return size.clamp_max(2 * self.radius)

    def clip(self, x: Tensor) -> Tensor:
        moved = x - self.around
        length = torch.linalg.vector_norm(moved.flatten(1), dim=1)
        share = (self.radius / length.clamp_min(_TINY)).clamp_max(1)
        return (self.around + moved * col(share, moved)).clamp(self.low, self.high)


def steepest_found(
    graph: Graph, x: Tensor, region: Region, keys: Tensor, steps: int = 12, size: float = 0.1
) -> tuple[Tensor, Tensor]:
    """The largest spectral norms of the Jacobian found by ascent from rows x and from noise, and where: (B,), x-like.

    Where the Jacobian does not depend on the input, as inside a piece of a ReLU network, it goes along the steepest
    direction, up in one pass and down in another: that turns on what follows it. Elsewhere along the slope of the norm.
    Points are those of float32, and the rows themselves are among them.

    Args:
        x: (`graph.rows`, *shape). keys: int64 (`graph.rows`,), of the noise.
        steps: of each of the three ascents; each costs a forward pass and about four times a backward one.
        size: of the first step, as a share of the region; it shrinks linearly to 0.
    """
    x = x.double()
    draw = uniform(keys, torch.zeros_like(keys), 0, x.shape[1:]).double()
    noise = region.clip(region.low + (region.high - region.low) * draw)
    length = size * region.size
    best, at = steep(graph, x).norm, x
    for start, step in ((x, length), (x, -length), (noise, length)):
        point = _ascent(graph, start, region, step, steps).float().double()
        found = steep(graph, point).norm
        at, best = pick(found > best, point, at), best.fmax(found)
    return best, at.float()


def _ascent(graph: Graph, x: Tensor, region: Region, length: Tensor, steps: int) -> Tensor:
    """The steepest point of a walk from x, whose steps are first of these lengths (B,)."""
    u = steep(graph, x).scores
    at, best = x, torch.zeros(len(x), dtype=torch.float64)
    for i in range(steps):
        seen = _looked(graph, x, u)
        at, best = pick(seen.norm > best, x, at), best.maximum(seen.norm)
        bent = torch.linalg.vector_norm(seen.bend.flatten(1), dim=1)
        uphill = seen.bend / col(bent.clamp_min(_TINY), x) * col(length.abs(), x)
        way = pick(bent > _FLAT * seen.norm, uphill, seen.along * col(length, x))
        x, u = region.clip(x + way * (1 - i / steps)), seen.turned
    return at
