"""Where a search begins: random points that a network can tell from the clean input."""

import torch
from torch import Tensor

from blindspots.ball import Ball
from blindspots.problem import Job
from blindspots.random import randint, sign
from blindspots.rows import col

_MOST = 8  # blocks per side


def as_images(x: Tensor) -> Tensor:
    """(B, ...) as (B, C, H, W); inputs without two spatial dimensions become one line of pixels."""
    return x.view(len(x), -1, *x.shape[-2:]) if x.ndim > 2 else x.view(len(x), 1, 1, -1)


def blocks(threat: Ball, job: Job) -> Tensor:
    """A point on the edge of the ball whose signs are constant on the blocks of a random grid, 2 to 8 per side.

    Independent noise averages out in a linear layer, so uniform restarts look alike to a network and end alike; blocks
    do not. The grid's size, its offset and the signs are the row's own.
    """
    image, t = as_images(job.x), torch.zeros_like(job.key)
    per_side = randint(job.key, t, 11, _MOST - 1, (1,)) + 2
    line, column = (
        _cells(job.key, t, stream, size, per_side) for stream, size in zip((12, 13), image.shape[2:], strict=True)
    )
    signs = sign(job.key, t, 14, (image.shape[1], _MOST + 1, _MOST + 1))
    row = torch.arange(len(image), device=image.device)[:, None, None]
    pattern = signs.movedim(1, -1)[row, line[:, :, None], column[:, None, :]].movedim(-1, 1).reshape(job.x.shape)
    return threat.project(job.x + col(job.r / threat.norm(pattern), pattern) * pattern, job)


def _cells(key: Tensor, t: Tensor, stream: int, size: int, per_side: Tensor) -> Tensor:
    """The block that each of `size` positions lies in: (B, size) int64."""
    length = (size + per_side - 1) // per_side
    offset = randint(key, t, stream, length, (1,))
    return (torch.arange(size, device=key.device) + offset) // length
