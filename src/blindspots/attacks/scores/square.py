"""Square: random windows pushed to the edge of the ball, kept when the loss falls. Scores only."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from blindspots.attacks.attack import Attack, State, full, zeros
from blindspots.attacks.starts import as_images
from blindspots.problem import Job, Need, Problem, Seen
from blindspots.random import randint, sign
from blindspots.rows import col, pick

_HALVINGS = (11, 51, 201, 501, 1001, 2001, 4001, 6001, 8001)  # of 10,000 queries: where the window's area halves


@dataclass(frozen=True)
class SquareState(State):
    base: Tensor  # (B, ...) the best point so far
    loss: Tensor  # (B,) its loss


@dataclass(frozen=True)
class Square(Attack):
    """Andriushchenko et al. 2020 (arXiv 1912.00049), algorithms 2 (linf) and 3 (l2).

    Every row draws its own window and signs (the published code draws one window for the whole batch). Inputs without
    two spatial dimensions are taken as one row of pixels.

    Args:
        steps: queries per row, besides the first one.
        area: first share of the pixels in a window.
        stripes: begin at random vertical stripes (linf) or bumps (l2), else at the job's start.
    """

    steps: int = 5000
    area: float = 0.8
    stripes: bool = True

    need: ClassVar[Need] = Need.VALUE
    threats: ClassVar[tuple[str, ...]] = ("linf", "l2")

    @property
    def looks(self) -> int:
        return self.steps + 1

    def init(self, problem: Problem, job: Job) -> SquareState:
        x = self._first(problem, job) if self.stripes else job.start
        return SquareState(x, zeros(job), x, full(job, math.inf))

    def step(self, problem: Problem, job: Job, state: SquareState, seen: Seen) -> SquareState:
        better = seen.loss < state.loss
        base = pick(better, state.probe, state.base)
        propose = self._corner if problem.threat.p == math.inf else self._bump
        return SquareState(propose(problem, job, state.t, base), state.t + 1, base, state.loss.minimum(seen.loss))

    def _share(self, t: Tensor) -> Tensor:
        """Share of the pixels in the window at clock `t`: (B,)."""
        halvings = torch.bucketize(t * 10_000 // self.steps, t.new_tensor(_HALVINGS), right=True)
        return self.area * 0.5**halvings

    def _first(self, problem: Problem, job: Job) -> Tensor:
        x, t = as_images(job.x), zeros(job)
        if problem.threat.p == math.inf:
            stripes = sign(job.key, t, 0, (x.shape[1], 1, x.shape[3]))
            return problem.threat.project((x + col(job.r, x) * stripes).view_as(job.x), job.x, job.r)
        return self._on_sphere(problem, job, _bumps(job, x))

    def _on_sphere(self, problem: Problem, job: Job, d: Tensor) -> Tensor:
        """`d` (B, C, H, W) scaled to the radius, then cut off by the box, which only shortens it."""
        length = d.flatten(1).square().sum(1).sqrt().clamp_min(1e-12)
        return (job.x + col(job.r / length, job.x) * d.view_as(job.x)).clamp(problem.threat.lo, problem.threat.hi)

    def _corner(self, problem: Problem, job: Job, t: Tensor, base: Tensor) -> Tensor:
        """A square window goes to x - r or x + r, one sign per channel."""
        x, image = as_images(job.x), as_images(base)
        window = _Window.draw(job, t, (self._share(t) * x[0, 0].numel()).sqrt().round(), x, stream=1)
        corner = x + col(job.r, x) * sign(job.key, t, 5, (x.shape[1], 1, 1))
        return problem.threat.project(torch.where(window.inside, corner, image).view_as(job.x), job.x, job.r)

    def _bump(self, problem: Problem, job: Job, t: Tensor, base: Tensor) -> Tensor:
        """Mass moves from one window to another, where it takes the shape of two opposite bumps."""
        x = as_images(job.x)
        d = as_images(base) - x
        side = (self._share(t) * x[0, 0].numel()).sqrt().round().clamp_min(3)
        side = side + (side % 2 == 0)
        to, source = (_Window.draw(job, t, side, x, stream) for stream in (1, 3))
        free = (job.r.square() - d.flatten(1).square().sum(1)).clamp_min(0)
        held = (d * (to.inside | source.inside)).flatten(1).square().sum(1)
        shape = to.bump(job, t) * sign(job.key, t, 5, (x.shape[1], 1, 1)) + _unit_channels(d * to.inside)
        mass = (free / x.shape[1] + held).sqrt()
        moved = torch.where(source.inside, 0.0, d)
        moved = torch.where(to.inside, _unit_channels(shape) * col(mass, d), moved)
        return self._on_sphere(problem, job, moved)


@dataclass(frozen=True)
class _Window:
    """A square window of its own for every row."""

    inside: Tensor  # (B, 1, H, W) bool
    row: Tensor  # (B, H) distance of each line from the window's first one
    column: Tensor  # (B, W)
    side: Tensor  # (B, 1)

    @classmethod
    def draw(cls, job: Job, t: Tensor, side: Tensor, image: Tensor, stream: int) -> "_Window":
        height, width = image.shape[2:]
        side = side.clamp(1, max(height, width))[:, None]
        row = _offsets(job, t, stream, height, side)
        column = _offsets(job, t, stream + 1, width, side)
        inside = ((row >= 0) & (row < side))[:, None, :, None] & ((column >= 0) & (column < side))[:, None, None, :]
        return cls(inside, row, column, side)

    def bump(self, job: Job, t: Tensor) -> Tensor:
        """Two rectangular bumps of opposite sign, side by side, of unit length in the window: (B, 1, H, W)."""
        return self.shaped(sign(job.key, t, 6, (1,)) > 0)

    def shaped(self, turned: Tensor) -> Tensor:
        """The same, side by side along the lines where `turned` (B, 1), else along the columns."""
        row, row_sign = self._profile(self.row, turned)
        column, column_sign = self._profile(self.column, ~turned)
        height = self._tail(self._half + 1)[:, :, None] - torch.maximum(row[:, :, None], column[:, None, :])
        signs = row_sign[:, :, None] * column_sign[:, None, :]
        return _unit_channels((height * signs)[:, None] * self.inside)

    @property
    def _half(self) -> Tensor:
        return (self.side / 2).floor()

    def _profile(self, at: Tensor, along: Tensor) -> tuple[Tensor, Tensor]:
        """What bumps lack in height at the offsets `at` (B, N) of one axis, and their sign.

        On the axis `along` (B, 1) which they lie side by side, each has a centre of its own.
        """
        second = along & (at >= self._half)
        extent = torch.where(second, self.side - self._half, self._half)
        centre = torch.where(along, (extent / 2).floor(), self._half)
        lack = self._tail((torch.where(second, at - self._half, at) - centre).abs())
        return lack, torch.where(second, -1.0, 1.0)

    def _tail(self, k: Tensor) -> Tensor:
        """sum of 1 / (i + 1)^2 for i < k, from a table: the height of the `k` (B, N) outer rings."""
        most = max(self.row.shape[1], self.column.shape[1])
        heights = torch.arange(1, most + 2, device=k.device, dtype=torch.float32).pow(-2).cumsum(0)
        return torch.cat([heights.new_zeros(1), heights])[k.long().clamp(0, len(heights))]


def _offsets(job: Job, t: Tensor, stream: int, size: int, side: Tensor) -> Tensor:
    room = (size - side).clamp_min(0).long() + 1
    return torch.arange(size, device=side.device) - randint(job.key, t, stream, room, (1,)).float()


def _bumps(job: Job, image: Tensor) -> Tensor:
    """A grid of windows, 5 along the shorter side, each with a bump turned and signed at random (B, C, H, W)."""
    size = max(min(image.shape[2:]) // 5, 1)
    (line, row), (column, at) = (_grid(n, size, image.device) for n in image.shape[2:])
    offsets = torch.arange(size, device=image.device, dtype=torch.float32)[None]
    whole = torch.ones(1, 1, size, size, dtype=torch.bool, device=image.device)
    window = _Window(whole, offsets, offsets, offsets.new_full((1, 1), size))
    straight, turned = (window.shaped(offsets.new_full((1, 1), turn) > 0)[0, 0][row][:, at] for turn in (0, 1))
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


def _unit_channels(d: Tensor) -> Tensor:
    """Every channel of every row (B, C, H, W) scaled to Euclidean length 1; zero stays zero."""
    return d / d.square().sum((2, 3), keepdim=True).sqrt().clamp_min(1e-12)
