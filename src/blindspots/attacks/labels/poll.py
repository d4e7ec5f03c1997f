"""What label-only attacks share that estimate the boundary's normal from the labels around one of its points."""

import math
from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import Any, Generic, Self, TypeVar

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from blindspots.attacks.attack import full, zeros
from blindspots.attacks.directions import unit
from blindspots.attacks.labels.start import OWN, LabelSearch, LineState, Turn, at_phase, only
from blindspots.attacks.starts import as_images
from blindspots.ball import L2
from blindspots.geometry import TINY
from blindspots.problem import Job, Problem, Seen
from blindspots.random import normal, uniform
from blindspots.rows import Rows, col, pick

POLL, MOVE = OWN, OWN + 1
_EUCLIDEAN = L2()
GAIN = 0.01  # a share of the distance that is worth gaining
FEWER, FEWEST = 0.95, 0.7  # what the share of smooth steps is multiplied by after a poll that helped, or did not


@dataclass(frozen=True)
class Labels(Rows):
    """Steps from one point of the boundary, and the labels that they met."""

    won: Tensor  # (B, ...) sum of the steps that succeeded
    lost: Tensor  # (B, ...) sum of the others
    wins: Tensor  # (B,) int64
    count: Tensor  # (B,) int64

    @classmethod
    def none(cls, job: Job) -> Self:
        blank = torch.zeros_like(job.x)
        return cls(blank, blank, zeros(job), zeros(job))

    def add(self, step: Tensor, won: Tensor) -> "Labels":
        one, other = pick(won, step, torch.zeros_like(step)), pick(won, torch.zeros_like(step), step)
        return Labels(self.won + one, self.lost + other, self.wins + won, self.count + 1)

    def normal(self) -> Tensor:
        """The sum of (phi - mean phi) u, phi = 1 or -1 (Chen et al. 2020, eq. 16); of phi u where all labels agree."""
        share = col(self.wins / self.count.clamp_min(1), self.won)
        agree = (share == 0) | (share == 1)
        return torch.where(agree, self.won - self.lost, 2 * ((1 - share) * self.won - share * self.lost))


@dataclass(frozen=True)
class PollState(LineState):
    base: Tensor  # (B, ...) the point of the boundary that is polled
    labels: Labels  # around it
    normal: Tensor  # (B, ...) what they and earlier polls say
    number: Tensor  # (B,) int64: of the poll
    least: Tensor  # (B,) distance of the nearest `base` so far
    smooth: Tensor  # (B,) share of smooth steps
    reach: Tensor  # (B,) length of a poll's steps, in units of the Euclidean distance to the clean input


P = TypeVar("P", bound=PollState)


