"""ALMA: an augmented Lagrangian with a multiplier and a penalty of its own for every row."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from blindspots.attacks.attack import Attack, State, full, zeros
from blindspots.problem import Job, Need, Problem, Seen
from blindspots.rows import col, pick
from blindspots.attacks.directions import unit


@dataclass(frozen=True)
class ALMAState(State):
    velocity: Tensor
    square: Tensor
    rate: Tensor
    scale: Tensor
    multiplier: Tensor
    penalty: Tensor
    checked: Tensor
    found: Tensor  # (B,) int64


@dataclass(frozen=True)
class ALMA(Attack):
    steps: int = 100
    first: float = 0.5
    c: float = 1.0
    every: int = 10
    lr: float = 0.0
    end: float = 0.01
    smooth: float = 0.9
    grow: float = 1.2
    rho: float = 1.0

    need: ClassVar[Need] = Need.GRAD
    threats: ClassVar[tuple[str, ...]] = ("l2", "l1")
    minimal: ClassVar[bool] = True

    @property
    def looks(self) -> int:
        return self.steps + 1

    def init(self, problem: Problem, job: Job) -> ALMAState:
        top = job.scores.topk(min(3, job.scores.shape[1]), dim=1).values
        scale = (top[:, 0] - top[:, -1]).clamp_min(1e-12)
        still, one = torch.zeros_like(job.x), full(job, 1.0)
        return ALMAState(
            job.start, zeros(job), still, torch.ones_like(still), one, scale, one, one*self.rho, one, zeros(job)+self.steps+1
        )

    def step(self, problem, job, state, seen):
        th = problem.threat
        d = state.probe - job.x
        y = seen.margin / state.scale + 1e-4
        due = (state.t + 1) % self.every == 0
        stuck = due & (state.found > self.steps) & (y >= 0.95 * state.checked)
        penalty = torch.where(stuck, self.grow * state.penalty, state.penalty)
        checked = torch.where(due | (state.t == 0), y, state.checked)
        wanted = self._slope(y, penalty, state.multiplier)
        mult = torch.where(state.t > 0, state.multiplier.lerp(wanted, 1-self.smooth).clamp(1e-6, 1e12), state.multiplier)
        found = torch.where(seen.won, state.found.minimum(state.t), state.found)
        away = unit(d) if th.p == 2 else d.sign()
        g = away + seen.grad * col(self._slope(y, penalty, mult) / state.scale, d)
        norm = th.norm(g)
        if self.lr: first = full(job, self.lr)
        else:
            want = (self.c * seen.margin.abs() / th.dual(seen.grad).clamp_min(1e-12)).clamp_max(self.first)
            first = want / norm.clamp_min(1e-12)
        rate = torch.where(state.t == 0, first, state.rate)
        decay = self.end ** ((state.t - found).clamp_min(0) / (self.steps - found).clamp_min(1))
        square = state.square.lerp(g.square(), 1-self.smooth)
        velocity = self.smooth * state.velocity + g / (square.sqrt() + 1e-8)
        probe = (state.probe - col(rate * decay, d) * velocity).clamp(th.lo, th.hi)
        return ALMAState(probe, state.t + 1, velocity, square, rate, state.scale, mult, penalty, checked, found)

    def _slope(self, y, rho, mu):
        """dP/dy"""
        return torch.where(y >= 0, mu + 2 * mu * rho * y + rho**2 * y.square() / 2, mu / (1 - rho * y.clamp_max(0)).square())
