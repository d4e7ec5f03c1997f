"""DeepFool: from one linearised boundary to the next, until one is crossed."""

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from blindspots.attacks.attack import Attack, Facts, State, zeros
from blindspots.attacks.distance.hyperplane import Nearest, Plane, boundary, compared, to_plane
from blindspots.ball import Ball
from blindspots.problem import Job, Need, Problem, Seen
from blindspots.rows import col, pick

_TINY = 1e-30
_BEYOND = 1e-4  # of a box of width 1: the authors' code steps so much farther, lest steps vanish before the boundary


@dataclass(frozen=True)
class DeepFoolState(State):
    classes: Tensor  # (B, K) int64: the label and those it is compared with
    nearest: Nearest
    last: Tensor  # (B,) int64: the clock at the row's last evaluation


class BoundaryWalk(Attack[DeepFoolState]):
    """Steps to boundaries linearised between `classes` classes, until the row's own last evaluation."""

    steps: int
    classes: int

    need: ClassVar[Need] = Need.JACOBIAN
    minimal: ClassVar[bool] = True

    @property
    def looks(self) -> int:
        return self.steps + 1

    def init(self, problem: Problem, job: Job) -> DeepFoolState:
        classes = compared(problem, job, self.classes)
        return DeepFoolState(job.start, zeros(job), classes, Nearest.none(job), zeros(job) + self.steps)

    def classes_of(self, state: DeepFoolState) -> Tensor:
        return state.classes

    def exhausted(self, state: DeepFoolState) -> Tensor:
        return state.t > state.last

    def final(self, state: DeepFoolState) -> Tensor:
        return state.t >= state.last


@dataclass(frozen=True)
class DeepFool(BoundaryWalk):
    """Moosavi-Dezfooli et al. 2016 (arXiv 1511.04599), algorithms 1 and 2: smallest l2 or linf distance, roughly.

    Differs from the paper in three points. Where the box stops some components, a step moves the others on, as long as
    it grows little longer by that. Of ten classes, four are enough: on a network for CIFAR-10, ten lead to a mean
    distance that is 0.3 % smaller and cost 2.5 times as many backwards. And once a boundary is crossed, what is left
    of the overshoot is taken back by Newton's method, at one forward per row. Where distances matter, `SuperDeepFool`
    goes on from here.

    Args:
        steps: gradient evaluations per row, each of `classes` backwards; rows leave once they are finished.
        overshoot: how far behind the linearised boundary a step aims, as a share of the step.
        classes: the label and the likeliest others; a directed goal needs label and target alone.
        refine: evaluations on the way back to the boundary; all but the last one cost backwards too.
    """

    steps: int = 50
    overshoot: float = 0.02
    classes: int = 4
    refine: int = 1

    facts: ClassVar[Facts] = Facts(
        paper="Moosavi-Dezfooli, Fawzi, Frossard: DeepFool: a Simple and Accurate Method to Fool Deep Neural Networks",
        year=2016,
        family="gradient, smallest distance",
        cost="4 backwards per step, about 3 steps: a row leaves when it is through",
        use="a rough distance in a few evaluations, in l2 or linf",
    )
    threats: ClassVar[tuple[str, ...]] = ("linf", "l2")

    def step(self, problem: Problem, job: Job, state: DeepFoolState, seen: Seen) -> DeepFoolState:
        threat, plane = problem.threat, boundary(problem, state.probe, state.classes, seen)
        nearest = state.nearest.update(problem, job, seen.won, plane, tried=state.nearest.known)
        through = seen.won & ~state.nearest.known
        last = torch.where(through, state.last.minimum(state.t + self.refine), state.last)
        ahead = state.probe + across(threat, job.x, plane, self.overshoot)
        probe = threat.clip(pick(nearest.known, nearest.shortened(job), ahead), job)
        return replace(state, probe=probe, t=state.t + 1, nearest=nearest, last=last)


def across(threat: Ball, x: Tensor, plane: Plane, overshoot: float) -> Tensor:
    """The step from `plane.point` behind the plane in the box: (B, ...).

    Far from the point the plane says little, so where the box stops components, the others make up for it as long as
    the step is no longer than it would be without a box, or than a tenth of the way from `x` so far.
    """
    d = to_plane(threat, plane.point, plane.normal, plane.value)
    most = plane.distance(threat).maximum(0.1 * threat.distance(plane.point, x))
    norm = threat.norm(d).clamp_min(_TINY)
    return d * col((1 + overshoot) * (most.minimum(norm) + _BEYOND * threat.span) / norm, d)
