"""Gradients estimated from scores: pairs of queries on both sides of a point, added up over the turns."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor

from blindspots.attacks.attack import Attack, State, full, zeros
from blindspots.attacks.starts import as_images
from blindspots.problem import Job, Need, Problem, Seen
from blindspots.random import normal
from blindspots.rows import Rows, col, pick, tree

Draw = Callable[[Tensor, Tensor, int, Sequence[int]], Tensor]


def tiled(job: Job, t: Tensor, cells: int | None, draw: Draw = normal, stream: int = 0) -> Tensor:
    """Noise over the input (B, ...), constant on the tiles of an image: `cells` per side at first, None: no tiles.

    Networks answer to low frequencies, and fewer numbers are estimated with fewer queries. But where the tiles are
    known well, finer ones have more to give: once the clock `t` has counted a query for every two numbers, tiles shrink
    so that this stays so. Inputs without two spatial dimensions have no neighbourhoods, so no tiles either.
    """
    noise = draw(job.key, t, stream, job.x.shape[1:])
    if cells is None or job.x.ndim < 3:
        return noise
    image = as_images(noise)
    per_side = (2 * t / image.shape[1]).sqrt().long().clamp_min(cells)[:, None]
    line, column = (torch.arange(n, device=t.device) * per_side.clamp_max(n) // n for n in image.shape[2:])
    row = torch.arange(len(t), device=t.device)[:, None, None]
    return image.movedim(1, -1)[row, line[:, :, None], column[:, None, :]].movedim(-1, 1).reshape(job.x.shape)


@dataclass(frozen=True)
class EstimateState(State):
    base: Tensor  # (B, ...) where the gradient is estimated
    ahead: Tensor  # (B, ...) the first point of the pair in hand
    loss: Tensor  # (B,) the loss there
    total: Tensor  # (B, ...) the pairs so far, added up
    won: Tensor  # (B,) bool: the goal was reached at the base
    memory: Any  # what the attack remembers of earlier gradients, a struct of rows


@dataclass(frozen=True)
class Estimating(Attack[EstimateState]):
    """Evaluates a point, then `pairs` pairs around it, moves on, and so forth.

    A pair adds (f(a) - f(b)) (a - b), with a and b as they are after the projection to ball and box: what a linear
    loss would give is then the covariance of the directions, cut off where there is no room, times the gradient. The
    last query is at the point where the last pairs lead.
    """

    need: ClassVar[Need] = Need.VALUE

    queries: int
    pairs: int
    sigma: float
    cells: int | None

    @property
    def looks(self) -> int:
        return self.queries

    @abstractmethod
    def remember(self, job: Job) -> Rows:
        """The first memory."""

    @abstractmethod
    def direction(self, job: Job, t: Tensor) -> Tensor:
        """The direction of the pair that begins at the clock `t`: (B, ...), components of size 1."""

    @abstractmethod
    def move(self, problem: Problem, job: Job, state: EstimateState, g: Tensor, number: Tensor) -> tuple[Tensor, Any]:
        """The next base and memory from the estimate `g`, the `number`-th (B,) from 1."""

    def apart(self, problem: Problem, job: Job, state: EstimateState) -> Tensor:
        """Size of the components of what leads from the base to a point of a pair: (B, 1, ...)."""
        return reach(problem, job, self.sigma)

    def init(self, problem: Problem, job: Job) -> EstimateState:
        x, nothing = job.start, torch.zeros_like(job.x)
        return EstimateState(
            x, zeros(job), x, x, full(job, 0.0), nothing, torch.zeros_like(job.y, dtype=torch.bool), self.remember(job)
        )

    def ahead(self, state: EstimateState) -> Tensor:
        """The rest of the estimate."""
        return (self._period - 1 - state.t % self._period).minimum(self.queries - 2 - state.t).clamp_min(0)

    @property
    def _period(self) -> int:
        return 2 * self.pairs + 1

    def step(self, problem: Problem, job: Job, state: EstimateState, seen: Seen) -> EstimateState:
        period = self._period
        phase, x = state.t % period, state.base
        opened, last = phase % 2 == 1, (phase == period - 1) | (state.t == self.queries - 2)
        change = torch.where(opened | (phase == 0), 0.0, state.loss - seen.loss)
        total = state.total + col(change, x) * (state.ahead - state.probe)
        won = torch.where(phase == 0, seen.won, state.won)
        moved, memory = self.move(problem, job, state, total, state.t // period + 1)
        base = pick(last, moved, x)
        way = self.apart(problem, job, state) * self.direction(job, state.t - opened.long())
        probe = problem.threat.project(base + pick(opened, -way, way), job)
        return EstimateState(
            pick(last, base, probe),
            state.t + 1,
            base,
            pick(opened, state.probe, state.ahead),
            torch.where(opened, seen.loss, state.loss),
            pick(last, torch.zeros_like(total), total),
            won,
            tree(partial(pick, last), memory, state.memory),
        )


def reach(problem: Problem, job: Job, radii: float) -> Tensor:
    """Size of the components (B, 1, ...) of a dense vector whose norm is this many `radii`."""
    return col(job.r, job.x) * float(radii * job.x[0].numel() ** (-1 / problem.threat.p))
