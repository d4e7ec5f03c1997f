"""RayS: directions with signs for components, improved by flipping smaller and smaller blocks of them."""

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from blindspots.attacks.attack import Attack, Facts, State, full, zeros
from blindspots.attacks.labels.start import choose
from blindspots.attacks.starts import as_images
from blindspots.problem import Job, Need, Problem, Seen
from blindspots.random import randint
from blindspots.rows import col, pick

FLIP, SHORTEN = range(2)


@dataclass(frozen=True)
class RaySState(State):
    phase: Tensor  # (B,) int64
    signs: Tensor  # (B, ...) of the best direction so far
    tried: Tensor  # (B, ...) of the one being tried
    best: Tensor  # (B,) distance of the best one's nearest success; the width of the box before there is one
    low: Tensor  # (B,) distance at which the tried one is not known to succeed
    high: Tensor  # (B,) distance at which it succeeded
    number: Tensor  # (B,) int64: of the direction; 0: all signs positive


@dataclass(frozen=True)
class RayS(Attack[RaySState]):
    """Chen and Gu 2020 (arXiv 2006.12792), algorithm 3: smallest linf distance, without a target and without a start.

    Direction 0 has positive signs only. Then level 0, 1, 2, ... flips its 2 ** level blocks, one after the other. One
    query at the best distance so far tells whether a flip is kept and worth a search along the ray. Differs from the
    paper in three points. The blocks are patches of the image, not stretches of its memory. The search begins at the
    end where a flip mostly leads to, a little nearer than before, and its steps double, so that a small gain takes
    few queries. And when all levels are done it goes on with random stretches of random lengths.

    Args:
        queries: queries per row, in total.
        tolerance: the search along a ray ends at this share of its length.
    """

    queries: int = 1000
    tolerance: float = 0.01

    facts: ClassVar[Facts] = Facts(
        paper="Chen, Gu: RayS: A Ray Searching Method for Hard-label Adversarial Attack",
        year=2020,
        family="labels",
        cost="queries forwards",
        use="linf from labels, no start and no step size needed",
    )
    need: ClassVar[Need] = Need.LABEL
    threats: ClassVar[tuple[str, ...]] = ("linf",)
    minimal: ClassVar[bool] = True
    targeted: ClassVar[bool] = False

    @property
    def looks(self) -> int:
        return self.queries

    def init(self, problem: Problem, job: Job) -> RaySState:
        signs, width = torch.ones_like(job.x), full(job, problem.threat.span)
        none, zero = full(job, 0), zeros(job)
        return RaySState(_at(problem, job, signs, width), zero, zero, signs, signs, width, none, width, zero)

    def step(self, problem: Problem, job: Job, state: RaySState, seen: Seen) -> RaySState:
        flipping = state.phase == FLIP
        asked = torch.where(flipping, state.best, self._between(state))
        low = torch.where(seen.won | flipping, state.low, asked)
        state = replace(state, low=low, high=torch.where(seen.won, asked, state.high))
        settled = torch.where(flipping, ~seen.won, state.high - state.low <= self.tolerance * state.high)
        probe = _at(problem, job, state.tried, self._between(state))
        shorten = replace(state, probe=probe, phase=torch.full_like(state.phase, SHORTEN))
        after = choose(settled, self._next(problem, job, state, ~flipping), shorten)
        return replace(after, t=state.t + 1)

    def _between(self, state: RaySState) -> Tensor:
        """The distance to try next: the middle, but at first no further down than twice the gain so far."""
        middle = (state.low + state.high) / 2
        gain = state.best - state.high + self.tolerance * state.high
        return torch.where((state.low == 0) & (state.number > 0), middle.maximum(state.high - gain), middle)

    def _next(self, problem: Problem, job: Job, state: RaySState, kept: Tensor) -> RaySState:
        signs, best = pick(kept, state.tried, state.signs), torch.where(kept, state.high, state.best)
        tried = torch.where(_block(job, state.number), -signs, signs)
        probe = _at(problem, job, tried, best)
        none = torch.zeros_like(best)
        return RaySState(
            probe, state.t, torch.full_like(state.phase, FLIP), signs, tried, best, none, best, state.number + 1
        )


def _at(problem: Problem, job: Job, signs: Tensor, distance: Tensor) -> Tensor:
    return problem.threat.clip(job.x + col(distance, signs) * signs, job)


def _block(job: Job, number: Tensor) -> Tensor:
    """Which components the flip `number` (B,) is about: all, halves, quarters, ..., single ones, then random ones."""
    places = _places(job.x)
    size, depth = len(places), math.ceil(math.log2(len(places)))
    level = ((number + 1).double().log2() + 1e-9).floor().long()
    parts = (2 ** level.clamp_max(depth)).clamp_max(size)
    block = number + 1 - 2**level
    first, past = block * size // parts, (block + 1) * size // parts
    random = (level > depth) | (block >= parts)
    start, length = (randint(job.key, number, stream, size, (1,))[:, 0] for stream in (0, 1))
    shrink = randint(job.key, number, 2, depth + 1, (1,))[:, 0]
    wanted = (places - start[:, None]) % size <= (length >> shrink)[:, None]
    regular = (places >= first[:, None]) & (places < past[:, None])
    return torch.where(random[:, None], wanted, regular).view(job.x.shape)


def _places(x: Tensor) -> Tensor:
    """(D,) the place of every component along a curve that fills the image in square patches (Morton's order)."""
    _, channels, height, width = as_images(x).shape
    row, column = (torch.arange(n, device=x.device) for n in (height, width))
    curve = (_spread(row)[:, None] * 2 + _spread(column)).flatten()
    order = torch.empty_like(curve).scatter_(0, curve.argsort(), torch.arange(len(curve), device=x.device))
    return (order * channels + torch.arange(channels, device=x.device)[:, None]).flatten()


def _spread(n: Tensor) -> Tensor:
    """A zero between every two bits of numbers below 2^16."""
    for shift, mask in ((8, 0x00FF00FF), (4, 0x0F0F0F0F), (2, 0x33333333), (1, 0x55555555)):
        n = (n | n << shift) & mask
    return n
