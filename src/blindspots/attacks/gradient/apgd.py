"""APGD: PGD with momentum whose step size halves where progress stalls."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from blindspots.attacks.attack import Attack, Facts, State, zeros
from blindspots.attacks.directions import carried, descent
from blindspots.attacks.gradient.apgd_l1 import SparseAPGD, SparseState
from blindspots.attacks.gradient.progress import Progress
from blindspots.objective import LossName
from blindspots.problem import Job, Need, Problem, Seen
from blindspots.rows import pick


@dataclass(frozen=True)
class APGDState(State):
    last: Tensor  # (B, ...) the iterate before the probe
    best: Tensor  # (B, ...) where the loss was lowest
    best_grad: Tensor  # (B, ...) the gradient there
    progress: Progress


@dataclass(frozen=True)
class APGD(Attack[APGDState | SparseState]):
    """Croce and Hein 2020 (arXiv 2003.01690), algorithm 1; in l1 balls the sparse form (Croce and Hein 2021).

    The loss is the goal's: "ce", "dlr", or with directed goals their targeted forms (APGD-T). Where paper and code
    differ, the code: checkpoints at int() of the shares; a stalled best loss counts only if the last checkpoint did
    not halve. The first step has no momentum.

    Args:
        steps: gradient steps; a row costs `steps` gradients and one last evaluation.
        rho: share of a window's steps that must lower the loss.
        random_start: begin at a uniform point of the ball, else at the job's start.
    """

    steps: int = 100
    rho: float = 0.75
    random_start: bool = True

    facts: ClassVar[Facts] = Facts(
        paper=(
            "Croce, Hein: Reliable Evaluation of Adversarial Robustness with an Ensemble of "
            "Diverse Parameter-free Attacks"
        ),
        year=2020,
        family="gradient, fixed radius",
        cost="steps + 1 forwards, steps backwards",
        use="a strong single attack without a step size to tune, in linf, l2 and l1",
    )
    need: ClassVar[Need] = Need.GRAD
    threats: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1")
    loss: ClassVar[LossName] = "ce"

    def _sparse(self) -> SparseAPGD:
        return SparseAPGD(self.steps, self.random_start)

    @property
    def looks(self) -> int:
        return self.steps + 1

    def init(self, problem: Problem, job: Job) -> APGDState | SparseState:
        if problem.threat.p == 1:
            return self._sparse().init(problem, job)
        x = problem.threat.sample(job, job.key) if self.random_start else job.start
        return APGDState(x, zeros(job), x, x, torch.zeros_like(x), Progress.begin(job))

    def step(self, problem: Problem, job: Job, state: APGDState | SparseState, seen: Seen) -> APGDState | SparseState:
        if isinstance(state, SparseState):
            return self._sparse().step(problem, job, state, seen)
        assert seen.grad is not None
        better = seen.loss < state.progress.best
        best, best_grad = pick(better, state.probe, state.best), pick(better, seen.grad, state.best_grad)
        progress, back = state.progress.seen(seen.loss).judged(state.t, self.steps, self.rho)
        x, grad = pick(back, best, state.probe), pick(back, best_grad, seen.grad)
        new = descent(problem, job, x, problem.threat.steepest(grad), progress.length)
        new = pick(state.t == 0, new, carried(problem, job, x, state.last, new, 0.75))
        return APGDState(new, state.t + 1, x, best, best_grad, progress)
