"""APGD: PGD with momentum whose step size halves where progress stalls."""

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, ClassVar

import torch
from torch import Tensor

from blindspots.attacks.attack import Attack, State, full, zeros
from blindspots.attacks.gradient.apgd_l1 import SparseAPGD
from blindspots.goal import LossName
from blindspots.problem import Job, Need, Problem, Seen
from blindspots.rows import col, pick


def checkpoints(steps: int) -> list[int]:
    """The clocks at which progress is judged: w_0 = 0, 0.22 steps, then windows shorter by 0.03, at least 0.06."""
    window, shorter, least = (max(int(share * steps), 1) for share in (0.22, 0.03, 0.06))
    clocks = [0]
    while clocks[-1] + window <= steps:
        clocks.append(clocks[-1] + window)
        window = max(window - shorter, least)
    return clocks


@dataclass(frozen=True)
class APGDState(State):
    last: Tensor  # (B, ...) the iterate before the probe
    best: Tensor  # (B, ...) where the loss was lowest
    best_grad: Tensor  # (B, ...) the gradient there
    best_loss: Tensor  # (B,)
    last_loss: Tensor  # (B,) loss of the iterate before the probe
    checked_loss: Tensor  # (B,) best loss at the last checkpoint
    gains: Tensor  # (B,) int64: steps since then that lowered the loss
    length: Tensor  # (B,) step length
    halved: Tensor  # (B,) bool: the last checkpoint halved it


@dataclass(frozen=True)
class APGD(Attack):
    """Croce and Hein 2020 (arXiv 2003.01690), algorithm 1; in l1 balls the sparse form (Croce and Hein 2021).

    The loss is the goal's: "ce", "dlr", or with directed goals their targeted forms (APGD-T). Where paper and code
    differ, the code: checkpoints at int() of the shares; a stalled best loss counts only if the last checkpoint did
    not halve. The first step has no momentum.

    Args:
        steps: gradient steps; a row costs `steps` gradients and one last look.
        rho: share of a window's steps that must lower the loss.
        random_start: begin at a uniform point of the ball, else at the job's start.
    """

    steps: int = 100
    rho: float = 0.75
    random_start: bool = True

    need: ClassVar[Need] = Need.GRAD
    threats: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1")
    loss: ClassVar[LossName] = "ce"

    def _sparse(self) -> SparseAPGD:
        return SparseAPGD(self.steps, self.random_start)

    @property
    def looks(self) -> int:
        return self.steps + 1

    def init(self, problem: Problem, job: Job) -> Any:
        if problem.threat.p == 1:
            return self._sparse().init(problem, job)
        x = problem.threat.sample(job.x, job.r, job.key) if self.random_start else job.start
        never, t = full(job, torch.inf), zeros(job)
        return APGDState(x, t, x, x, torch.zeros_like(x), never, never, never, t, 2 * job.r, t.bool())

    def step(self, problem: Problem, job: Job, state: Any, seen: Seen) -> Any:
        if problem.threat.p == 1:
            return self._sparse().step(problem, job, state, seen)
        assert seen.grad is not None
        better = seen.loss < state.best_loss
        state = replace(
            state,
            best=pick(better, state.probe, state.best),
            best_grad=pick(better, seen.grad, state.best_grad),
            best_loss=state.best_loss.minimum(seen.loss),
            gains=state.gains + ((seen.loss < state.last_loss) & (state.t > 0)),
            last_loss=seen.loss,
        )
        state, x, grad = self._check(state, seen.grad)
        return self._move(problem, job, state, x, grad)

    def _check(self, s: APGDState, grad: Tensor) -> tuple[APGDState, Tensor, Tensor]:
        """At a checkpoint without progress, half the length and back to the best point: where to step from, and how."""
        clocks = checkpoints(self.steps)
        windows = torch.tensor([0] + [b - a for a, b in pairwise(clocks)], device=grad.device)
        at = torch.searchsorted(torch.tensor(clocks, device=grad.device), s.t)
        due = torch.isin(s.t, torch.tensor(clocks[1:], device=grad.device))
        oscillates = s.gains <= self.rho * windows[at.clamp_max(len(clocks) - 1)]
        stalls = ~s.halved & (s.best_loss >= s.checked_loss)
        halve = due & (oscillates | stalls)
        checked = replace(
            s,
            length=torch.where(halve, s.length / 2, s.length),
            halved=torch.where(due, halve, s.halved),
            checked_loss=torch.where(due, s.best_loss, s.checked_loss),
            gains=torch.where(due, 0, s.gains),
        )
        return checked, pick(halve, s.best, s.probe), pick(halve, s.best_grad, grad)

    def _move(self, problem: Problem, job: Job, s: APGDState, x: Tensor, grad: Tensor) -> APGDState:
        threat = problem.threat
        u = threat.steepest(grad)
        new = threat.project(x - col(s.length, u) * u, job.x, job.r)
        mixed = threat.project(x + 0.75 * (new - x) + 0.25 * (x - s.last), job.x, job.r)
        return replace(s, probe=pick(s.t == 0, new, mixed), t=s.t + 1, last=x)
