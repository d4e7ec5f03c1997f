"""A population of texts that mate and mutate."""

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from blindspots.attacks.attack import Facts, full
from blindspots.attacks.moves.distinct import marks, token_marks
from blindspots.attacks.moves.population import (
    PopulationState,
    at_place,
    drawn,
    first_generation,
    kept_within,
    next_generation,
)
from blindspots.attacks.rounds import Rounds
from blindspots.capabilities import Substitutes
from blindspots.lattice import SUBSTITUTING, Substitutions
from blindspots.problem import Job, Need, Problem
from blindspots.random import uniform


@dataclass(frozen=True)
class GeneticState(PopulationState):
    """Code 0 asks about the best text, code 1 + c + C i about child i with candidate c at its place."""

    children: Tensor  # (B, S, P) before their mutation
    place: Tensor  # (B, S) int64 where they mutate
    best: Tensor  # (B, P) the best text so far
    loss: Tensor  # (B,) its loss


@dataclass(frozen=True)
class Genetic(Rounds[GeneticState, Substitutions]):
    """Alzantot et al. 2018 (arXiv 1804.07998), algorithm 1.

    A child takes each word from one of two parents, then the best candidate at one place, which is drawn by the number
    of candidates. Changes beyond the radius are taken back by lot: the published code, and that of TextAttack, let
    crossovers exceed it. No text is asked about twice, as far as the last 1,024 tell. The losses that parents are drawn
    by are the search's, where the paper takes probabilities.

    Args:
        population: children in a generation, besides the best text, which stays.
        generations: how many there are, with the first mutations of the clean text.
        temperature: of the choice of parents.
        queries: queries per row.
    """

    population: int = 60
    generations: int = 20
    temperature: float = 0.3
    queries: int = 20_000

    facts: ClassVar[Facts] = Facts(
        paper="Alzantot et al.: Generating Natural Language Adversarial Examples",
        year=2018,
        family="moves",
        cost="generations x population x candidates forwards at most",
        use="many changes, many queries",
    )
    need: ClassVar[Need] = Need.VALUE
    requires: ClassVar[type] = Substitutes
    threats: ClassVar[tuple[str, ...]] = SUBSTITUTING

    @property
    def looks(self) -> int:
        return self.queries

    def init(self, problem: Problem[Substitutions], job: Job) -> GeneticState:
        width = 1 + self.population * problem.threat.tokens(job).shape[2]
        children = job.start[:, None].repeat(1, self.population, 1)
        return GeneticState(
            **vars(first_generation(job, width)),
            children=children,
            place=torch.zeros_like(children[:, :, 0], dtype=torch.int64),
            best=job.start,
            loss=full(job, math.inf),
        )

    def points(self, problem: Problem[Substitutions], job: Job, state: GeneticState, codes: Tensor) -> Tensor:
        row, count = torch.arange(len(codes), device=codes.device)[:, None], problem.threat.tokens(job).shape[2]
        child, candidate = (codes - 1).clamp_min(0) // count, (codes - 1) % count
        there = problem.threat.leads_each(
            state.children[row, child], job, state.place.gather(1, child) * count + candidate
        )
        return torch.where((codes > 0)[:, :, None], there, state.best[:, None])

    def next_round(self, problem: Problem[Substitutions], job: Job, state: GeneticState) -> GeneticState:
        members, losses = self._members(problem, job, state)
        least, at = losses.min(1)
        best = members[torch.arange(len(at), device=at.device), at]
        lots = uniform(job.key, state.rounds, 0, (3, self.population))
        children = self._children(job, state, members, losses, lots[:, :2])
        place, here = at_place(problem.threat.legal_each(children, job), lots[:, 2])
        state = replace(state, children=children, place=place, best=best, loss=least)
        going = (state.rounds < self.generations) & here.flatten(1).any(1)
        return next_generation(state, self._marks(problem, job, state).flatten(1), here.flatten(1), going)

    def _members(self, problem: Problem[Substitutions], job: Job, state: GeneticState) -> tuple[Tensor, Tensor]:
        """The best text, and every child with its best candidate: (B, 1 + S, P), with their losses (B, 1 + S)."""
        losses = state.answers
        least, candidate = losses[:, 1:].view(*state.place.shape, -1).min(2)
        count = problem.threat.tokens(job).shape[2]
        young = problem.threat.leads_each(state.children, job, state.place * count + candidate)
        old = torch.where(state.rounds == 0, losses[:, 0], state.loss)
        return torch.cat([state.best[:, None], young], 1), torch.cat([old[:, None], least], 1)

    def _children(self, job: Job, state: GeneticState, members: Tensor, losses: Tensor, lots: Tensor) -> Tensor:
        """Each from two parents, which the `lots` (B, 2, S) draw, within the radius: (B, S, P)."""
        chance = (-losses / self.temperature).softmax(1)[:, None]
        row = torch.arange(len(losses), device=losses.device)[:, None]
        one, other = (members[row, drawn(chance, lot)] for lot in lots.unbind(1))
        words = uniform(job.key, state.rounds, 1, (2, *state.children.shape[1:]))
        return kept_within(torch.where(words[:, 0] < 0.5, one, other), job, words[:, 1])

    @staticmethod
    def _marks(problem: Problem[Substitutions], job: Job, state: GeneticState) -> Tensor:
        """Of every child with each candidate at its place: (B, S, C)."""
        row, place = torch.arange(len(job.y), device=job.y.device)[:, None], state.place[:, :, None]
        tokens, own = problem.threat.tokens(job)[row, state.place], state.children.gather(2, place)
        return marks(state.children)[:, :, None] + token_marks(tokens, place) - token_marks(own, place)
