"""The boundary's normal at a point, estimated from the labels around it."""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from blindspots.attacks.attack import zeros
from blindspots.attacks.starts import as_images
from blindspots.problem import Job
from blindspots.random import normal, uniform
from blindspots.rows import Rows, col, pick


@dataclass(frozen=True)
class Poll(Rows):
    """Steps from one point of the boundary, with the labels they met."""

    won: Tensor  # (B, ...) sum of the steps that won
    lost: Tensor  # (B, ...) sum of the others
    wins: Tensor  # (B,) int64
    count: Tensor  # (B,) int64

    @classmethod
    def none(cls, job: Job) -> Self:
        blank = torch.zeros_like(job.x)
        return cls(blank, blank, zeros(job), zeros(job))

    def add(self, step: Tensor, won: Tensor) -> "Poll":
        inside = col(won, step)
        return Poll(
            self.won + torch.where(inside, step, 0.0),
            self.lost + torch.where(inside, 0.0, step),
            self.wins + won,
            self.count + 1,
        )

    def normal(self) -> Tensor:
        """sum of (phi - mean phi) u, phi = 1 or -1; of phi u where all labels agree (Chen et al. 2020, eq. 16)."""
        share = col(self.wins / self.count.clamp_min(1), self.won)
        agree = (share == 0) | (share == 1)
        return torch.where(agree, self.won - self.lost, 2 * ((1 - share) * self.won - share * self.lost))


def grain(job: Job, t: Tensor, stream: int, coarse: int) -> Tensor:
    """Gaussian noise (B, ...), for every second row of draws smooth over `coarse` pixels. Uses four streams."""
    shape = job.x.shape[1:]
    fine = normal(job.key, t, stream, shape)
    if coarse == 1 or job.x.ndim < 3:
        return fine
    image = as_images(job.x)
    cells = [-(-n // coarse) for n in image.shape[2:]]
    drawn = normal(job.key, t, stream + 2, (image.shape[1], *cells))
    smooth = interpolate(drawn, image.shape[2:], mode="bilinear", align_corners=False).reshape(job.x.shape)
    return pick(uniform(job.key, t, stream + 4, (1,))[:, 0] < 0.5, smooth, fine)
