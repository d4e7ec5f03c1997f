"""GeoDA"""

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from blindspots.attacks.attack import full, zeros
from blindspots.attacks.directions import unit
from blindspots.attacks.labels.normal import Poll, grain
from blindspots.attacks.labels.start import OWN, LabelSearch, LineState, Turn, choose
from blindspots.problem import Job, Problem, Seen
from blindspots.rows import col
from blindspots.threat import L2

POLL, TRY = OWN, OWN + 1
_FAR = 1e3  # in widths of the box: the projection of so far a point to a ball is the ball's extreme point


@dataclass(frozen=True)
class GeoDAState(LineState):
    base: Tensor
    poll: Poll
    normal: Tensor


@dataclass(frozen=True)
class GeoDA(LabelSearch):
    batch: int = 50
    reach: float = 0.1
    memory: float = 0.9
    coarse: int = 2
    gain: float = 0.01

    threats: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1")

    def tolerance(self, job: Job) -> float:
        return self.reach / math.sqrt(job.x[0].numel())

    def dress(self, problem: Problem, job: Job, state: LineState) -> GeoDAState:
        return GeoDAState(**vars(state), base=job.x, poll=Poll.none(job), normal=torch.zeros_like(job.x))

    def turns(self) -> dict[int, Turn]:
        return {POLL: self._poll, TRY: self._try}

    def arrive(self, problem, job, state):
        base = self.reached(problem, job, state)
        return self._ask(problem, job, replace(state, base=base), Poll.none(job))

    def _ask(self, problem, job, state, poll):
        u = unit(grain(job, state.t, 0, self.coarse))
        size = self.reach * L2().norm(state.base - job.x)
        probe = (state.base + col(size, u) * u).clamp(problem.threat.lo, problem.threat.hi)
        return replace(state, probe=probe, poll=poll, phase=torch.full_like(state.phase, POLL))

    def _poll(self, problem, job, state, seen):
        poll = state.poll.add(state.probe - state.base, seen.won)
        on = self._ask(problem, job, state, poll)
        way = poll.normal() / col((self.reach * L2().norm(state.base - job.x)).clamp_min(1e-12), state.base)
        normal = way + self.memory * state.normal
        width = problem.threat.hi - problem.threat.lo
        far = job.x + normal * col(_FAR * width / normal.flatten(1).abs().amax(1).clamp_min(1e-12), normal)
        go = replace(state, normal=normal, far=far, phase=torch.full_like(state.phase, TRY))
        go = replace(go, probe=problem.threat.project(far, job.x, state.high * (1 - self.gain)))
        return choose(poll.count >= self.batch, go, on)

    def _try(self, problem, job, state, seen):
        nearer = problem.threat.norm(state.probe - job.x)
        return choose(seen.won, self.aim(problem, job, state, state.far, nearer), self._ask(problem, job, state, Poll.none(job)))
