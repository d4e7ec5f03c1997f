"""Classifiers whose nearest boundary points are known in closed form."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from blindspots.threat import Threat


class Linear(nn.Module):
    """Logits W x + b."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(weight), nn.Parameter(bias)

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.weight.T + self.bias


class Ball(nn.Module):
    """Class 1 outside of a Euclidean ball, class 0 inside."""

    def __init__(self, centre: Tensor, radius: float) -> None:
        super().__init__()
        self.centre, self.radius = nn.Parameter(centre), radius

    def forward(self, x: Tensor) -> Tensor:
        outside = (x - self.centre).flatten(1).square().sum(1) - self.radius**2
        return torch.stack([-outside, outside], 1)


@dataclass(frozen=True)
class Known:
    """Rows (B, ...) in [0, 1], classified as `y`, and the classifier they belong to."""

    net: nn.Module
    x: Tensor
    y: Tensor


def plane(rows: int, shape: tuple[int, ...], gap: tuple[float, float], seed: int = 0) -> Known:
    """Two classes, one plane. The margins run from gap[0] to gap[1] in units of the largest weight."""
    g = torch.Generator().manual_seed(seed)
    weight = torch.randn(math.prod(shape), generator=g)
    weight = weight / weight.abs().max()
    y = torch.arange(rows) % 2
    wanted = torch.linspace(*gap, rows) * (2 * y - 1)
    x = 0.35 + 0.3 * torch.rand(rows, len(weight), generator=g)
    bias = -(x @ weight).mean()
    off = wanted - x @ weight - bias
    x = x + off[:, None] * weight / weight.square().sum()  # the least change that gives every row its margin
    net = Linear(torch.stack([-weight / 2, weight / 2]), torch.stack([-bias / 2, bias / 2]))
    return Known(net, x.view(rows, *shape), y)


def planes(rows: int, shape: tuple[int, ...], classes: int, seed: int = 0) -> Known:
    """Linear in several classes."""
    g = torch.Generator().manual_seed(seed)
    weight = torch.randn(classes, math.prod(shape), generator=g)
    x = 0.4 + 0.2 * torch.rand(rows, weight.shape[1], generator=g)
    net = Linear(weight, -(x @ weight.T).mean(0))
    with torch.no_grad():
        return Known(net, x.view(rows, *shape), net(x).argmax(1))


def ball(rows: int, dim: int, seed: int = 0) -> Known:
    """Rows inside and outside of the ball of radius 0.3 in the middle of the box."""
    g = torch.Generator().manual_seed(seed)
    u = torch.randn(rows, dim, generator=g)
    distance = torch.linspace(0.1, 0.45, rows)
    distance = torch.where((distance - 0.3).abs() < 0.02, 0.25, distance)
    x = 0.5 + distance[:, None] * u / u.norm(dim=1, keepdim=True)
    return Known(Ball(torch.full((dim,), 0.5), 0.3), x, (distance > 0.3).long())


@torch.no_grad()
def optimum(known: Known, threat: Threat) -> Tensor:
    """Distance of every row to the nearest other class: (B,). In l0 the box counts, elsewhere it is out of reach."""
    if isinstance(known.net, Ball):
        return ((known.x - 0.5).flatten(1).norm(dim=1) - 0.3).abs()
    assert isinstance(known.net, Linear)
    logits, weight = known.net(known.x), known.net.weight
    gap = logits.gather(1, known.y[:, None]) - logits
    normal = weight[known.y][:, None] - weight
    measure = _fewest if threat.p == 0 else _nearest
    others = [measure(threat, known.x, gap[:, k], normal[:, k]) for k in range(weight.shape[0])]
    return torch.stack(others, 1).scatter(1, known.y[:, None], math.inf).amin(1)


def _nearest(threat: Threat, x: Tensor, gap: Tensor, normal: Tensor) -> Tensor:
    return gap / threat.dual(normal)


def _fewest(threat: Threat, x: Tensor, gap: Tensor, normal: Tensor) -> Tensor:
    """How many components must go to the end of the box that lowers the margin, those first that lower it most."""
    flat = x.flatten(1)
    room = torch.where(normal > 0, flat - threat.lo, threat.hi - flat)
    falls = (normal.abs() * room).sort(dim=1, descending=True).values.cumsum(1)
    return 1.0 + (falls <= gap[:, None]).sum(1)


@torch.no_grad()
def nearest_in_box(known: Known, threat: Threat) -> Tensor:
    """As `optimum` for a plane, with the box, units and mask of a threat; inf where the box has no example: (B,).

    Float64. Every feature can lower the margin by at most steep * room; the norm says in which order, or how together,
    the features use their room.
    """
    assert isinstance(known.net, Linear)
    weight, x = known.net.weight.double(), known.x.flatten(1).double()
    lo, hi, unit, free = (_flat(t, known.x, x) for t in (threat.lo, threat.hi, threat.unit, threat.where))
    normal = weight[known.y] - weight[1 - known.y]
    bias = known.net.bias.double()
    margin = (normal * x).sum(1) + bias[known.y] - bias[1 - known.y]
    room = torch.where(normal > 0, x - lo, hi - x) * free
    far = torch.stack([_least(threat.p, *row) for row in zip(margin, normal.abs(), room, unit, strict=True)])
    return torch.where((normal.abs() * room).sum(1) > margin, far, math.inf)


def _flat(t: Tensor | float | None, like: Tensor, x: Tensor) -> Tensor:
    return torch.as_tensor(1.0 if t is None else t).expand_as(like).flatten(1).to(x)


def _least(p: float, margin: Tensor, steep: Tensor, room: Tensor, unit: Tensor) -> Tensor:
    """For one row, features (D,)."""
    if p == 0:
        return 1.0 + ((steep * room).sort(descending=True).values.cumsum(0) <= margin).sum()
    if p == 1:
        order = (steep * unit).argsort(descending=True)
        steep, room, unit = steep[order], room[order], unit[order]
        gain = steep * room
        moved = ((margin - gain.cumsum(0) + gain) / steep).clamp_min(0).minimum(room)
        return (moved / unit).sum()
    speed = unit if math.isinf(p) else steep * unit**2
    times = torch.cat([room.new_zeros(1), room / speed]).sort().values
    reached = (steep * (times[:, None] * speed).minimum(room)).sum(1)
    k = int((reached <= margin).sum().clamp(1, len(times) - 1))
    t = times[k - 1] + (times[k] - times[k - 1]) * (margin - reached[k - 1]) / (reached[k] - reached[k - 1])
    return t if math.isinf(p) else ((t * speed).minimum(room) / unit).norm()
