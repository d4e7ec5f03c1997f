"""Ways that lead from a row to the edge of what the threat allows, one for every kind of axis."""

import torch
from torch import Tensor

from blindspots.attacks import Attack
from blindspots.ball import Ball
from blindspots.batching import rows_in_flight
from blindspots.crafting import Plan, craft
from blindspots.experiments.inspect.geometry.sight import Sight
from blindspots.objective import Objective
from blindspots.random import keys, normal
from blindspots.rows import Around, col

STEPS = 16  # of a way that are looked at
_RANDOM, _SECOND = 11, 12  # streams


def full(threat: Ball, x: Tensor) -> Tensor:
    """The radius of every row (B,)."""
    assert threat.radius is not None
    return torch.full((len(x),), threat.radius)


def towards(threat: Ball, x: Tensor, direction: Tensor) -> Tensor:
    """Where directions of |.| = 1 lead inputs (B, *shape), as far as ball and box allow."""
    r = full(threat, x)
    return threat.project(x + col(r, x) * direction, Around(x, r))


def adversarial(sight: Sight, attack: Attack, threat: Ball, x: Tensor, y: Tensor, seed: int) -> Tensor:
    """Where `attack` leads away from class y (B,): the point of the ball with the lowest margin."""
    oracle = sight.oracle
    slots = rows_in_flight(x.shape[1:], oracle.device, oracle.chunk)
    return craft(oracle, attack, Plan(threat, Objective(), None, 1, seed, slots, slots), x, y).moved


def random_direction(threat: Ball, places: Tensor, shape: tuple[int, ...], seed: int, second: bool = False) -> Tensor:
    """Of |.| = 1, one for every place (B,) in the data: (B, *shape)."""
    key = keys(seed, places, _SECOND if second else _RANDOM)
    return threat.steepest(normal(key, torch.zeros_like(key), 0, shape))


def universal(threat: Ball, x: Tensor, moved: Tensor, half: Tensor) -> Tensor:
    """Two directions of |.| = 1, (2, *shape): the first is the mean way of the rows of the second half, and vice versa.

    So no row is judged by a direction that it helped to make. `half`: (B,) 0 or 1.
    """
    ways = moved - x
    means = [ways[half != i].mean(0) for i in (0, 1)]
    return threat.steepest(torch.stack(means))


def nearest_other(x: Tensor, labels: Tensor) -> Tensor:
    """For every row the nearest one, in l2, of another label: (B,) int64; -1 where there is none."""
    far = torch.cdist(x.flatten(1).double(), x.flatten(1).double())
    far = far.masked_fill(labels[:, None] == labels, torch.inf)
    return torch.where(far.isfinite().any(1), far.argmin(1), -1)


def to_rows(threat: Ball, x: Tensor, others: Tensor) -> Tensor:
    """The straight way to other inputs, as far as the radius goes: it never leaves the box."""
    r = full(threat, x)
    share = (r / threat.norm(others - x).clamp_min(1e-12)).clamp_max(1)
    return x + col(share, x) * (others - x)


def along(sight: Sight, x: Tensor, ends: Tensor) -> Tensor:
    """Classes (B, STEPS) at equal steps of the straight ways from x to their ends, the end among them."""
    seen = [sight.labels(x + (k / STEPS) * (ends - x)) for k in range(1, STEPS)]
    return torch.stack([*seen, sight.labels(ends)], 1)
