"""PDPGD: gradient steps on the loss, proximal steps on the norm, a multiplier that follows success."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from blindspots.attacks.attack import Attack, State, zeros, full
from blindspots.attacks.distance.adam import Moments
from blindspots.problem import Job, Need, Problem, Seen
from blindspots.rows import col
from blindspots.threat import L1, L2, Linf, Threat

_DUAL: dict[float, type[Threat]] = {1: Linf, 2: L2, math.inf: L1}


@dataclass(frozen=True)
class PDPGDState(State):
    moments: Moments  # of the loss's gradient
    dual: Tensor  # (B,) log of the weight of the loss against that of the norm
    share: Tensor  # (B,) moving average of the loss's share of the two weights


@dataclass(frozen=True)
class PDPGD(Attack):
    steps: int = 100
    stride: float = 0.1
    dual_stride: float = 0.1
    first_ratio: float = 0.01
    inner: int = 5

    need: ClassVar[Need] = Need.GRAD
    threats: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1", "l0")
    minimal: ClassVar[bool] = True

    @property
    def looks(self) -> int:
        return self.steps + 1

    def init(self, problem: Problem, job: Job) -> PDPGDState:
        dual = full(job, -math.log(self.first_ratio))
        return PDPGDState(job.start, zeros(job), Moments.none(job.x), dual, dual.sigmoid())

    def step(self, problem: Problem, job: Job, state: PDPGDState, seen: Seen) -> PDPGDState:
        assert seen.grad is not None
        width = problem.threat.hi - problem.threat.lo
        done = state.t / self.steps
        moments = state.moments.after(seen.grad * col(seen.loss.sigmoid(), seen.grad))
        mean, scale = moments.direction(state.t)
        rate = col(width * self.stride * 0.01**done, mean) / scale
        moved = (state.probe - rate * mean).clamp(problem.threat.lo, problem.threat.hi)
        weight = (1 - state.share) / state.share
        probe = self._nearer(problem.threat, job, moved, rate, weight)
        change = self.dual_stride * (1 - 0.9 * done)
        dual = (state.dual + torch.where(seen.won, -change, change)).clamp(math.log(1e-6), -math.log(1e-6))
        return PDPGDState(probe, state.t + 1, moments, dual, state.share.lerp(dual.sigmoid(), 0.1))

    def _nearer(self, threat: Threat, job: Job, moved: Tensor, rate: Tensor, weight: Tensor) -> Tensor:
        d = moved - job.x
        if threat.p == 0:
            return torch.where(d.square() < 2 * rate * col(weight, d), job.x, moved)
        if threat.p == 1:
            return job.x + d.sign() * (d.abs() - rate * col(weight, d)).clamp_min(0)
        least = rate.flatten(1).amin(1)
        z = d
        ball = _DUAL[threat.p](None, -1e9, 1e9)
        for _ in range(self.inner):
            v = z - (z - d) * col(least, d) / rate
            z = v - ball.project(v, torch.zeros_like(v), least * weight)
            z = (job.x + z).clamp(threat.lo, threat.hi) - job.x
        return (job.x + z).clamp(threat.lo, threat.hi)
