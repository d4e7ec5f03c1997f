"""What the draws are: functions of a seed, so that whoever proves a run again draws the same."""

import math

import torch
from torch import Tensor

SELECTING, COUNTING, JUDGING, SOFTLY = range(4)  # what draws are for: those of one never serve another


def gaussian(seed: int, shape: tuple[int, ...], device: torch.device) -> Tensor:
    """N(0, 1), float32, from a generator of its own: as random.py's draws a function of the seed, ten times as fast."""
    return torch.randn(shape, generator=torch.Generator(device).manual_seed(seed), device=device)


def block_of(shape: tuple[int, ...]) -> int:
    """How many draws for an input of this shape are made at once: a part of what decides the noise, unlike `chunk`."""
    return max(1, min(1000, (1 << 22) // math.prod(shape)))
