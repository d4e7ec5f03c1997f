"""Square windows of images, each row's its own, and the bumps that Square shapes them into in l2 and l1."""

from dataclasses import dataclass

import torch
from torch import Tensor

from blindspots.attacks.attack import zeros
from blindspots.problem import Job
from blindspots.random import randint, sign

_DECAY = {2: 2, 1: 4}  # ring i of a bump adds 1 / (i + 1) ** decay: the norm decides how peaked it is


@dataclass(frozen=True)
class Window:
    """A square window of its own for every row."""

    inside: Tensor  # (B, 1, H, W) bool
    row: Tensor  # (B, H) distance of each line from the window's first one
    column: Tensor  # (B, W)
    side: Tensor  # (B, 1)

    @classmethod
    def draw(cls, job: Job, t: Tensor, side: Tensor, image: Tensor, stream: int) -> "Window":
        height, width = image.shape[2:]
        side = side.clamp(1, max(height, width))[:, None]
        row = _offsets(job, t, stream, height, side)
        column = _offsets(job, t, stream + 1, width, side)
        inside = ((row >= 0) & (row < side))[:, None, :, None] & ((column >= 0) & (column < side))[:, None, None, :]
        return cls(inside, row, column, side)

    def bump(self, turned: Tensor, p: float) -> Tensor:
        """Two rectangular bumps of opposite sign, of lp norm 1 in the window: (B, 1, H, W).

        Side by side along the lines where `turned` (B, 1), else along the columns.
        """
        row, row_sign = self._profile(self.row, turned, p)
        column, column_sign = self._profile(self.column, ~turned, p)
        height = self._tail(self._half + 1, p)[:, :, None] - torch.maximum(row[:, :, None], column[:, None, :])
        signs = row_sign[:, :, None] * column_sign[:, None, :]
        return unit_channels((height * signs)[:, None] * self.inside, p)

    @property
    def _half(self) -> Tensor:
        return (self.side / 2).floor()

    def _profile(self, at: Tensor, along: Tensor, p: float) -> tuple[Tensor, Tensor]:
        """What bumps lack in height at the offsets `at` (B, N) of one axis, and their sign.

        On the axis `along` (B, 1) which they lie side by side, each has a centre of its own.
        """
        second = along & (at >= self._half)
        extent = torch.where(second, self.side - self._half, self._half)
        centre = torch.where(along, (extent / 2).floor(), self._half)
        lack = self._tail((torch.where(second, at - self._half, at) - centre).abs(), p)
        return lack, torch.where(second, -1.0, 1.0)

    def _tail(self, k: Tensor, p: float) -> Tensor:
        """Height of the `k` (B, N) outer rings, from a table."""
        most = max(self.row.shape[1], self.column.shape[1])
        heights = torch.arange(1, most + 2, device=k.device, dtype=torch.float32).pow(-_DECAY[int(p)]).cumsum(0)
        return torch.cat([heights.new_zeros(1), heights])[k.long().clamp(0, len(heights))]


def _offsets(job: Job, t: Tensor, stream: int, size: int, side: Tensor) -> Tensor:
    room = (size - side).clamp_min(0).long() + 1
    return torch.arange(size, device=side.device) - randint(job.key, t, stream, room, (1,)).float()


def bumps(job: Job, image: Tensor, p: float) -> Tensor:
    """A grid of windows, 5 along the shorter side, each with a bump turned and signed at random (B, C, H, W)."""
    size = max(min(image.shape[2:]) // 5, 1)
    (line, row), (column, at) = (_grid(n, size, image.device) for n in image.shape[2:])
    offsets = torch.arange(size, device=image.device, dtype=torch.float32)[None]
    whole = torch.ones(1, 1, size, size, dtype=torch.bool, device=image.device)
    window = Window(whole, offsets, offsets, offsets.new_full((1, 1), size))
    straight, turned = (window.bump(offsets.new_full((1, 1), turn) > 0, p)[0, 0][row][:, at] for turn in (0, 1))
    cells = int(line.max()) + 1, int(column.max()) + 1
    turns = sign(job.key, zeros(job), 7, (1, *cells))[:, :, line.clamp_min(0)][..., column.clamp_min(0)]
    signs = sign(job.key, zeros(job), 0, (image.shape[1], *cells))[:, :, line.clamp_min(0)][..., column.clamp_min(0)]
    covered = (line >= 0)[:, None] & (column >= 0)
    return torch.where(turns > 0, straight, turned) * signs * covered


def _grid(length: int, size: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """For every position: the cell it lies in, -1 outside the centred grid, and its place in the cell."""
    cells = length // size
    first = (length - cells * size) // 2
    at = torch.arange(length, device=device) - first
    inside = (at >= 0) & (at < cells * size)
    return torch.where(inside, at // size, -1), at % size


def powers(d: Tensor, p: float) -> Tensor:
    """sum |d|^p of every channel of every row (B, C, H, W): (B, C, 1, 1)."""
    return d.abs().pow(p).sum((2, 3), keepdim=True)


def unit_channels(d: Tensor, p: float) -> Tensor:
    """Every channel of every row (B, C, H, W) scaled to lp norm 1; zero stays zero."""
    return d / powers(d, p).pow(1 / p).clamp_min(1e-12)
