"""OnePixel: a few pixels in any colour, found by differential evolution. Scores only."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from blindspots.attacks.attack import Attack, Facts, State, zeros
from blindspots.attacks.starts import as_images
from blindspots.problem import Job, Need, Problem, Seen
from blindspots.random import uniform
from blindspots.rows import pick


@dataclass(frozen=True)
class OnePixelState(State):
    genes: Tensor  # (B, P, pixels, 2 + C) in [0, 1]: line, column and colour of each pixel of each member
    loss: Tensor  # (B, P) of the members
    trial: Tensor  # (B, pixels, 2 + C) what the probe shows


@dataclass(frozen=True)
class OnePixel(Attack[OnePixelState]):
    """Su et al. 2019 (arXiv 1710.08864): differential evolution without crossover over positions and colours.

    Each member is replaced as soon as its own trial is better. Differs from the paper in that colours are corners of
    the colour cube, where a change is largest. A pixel costs as many components of the l0 ball as it has channels:
    a row uses no more pixels than its radius pays for, and at least one, in as many channels as it pays for.

    Args:
        queries: queries per row.
        pixels: pixels changed at most.
        members: of the population.
        factor: by which the difference of two members is added to a third.
    """

    queries: int = 5000
    pixels: int = 1
    members: int = 20
    factor: float = 0.5

    facts: ClassVar[Facts] = Facts(
        paper="Su, Vargas, Sakurai: One Pixel Attack for Fooling Deep Neural Networks",
        year=2019,
        family="scores",
        cost="queries forwards",
        use="how far a pixel or a few of them reach",
    )
    need: ClassVar[Need] = Need.VALUE
    threats: ClassVar[tuple[str, ...]] = ("l0",)

    @property
    def looks(self) -> int:
        return self.queries

    def init(self, problem: Problem, job: Job) -> OnePixelState:
        t, channels = zeros(job), as_images(job.x).shape[1]
        genes = uniform(job.key, t, 0, (self.members, self.pixels, 2 + channels))
        loss = torch.full_like(genes[:, :, 0, 0], math.inf)
        return OnePixelState(self._shown(problem, job, genes[:, 0]), t, genes, loss, genes[:, 0])

    def step(self, problem: Problem, job: Job, state: OnePixelState, seen: Seen) -> OnePixelState:
        own = torch.arange(self.members, device=job.x.device) == (state.t % self.members)[:, None]
        better = own & (seen.loss[:, None] < state.loss)
        genes = torch.where(better[:, :, None, None], state.trial[:, None], state.genes)
        t = state.t + 1
        trial = pick(t < self.members, _member(genes, t % self.members), self._child(job, t, genes))
        loss = torch.where(better, seen.loss[:, None], state.loss)
        return OnePixelState(self._shown(problem, job, trial), t, genes, loss, trial)

    def _child(self, job: Job, t: Tensor, genes: Tensor) -> Tensor:
        """a + factor (b - c) for three random members; genes that leave [0, 1] are drawn anew."""
        a, b, c = (_member(genes, at) for at in uniform(job.key, t, 1, (self.members,)).topk(3).indices.unbind(1))
        child = a + self.factor * (b - c)
        return torch.where((child < 0) | (child >= 1), uniform(job.key, t, 2, child.shape[1:]), child)

    def _shown(self, problem: Problem, job: Job, genes: Tensor) -> Tensor:
        """The clean input with the pixels that `genes` (B, pixels, 2 + C) describe."""
        image, threat = as_images(job.x), problem.threat
        lo, hi = threat.whole.over(job.x, as_images)
        channels, height, width = image.shape[1:]
        paid = (job.r / channels).floor().clamp_min(1)
        for k, (at, colour) in enumerate(zip(genes[..., :2].unbind(1), genes[..., 2:].unbind(1), strict=True)):
            line, column = (at[:, 0] * height).long(), (at[:, 1] * width).long()
            here = torch.arange(height * width, device=image.device) == (line * width + column)[:, None]
            here = (here & (k < paid)[:, None]).view(-1, 1, height, width)
            image = torch.where(here, torch.where((colour < 0.5)[:, :, None, None], lo, hi), image)
        return threat.project(image.view_as(job.x), job)


def _member(genes: Tensor, at: Tensor) -> Tensor:
    """The members `at` (B,) of `genes` (B, P, ...): (B, ...)."""
    return genes[torch.arange(len(genes), device=genes.device), at]
