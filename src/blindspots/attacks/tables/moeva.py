"""MOEVA: a population of possible rows that mate and mutate. Scores only."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from blindspots.attacks.attack import Attack, Facts, State, zeros
from blindspots.capabilities import Tabular
from blindspots.problem import Job, Need, Problem, Seen
from blindspots.random import keys, randint, uniform
from blindspots.rows import col, pick
from blindspots.tables.threat import TableThreat

_DRAW, _PARENTS, _CROSSED, _MUTATED, _LENGTH = range(5)  # streams of draws


@dataclass(frozen=True)
class MOEVAState(State):
    members: Tensor  # (B, P, D)
    loss: Tensor  # (B, P)


@dataclass(frozen=True)
class MOEVA(Attack[MOEVAState, TableThreat]):
    """Simonetto et al. 2022 (arXiv 2112.01156), with crossover of columns, mutation and repair.

    Differs from the paper in two points. Of its three objectives (the model's answer, the distance, the violations)
    only the first is left, since every child is repaired into a possible row within the radius. And one child is born
    per query, which takes the place of the worst member if it is better.

    Args:
        queries: queries per row.
        population: number of members; the first is the clean row, the others are drawn.
        mutation: chance of every column of a child to move towards that of a random point of the ball.
    """

    queries: int = 1000
    population: int = 24
    mutation: float = 0.2

    facts: ClassVar[Facts] = Facts(
        paper="Simonetto, Dyrmishi, Ghamizi, Cordy, Le Traon: A Unified Framework for Adversarial Attack and Defense "
        "in Constrained Feature Space",
        year=2022,
        family="tables",
        cost="queries forwards",
        use="tables and models without gradients; what stands after CAPGD",
    )
    need: ClassVar[Need] = Need.VALUE
    requires: ClassVar[type] = Tabular
    threats: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1", "l0", "cost")

    @property
    def looks(self) -> int:
        return self.queries

    def init(self, problem: Problem[TableThreat], job: Job) -> MOEVAState:
        drawn = [problem.threat.sample(job, keys(k, job.key)) for k in range(1, self.population)]
        members = torch.stack([job.start, *drawn], 1)
        return MOEVAState(members[:, 0], zeros(job), members, torch.full_like(members[:, :, 0], math.inf))

    def step(self, problem: Problem[TableThreat], job: Job, state: MOEVAState, seen: Seen) -> MOEVAState:
        row, t = torch.arange(len(job.x), device=job.x.device), state.t + 1
        young = state.t < self.population
        place = torch.where(young, state.t.clamp_max(self.population - 1), state.loss.argmax(1))
        better = seen.loss < state.loss[row, place]
        members, loss = state.members.clone(), state.loss.clone()
        members[row, place] = pick(better, state.probe, members[row, place])
        loss[row, place] = torch.where(better, seen.loss, loss[row, place])
        first = members[row, t.clamp_max(self.population - 1)]
        child = pick(t < self.population, first, self._child(problem, job, t, members, loss))
        return MOEVAState(child, t, members, loss)

    def _child(self, problem: Problem[TableThreat], job: Job, t: Tensor, members: Tensor, loss: Tensor) -> Tensor:
        one, other = (self._parent(job, t, members, loss, stream) for stream in (0, 1))
        crossed = self._of_columns(problem, job, t, _CROSSED) < 0.5
        child = torch.where(crossed, one, other)
        drawn = problem.threat.drawn(job, keys(_DRAW, job.key, t))
        share = uniform(job.key, t, _LENGTH + 2, (1,))[:, 0].square()  # small steps are as useful as large ones
        near = child + col(share, child) * (drawn - child)
        moved = torch.where(self._of_columns(problem, job, t, _LENGTH) < 0.5, drawn, near)
        mutates = self._of_columns(problem, job, t, _MUTATED) < self.mutation
        return problem.threat.project(torch.where(mutates, moved, child), job)

    def _parent(self, job: Job, t: Tensor, members: Tensor, loss: Tensor, stream: int) -> Tensor:
        """The better of two random members: (B, D)."""
        row = torch.arange(len(loss), device=loss.device)
        pair = randint(job.key, t, _PARENTS + 10 * (stream + 1), self.population, (2,))
        best = loss.gather(1, pair).argmin(1)
        return members[row, pair[row, best]]

    @staticmethod
    def _of_columns(problem: Problem[TableThreat], job: Job, t: Tensor, stream: int) -> Tensor:
        """A number in [0, 1) for every column, the same for all of its inputs: (B, D)."""
        column = problem.threat.column_of.to(job.x.device)
        return uniform(job.key, t, stream, (int(column.max()) + 1,))[:, column]
