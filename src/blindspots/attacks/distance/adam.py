"""Adam's step for every row, with the row's own clock."""

from dataclasses import dataclass

import torch
from torch import Tensor

from blindspots.rows import Rows, col

_MEAN, _SQUARE, _TINY = 0.9, 0.999, 1e-8


@dataclass(frozen=True)
class Moments(Rows):
    """Moving averages of a gradient and of its square (Kingma and Ba 2015, arXiv 1412.6980, algorithm 1)."""

    mean: Tensor  # (B, ...)
    square: Tensor  # (B, ...)

    @classmethod
    def none(cls, like: Tensor) -> "Moments":
        return cls(torch.zeros_like(like), torch.zeros_like(like))

    def after(self, g: Tensor) -> "Moments":
        return Moments(self.mean.lerp(g, 1 - _MEAN), self.square.lerp(g.square(), 1 - _SQUARE))

    def direction(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Numerator and denominator of the step, for the gradient of clock `t` (B,) being the last one averaged."""
        count = col(t + 1, self.mean)
        return self.mean / (1 - _MEAN**count), (self.square / (1 - _SQUARE**count)).sqrt() + _TINY
