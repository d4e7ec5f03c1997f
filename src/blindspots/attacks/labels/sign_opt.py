"""Sign-OPT: descent of the distance to the boundary as a function of the direction, by signs of its slopes."""

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from blindspots.attacks.attack import full
from blindspots.attacks.directions import unit
from blindspots.attacks.labels.normal import Poll, grain
from blindspots.attacks.labels.start import OWN, LabelSearch, LineState, Turn, choose
from blindspots.problem import Job, Problem, Seen
from blindspots.rows import col
from blindspots.threat import TINY

POLL, TURN = OWN, OWN + 1


@dataclass(frozen=True)
class SignOPTState(LineState):
    base: Tensor  # (B, ...) the nearest point of the boundary so far
    poll: Poll  # of the labels on the sphere around the clean input, next to `base`
    slope: Tensor  # (B, ...) what this and earlier polls say
    angle: Tensor  # (B,) how far to turn, as a tangent


@dataclass(frozen=True)
class SignOPT(LabelSearch):
    batch: int = 30
    reach: float = 0.1
    memory: float = 0.7
    coarse: int = 1
    gain: float = 0.01
    up: float = 2.0
    floor: float = 0.05

    threats: ClassVar[tuple[str, ...]] = ("l2",)

    def tolerance(self, job: Job) -> float:
        return self.reach / math.sqrt(job.x[0].numel())

    def dress(self, problem: Problem, job: Job, state: LineState) -> SignOPTState:
        blank = torch.zeros_like(job.x)
        return SignOPTState(**vars(state), base=job.x, poll=Poll.none(job), slope=blank, angle=full(job, 1.0))

    def turns(self) -> dict[int, Turn]:
        return {POLL: self._poll, TURN: self._turn}

    def arrive(self, problem, job, state):
        state = replace(state, base=self.reached(problem, job, state))
        first = state.slope.flatten(1).abs().amax(1) == 0
        return choose(first, self._ask(problem, job, state, Poll.none(job)), self._try(problem, job, replace(state, angle=state.angle * self.up)))

    def _ask(self, problem, job, state, poll):
        d = state.base - job.x
        n = problem.threat.norm(d)
        u = unit(grain(job, state.t, 0, self.coarse))
        p = d + col(self.reach * n, u) * u
        p = p * col(n / problem.threat.norm(p).clamp_min(TINY), p)
        probe = (job.x + p).clamp(problem.threat.lo, problem.threat.hi)
        return replace(state, probe=probe, poll=poll, phase=torch.full_like(state.phase, POLL))

    def _poll(self, problem, job, state, seen):
        poll = state.poll.add(state.probe - state.base, seen.won)
        on = self._ask(problem, job, state, poll)
        n = problem.threat.norm(state.base - job.x)
        slope = poll.normal() / col((self.reach * n).clamp_min(TINY), state.base) + self.memory * state.slope
        go = replace(state, slope=slope)
        return choose(poll.count >= self.batch, self._try(problem, job, go), on)

    def _try(self, problem, job, state):
        w, n = unit(state.base - job.x), problem.threat.norm(state.base - job.x)
        v = unit(state.slope - col((w * state.slope).flatten(1).sum(1), w) * w)
        p = unit(w + col(state.angle, v) * v)
        far = (job.x + col(n * 1.0, p) * p).clamp(problem.threat.lo, problem.threat.hi)
        return replace(state, far=far, probe=problem.threat.project(far, job.x, n * (1 - self.gain)), phase=torch.full_like(state.phase, TURN))

    def _turn(self, problem, job, state, seen):
        near = problem.threat.norm(state.probe - job.x)
        less = replace(state, angle=state.angle / 2)
        again = choose(less.angle < self.floor, self._ask(problem, job, replace(less, angle=full(job, self.floor)*4), Poll.none(job)), self._try(problem, job, less))
        return choose(seen.won, self.aim(problem, job, state, state.far, near), again)
