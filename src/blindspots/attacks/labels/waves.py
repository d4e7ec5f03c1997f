"""Random images of low spatial frequencies."""

import math

import torch
from torch import Tensor

from blindspots.attacks.starts import as_images
from blindspots.problem import Job
from blindspots.random import normal


def waves(job: Job, t: Tensor, stream: int, share: float) -> Tensor:
    """Gaussian noise (B, ...) made of the lowest `share` of the spatial frequencies along both axes.

    Inputs without two spatial dimensions have none: for them it is plain Gaussian noise.
    """
    if share >= 1 or job.x.ndim < 3:
        return normal(job.key, t, stream, job.x.shape[1:])
    image = as_images(job.x)
    height, width = image.shape[2:]
    rows, columns = max(1, round(share * height)), max(1, round(share * width))
    drawn = normal(job.key, t, stream, (image.shape[1], rows, columns))
    return _spread(_spread(drawn, width).mT, height).mT.reshape(job.x.shape)


def _spread(amplitudes: Tensor, size: int) -> Tensor:
    """Cosines (DCT-II) of the last axis (..., F) at `size` points: (..., size). No matrix product: its rounding may
    depend on who shares the batch.
    """
    at = (torch.arange(size, device=amplitudes.device) + 0.5) * (math.pi / size)
    total = amplitudes[..., :1] * math.sqrt(0.5) * torch.ones_like(at)
    for f in range(1, amplitudes.shape[-1]):
        total = total + amplitudes[..., f : f + 1] * (f * at).cos()
    return total
