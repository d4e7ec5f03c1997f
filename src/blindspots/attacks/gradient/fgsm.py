"""FGSM: one step to the far side of the ball."""

from dataclasses import dataclass
from typing import ClassVar

from blindspots.attacks.attack import Attack, State, zeros
from blindspots.goal import LossName
from blindspots.problem import Job, Need, Problem, Seen
from blindspots.rows import col


@dataclass(frozen=True)
class FGSM(Attack):
    """Goodfellow, Shlens, Szegedy 2015 (arXiv 1412.6572): x + eps * sign(grad).

    In other norms the step goes along their steepest direction. The paper does not clip to the box; here every point
    is projected. It starts at the clean input and looks twice: there and at the end of the step.
    """

    need: ClassVar[Need] = Need.GRAD
    threats: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1")
    loss: ClassVar[LossName] = "ce"

    @property
    def looks(self) -> int:
        return 2

    def init(self, problem: Problem, job: Job) -> State:
        return State(job.start, zeros(job))

    def step(self, problem: Problem, job: Job, state: State, seen: Seen) -> State:
        assert seen.grad is not None
        u = problem.threat.steepest(seen.grad)
        return State(problem.threat.project(state.probe - col(job.r, u) * u, job.x, job.r), state.t + 1)
