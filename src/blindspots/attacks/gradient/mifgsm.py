"""MI-FGSM: steps along the sum of all gradients so far."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from blindspots.attacks.attack import Attack, Facts, State, full, zeros
from blindspots.attacks.directions import ascent, balanced, descent
from blindspots.objective import LossName
from blindspots.problem import Job, Need, Problem, Seen


@dataclass(frozen=True)
class MIState(State):
    at: Tensor  # (B, ...) the iterate
    momentum: Tensor  # (B, ...) the decaying sum of balanced gradients


@dataclass(frozen=True)
class MIFGSM(Attack[MIState]):
    """Dong et al. 2018 (arXiv 1710.06081), algorithm 1: g <- decay g + grad / |grad|_1, then a step along sign(g).

    Gradients are balanced row by row; in l2 balls by their l2 norm, and the step goes along g itself. Made for
    points that transfer to other networks.

    Args:
        steps: gradient steps; a row costs `steps` gradients and one last evaluation.
        stride: length of a step in radii; None: 2.5 / steps, which succeeds more often than the paper's 1 / steps.
        decay: what is kept of the sum at every step (the paper's mu).
        coordinates: share of coordinates moved per step in an l1 ball.
    """

    steps: int = 10
    stride: float | None = None
    decay: float = 1.0
    coordinates: float = 0.01

    facts: ClassVar[Facts] = Facts(
        paper="Dong et al.: Boosting Adversarial Attacks with Momentum",
        year=2018,
        family="gradient, fixed radius",
        cost="steps + 1 forwards, steps backwards",
        use="points that transfer to other models",
    )
    need: ClassVar[Need] = Need.GRAD
    threats: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1")
    loss: ClassVar[LossName] = "ce"

    @property
    def looks(self) -> int:
        return self.steps + 1

    def init(self, problem: Problem, job: Job) -> MIState:
        return MIState(job.start, zeros(job), job.start, torch.zeros_like(job.x))

    def step(self, problem: Problem, job: Job, state: MIState, seen: Seen) -> MIState:
        assert seen.grad is not None
        g = self.decay * state.momentum + balanced(problem.threat, seen.grad)
        at = self._moved(problem, job, state.at, g)
        return MIState(at, state.t + 1, at, g)

    def _moved(self, problem: Problem, job: Job, at: Tensor, g: Tensor) -> Tensor:
        return descent(problem, job, at, ascent(problem.threat, g, self.coordinates), self._length(job))

    def _length(self, job: Job) -> Tensor:
        return job.r * full(job, 2.5 / self.steps if self.stride is None else self.stride)
