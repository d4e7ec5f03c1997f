"""FGSM: one step to the far side of the ball."""

from dataclasses import dataclass
from typing import ClassVar

from blindspots.attacks.attack import Attack, Facts, State, zeros
from blindspots.attacks.directions import descent
from blindspots.objective import LossName
from blindspots.problem import Job, Need, Problem, Seen


@dataclass(frozen=True)
class FGSM(Attack[State]):
    """Goodfellow, Shlens, Szegedy 2015 (arXiv 1412.6572): x + eps * sign(grad).

    In other norms the step goes along their steepest direction. The paper does not clip to the box; here every point
    is projected. It evaluates two points: the clean input and the end of the step.

    Args:
        random_start: begin at a random point of the ball, and step 1.25 radii from there (Wong, Rice, Kolter 2020,
            arXiv 2001.03994; the first such form, R+FGSM of Tramer et al. 2018, begins on the corners of half the
            ball and steps the other half).
    """

    random_start: bool = False

    facts: ClassVar[Facts] = Facts(
        paper="Goodfellow, Shlens, Szegedy: Explaining and Harnessing Adversarial Examples",
        year=2015,
        family="gradient, fixed radius",
        cost="2 forwards, 1 backward",
        use="the quickest check; a lower bound on what is possible, never a verdict",
    )
    need: ClassVar[Need] = Need.GRAD
    threats: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1")
    loss: ClassVar[LossName] = "ce"

    @property
    def looks(self) -> int:
        return 2

    def init(self, problem: Problem, job: Job) -> State:
        x = problem.threat.sample(job, job.key) if self.random_start else job.start
        return State(x, zeros(job))

    def step(self, problem: Problem, job: Job, state: State, seen: Seen) -> State:
        assert seen.grad is not None
        length = 1.25 * job.r if self.random_start else job.r
        new = descent(problem, job, state.probe, problem.threat.steepest(seen.grad), length)
        return State(new, state.t + 1)
