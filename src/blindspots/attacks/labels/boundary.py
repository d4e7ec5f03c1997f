"""Boundary: a random walk along the decision boundary that comes nearer step by step."""

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from blindspots.attacks.attack import full, zeros
from blindspots.attacks.directions import unit
from blindspots.attacks.labels.normal import grain
from blindspots.attacks.labels.start import OWN, LabelSearch, LineState, Turn, choose
from blindspots.problem import Job, Problem, Seen
from blindspots.rows import col, pick

ALONG, NEARER = OWN, OWN + 1
_ALONG, _NEARER = 0.3, 0.25  # shares of wins that the two lengths are held at


@dataclass(frozen=True)
class BoundaryState(LineState):
    base: Tensor  # (B, ...) the nearest win so far
    along: Tensor  # (B,) length of the step on the sphere, in units of the distance
    nearer: Tensor  # (B,) length of the step towards the clean input, in the same units


@dataclass(frozen=True)
class Boundary(LabelSearch):
    along: float = 0.2
    nearer: float = 0.02
    rate: float = 0.1
    ask: int = 10
    coarse: int = 1
    sph: float = 0.3
    tow: float = 0.2
    tie: float = 0.0

    threats: ClassVar[tuple[str, ...]] = ("l2",)

    def dress(self, problem: Problem, job: Job, state: LineState) -> BoundaryState:
        return BoundaryState(**vars(state), base=job.x, along=full(job, self.along), nearer=full(job, self.nearer))

    def turns(self) -> dict[int, Turn]:
        return {NEARER: self._nearer, ALONG: self._along}

    def arrive(self, problem, job, state):
        state = replace(state, base=self.reached(problem, job, state))
        return self._go(problem, job, state)

    def _go(self, problem, job, state):
        t = state.t + 1
        ask = (t % self.ask == 0) if self.ask else torch.zeros_like(t, dtype=torch.bool)
        d = state.base - job.x
        n = problem.threat.norm(d)
        u = grain(job, t, 0, self.coarse)
        w = unit(d)
        u = unit(u - col((w * u).flatten(1).sum(1), u) * w)
        on = d + col(state.along * n, u) * u
        on = on * col(1 / (1 + state.along.square()).sqrt(), on)
        onp = (job.x + on).clamp(problem.threat.lo, problem.threat.hi)
        e = onp - job.x
        m = problem.threat.norm(e)
        target = (1 - state.nearer) * n
        inp = job.x + e * col((target / m.clamp_min(1e-12)).clamp_max(1), e)
        return replace(state, probe=pick(ask, onp, inp.clamp(problem.threat.lo, problem.threat.hi)), phase=torch.where(ask, ALONG, NEARER))

    def _along(self, problem, job, state, seen):
        along = state.along * ((seen.won.float() - self.sph) * self.rate * (self.ask ** .5)).exp()
        return self._go(problem, job, replace(state, along=along.clamp(1e-6, 1.)))

    def _nearer(self, problem, job, state, seen):
        near = state.nearer * ((seen.won.float() - self.tow) * self.rate).exp()
        if self.tie: along = near.sqrt() * self.tie
        else: along = state.along
        base = pick(seen.won, state.probe, state.base)
        return self._go(problem, job, replace(state, base=base, nearer=near.clamp(1e-9, .5), along=along))
