"""SuperDeepFool: DeepFool to the boundary, then along it to where its normal points at the clean input."""

from dataclasses import dataclass, replace
from typing import ClassVar

import torch

from blindspots.attacks.attack import Facts
from blindspots.attacks.distance.deepfool import BoundaryWalk, DeepFoolState, across
from blindspots.attacks.distance.hyperplane import boundary, to_plane
from blindspots.problem import Job, Problem, Seen
from blindspots.rows import pick


@dataclass(frozen=True)
class SuperDeepFool(BoundaryWalk):
    """Abdolahpourrostam et al. 2023 (arXiv 2303.12481), SDF(inf, 1): smallest l2 distance.

    A point behind the boundary is followed by the projection of the clean input onto the boundary linearised there,
    any other one by a step of DeepFool. Differs from the paper in three points. It goes only a share `pull` of the way
    to the projection and does not end with the first one that is adversarial, but as soon as one gains little; both
    bring it nearer. The projection keeps to the box. And the search along the last ray is one evaluation of the point
    that Newton's method gives, instead of ten halvings.

    Args:
        steps: gradient evaluations per row, each of `classes` backwards.
        overshoot: how far behind the linearised boundary a step aims, as a share of the step.
        classes: the label and the likeliest others; a directed goal needs label and target alone.
        pull: share of the way from an adversarial point to the projection; the paper's is 1.
        tolerance: a row leaves when a success is not nearer than the last one by this share.
    """

    steps: int = 50
    overshoot: float = 0.02
    classes: int = 4
    pull: float = 0.5
    tolerance: float = 0.003

    facts: ClassVar[Facts] = Facts(
        paper="Abdolahpourrostam, Abroshan, Moosavi-Dezfooli: Revisiting DeepFool: Generalization and Improvement",
        year=2023,
        family="gradient, smallest distance",
        cost="4 backwards per step, about 10 steps",
        use="l2 distances near the smallest in a few evaluations",
    )
    threats: ClassVar[tuple[str, ...]] = ("l2",)

    def step(self, problem: Problem, job: Job, state: DeepFoolState, seen: Seen) -> DeepFoolState:
        threat, plane = problem.threat, boundary(problem, state.probe, state.classes, seen)
        nearest = state.nearest.update(problem, job, seen.won, plane, tried=torch.zeros_like(seen.won))
        t = state.t + 1
        settled = seen.won & (nearest.norm > (1 - self.tolerance) * state.nearest.norm)
        last = torch.where(settled, state.last.minimum(t), state.last)
        way = state.probe - job.x
        ahead = way + across(threat, job.x, plane, self.overshoot)
        shortest = (1 + self.overshoot) * to_plane(threat, job.x, plane.normal, plane.at(job.x))
        along = way.lerp(shortest, self.pull)
        probe = job.x + pick(seen.won, along, ahead)
        probe = threat.clip(pick((t >= last) & nearest.known, nearest.shortened(job), probe), job)
        return replace(state, probe=probe, t=t, nearest=nearest, last=last)
