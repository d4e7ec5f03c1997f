"""What pictures go through: while they are made, so that they do not live on single pixels, and afterwards, unseen."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from blindspots.random import normal, uniform

_GREY = 0.5  # beyond the edges


@dataclass(frozen=True)
class Disturbance:
    """Random shifts, crops and turns, a draw for every row; sizes are relative, so that 28 pixels suffer as 224 do.

    Olah et al. 2017 jitter 224 pixels by 8 and again by 4, scale by 0.9 to 1.1 and turn by 10 degrees; here it is done
    at once by one bilinear sampling, and what lies outside is grey.

    Args:
        shift: at most, as a share of the side.
        zoom: least and largest magnification; beyond 1 it is a crop, below it there is a margin.
        turn: degrees at most.
        noise: standard deviation, as a share of the range.
    """

    shift: float = 0.06
    zoom: tuple[float, float] = (0.9, 1.1)
    turn: float = 10.0
    noise: float = 0.0

    def __call__(self, x: Tensor, key: Tensor, t: Tensor) -> Tensor:
        """Pictures (B, C, H, W) in [0, 1], disturbed as the keys (B,) and the clock t (B,) say."""
        drawn = uniform(key, t, 0, (4,)).to(x)
        angle = (2 * drawn[:, 0] - 1) * math.radians(self.turn)
        low, high = self.zoom
        size, ratio = 1 / (low + (high - low) * drawn[:, 1]), x.shape[-2] / x.shape[-1]
        cos, sin, (across, down) = angle.cos() * size, angle.sin() * size, (2 * self.shift * (2 * drawn[:, 2:] - 1)).T
        rows = [torch.stack([cos, -sin * ratio, across], 1), torch.stack([sin / ratio, cos, down], 1)]
        grid = F.affine_grid(torch.stack(rows, 1), list(x.shape), align_corners=False)
        moved = F.grid_sample(x - _GREY, grid, align_corners=False) + _GREY
        return moved + self.noise * normal(key, t, 1, x.shape[1:]).to(x) if self.noise else moved


# ------------------------------------------------------------------ what no picture was made with


def _blurred(x: Tensor, key: Tensor) -> Tensor:
    """Binomial 3 x 3, edges repeated."""
    line = x.new_tensor([0.25, 0.5, 0.25])
    kernel = (line[:, None] * line).expand(x.shape[1], 1, 3, 3)
    return F.conv2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), kernel, groups=x.shape[1])


def _noisy(x: Tensor, key: Tensor) -> Tensor:
    return (x + 0.1 * normal(key, torch.zeros_like(key), 0, x.shape[1:]).to(x)).clamp(0, 1)


def _pale(x: Tensor, key: Tensor) -> Tensor:
    return 0.5 + 0.6 * (x - 0.5)


def _darker(x: Tensor, key: Tensor) -> Tensor:
    return (x - 0.15).clamp(0, 1)


def _brighter(x: Tensor, key: Tensor) -> Tensor:
    return (x + 0.15).clamp(0, 1)


def _coarse(x: Tensor, key: Tensor) -> Tensor:
    """Four grey values or colours along each channel."""
    return (x * 3).round() / 3


UNSEEN: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "blur": _blurred,
    "noise": _noisy,
    "less contrast": _pale,
    "darker": _darker,
    "brighter": _brighter,
    "four levels": _coarse,
}