@dataclass(frozen=True)
class PollSearch(LabelSearch[P], Generic[P]):
    """Polls the labels around a point of the boundary; when there are enough of them, `move` uses the normal.

    Each poll's sum is added to `memory` times what earlier ones found: where the boundary bends little, their normal
    still holds, and small polls are enough.

    Args:
        queries: queries per row, in total.
        tries: random images evaluated for a start.
        batch: queries of the first poll.
        reach: length of a poll's steps, in units of the Euclidean distance to the clean input.
        memory: weight of the polls before.
        coarse: at first half of the steps are smooth over this many pixels, as gradients of images are; 1: none.
    """

    batch: int = 30
    reach: float = 0.1
    memory: float = 0.9
    coarse: int = 2

    @abstractmethod
    def move(self, problem: Problem, job: Job, state: P) -> P:
        """The next state, after `state.normal` is known."""

    @abstractmethod
    def moved(self, problem: Problem, job: Job, state: P, seen: Seen) -> P:
        """The next state in the phase MOVE, once its probe was seen."""

    def enough(self, state: P) -> Tensor:
        """(B,) number of labels in a poll."""
        return torch.full_like(state.number, self.batch)

    def directed(self, problem: Problem, u: Tensor, d: Tensor) -> Tensor:
        """The direction of a poll's step, given a random one and `base` - x."""
        return unit(u)

    def tolerance(self, job: Job) -> float:
        """So near the boundary that a step of a poll, of which the normal sees 1 / sqrt(D), still crosses it."""
        return self.reach / math.sqrt(job.x[0].numel())

    def polled(self, job: Job, state: LineState) -> dict[str, Any]:
        """The fields of a first `PollState`."""
        blank = torch.zeros_like(job.x)
        poll = {"base": job.x, "labels": Labels.none(job), "normal": blank, "number": zeros(job)}
        return {
            **vars(state),
            **poll,
            "least": full(job, math.inf),
            "smooth": full(job, 0.5),
            "reach": full(job, self.reach),
        }

    def ahead(self, state: P) -> Tensor:
        """The rest of the poll."""
        left = self.enough(state).ceil().long() - state.labels.count - 1
        return torch.where(state.phase == POLL, left.clamp_min(0), 0)

    def turns(self) -> dict[int, Turn[P]]:
        return {POLL: self._poll, MOVE: self.moved}

    def arrive(self, problem: Problem, job: Job, state: P) -> P:
        return self.ask(problem, job, replace(state, base=self.reached(problem, job, state)))

    def ask(self, problem: Problem, job: Job, state: P) -> P:
        """Begin a poll around `state.base`, with fewer smooth steps: they turn the normal towards what is smooth."""
        distance = problem.threat.distance(state.base, job.x)
        smooth = torch.where(distance < (1 - GAIN) * state.least, FEWER * state.smooth, FEWEST * state.smooth)
        state = replace(state, labels=Labels.none(job), number=state.number + 1, smooth=smooth)
        state = replace(state, least=distance.minimum(state.least))
        return at_phase(replace(state, probe=self._next(problem, job, state)), POLL)

    def _next(self, problem: Problem, job: Job, state: PollState) -> Tensor:
        u = self.directed(problem, grain(job, state.t, self.coarse, state.smooth), state.base - job.x)
        return problem.threat.clip(state.base + col(self._length(job, state), u) * u, job)

    def _length(self, job: Job, state: PollState) -> Tensor:
        return state.reach * _EUCLIDEAN.norm(state.base - job.x)

    def _poll(self, problem: Problem, job: Job, state: P, seen: Seen) -> P:
        labels = self.heard(state, seen)
        on = replace(state, labels=labels, probe=self._next(problem, job, state))
        return only(labels.count >= self.enough(state), self._count, problem, job, on)

    def heard(self, state: P, seen: Seen) -> Labels:
        """What has been seen of a poll, once its probe was."""
        return state.labels.add(state.probe - state.base, seen.won)

    def _count(self, problem: Problem, job: Job, state: P) -> P:
        found = state.labels.normal() / col(self._length(job, state).clamp_min(TINY), state.base)
        return self.move(problem, job, at_phase(replace(state, normal=found + self.memory * state.normal), MOVE))


def aside(u: Tensor, d: Tensor) -> Tensor:
    """The part of `u` that is orthogonal to `d`, at length 1."""
    ahead = unit(d)
    return unit(u - col((ahead * u).flatten(1).sum(1), d) * ahead)


def grain(job: Job, t: Tensor, coarse: int, share: Tensor) -> Tensor:
    """Gaussian noise (B, ...), with the probability `share` (B,) smooth over `coarse` pixels."""
    fine = normal(job.key, t, 0, job.x.shape[1:])
    if coarse == 1 or job.x.ndim < 3:
        return fine
    image = as_images(job.x)
    drawn = normal(job.key, t, 2, (image.shape[1], *(-(-n // coarse) for n in image.shape[2:])))
    smooth = interpolate(drawn, image.shape[2:], mode="bilinear", align_corners=False).view(job.x.shape)
    return pick(uniform(job.key, t, 4, (1,))[:, 0] < share, smooth, fine)
