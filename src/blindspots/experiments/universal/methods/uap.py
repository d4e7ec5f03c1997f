"""UAP: the first algorithm, with DeepFool inside."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from blindspots.attacks import DeepFool
from blindspots.ball import L2
from blindspots.engine.jobs import Jobs, Samples, fixed
from blindspots.engine.ledger import Ledger
from blindspots.engine.loop import Search, Settings
from blindspots.errors import InputError
from blindspots.experiments.universal.methods.method import Method
from blindspots.experiments.universal.parametrisation import Additive, Parametrisation
from blindspots.experiments.universal.task import Batch, Task
from blindspots.experiments.universal.verdict import Pass
from blindspots.problem import Need, Problem, Question
from blindspots.rows import col, pick

_FLAT = 1e-12  # of a squared gradient: from a plateau no tangent leads anywhere
_WIDER = 1.0  # widths of the box that DeepFool may go beyond it: the paper's does not know of one


@dataclass(frozen=True)
class Perturbation:
    """The shared numbers alone."""

    p: Tensor  # (groups, ...)


@dataclass(frozen=True)
class UAP(Method):
    """Moosavi-Dezfooli et al. 2017 (CVPR, arXiv 1610.08401), algorithm 1.

    Of every row that v does not fool yet, DeepFool finds the smallest change that takes x + v over the boundary; it is
    added to v, and v is projected. Passes go on until a share of 1 - delta of the fit rows is fooled. As in the
    published code, x + v is not clipped, and a change counts only if DeepFool got through in time.

    `UAP(batch=1, steps=10, classes=10, overshoot=0.02)` is the paper's algorithm. Three things make it faster here. The
    changes of a batch are found together and added up before v is projected. DeepFool ends after its first step,
    towards the boundary with the likeliest other class: v has moved before the row is looked at again, so there is
    little sense in walking to the end on a v that will not stay; a row then costs one gradient instead of two to three
    times ten. And it steps four times as far as the boundary, since what barely fools one image fools no other: on 500
    photographs (MobileNet v1 0.25) two passes then fool 89 % of them instead of 37 %, and 60 % of unseen ones.
    Longer steps fool more photographs still, and fewer small images (docs/universal.md).

    It stops by the fit rows alone (with x + v as the search has it clipped or not), and on photographs what it finds
    holds for far fewer unseen ones: `Periodic` and `SGD` are stronger and faster.

    Args:
        passes: at most, each with a look at all fit rows at its end; the published Matlab code stops after 10, its
            Python code never.
        batch: rows whose changes are added up before v is projected; paper: 1.
        delta: paper: 0.2.
        steps: of DeepFool; paper: 10. With 1, `classes` does not count.
        classes: that DeepFool compares; paper: 10.
        overshoot: how far behind the boundary a step ends, as a share of the way to it; paper: 0.02.
    """

    passes: int = 20
    batch: int = 16
    delta: float = 0.2
    steps: int = 1
    classes: int = 10
    overshoot: float = 3.0

    judged: ClassVar[bool] = True

    def begin(self, space: Parametrisation, seed: int, updates: int) -> Perturbation:
        return Perturbation(space.blank())

    def enough(self, history: Sequence[Pass]) -> bool:
        return bool(history) and history[-1].fooled_fit >= 1 - self.delta

    def step(self, task: Task, state: Perturbation, batch: Batch) -> tuple[Perturbation, Tensor]:
        space = _additive(task.space)
        v = space.perturbation(state.p)
        x = batch.x + v[batch.group]
        threat = L2(lo=task.threat.lo - _WIDER, hi=task.threat.hi + _WIDER)
        changes = self._linear if self.steps == 1 else self._deepfool
        change, fooled = changes(task, Problem(task.problem.objective, threat), x, batch)
        total = torch.zeros_like(v).index_add(0, batch.group, change)
        return Perturbation(space.cut(space.project_change(v + total))), fooled

    def _linear(self, task: Task, problem: Problem, x: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """One step behind the boundary with the likeliest other class, as its tangent has it: f / |grad f|^2 grad f."""
        seen = task.oracle.look(problem, Question(batch.y, task.targets(batch)), x, Need.GRAD)
        assert seen.grad is not None
        length = seen.margin.clamp_min(0) / seen.grad.flatten(1).square().sum(1).clamp_min(_FLAT)
        return -(1 + self.overshoot) * col(length, x) * seen.grad, seen.won

    def _deepfool(self, task: Task, problem: Problem, x: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """The smallest change of each row, zero where there is none or none is needed, and which are fooled."""
        scores, targets = task.oracle.logits(x), task.targets(batch)
        margin = problem.objective.margin(scores, batch.y, targets)
        samples = Samples(torch.arange(len(x), device=x.device), x, batch.y, torch.full_like(margin, torch.inf))
        wanted = targets[:, None] if problem.objective.targeted else None
        jobs = Jobs(samples, scores, fixed(x), wanted, 1, task.seed, 0)
        ledger = Ledger.blank(x, margin)
        standing = (margin >= 0).nonzero()[:, 0]
        attack = DeepFool(self.steps, self.overshoot, self.classes, refine=0)
        if len(standing):
            settings = Settings(slots=len(standing), stop_early=True)
            Search(attack, task.oracle, problem, jobs, ledger, standing, settings).run()
        change = pick(ledger.won & (margin >= 0), ledger.best - x, torch.zeros_like(x))
        return change, margin < 0


def _additive(space: Parametrisation) -> Additive:
    """Raises InputError: steps behind a boundary cannot be added up in it."""
    if not isinstance(space, Additive):
        raise InputError(f"expected perturbations that are added to inputs for UAP, got {space!r}: use SGD")
    return space
