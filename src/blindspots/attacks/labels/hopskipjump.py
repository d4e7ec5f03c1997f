"""HopSkipJump: the boundary's normal from labels, a long step along it, and back to the boundary by bisection."""

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

POLL, JUMP = OWN, OWN + 1


@dataclass(frozen=True)
class HopSkipJumpState(LineState):
    base: Tensor  # (B, ...) a point of the boundary
    poll: Poll  # of the labels around it
    normal: Tensor  # (B, ...) what this and earlier polls say of the normal
    number: Tensor  # (B,) int64: of the poll
    size: Tensor  # (B,) length of the step


@dataclass(frozen=True)
class HopSkipJump(LabelSearch):
    """TODO"""

    batch: int = 30
    reach: float = 0.1
    memory: float = 0.7
    coarse: int = 2
    shrink: float = 0.5
    scale: float = 1.0
    growth: float = 0.5

    threats: ClassVar[tuple[str, ...]] = ("linf", "l2")

    def tolerance(self, job: Job) -> float:
        return self.reach / math.sqrt(job.x[0].numel())

    def dress(self, problem: Problem, job: Job, state: LineState) -> HopSkipJumpState:
        blank = torch.zeros_like(job.x)
        return HopSkipJumpState(
            **vars(state), base=job.x, poll=Poll.none(job), normal=blank, number=zeros(job), size=full(job, 0)
        )

    def turns(self) -> dict[int, Turn]:
        return {POLL: self._poll, JUMP: self._jump}

    def arrive(self, problem: Problem, job: Job, state: HopSkipJumpState) -> HopSkipJumpState:
        state = replace(
            state,
            base=self.reached(problem, job, state),
            poll=Poll.none(job),
            number=state.number + 1,
            phase=torch.full_like(state.phase, POLL),
        )
        return replace(state, probe=self._around(problem, job, state))

    def _around(self, problem: Problem, job: Job, state: HopSkipJumpState) -> Tensor:
        u = unit(grain(job, state.t, 0, self.coarse))
        size = self.reach * problem.threat.norm(state.base - job.x)
        return (state.base + col(size, u) * u).clamp(problem.threat.lo, problem.threat.hi)

    def _poll(self, problem: Problem, job: Job, state: HopSkipJumpState, seen: Seen) -> HopSkipJumpState:
        state = replace(state, poll=state.poll.add(state.probe - state.base, seen.won))
        on = replace(state, probe=self._around(problem, job, state))
        full_ = state.poll.count >= (self.batch * state.number.float() ** self.growth).long()
        distance = problem.threat.norm(state.base - job.x)
        way = state.poll.normal() / col((self.reach * distance).clamp_min(1e-12), state.base)
        go = replace(
            state,
            normal=way + self.memory * state.normal,
            size=distance * self.scale * state.number.float() ** -self.shrink,
            phase=torch.full_like(state.phase, JUMP),
        )
        return choose(full_, replace(go, probe=self._beyond(problem, go)), on)

    def _beyond(self, problem: Problem, state: HopSkipJumpState) -> Tensor:
        way = problem.threat.steepest(state.normal)
        return (state.base + col(state.size, way) * way).clamp(problem.threat.lo, problem.threat.hi)

    def _jump(self, problem: Problem, job: Job, state: HopSkipJumpState, seen: Seen) -> HopSkipJumpState:
        shorter = replace(state, size=state.size / 2)
        shorter = replace(shorter, probe=self._beyond(problem, shorter))
        distance = problem.threat.norm(state.probe - job.x)
        return choose(seen.won, self.aim(problem, job, state, state.probe, distance), shorter)
