"""Changes of inputs: their size, changes of another size in the same direction, and noise of the same size."""

import math

import torch
from torch import Tensor

from blindspots.ball import Ball
from blindspots.capabilities import Samples
from blindspots.geometry import TINY
from blindspots.random import keys, normal
from blindspots.rows import Around, col
from blindspots.threat import Threat

_NOISE = -1  # tells the draws of the noise from those of the attacks
_LARGEST = 1e4  # how far a change is stretched at most: a row that did not change has no direction
_TOGETHER = 256  # rows whose noise is drawn at once


def rms(x: Tensor, moved: Tensor) -> Tensor:
    """sqrt(mean_i (x'_i - x_i)^2) of each row, the distortion of Szegedy et al. 2013: (B,)."""
    return (moved - x).flatten(1).square().mean(1).sqrt()


def size(x: Tensor, moved: Tensor, threat: Threat) -> Tensor:
    """How large each row's change is: its `rms`, of texts the number of exchanges: (B,)."""
    return rms(x, moved) if isinstance(threat, Ball) else threat.distance(moved, x)


def amplified(x: Tensor, moved: Tensor, to: float) -> Tensor:
    """Each row's change scaled to the root mean square `to`, before the box of [lo, hi] is looked at: like `moved`.

    Szegedy et al. 2013, section 4.2, print x + 0.1 (x' - x) / |x' - x|_2, whose root mean square is 0.1 / sqrt(n),
    0.0036 on MNIST; what their table calls "amplified to a standard deviation of 0.1" is this.
    """
    return x + (moved - x) * col((to / rms(x, moved).clamp_min(TINY)).clamp_max(_LARGEST), x)


def noise(x: Tensor, moved: Tensor, key: Tensor, threat: Threat) -> Tensor:
    """Noise as large as each row's change.

    In the box: random signs for linf, else a Gaussian direction. Size is the threat's norm for linf, the Euclidean one
    else; the box may cut some of it off. Of texts as many exchanges, places and candidates by lot. `key`: int64 (B,).
    """
    return _within(x, moved, key, threat) if isinstance(threat, Ball) else _exchanges(x, moved, key, threat)


def _exchanges(x: Tensor, moved: Tensor, key: Tensor, threat: Threat) -> Tensor:
    around = Around(x, threat.distance(moved, x), own=threat.limits(x))
    inner = threat.inward(around)
    assert isinstance(threat.plain, Samples)
    return threat.outward(threat.plain.sample(inner, key), inner, around)


def _within(x: Tensor, moved: Tensor, key: Tensor, threat: Ball) -> Tensor:
    draw = normal(key, torch.zeros_like(key), 0, x.shape[1:])
    change = moved - x
    if math.isinf(threat.p):
        made = draw.sign() * col(change.flatten(1).abs().amax(1), x)
    else:
        length = draw.flatten(1).norm(dim=1).clamp_min(TINY)
        made = draw * col(change.flatten(1).norm(dim=1) / length, x)
    return threat.whole.clip(x + made)


def noise_beside(x: Tensor, moved: Tensor, seed: int, number: int, threat: Threat) -> Tensor:
    """The noise (N, ...) that stands beside source `number` (from 1), a function of the seed."""
    id = torch.arange(len(x))
    key = keys(seed, id, torch.full_like(id, number), torch.full_like(id, _NOISE))
    starts = range(0, len(x), _TOGETHER)
    parts = ((x[i : i + _TOGETHER], moved[i : i + _TOGETHER], key[i : i + _TOGETHER]) for i in starts)
    return torch.cat([noise(*part, threat) for part in parts])


def fed(x: Tensor, moved: Tensor, amplify: float | None, threat: Threat) -> Tensor:
    """What all models are fed for the examples `moved` (N, ...): brought to this root mean square, in the box."""
    if amplify is None or not isinstance(threat, Ball):
        return moved
    return threat.whole.clip(amplified(x, moved, amplify))
