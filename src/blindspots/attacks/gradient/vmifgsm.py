"""VMI-FGSM: MI-FGSM whose gradients are corrected by those of random neighbours."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from blindspots.attacks.attack import Facts, zeros
from blindspots.attacks.directions import balanced, descent
from blindspots.attacks.gradient.mifgsm import MIFGSM, MIState
from blindspots.problem import Job, Problem, Seen
from blindspots.random import keys
from blindspots.rows import Around, pick


@dataclass(frozen=True)
class VMIState(MIState):
    tuning: Tensor  # (B, ...) mean gradient of the neighbours minus that of the iterate, as far as they were evaluated


@dataclass(frozen=True)
class VMIFGSM(MIFGSM):
    """Wang and He 2021 (arXiv 2103.15571), algorithm 1: g <- decay g + (grad + v) / |grad + v|_1, v the difference
    between the mean gradient of random neighbours of the last iterate and its own gradient.

    Neighbours are projected into ball and box (the published code leaves both), so that each of them may succeed; none
    are evaluated after the last step, where the published code computes and drops them.

    Args:
        neighbours: how many per step; a row costs (steps - 1) (neighbours + 1) + 1 gradients and one last evaluation.
        beta: how far they lie, in radii.
        nesterov: take the iterate's gradient ahead of it, as NI-FGSM does (VNI-FGSM).
    """

    neighbours: int = 5
    beta: float = 1.5
    nesterov: bool = False

    facts: ClassVar[Facts] = Facts(
        paper="Wang, He: Enhancing the Transferability of Adversarial Attacks through Variance Tuning",
        year=2021,
        family="gradient, fixed radius",
        cost="(steps - 1)(neighbours + 1) + 2 forwards, one backward less",
        use="better transfer for more cost",
    )
    threats: ClassVar[tuple[str, ...]] = ("linf", "l2")

    @property
    def looks(self) -> int:
        return (self.steps - 1) * (self.neighbours + 1) + 2

    def init(self, problem: Problem, job: Job) -> VMIState:
        none = torch.zeros_like(job.x)
        return VMIState(job.start, zeros(job), job.start, none, none)

    def ahead(self, state: MIState) -> Tensor:
        """The rest of the neighbours."""
        left = self.neighbours - state.t % (self.neighbours + 1)
        return torch.where(state.t < self.looks - 2, left, 0)

    def step(self, problem: Problem, job: Job, state: MIState, seen: Seen) -> VMIState:
        assert seen.grad is not None
        assert isinstance(state, VMIState)
        t, phase = state.t + 1, state.t % (self.neighbours + 1)
        fresh, last = phase == 0, t == self.looks - 1
        g = self.decay * state.momentum + balanced(problem.threat, seen.grad + state.tuning)
        g = pick(fresh, g, state.momentum)
        tuning = pick(fresh, -seen.grad, state.tuning + seen.grad / max(self.neighbours, 1))
        moves = last | (phase == self.neighbours)
        at = pick(moves, self._moved(problem, job, state.at, g), state.at)
        probe = pick(moves, pick(last, at, self._ahead(problem, job, at, g)), self._neighbour(problem, job, at, t))
        return VMIState(probe, t, at, g, tuning)

    def _neighbour(self, problem: Problem, job: Job, at: Tensor, t: Tensor) -> Tensor:
        x = problem.threat.sample(Around(at, self.beta * job.r), keys(0, job.key, t))
        return problem.threat.project(x, job)

    def _ahead(self, problem: Problem, job: Job, at: Tensor, g: Tensor) -> Tensor:
        return descent(problem, job, at, self.decay * g, self._length(job)) if self.nesterov else at
