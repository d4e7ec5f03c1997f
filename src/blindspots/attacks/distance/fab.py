"""FAB: projections onto linearised boundaries, pulled towards the clean input."""

import math
from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar, Generic, TypeVar

import torch
from torch import Tensor

from blindspots.attacks.attack import Attack, Facts, State, zeros
from blindspots.attacks.distance.hyperplane import Nearest, Plane, boundary, compared, to_plane
from blindspots.problem import Job, Need, Problem, Seen
from blindspots.random import normal, uniform
from blindspots.rows import col, pick

_UNBOUNDED = {1: 5.0, 2: 1.0, math.inf: 0.3}  # of a box of width 1: the published code's radii of random starts


@dataclass(frozen=True)
class FABState(State):
    nearest: Nearest


@dataclass(frozen=True)
class FABJacobianState(FABState):
    classes: Tensor  # (B, K) int64: the label and those it is compared with


F = TypeVar("F", bound=FABState)


@dataclass(frozen=True)
class _FAB(Attack[F], Generic[F]):
    steps: int = 100
    restarts: int = 1
    random_start: bool = False
    alpha_max: float = 0.1
    eta: float = 1.05
    beta: float = 0.9
    search: int = 3

    threats: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1")
    minimal: ClassVar[bool] = True

    @property
    def looks(self) -> int:
        return self.steps * self.restarts + 1

    @abstractmethod
    def _plane(self, problem: Problem, state: F, seen: Seen) -> Plane:
        """The boundary to project onto."""

    def _begin(self, problem: Problem, job: Job) -> FABState:
        clock, nearest = zeros(job), Nearest.none(job)
        probe = self._anywhere(problem, job, clock, nearest) if self.random_start else job.start
        return FABState(probe, clock, nearest)

    def step(self, problem: Problem, job: Job, state: F, seen: Seen) -> F:
        threat, plane = problem.threat, self._plane(problem, state, seen)
        nearest = state.nearest.update(problem, job, seen.won, plane, tried=self._searches(state.t, state.nearest))
        t = state.t + 1
        retreat = job.x + self.beta * (state.probe - job.x)
        probe = self._forth(problem, job, pick(seen.won, retreat, state.probe), plane)
        probe = pick(seen.won & (state.t % self.steps >= self.steps // 2), retreat, probe)
        probe = pick(t % self.steps == 0, self._anywhere(problem, job, t, nearest), probe)
        probe = pick(self._searches(t, nearest), nearest.shortened(job), probe)
        return replace(state, probe=threat.clip(probe, job), t=t, nearest=nearest)

    def _searches(self, t: Tensor, nearest: Nearest) -> Tensor:
        """Whether the probe at clock `t` is one of the final search: (B,) bool."""
        return (t >= self.looks - self.search) & nearest.known

    def _forth(self, problem: Problem, job: Job, x: Tensor, plane: Plane) -> Tensor:
        """Beyond the projections of `x` and of the clean input, between the two, much nearer to the first."""
        threat = problem.threat
        own, clean = (to_plane(threat, z, plane.normal, plane.at(z)) for z in (x, job.x))
        near, far = threat.norm(own).clamp_min(1e-8), threat.norm(clean).clamp_min(1e-8)
        alpha = col((near / (near + far)).clamp_max(self.alpha_max), x)
        return (1 - alpha) * (x + self.eta * own) + alpha * (job.x + self.eta * clean)

    def _anywhere(self, problem: Problem, job: Job, t: Tensor, nearest: Nearest) -> Tensor:
        """A random point half as far from the clean input as the nearest success, or as the radius if that is less."""
        threat, shape = problem.threat, job.x.shape[1:]
        r = job.r.minimum(nearest.norm)
        r = torch.where(r.isinf(), _UNBOUNDED[threat.p] * threat.span, r)
        d = 2 * uniform(job.key, t, 0, shape) - 1 if threat.p == math.inf else normal(job.key, t, 0, shape)
        d = d * col(r / 2 / threat.norm(d).clamp_min(1e-12), d)
        return threat.clip(job.x + d, job)


@dataclass(frozen=True)
class FAB(_FAB[FABJacobianState]):
    """Croce and Hein 2020 (arXiv 1907.02044), algorithm 1: smallest linf, l2 or l1 distance.

    An evaluation costs one forward and a backward per class. Differs from the paper in two points. The authors' code
    evaluates twice in every step, to see whether the point is adversarial and, after the step back by `beta`, for
    gradients. One evaluation suffices where the point is not adversarial; where it is, the first half of a run takes
    the gradients there and steps back without another, the second half takes both. That is as strong, at half the
    forwards. And the final search, which is part of the steps, begins with Newton's method on the way to the nearest
    success.

    Args:
        steps: gradients per run and row.
        restarts: runs per row; all but the first one begin at a random point, half as far from the clean input as the
            nearest success.
        random_start: the first run begins at a random point as well.
        alpha_max: the largest weight of the clean input's projection.
        eta: how far beyond the boundary a step goes.
        beta: what is left of a perturbation after the step back.
        search: evaluations at the end that shorten the nearest success.
        classes: the label and the likeliest others; the paper takes all, a directed goal needs label and target alone.
    """

    classes: int = 10

    facts: ClassVar[Facts] = Facts(
        paper="Croce, Hein: Minimally Distorted Adversarial Examples with a Fast Adaptive Boundary Attack",
        year=2020,
        family="gradient, smallest distance",
        cost="steps + 1 forwards, steps backwards per class",
        use='distances to the nearest of several classes; in AutoAttack\'s version "plus"',
    )
    need: ClassVar[Need] = Need.JACOBIAN

    def init(self, problem: Problem, job: Job) -> FABJacobianState:
        s = self._begin(problem, job)
        return FABJacobianState(s.probe, s.t, s.nearest, compared(problem, job, self.classes))

    def classes_of(self, state: FABJacobianState) -> Tensor:
        return state.classes

    def _plane(self, problem: Problem, state: FABJacobianState, seen: Seen) -> Plane:
        return boundary(problem, state.probe, state.classes, seen)


@dataclass(frozen=True)
class FABT(_FAB[FABState]):
    """FAB-T of AutoAttack (Croce and Hein 2020, arXiv 2003.01690): as `FAB`, at one backward per evaluation.

    With a directed goal and the margin as its loss, the loss is the difference of the scores of label and target, and
    its gradient is all that a projection needs. Without a target the boundary is that of the likeliest other class.
    Losses that are not zero on the boundary ("ce") only mislead it. Arguments are those of `FAB`.
    """

    facts: ClassVar[Facts] = Facts(
        paper=(
            "Croce, Hein: Reliable Evaluation of Adversarial Robustness with an Ensemble of "
            "Diverse Parameter-free Attacks"
        ),
        year=2020,
        family="gradient, smallest distance",
        cost="steps + 1 forwards, steps backwards",
        use="the part of AutoAttack that minimises distances; one target at a time",
    )
    need: ClassVar[Need] = Need.GRAD

    def init(self, problem: Problem, job: Job) -> FABState:
        return self._begin(problem, job)

    def _plane(self, problem: Problem, state: FABState, seen: Seen) -> Plane:
        assert seen.grad is not None
        return Plane(state.probe, seen.loss, seen.grad)
