"""Adam for rows: every row has its own moments and clock."""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from blindspots.rows import Rows, col, pick

_TINY = 1e-12


@dataclass(frozen=True)
class Adam(Rows):
    """Kingma and Ba 2015 (arXiv 1412.6980), algorithm 1, as sums that are to be divided by their weights."""

    mean: Tensor  # (B, ...) decayed sum of the gradients
    square: Tensor  # (B, ...) decayed sum of their squares
    weight: Tensor  # (B, 2) the decayed sums of ones

    @classmethod
    def blank(cls, x: Tensor) -> Self:
        return cls(torch.zeros_like(x), torch.zeros_like(x), x.new_zeros(len(x), 2))

    def take(self, g: Tensor, mean: float = 0.9, square: float = 0.999) -> Self:
        """After one more gradient, with the decays `mean` and `square` (the paper's beta 1 and 2)."""
        decay = torch.tensor([mean, square], device=g.device)
        weight = self.weight * decay + (1 - decay)
        return type(self)(mean * self.mean + (1 - mean) * g, square * self.square + (1 - square) * g.square(), weight)

    @property
    def usual(self) -> Tensor:
        """The gradients' mean."""
        return self.mean / col(self.weight[:, 0].clamp_min(_TINY), self.mean)

    @property
    def size(self) -> Tensor:
        """The root of their mean square, never zero."""
        return (self.square / col(self.weight[:, 1].clamp_min(_TINY), self.square)).sqrt() + _TINY

    @property
    def direction(self) -> Tensor:
        """The direction of the gradients, every component in units of its own usual size."""
        return self.usual / self.size

    def reset(self, where: Tensor) -> Self:
        """Reset the rows `where` (B,)."""
        old = (self.mean, self.square, self.weight)
        return type(self)(*(pick(where, torch.zeros_like(t), t) for t in old))
