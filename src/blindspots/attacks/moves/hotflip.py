"""HotFlip: the move that the gradient likes best, again and again."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from blindspots.attacks.attack import Attack, Facts, State, zeros
from blindspots.capabilities import Enumerates
from blindspots.lattice import SUBSTITUTING, Neighbours
from blindspots.problem import Job, Need, Problem, Seen
from blindspots.rows import pick


@dataclass(frozen=True)
class HotFlipState(State):
    stuck: Tensor  # (B,) bool: no move is left


@dataclass(frozen=True)
class HotFlip(Attack[HotFlipState, Neighbours]):
    """Ebrahimi et al. 2018 (arXiv 1712.06751), section 3.1, without the beam: the greedy search of one candidate.

    Args:
        steps: moves per row at most.
    """

    steps: int = 50

    facts: ClassVar[Facts] = Facts(
        paper="Ebrahimi et al.: HotFlip: White-Box Adversarial Examples for Text Classification",
        year=2018,
        family="moves",
        cost="steps + 1 forwards, steps backwards",
        use="tokens and categories; a first look",
    )
    need: ClassVar[Need] = Need.SLOPES
    requires: ClassVar[type] = Enumerates
    threats: ClassVar[tuple[str, ...]] = SUBSTITUTING

    @property
    def looks(self) -> int:
        return self.steps + 1

    def init(self, problem: Problem[Neighbours], job: Job) -> HotFlipState:
        return HotFlipState(job.start, zeros(job), torch.zeros_like(job.y, dtype=torch.bool))

    def step(self, problem: Problem[Neighbours], job: Job, state: HotFlipState, seen: Seen) -> HotFlipState:
        assert seen.grad is not None
        legal = problem.threat.legal(state.probe, job)
        best, any_left = seen.grad.masked_fill(~legal, math.inf).argmin(1), legal.any(1)
        probe = pick(any_left, problem.threat.move(state.probe, job, best), state.probe)
        return HotFlipState(probe, state.t + 1, ~any_left)

    def exhausted(self, state: HotFlipState) -> Tensor:
        return super().exhausted(state) | state.stuck
