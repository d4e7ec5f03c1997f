"""ACG: conjugate gradients whose step length halves where progress stalls."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from blindspots.attacks.attack import Attack, Facts, State, zeros
from blindspots.attacks.directions import descent
from blindspots.attacks.gradient.progress import Progress
from blindspots.objective import LossName
from blindspots.problem import Job, Need, Problem, Seen
from blindspots.rows import Rows, col, pick, tree


@dataclass(frozen=True)
class Place(Rows):
    """An iterate and what the step from it needs."""

    x: Tensor  # (B, ...)
    grad: Tensor  # (B, ...) there
    before: Tensor  # (B, ...) gradient of the iterate before
    direction: Tensor  # (B, ...) that led from there to here


@dataclass(frozen=True)
class ACGState(State):
    last_grad: Tensor  # (B, ...) gradient of the iterate before the probe
    direction: Tensor  # (B, ...) that led from there to the probe
    best: Place  # where the loss was lowest
    progress: Progress


@dataclass(frozen=True)
class ACG(Attack[ACGState]):
    """Yamamura et al. 2022 (arXiv 2206.09628), algorithm 1: s <- grad + beta s, beta by Hestenes and Stiefel.

    Checkpoints as in APGD; there is no momentum besides. As in the published code, beta is at least 0; where it is not
    defined it is 0. That code has beta with the other sign, which makes directions conjugate on no quadratic; on three
    networks both succeed on the same number of rows. It starts in the middle of ball and box, and restarts at random
    points; here a search starts at the clean input.

    Args:
        steps: gradient steps; a row costs `steps` gradients and one last evaluation.
        rho: share of a window's steps that must lower the loss.
        random_start: begin at a random point of the ball, else at the job's start.
    """

    steps: int = 100
    rho: float = 0.75
    random_start: bool = False

    facts: ClassVar[Facts] = Facts(
        paper="Yamamura et al.: Diversified Adversarial Attacks based on Conjugate Gradient Method",
        year=2022,
        family="gradient, fixed radius",
        cost="steps + 1 forwards, steps backwards",
        use="a second opinion beside APGD",
    )
    need: ClassVar[Need] = Need.GRAD
    threats: ClassVar[tuple[str, ...]] = ("linf", "l2")
    loss: ClassVar[LossName] = "margin"

    @property
    def looks(self) -> int:
        return self.steps + 1

    def init(self, problem: Problem, job: Job) -> ACGState:
        x = problem.threat.sample(job, job.key) if self.random_start else job.start
        none = torch.zeros_like(x)
        return ACGState(x, zeros(job), none, none, Place(x, none, none, none), Progress.begin(job))

    def step(self, problem: Problem, job: Job, state: ACGState, seen: Seen) -> ACGState:
        assert seen.grad is not None
        here = Place(state.probe, seen.grad, state.last_grad, state.direction)
        best = tree(lambda a, b: pick(seen.loss < state.progress.best, a, b), here, state.best)
        progress, back = state.progress.seen(seen.loss).judged(state.t, self.steps, self.rho)
        place = tree(lambda a, b: pick(back, a, b), best, here)
        s = place.grad + col(beta(place), place.grad) * place.direction
        new = descent(problem, job, place.x, problem.threat.steepest(s), progress.length)
        return ACGState(new, state.t + 1, place.grad, s, best, progress)


def beta(place: Place) -> Tensor:
    """Hestenes and Stiefel 1952, in float64: products of small gradients would vanish. 0 at the first iterate."""
    grad, before, direction = (g.flatten(1).double() for g in (place.grad, place.before, place.direction))
    change = grad - before
    ratio = -(grad * change).sum(1) / (direction * change).sum(1)
    return torch.where(ratio.isfinite(), ratio, 0).clamp_min(0).float()
