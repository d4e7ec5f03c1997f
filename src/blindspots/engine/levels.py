"""Points that a model gets in whole levels: what is looked at is what is sent, and it lies inside the threat."""

from typing import Any

import torch
from torch import Tensor

from blindspots.box import Box, to_levels
from blindspots.rows import Around, pick
from blindspots.threat import Threat

_NEXT = 1e-3  # of a level: a step that is a whole one but for rounding


def inside_levels(probe: Tensor, around: Around, threat: Threat, box: Box, levels: int) -> Tensor:
    """The nearest levels of probes (B, ...); of rows where these leave the threat, the next ones towards the input.

    The inputs `around.x` lie on levels themselves, so every change only becomes smaller: no norm of it grows.
    """
    nearest = to_levels(probe, box, levels)
    inside = threat.holds(nearest, around)
    if bool(inside.all()):
        return nearest
    return pick(inside, nearest, _towards(probe, around.x, box, levels))


def _towards(probe: Tensor, x: Tensor, box: Box, levels: int) -> Tensor:
    lo, hi = box.like(x)
    unit: Any = (hi - lo) / levels
    change = (probe - x) / unit
    whole = torch.sign(change) * (change.abs() + _NEXT).floor()
    return to_levels(x + whole * unit, box, levels)
