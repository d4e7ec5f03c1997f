"""GenAttack: a population of perturbations that mate and mutate. Scores only."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from blindspots.attacks.attack import Attack, Facts, State, zeros
from blindspots.attacks.scores.estimate import tiled
from blindspots.problem import Job, Need, Problem, Seen
from blindspots.random import sign, uniform
from blindspots.rows import col, pick


@dataclass(frozen=True)
class GenAttackState(State):
    members: Tensor  # (B, P, ...) corners of the ball, in units of the radius
    loss: Tensor  # (B, P)
    child: Tensor  # (B, ...) what the probe shows


@dataclass(frozen=True)
class GenAttack(Attack[GenAttackState]):
    """Alzantot et al. 2019 (arXiv 1805.11090), algorithm 1, with its reduced dimensions.

    Differs from the paper in three points. One child is born per query and replaces the worst member if it is better,
    where the paper replaces all but the best at once. Parents are drawn by their losses in units of the population's
    spread, so the temperature suits all losses. And members are corners of the ball: a mutation turns a sign.

    Args:
        queries: queries per row.
        population: number of members.
        mutation: share of the numbers that change in a child.
        temperature: of the choice of parents.
        cells: tiles per side of an image on which a perturbation is constant at first (`estimate.tiled`); None: no
            tiles.
    """

    queries: int = 5000
    population: int = 6
    mutation: float = 0.02
    temperature: float = 0.3
    cells: int | None = 8

    facts: ClassVar[Facts] = Facts(
        paper="Alzantot et al.: GenAttack: Practical Black-box Attacks with Gradient-Free Optimization",
        year=2019,
        family="scores",
        cost="queries forwards",
        use="targeted goals in linf",
    )
    need: ClassVar[Need] = Need.VALUE
    threats: ClassVar[tuple[str, ...]] = ("linf",)

    @property
    def looks(self) -> int:
        return self.queries

    def init(self, problem: Problem, job: Job) -> GenAttackState:
        t = zeros(job)
        drawn = [tiled(job, t, self.cells, sign, stream=k + 9) for k in range(self.population)]
        members = torch.stack(drawn, 1)
        loss = torch.full_like(members.flatten(2)[:, :, 0], math.inf)
        return GenAttackState(self._shown(problem, job, members[:, 0]), t, members, loss, members[:, 0])

    def step(self, problem: Problem, job: Job, state: GenAttackState, seen: Seen) -> GenAttackState:
        row = torch.arange(len(job.x), device=job.x.device)
        young, t = state.t < self.population, state.t + 1
        place = torch.where(young, state.t.clamp_max(self.population - 1), state.loss.argmax(1))
        better = seen.loss < state.loss[row, place]
        members, loss = state.members.clone(), state.loss.clone()
        members[row, place] = pick(better, state.child, members[row, place])
        loss[row, place] = torch.where(better, seen.loss, loss[row, place])
        first = members[row, t.clamp_max(self.population - 1)]
        child = pick(t < self.population, first, self._child(job, t, members, loss))
        return GenAttackState(self._shown(problem, job, child), t, members, loss, child)

    def _child(self, job: Job, t: Tensor, members: Tensor, loss: Tensor) -> Tensor:
        row = torch.arange(len(loss), device=loss.device)
        chance = self._fitness(loss)
        cuts = uniform(job.key, t, 1, (2,))
        drawn = torch.searchsorted(chance.cumsum(1), cuts).clamp_max(self.population - 1)
        one, other = (members[row, at] for at in drawn.unbind(1))
        weight = chance.gather(1, drawn)
        share = weight[:, 0] / weight.sum(1).clamp_min(1e-12)
        child = torch.where(tiled(job, t, self.cells, uniform, stream=2) < col(share, one), one, other)
        return torch.where(tiled(job, t, self.cells, uniform, stream=3) < self.mutation, -child, child)

    def _fitness(self, loss: Tensor) -> Tensor:
        """The chance of every member to become a parent: (B, P)."""
        known = loss.isfinite()
        worst = torch.where(known, loss, -math.inf).amax(1, keepdim=True)
        gap = torch.where(known, loss - worst, 0.0)
        deviation = gap.square().mean(1, keepdim=True).sqrt().clamp_min(1e-12)
        return (-gap / deviation / self.temperature).masked_fill(~known, -1e9).softmax(1)

    def _shown(self, problem: Problem, job: Job, member: Tensor) -> Tensor:
        return problem.threat.project(job.x + col(job.r, job.x) * member, job)
