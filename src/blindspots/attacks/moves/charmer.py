"""Charmer: a test shows which places matter, and only there all candidates are tried."""

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import pad

from blindspots.attacks.attack import Facts
from blindspots.attacks.moves.walk import WalkState, by_place, first_walk, walked
from blindspots.attacks.rounds import Rounds, asking
from blindspots.capabilities import Substitutes
from blindspots.lattice import SUBSTITUTING, Substitutions
from blindspots.problem import Job, Need, Problem
from blindspots.rows import pick, tree


@dataclass(frozen=True)
class CharmerState(WalkState):
    testing: Tensor  # (B,) bool: this round asks about one candidate of every place


@dataclass(frozen=True)
class Charmer(Rounds[CharmerState, Substitutions]):
    """Rocamora et al. 2024 (arXiv 2405.04346), algorithm 1, with the search among all candidates of the best places.

    The paper tests places by the blank or the end of a word, here the first candidate of a place is the test. It goes
    on for k rounds whatever they gain; here it ends when one gains nothing, and a place may change again, as in the
    paper.

    Args:
        places: how many are searched in a round.
        queries: queries per row.
    """

    places: int = 20
    queries: int = 5000

    facts: ClassVar[Facts] = Facts(
        paper="Rocamora et al.: Revisiting Character-level Adversarial Attacks for Language Models",
        year=2024,
        family="moves",
        cost="radius x (places of the text + 20 x candidates) forwards at most",
        use="characters: many places, few changes",
    )
    need: ClassVar[Need] = Need.VALUE
    requires: ClassVar[type] = Substitutes
    threats: ClassVar[tuple[str, ...]] = SUBSTITUTING

    @property
    def looks(self) -> int:
        return self.queries

    def init(self, problem: Problem[Substitutions], job: Job) -> CharmerState:
        walk = first_walk(job, 1 + problem.threat.moves(job))
        return CharmerState(**vars(walk), testing=torch.zeros_like(job.y, dtype=torch.bool))

    def points(self, problem: Problem[Substitutions], job: Job, state: CharmerState, codes: Tensor) -> Tensor:
        return problem.threat.leads(state.base, job, codes - 1)

    def next_round(self, problem: Problem[Substitutions], job: Job, state: CharmerState) -> CharmerState:
        more = self._best_places(problem, job, state)
        again = state.testing & more.any(1)
        walk, better = walked(problem, job, state)
        tests = self._new(problem, job, walk) & better[:, None, None]
        tests = (tests & (tests.cumsum(2) == 1)).flatten(1)
        codes, total = asking(pad(pick(again, more, tests), (1, 0)))
        state = tree(lambda stays, moves: pick(again, stays, moves), state, walk)
        return replace(state, codes=codes, total=total, testing=~again)

    def _new(self, problem: Problem[Substitutions], job: Job, state: CharmerState) -> Tensor:
        """The moves (B, P, C) that have not been seen beside the last one."""
        legal = problem.threat.legal(state.base, job) & ~problem.threat.beside(job, state.last)
        return by_place(legal, job)

    def _best_places(self, problem: Problem[Substitutions], job: Job, state: CharmerState) -> Tensor:
        """The moves (B, M) at the best places that have not been asked in this round's test."""
        losses = by_place(state.losses[:, 1:], job)
        rank = losses.amin(2).argsort(dim=1, stable=True).argsort(dim=1)
        return (self._new(problem, job, state) & (rank < self.places)[:, :, None] & (losses == math.inf)).flatten(1)
