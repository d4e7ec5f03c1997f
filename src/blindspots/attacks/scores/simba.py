"""SimBA: one direction of an orthonormal basis after the other, forth or back, kept when the loss falls."""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from blindspots.attacks.attack import Attack, Facts, State, full, zeros
from blindspots.attacks.starts import as_images
from blindspots.problem import Job, Need, Problem, Seen
from blindspots.random import uniform
from blindspots.rows import col, pick

_BANDS = 4  # of 7 frequencies each at 28 x 28, as in the paper's code; their directions come in random order


@dataclass(frozen=True)
class SimBAState(State):
    base: Tensor  # (B, ...) the best point so far
    loss: Tensor  # (B,) its loss
    order: Tensor  # (B, K) int64: the directions, in the order in which they are tried
    place: Tensor  # (B,) int64: how many have been tried
    back: Tensor  # (B,) bool: the probe is the second one of its direction


@dataclass(frozen=True)
class SimBA(Attack[SimBAState]):
    """Guo et al. 2019 (arXiv 1905.07121), algorithm 1, within a ball.

    Args:
        queries: queries per row, with the one at the start.
        stride: length of a step in radii.
        basis: "dct": cosines over each channel of an image, low frequencies first; "pixel": single components. Inputs
            without two spatial dimensions have no frequencies: "pixel" is used for them.
    """

    queries: int = 5000
    stride: float = 0.2
    basis: Literal["dct", "pixel"] = "dct"

    facts: ClassVar[Facts] = Facts(
        paper="Guo et al.: Simple Black-box Adversarial Attacks",
        year=2019,
        family="scores",
        cost="queries forwards",
        use="small l2 balls in few queries; one cosine after the other",
    )
    need: ClassVar[Need] = Need.VALUE
    threats: ClassVar[tuple[str, ...]] = ("l2",)

    @property
    def looks(self) -> int:
        return self.queries

    def init(self, problem: Problem, job: Job) -> SimBAState:
        t, x = zeros(job), job.start
        return SimBAState(x, t, x, full(job, math.inf), self._order(job), t, torch.ones_like(t, dtype=torch.bool))

    def step(self, problem: Problem, job: Job, state: SimBAState, seen: Seen) -> SimBAState:
        better = seen.loss < state.loss
        base = pick(better, state.probe, state.base)
        back = ~better & ~state.back
        # The first query was at the start, so the clock is one ahead of the directions.
        place = torch.where(back | (state.t == 0), state.place, state.place + 1)
        at = state.order.gather(1, (place % state.order.shape[1])[:, None])[:, 0]
        way = self._direction(job, at) * col(torch.where(back, -self.stride, self.stride) * job.r, base)
        probe = problem.threat.project(base + way, job)
        return SimBAState(probe, state.t + 1, base, state.loss.minimum(seen.loss), state.order, place, back)

    def _order(self, job: Job) -> Tensor:
        """Random; with cosines, band by band."""
        image = as_images(job.x)
        priority = uniform(job.key, zeros(job), 0, image.shape[1:])
        if self._cosines(job):
            shares = [torch.arange(n, device=image.device) / n for n in image.shape[2:]]
            priority = priority - (_BANDS * torch.maximum(shares[0][:, None], shares[1])).floor()
        flat = priority.flatten(1)
        return flat.topk(min(flat.shape[1], self.queries), dim=1).indices

    def _cosines(self, job: Job) -> bool:
        return self.basis == "dct" and job.x.ndim > 3

    def _direction(self, job: Job, at: Tensor) -> Tensor:
        """The basis vectors `at` (B,): (B, ...) of length 1."""
        flat = torch.zeros_like(job.x.flatten(1))
        if not self._cosines(job):
            return flat.scatter(1, at[:, None], 1.0).view_as(job.x)
        image = as_images(job.x)
        height, width = image.shape[2:]
        channel, line, column = at // (height * width), at // width % height, at % width
        plane = _cosine(line, height)[:, :, None] * _cosine(column, width)[:, None, :]
        own = torch.arange(image.shape[1], device=at.device) == channel[:, None]
        return (own[:, :, None, None] * plane[:, None]).view_as(job.x)


def _cosine(frequency: Tensor, size: int) -> Tensor:
    """The cosines `frequency` (B,) of the type II transform over `size` points: (B, size) of length 1."""
    place = (torch.arange(size, device=frequency.device) + 0.5) / size
    wave = torch.cos(torch.pi * frequency[:, None] * place)
    return wave * torch.where(frequency == 0, 1.0, 2.0).div(size).sqrt()[:, None]
