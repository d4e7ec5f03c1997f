"""What gradients say around a row: how far they turn, how many directions are adversarial, how two models' agree."""

import math

import torch
from torch import Tensor

from blindspots.ball import Ball
from blindspots.experiments.inspect.geometry.sight import Sight
from blindspots.random import keys, normal
from blindspots.rows import col

_TURNED, _ANGLE, _BASIS = 21, 22, 23  # streams
_NOTHING = 1e-30


def full_length(threat: Ball, dimensions: int) -> float:
    """The l2 length of a full step of the threat: of l2 its radius, of linf that times the root of the dimensions."""
    assert threat.radius is not None
    return threat.radius * (math.sqrt(dimensions) if threat.p == math.inf else 1.0)


def unit(v: Tensor) -> Tensor:
    """Rows (B, ...) of l2 length 1; zeros stay."""
    return v / col(v.flatten(1).norm(dim=1).clamp_min(_NOTHING), v)


def noise(places: Tensor, shape: tuple[int, ...], seed: int, stream: int) -> Tensor:
    """Unit vectors (B, *shape) that seed and place decide, uniform on the sphere."""
    key = keys(seed, places, stream)
    return unit(normal(key, torch.zeros_like(key), 0, shape))


def secants(sight: Sight, x: Tensor, y: Tensor, other: Tensor, z: Tensor, lengths: list[float]) -> Tensor:
    """||g(x + h z) - g(x)|| / h for unit vectors z (B, *shape) and every length h: (B, H) float64.

    g is the gradient of z_y - z_other. Moosavi-Dezfooli et al. 2019 (CURE) take such a difference for the curvature; of
    networks of linear pieces the second derivative is zero almost everywhere, so that h has to be said. Points may lie
    outside of the box. NaN where z is zero.
    """
    here = sight.slopes(x, y, other)
    turned = [(sight.slopes(x + h * z, y, other) - here).double().norm(dim=1) / h for h in lengths]
    nowhere = z.flatten(1).norm(dim=1) == 0
    return torch.stack(turned, 1).masked_fill(nowhere[:, None], torch.nan)


def turned(places: Tensor, shape: tuple[int, ...], seed: int) -> Tensor:
    """Random directions that gradients are compared along."""
    return noise(places, shape, seed, _TURNED)


def cosines(a: Tensor, b: Tensor) -> Tensor:
    """Of rows (B, D): (B,) float64; 0 where one is zero."""
    return (unit(a.double()) * unit(b.double())).sum(1)


def random_cosines(a: Tensor, places: Tensor, seed: int) -> Tensor:
    """Those with random directions: (B,) float64."""
    return cosines(a, noise(places, a.shape[1:], seed, _ANGLE))


# ------------------------------------------------------------------ orthogonal adversarial directions


def count_linear(slope: Tensor, gap: Tensor, length: float, dimensions: int) -> Tensor:
    """How many orthogonal vectors of that l2 length close the gap c > 0 where the score is linear: (B,) int64.

    min(D, floor(length^2 ||g||^2 / c^2)) for slopes ||g|| (B,) (Tramer et al. 2017, 1704.03453, section 3.1: GAAS).
    """
    most = (length * slope.double() / gap.double().clamp_min(_NOTHING)).square()
    return most.clamp_max(dimensions).floor().long()


def orthogonal(g: Tensor, k: int, place: int, seed: int) -> Tensor:
    """k orthonormal vectors (k, D), each with the inner product -||g|| / sqrt(k) with g (D,): down the slope alike.

    A random basis of k directions whose first one is -g is turned by the reflection that takes the first axis to the
    diagonal.
    """
    key = keys(seed, torch.full((k,), place), torch.arange(k), _BASIS)
    basis = normal(key, torch.zeros_like(key), 0, g.shape).double()
    basis[0] = -g
    q, r = torch.linalg.qr(basis.T)
    q = q * r.diagonal().sign()
    mirror = torch.zeros(k, dtype=torch.float64)
    mirror[0] = 1
    mirror -= 1 / math.sqrt(k)
    turn = torch.eye(k, dtype=torch.float64)
    if k > 1:
        turn -= 2 * torch.outer(mirror, mirror) / mirror.square().sum()
    made: Tensor = (turn @ q.T).float()
    return made


def crossed(sight: Sight, x: Tensor, y: int, directions: Tensor, length: float) -> Tensor:
    """Which of the directions (k, D) lead from x (*shape) to another class than y: (k,) bool. The box is left aside."""
    points = x + length * directions.view(-1, *x.shape)
    return sight.labels(points) != y
