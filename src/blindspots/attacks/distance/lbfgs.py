"""L-BFGS."""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from blindspots.attacks.attack import Attack, State, full, zeros
from blindspots.attacks.distance.lbfgs_solver import Memory, Objective, Spot, dot, length
from blindspots.goal import LossName
from blindspots.problem import Job, Need, Problem, Seen

_TINY = 1e-12


@dataclass(frozen=True)
class LBFGSState(State):
    at: Spot
    best: Spot
    memory: Memory
    move: Tensor  # (B, D)
    share: Tensor  # (B,)
    c: Tensor
    wins: Tensor
    fails: Tensor
    tries: Tensor
    inner: Tensor
    back: Tensor


@dataclass(frozen=True)
class LBFGS(Attack):
    steps: int = 100
    memory: int = 8
    tries: int = 20
    c: float | None = None
    tolerance: float = 0.02
    inner: int = 20
    early: int = 6
    eps: float = 5e-4
    drop: float = 0.9
    cap: float = 0.3
    climb: float = 100.0
    grow: float = 1.2
    near: float = 0.003
    loose: float = 1.0

    need: ClassVar[Need] = Need.GRAD
    threats: ClassVar[tuple[str, ...]] = ("l2",)
    minimal: ClassVar[bool] = True
    loss: ClassVar[LossName] = "ce"

    @property
    def looks(self) -> int:
        return self.steps + 1

    def init(self, problem: Problem, job: Job) -> LBFGSState:
        x, none, t = job.start.flatten(1), full(job, 0.0), zeros(job)
        spot = Spot(x, none, torch.zeros_like(x), none, none + 1)
        return LBFGSState(
            job.start, t, spot, spot, Memory.blank(x, self.memory), torch.zeros_like(x), none + 1,
            none, none, full(job, torch.inf), t, t, t,
        )

    def exhausted(self, state: LBFGSState) -> Tensor:
        return (state.t >= self.looks) | (state.tries >= self.tries) | (state.fails <= state.wins * (1 + self.tolerance))

    def step(self, problem: Problem, job: Job, state: LBFGSState, seen: Seen) -> LBFGSState:
        x0, new, first = job.x.flatten(1), _spot(problem, job, state.probe, seen), state.t == 0
        lo, hi = problem.threat.lo, problem.threat.hi
        begins = (state.c == 0) & ((new.margin < 0) | (self.c is not None))
        marches = (state.c == 0) & ~begins
        free_ride = state.c == 0
        c = torch.where(begins, self._first_c(new, x0), state.c)
        task = Objective(x0, c, lo, hi)
        old = Objective(x0, state.c, lo, hi)
        ok = free_ride | old.decreased(state.at, new)
        memory = state.memory.push(ok & ~first, new.x - state.at.x, new.grad - state.at.grad)
        share = torch.where(ok, 1.0, state.share * self._shrink(old, state.at, new, state.move * state.share[:, None]))
        at = new.where(ok, state.at)
        best = new.where(begins, state.best)
        back, inner = torch.where(ok, 0, state.back + 1), state.inner + 1
        g = task.grad(at)
        free = task.free(at.x, g)
        rest = length(g * free)
        reach = length(at.x - x0)
        off = rest / (2 * c)
        steep = length(at.grad * free) / at.slope
        clear = at.margin.abs() > steep * off * self.loose
        small = self.eps * c * reach.square()
        flat = ok & (task.value(state.at) - task.value(new) <= small)
        d0 = task.quasi_newton(g, free, memory)
        promise = -0.5 * dot(g, torch.where(ok[:, None], d0, state.move)) * share
        flat = flat | (promise <= small)
        done = flat | (back > 6) | (inner > self.inner) | (ok & clear & (self.tries > 1) & (inner > 1))
        done = done & ~free_ride
        won = at.margin < 0
        fails = torch.where(done & ~won, c, state.fails)
        wins = torch.where(done & won, c, state.wins)
        fails = torch.where(done & won & (-at.margin <= self.near * steep * reach), c, fails)
        best = at.where(done & won, best)
        nextc = self._next_c(at, x0, free, c, wins, fails)
        at = best.where(done & ~won & (best.margin < 0), at)
        c = torch.where(done, nextc, c)
        inner, back = torch.where(done | free_ride, 0, inner), torch.where(done, 0, back)
        task = Objective(x0, c, lo, hi)
        g = task.grad(at)
        free = task.free(at.x, g)
        d = task.quasi_newton(g, free, memory)
        down = dot(d, g) < 0
        d = torch.where(down[:, None], d, -g * free * (0.5 / c)[:, None])
        fresh = ok | done
        d = torch.where(fresh[:, None], d, state.move)
        share = torch.where(fresh, 1.0, share)
        gl = at.grad * task.free(at.x, at.grad)
        far = (1.02 * self.grow**state.t * at.margin / (length(gl) / at.slope).clamp_min(_TINY)).clamp_max(self.cap * (hi - lo) * x0.shape[1]**0.5)
        d = torch.where(marches[:, None], -far[:, None] * gl / length(gl).clamp_min(1e-30)[:, None], d)
        probe = (at.x + share[:, None] * d).clamp(task.lo, task.hi)
        return LBFGSState(
            probe.view_as(job.x), state.t + 1, at, best, memory, d, share, c, wins, fails,
            state.tries + done.long(), inner, back,
        )

    def _shrink(self, task, old, new, move):
        slope = dot(task.grad(old), move)
        excess = task.value(new) - task.value(old) - slope
        return (-slope / (2 * excess)).nan_to_num(0.5).clamp(0.1, 0.5)

    def _first_c(self, at, x0):
        if self.c is not None:
            return torch.full_like(at.loss, self.c)
        g = length(at.grad) / at.slope
        d = (length(at.x - x0) + at.margin / g.clamp_min(_TINY)).clamp_min(_TINY)
        return (g * 0.5 / (2 * d)).clamp(1e-10, 1e10)

    def _next_c(self, at, x0, free, c, wins, fails):
        r = length((at.x - x0) * free).clamp_min(_TINY)
        g = length(at.grad * free) / at.slope
        want = (r + 1.02 * at.margin / g.clamp_min(_TINY)).maximum(0.2 * r).minimum(5 * r)
        new = c * 0.5 / at.slope * r / want
        new = new.nan_to_num(1.0)
        has, both = wins > 0, (wins > 0) & fails.isfinite()
        low = torch.where(both, wins * (fails / wins) ** 0.1, torch.where(has, 1.02 * wins, fails / 100))
        high = torch.where(both, wins * (fails / wins) ** 0.9, torch.where(has, self.climb * wins, self.drop * fails))
        return new.maximum(low).minimum(high).clamp(1e-12, 1e12)


def _spot(problem: Problem, job: Job, probe, seen: Seen) -> Spot:
    assert seen.grad is not None
    grad = seen.grad.flatten(1)
    if problem.goal.loss != "ce":
        return Spot(probe.flatten(1), seen.loss, grad, seen.margin, torch.ones_like(seen.loss))
    to = problem.goal.targeted or problem.goal.directed
    k = job.target if to else job.y
    own = seen.logits.gather(1, k[:, None])[:, 0]
    u = own - seen.logits.scatter(1, k[:, None], -torch.inf).logsumexp(1)
    if to:
        return Spot(probe.flatten(1), seen.loss, grad, seen.margin, (-u).sigmoid())
    return Spot(probe.flatten(1), F.softplus(u), grad * u.clamp_max(80).exp()[:, None], seen.margin, u.sigmoid())
