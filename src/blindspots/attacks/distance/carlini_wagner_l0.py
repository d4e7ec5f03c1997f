"""Carlini and Wagner in l0: components that matter least are frozen at their clean values, until none can be."""

from dataclasses import dataclass

import torch
from torch import Tensor

from blindspots.attacks.adam import Adam
from blindspots.attacks.attack import State, full, zeros
from blindspots.attacks.directions import ranks
from blindspots.problem import Job, Problem, Seen
from blindspots.rows import pick


@dataclass(frozen=True)
class L0State(State):
    adam: Adam
    free: Tensor  # (B, ...) bool: components that may change
    best: Tensor  # (B, ...) the last success
    worth: Tensor  # (B, ...) what each component contributed to it, inf where it contributed nothing
    share: Tensor  # (B,) of the components, to be frozen at once
    failed: Tensor  # (B,) int64 steps without a success, with these components
    found: Tensor  # (B,) bool: there was a success
    done: Tensor  # (B,) bool: not even one component more can be frozen


@dataclass(frozen=True)
class L0Search:
    """Adam on max(f + kappa, 0) in the box, over fewer and fewer components."""

    learning_rate: float
    share: float
    patience: int
    confidence: float

    def init(self, problem: Problem, job: Job) -> L0State:
        none = torch.zeros_like(job.y, dtype=torch.bool)
        return L0State(
            job.start, zeros(job), Adam.blank(job.x), torch.ones_like(job.x, dtype=torch.bool), job.start,
            torch.zeros_like(job.x), full(job, self.share), zeros(job), none, none,
        )  # fmt: skip

    def step(self, problem: Problem, job: Job, state: L0State, seen: Seen) -> L0State:
        assert seen.grad is not None
        threat, won = problem.threat, seen.margin + self.confidence < 0
        d = state.probe - job.x
        worth = pick(won, (seen.grad * d).abs().masked_fill(d == 0, torch.inf), state.worth)
        best = pick(won, state.probe, state.best)
        failed = (state.failed + 1).masked_fill(won, 0)
        found = state.found | won
        stuck = found & (failed >= self.patience)
        changed = threat.distance(best, job.x)
        done = stuck & (changed * state.share < 2)
        share, again = torch.where(stuck, state.share / 2, state.share), won | stuck
        free = pick(again, _without_least(worth, (share * changed).floor().clamp_min(1)), state.free)
        adam = state.adam.take(pick(won, torch.zeros_like(d), seen.grad) * state.free, 0.5, 0.9)
        moved = state.probe - self.learning_rate * threat.width * adam.direction
        probe = torch.where(free, threat.clip(pick(again, best, moved), job), job.x)
        return L0State(
            probe, state.t + 1, adam.reset(again), free, best, worth, share, failed.masked_fill(again, 0), found, done
        )


def _without_least(worth: Tensor, count: Tensor) -> Tensor:
    """Where `worth` is finite, but for the `count` (B,) least; ties go to the lower index: (B, ...) bool."""
    flat = worth.flatten(1)
    return ((ranks(flat) >= count[:, None]) & ~flat.isinf()).view_as(worth)
