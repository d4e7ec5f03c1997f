"""experimental"""
import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from blindspots.attacks.attack import Attack, State, full, zeros
from blindspots.attacks.starts import as_images
from blindspots.attacks.labels.start import choose
from blindspots.problem import Job, Need, Problem, Seen
from blindspots.rows import col, pick
from blindspots.random import uniform, sign

LOOK, HALVE = 0, 1

@dataclass(frozen=True)
class RaySState(State):
    phase: Tensor
    best: Tensor
    way: Tensor
    least: Tensor
    low: Tensor
    high: Tensor
    level: Tensor
    block: Tensor


@dataclass(frozen=True)
class RayS(Attack):
    queries: int = 1000
    tol: float = 0.01
    order: str = "z"
    gallop: bool = True
    first: str = "ones"
    margin: float = 0.0
    randomblock: bool = False

    need: ClassVar[Need] = Need.LABEL
    threats: ClassVar[tuple[str, ...]] = ("linf",)
    minimal: ClassVar[bool] = True
    targeted: ClassVar[bool] = False

    @property
    def looks(self): return self.queries

    def init(self, problem, job):
        way = torch.ones_like(job.x)
        width = problem.threat.hi - problem.threat.lo
        s = RaySState(job.x, zeros(job), zeros(job), way, way, full(job, width), full(job, 0), full(job, width), zeros(job)-1, zeros(job))
        return replace(s, probe=self.at(problem, job, s.way, s.least))

    def at(self, problem, job, way, d):
        return (job.x + col(d, way) * way).clamp(problem.threat.lo, problem.threat.hi)

    def step(self, problem, job, s, seen):
        looking = s.phase == LOOK
        # LOOK
        # won: refine
        middle = self.inner(s.low, s.high) 
        high = torch.where(seen.won, torch.where(looking, s.least*(1-self.margin), self.mid(s)), s.high)
        low = torch.where(looking, torch.zeros_like(s.low), torch.where(seen.won, s.low, self.mid(s)))
        refine = torch.where(looking, seen.won, torch.ones_like(seen.won))
        s = replace(s, high=torch.where(looking & ~seen.won, s.least, high), low=low)
        done = ~refine | (s.high - s.low <= self.tol * s.high)
        improved = refine & (s.high < s.least) | (refine & (s.level < 0)) | (refine)
        best = pick(refine & done, s.way, s.best)
        least = torch.where(refine & done, s.high, s.least)
        # next block
        blk = s.block + 1
        count = (2 ** s.level.clamp_min(0).clamp_max(40))
        D = job.x[0].numel()
        size = (D + count - 1) // count
        over = (s.level < 0) | (blk * size >= D)
        level = torch.where(over, s.level + 1, s.level)
        top = math.ceil(math.log2(max(D, 2)))
        if self.randomblock:
            past = level > top
            level = torch.where(past, top + 1, level)
        else:
            level = torch.where(level > top, min(2, top), level)
        blk = torch.where(over, 0, blk)
        nxt = replace(s, best=best, least=least, level=level, block=blk, phase=zeros(job) + LOOK)
        nxt = replace(nxt, way=self.flip(job, nxt))
        nxt = replace(nxt, probe=self.at(problem, job, nxt.way, least * (1 - self.margin)))
        more = replace(s, phase=zeros(job) + HALVE)
        more = replace(more, probe=self.at(problem, job, s.way, self.mid(more)))
        return replace(choose(done, nxt, more), t=s.t + 1)

    def mid(self, s):
        m = (s.low + s.high) / 2
        if self.gallop:
            gap = (s.least - s.high).clamp_min(0) + self.tol * s.high
            m = torch.where(s.low == 0, (s.high - gap).maximum(m), m)
        return torch.where(s.level < 0, (s.low + s.high) / 2, m)

    def inner(self, low, high):
        return (low + high) / 2

    def flip(self, job, s):
        D = job.x[0].numel()
        image = as_images(job.x)
        if self.order == "z":
            C, H, W = image.shape[1:]
            r, c = torch.arange(H), torch.arange(W)
            key = sum(((r >> b & 1) << (2*b+1))[:, None] | ((c >> b & 1) << (2*b))[None] for b in range(12))
            key = key.flatten()
            rank = torch.empty_like(key); rank[key.argsort()] = torch.arange(H*W)
            rank = rank.view(1, H, W) * C + torch.arange(C)[:, None, None]
            rank = rank.reshape(-1)
        else:
            rank = torch.arange(D)
        top = math.ceil(math.log2(max(D, 2)))
        past = s.level > top
        lv = torch.where(past, (uniform(job.key, s.t, 3, (1,))[:, 0] * top).long() + 1, s.level)
        count = 2 ** lv
        size = (D + count - 1) // count
        if self.randomblock:
            shift = (uniform(job.key, s.t, 4, (1,))[:, 0] * D * past).long()
            rank = (rank[None] + shift[:, None]) % D
            inside = (rank // size[:, None] == torch.where(past, 0, s.block)[:, None]).view(job.x.shape)
            return torch.where(inside, -s.best, s.best)
        else: rank = rank[None]
        inside = (rank // size[:, None] == s.block[:, None]).view(job.x.shape)
        return torch.where(inside, -s.best, s.best)

    def exhausted(self, s): return s.t >= self.queries
    def unstarted(self, s): return s.level < 0
