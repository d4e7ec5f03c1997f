"""experimental"""
import math
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from blindspots.attacks.attack import full, zeros
from blindspots.attacks.directions import unit
from blindspots.attacks.labels.start import OWN, LabelSearch, LineState, between, choose
from blindspots.attacks.labels.waves import waves
from blindspots.problem import Job
from blindspots.random import normal, uniform
from blindspots.rows import col, pick

ESTIMATE, JUMP, ARC = OWN, OWN + 1, OWN + 2


@dataclass(frozen=True)
class HSJState(LineState):
    base: Tensor
    up: Tensor  # sum of winning u
    down: Tensor  # sum of losing u
    wins: Tensor
    count: Tensor
    turn: Tensor
    way: Tensor
    size: Tensor
    old: Tensor
    angle: Tensor
    short: Tensor
    wide: Tensor


@dataclass(frozen=True)
class HopSkipJump(LabelSearch):
    batch: int = 100
    reach: float = 0.01
    memory: float = 0.0
    freq: float = 1.0
    growth: float = 0.5
    rule: str = "hsj"
    mixed: float = 0.0
    arctol: float = 0.3

    threats: ClassVar[tuple[str, ...]] = ("linf", "l2")

    def tolerance(self, job: Job) -> float:
        return self.reach / math.sqrt(job.x[0].numel())

    def dress(self, problem, job, state):
        zero = torch.zeros_like(job.x)
        return HSJState(**vars(state), base=job.x, up=zero, down=zero, wins=zeros(job), count=zeros(job), turn=zeros(job), way=zero, size=full(job, 0), old=zero, angle=full(job, 0.3), short=full(job,0), wide=full(job,0))

    def turns(self):
        return {ESTIMATE: self._estimate, JUMP: self._jump, ARC: self._arc}

    def arrive(self, problem, job, state):
        base = between(problem, job, state.far, state.high)
        zero = torch.zeros_like(base)
        state = replace(state, base=base, up=zero, down=zero, wins=zeros(job), count=zeros(job), turn=state.turn + 1, phase=zeros(job) + ESTIMATE)
        return replace(state, probe=self._around(problem, job, state, state.t + 1))

    def _around(self, problem, job, state, t):
        u = self._draw(problem, job, t)
        d = problem.threat.norm(state.base - job.x) * self.reach
        return (state.base + col(d, u) * unit(u)).clamp(problem.threat.lo, problem.threat.hi)

    def _draw(self, problem, job, t):
        if self.freq < 1:
            w = waves(job, t, 0, self.freq)
            if self.mixed:
                w = pick(uniform(job.key, t, 9, (1,))[:, 0] < self.mixed, normal(job.key, t, 2, job.x.shape[1:]), w)
            return w
        return normal(job.key, t, 0, job.x.shape[1:])

    def _needed(self, state):
        n = (self.batch * (state.turn.float() ) ** self.growth).long()
        return n

    def _estimate(self, problem, job, state, seen):
        u = state.probe - state.base
        won = col(seen.won, u)
        up, down = state.up + torch.where(won, u, 0.0), state.down + torch.where(won, 0.0, u)
        wins, count = state.wins + seen.won, state.count + 1
        state = replace(state, up=up, down=down, wins=wins, count=count)
        more = replace(state, probe=self._around(problem, job, state, state.t + 1))
        share = (wins / count).float()
        both = (wins > 0) & (wins < count)
        # sum (phi - mean phi) u, phi = +-1
        way = pick(both, 2 * (1 - col(share, u)) * up - 2 * col(share, u) * down, up - down)
        d = problem.threat.norm(state.base - job.x)
        way = way / col(d * self.reach, way) + self.memory * state.old
        arcgo = self._start_arc(problem, job, replace(state, old=way), way)
        state = replace(state, old=way)
        way = unit(way)
        if problem.threat.p == math.inf:
            way = way.sign()
        d = problem.threat.norm(state.base - job.x)
        size = d / state.turn.float().sqrt()
        go = replace(state, way=way, size=size, phase=zeros(job) + JUMP)
        go = replace(go, probe=self._target(problem, job, go))
        if self.rule == "arc":
            go = arcgo
        return choose(count >= self._needed(state), go, more)

    def _start_arc(self, problem, job, state, way):
        w = unit(state.base - job.x)
        dot = (w * way).flatten(1).sum(1)
        way = unit(way - col(dot, w) * w)
        state = replace(state, way=way, phase=zeros(job) + ARC, short=full(job, 0), wide=full(job, math.pi / 2))
        return replace(state, probe=self._on_arc(problem, job, state, state.angle))

    def _on_arc(self, problem, job, state, angle):
        d = state.base - job.x
        n = problem.threat.norm(d)
        p = col(angle.cos(), d) * d + col(angle.sin() * n, d) * state.way
        return (job.x + col(angle.cos(), p) * p).clamp(problem.threat.lo, problem.threat.hi)

    def _arc(self, problem, job, state, seen):
        short = torch.where(seen.won, state.angle, state.short)
        wide = torch.where(seen.won, state.wide, state.angle)
        nxt = torch.where(short == 0, wide / 2, torch.where(wide == math.pi / 2, (2 * short).minimum((short + wide) / 2), (short + wide) / 2))
        state = replace(state, short=short, wide=wide, angle=nxt)
        more = replace(state, probe=self._on_arc(problem, job, state, nxt))
        done = ((wide - short) <= self.arctol * wide) | (wide < 0.01)
        at = self._on_arc(problem, job, state, short)
        zero = torch.zeros_like(at)
        fin = replace(state, base=at, angle=short.clamp_min(0.02), up=zero, down=zero, wins=zeros(job), count=zeros(job), turn=state.turn + 1, phase=zeros(job) + ESTIMATE)
        fin = replace(fin, probe=self._around(problem, job, fin, state.t + 1))
        return choose(done, fin, more)

    def _target(self, problem, job, state):
        return (state.base + col(state.size, state.way) * state.way).clamp(problem.threat.lo, problem.threat.hi)

    def _jump(self, problem, job, state, seen):
        less = replace(state, size=state.size / 2)
        less = replace(less, probe=self._target(problem, job, less))
        return choose(seen.won, self.aim(problem, job, state, state.probe), less)
