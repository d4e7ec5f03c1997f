"""PMA: descent on the difference of two probabilities, and before that on one of the two alone."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from blindspots.attacks.attack import Attack, Facts, State, cosine, zeros
from blindspots.attacks.directions import ascent, carried, descent
from blindspots.objective import LossName, Objective, own, strongest_other
from blindspots.problem import Aim, Job, Need, Problem, Seen
from blindspots.random import keys
from blindspots.rows import pick

_BOTH, _OWN, _OTHER = range(3)


@dataclass(frozen=True)
class Term(Aim):
    """The goal's loss, or one of the two terms of the margin: of probabilities if the loss is, else of scores."""

    which: Tensor  # (B,) int64

    def descend(self, objective: Objective, logits: Tensor, y: Tensor, target: Tensor) -> Tensor:
        scores = logits.softmax(1) if objective.loss == "probability-margin" else logits
        aimed = objective.targeted or objective.directed
        other = own(scores, target) if aimed else strongest_other(scores, y)
        terms = torch.stack([objective.descend(logits, y, target), own(scores, y), -other], 1)
        return terms.gather(1, self.which[:, None])[:, 0]


@dataclass(frozen=True)
class PMAState(State):
    last: Tensor  # (B, ...) the probe before this one
    aim: Term


@dataclass(frozen=True)
class PMA(Attack[PMAState]):
    """Xie et al. 2025 (arXiv 2411.15210): PGD on p_y - max p_i with margin decomposition (Ma et al. 2020, arXiv
    2006.13726). With the loss "margin" it is their MD attack.

    There are two rounds. In its first half the first one lowers the label's probability alone, the second one raises
    the strongest other alone; in their second halves both do both. In each half a cosine takes the step length from two
    radii to nothing. As in the published code, with two changes that each succeed more often here: steps have momentum,
    and no round begins with a step that raises the label's probability. The published code is for linf balls.

    Args:
        steps: gradient steps per round; a row costs 2 (steps + 1) evaluations, all but the last with a gradient.
        momentum: share of a step that comes from the new direction, as in `PGD`. 1.0: none, as published.
        coordinates: share of coordinates moved per step in an l1 ball.
        random_start: each round begins at a random point of the ball, else at the job's start.
    """

    steps: int = 100
    momentum: float = 0.75
    coordinates: float = 0.01
    random_start: bool = True

    facts: ClassVar[Facts] = Facts(
        paper="Xie et al.: Towards Million-Scale Adversarial Robustness Evaluation With Stronger Individual Attacks",
        year=2025,
        family="gradient, fixed radius",
        cost="2 (steps + 1) forwards, one backward less",
        use="a strong single attack without targets",
    )
    need: ClassVar[Need] = Need.GRAD
    threats: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1")
    loss: ClassVar[LossName] = "probability-margin"

    @property
    def looks(self) -> int:
        return 2 * (self.steps + 1)

    def init(self, problem: Problem, job: Job) -> PMAState:
        x, t = self._start(problem, job, zeros(job)), zeros(job)
        return PMAState(x, t, x, self._term(t))

    def step(self, problem: Problem, job: Job, state: PMAState, seen: Seen) -> PMAState:
        assert seen.grad is not None
        x, t = state.probe, state.t + 1
        since, half = self._since(state.t)
        u = ascent(problem.threat, seen.grad, self.coordinates)
        new = descent(problem, job, x, u, job.r * cosine(since / half, 1, 2.0, 0.0))
        new = pick(since == 0, new, carried(problem, job, x, state.last, new, self.momentum))
        probe = pick(t == self.steps + 1, self._start(problem, job, t), new)
        return PMAState(probe, t, x, self._term(t))

    def aim_of(self, state: PMAState) -> Aim:
        return state.aim

    def _start(self, problem: Problem, job: Job, t: Tensor) -> Tensor:
        return problem.threat.sample(job, keys(0, job.key, t)) if self.random_start else job.start

    def _since(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Steps since the half began that clock `t` lies in, and the half's steps: (B,) each."""
        i, half = t % (self.steps + 1), self.steps // 2
        return torch.where(i < half, i, i - half), torch.where(i < half, half, self.steps - half)

    def _term(self, t: Tensor) -> Term:
        alone = torch.where(t <= self.steps, _OWN, _OTHER)
        return Term(torch.where(t % (self.steps + 1) < self.steps // 2, alone, _BOTH))
