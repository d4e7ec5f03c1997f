"""CAPGD: APGD whose iterates are possible rows of a table."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from blindspots.attacks.attack import Attack, Facts, State, zeros
from blindspots.attacks.directions import ascent
from blindspots.attacks.gradient.progress import Progress
from blindspots.capabilities import Tabular
from blindspots.objective import LossName
from blindspots.problem import Job, Need, Problem, Seen
from blindspots.rows import col, pick
from blindspots.tables.threat import TableThreat

_SHARE = 0.25  # of the inputs that a step in l1 goes along


@dataclass(frozen=True)
class CAPGDState(State):
    last: Tensor  # (B, D) the iterate before the probe
    best: Tensor  # (B, D) where the loss was lowest
    best_grad: Tensor  # (B, D) the gradient there
    progress: Progress


@dataclass(frozen=True)
class CAPGD(Attack[CAPGDState, TableThreat]):
    """Simonetto, Ghamizi, Cordy 2024 (arXiv 2406.00775): APGD with a repair of every iterate.

    Differs from the paper in two points. There the repair restores equalities alone, and what else is violated enters
    the loss as a penalty. Here the repair restores every relation and falls back to less of the step where it cannot,
    so iterates never violate anything and the penalty would be 0 wherever it is taken. And where the repair solves an
    equation for a column, the gradient of that column goes to those it is computed from (the chain rule): else a step
    along it would be undone at once.

    Args:
        steps: gradient steps; a row costs `steps` gradients and one last evaluation.
        rho: share of a window's steps that must lower the loss.
        random_start: begin at a random possible row, else at the job's start.
    """

    steps: int = 10
    rho: float = 0.75
    random_start: bool = False

    facts: ClassVar[Facts] = Facts(
        paper="Simonetto, Ghamizi, Cordy: Constrained Adaptive Attack: Effective Adversarial Attack Against Deep "
        "Neural Networks for Tabular Data",
        year=2024,
        family="tables",
        cost="steps + 1 forwards, steps backwards",
        use="tables and models with gradients: the first attack",
    )
    need: ClassVar[Need] = Need.GRAD
    requires: ClassVar[type] = Tabular
    threats: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1", "l0", "cost")
    loss: ClassVar[LossName] = "ce"

    @property
    def looks(self) -> int:
        return self.steps + 1

    def init(self, problem: Problem[TableThreat], job: Job) -> CAPGDState:
        x = problem.threat.sample(job, job.key) if self.random_start else job.start
        return CAPGDState(x, zeros(job), x, x, torch.zeros_like(x), Progress.begin(job))

    def step(self, problem: Problem[TableThreat], job: Job, state: CAPGDState, seen: Seen) -> CAPGDState:
        assert seen.grad is not None
        seen_grad = problem.threat.followed(state.probe, seen.grad)
        better = seen.loss < state.progress.best
        best, best_grad = pick(better, state.probe, state.best), pick(better, seen_grad, state.best_grad)
        progress, back = state.progress.seen(seen.loss).judged(state.t, self.steps, self.rho)
        x, grad = pick(back, best, state.probe), pick(back, best_grad, seen_grad)
        new = x - col(progress.length, x) * _steepest(problem.threat, grad, job.x)
        carried = x + 0.75 * (new - x) + 0.25 * (x - state.last)
        new = problem.threat.project(pick(state.t == 0, new, carried), job)
        return CAPGDState(new, state.t + 1, x, best, best_grad, progress)


def _steepest(threat: TableThreat, g: Tensor, x0: Tensor) -> Tensor:
    """The step of size 1 that gains most; in l1 over a quarter of the inputs, as a single one may have no room."""
    unit = threat.unit_along(-g, x0)
    return ascent(threat.ball.plain, g * unit, _SHARE) * unit
