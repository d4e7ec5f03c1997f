"""DDN: the direction follows the gradient, the norm shrinks with success and grows with failure."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from blindspots.attacks.attack import Attack, Facts, State, cosine, full, zeros
from blindspots.objective import LossName
from blindspots.problem import Job, Need, Problem, Seen
from blindspots.random import normal
from blindspots.rows import col


@dataclass(frozen=True)
class DDNState(State):
    norm: Tensor  # (B,) the norm that the next probe is put on


@dataclass(frozen=True)
class DDN(Attack[DDNState]):
    """Rony et al. 2019 (arXiv 1811.09600), algorithm 1: smallest l2 distance.

    It searches beyond the radius, if there is one; what it finds inside counts. The paper rounds every point to 256
    levels; here no point is rounded, `robust_accuracy_8bit` does that at the end.

    Args:
        steps: gradients per row.
        gamma: by how much the norm shrinks after a success and grows after a failure.
        norm: the first norm, in units of the input,
        relative: or in radii, where there is a radius.
    """

    steps: int = 100
    gamma: float = 0.05
    norm: float = 1.0
    relative: bool = False

    facts: ClassVar[Facts] = Facts(
        paper=(
            "Rony et al.: Decoupling Direction and Norm for Efficient Gradient-Based L2 "
            "Adversarial Attacks and Defenses"
        ),
        year=2019,
        family="gradient, smallest distance",
        cost="steps + 1 forwards, steps backwards",
        use="smallest l2 distances",
    )
    need: ClassVar[Need] = Need.GRAD
    threats: ClassVar[tuple[str, ...]] = ("l2",)
    minimal: ClassVar[bool] = True
    loss: ClassVar[LossName] = "ce"

    @property
    def looks(self) -> int:
        return self.steps + 1

    def init(self, problem: Problem, job: Job) -> DDNState:
        unit = torch.where(job.r.isinf(), 1.0, job.r) if self.relative else full(job, 1.0)
        return DDNState(job.start, zeros(job), self.norm * unit)

    def step(self, problem: Problem, job: Job, state: DDNState, seen: Seen) -> DDNState:
        assert seen.grad is not None
        threat = problem.threat
        flat = col(threat.norm(seen.grad) == 0, seen.grad)  # no direction at all: any will do
        g = torch.where(flat, normal(job.key, state.t, 0, job.x.shape[1:]), seen.grad)
        norm = state.norm * torch.where(seen.won, 1 - self.gamma, 1 + self.gamma)
        d = state.probe - job.x - col(cosine(state.t, self.steps, 1.0, 0.01), g) * threat.steepest(g)
        probe = threat.project(job.x + col(norm, d) * threat.steepest(d), job.within(norm))
        return DDNState(probe, state.t + 1, norm)
