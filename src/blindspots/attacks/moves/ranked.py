"""Greedy search place by place: first how much each matters, then its candidates when its turn comes."""

import math
from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from blindspots.attacks.attack import Facts, zeros
from blindspots.attacks.moves.walk import WalkState, by_place, first_walk, walked
from blindspots.attacks.rounds import Rounds, asking
from blindspots.capabilities import Substitutes
from blindspots.lattice import BLANK, SUBSTITUTING, UNKNOWN, Substitutions, put_at
from blindspots.problem import Job, Need, Problem, Seen
from blindspots.random import uniform
from blindspots.rows import pick


@dataclass(frozen=True)
class RankedState(WalkState):
    """Code 1 + M + p of a round asks about the point with a blank at place p."""

    rank: Tensor  # (B, P) int64 the places, the most important one first
    done: Tensor  # (B,) int64 how many of these have had their turn


class _Ranked(Rounds[RankedState, Substitutions]):
    """What all orders have in common: a place has its turn once, and its best candidate stays if it lowers the loss."""

    queries: int

    requires: ClassVar[type] = Substitutes
    threats: ClassVar[tuple[str, ...]] = SUBSTITUTING
    blank: float = BLANK
    ranking: int = 0  # rounds that are asked for the order of the places

    @property
    def looks(self) -> int:
        return self.queries

    @abstractmethod
    def ranked(self, job: Job, state: RankedState, losses: Tensor, blanks: Tensor) -> Tensor:
        """The places (B, P), the most important one first.

        From the losses of all moves from the start (B, P, C) and of blanks (B, P), inf where they were not asked.
        """

    def init(self, problem: Problem[Substitutions], job: Job) -> RankedState:
        walk = first_walk(job, 1 + problem.threat.moves(job) + job.x.shape[1])
        return RankedState(**vars(walk), rank=torch.zeros_like(job.x, dtype=torch.int64), done=zeros(job))

    def points(self, problem: Problem[Substitutions], job: Job, state: RankedState, codes: Tensor) -> Tensor:
        moves = problem.threat.moves(job)
        there = problem.threat.leads(state.base, job, torch.where(codes > moves, -1, codes - 1))
        at = (codes - 1 - moves).clamp_min(0)
        own = there.gather(2, at[:, :, None])[:, :, 0]
        return put_at(there, at, own.masked_fill(codes > moves, self.blank))

    def next_round(self, problem: Problem[Substitutions], job: Job, state: RankedState) -> RankedState:
        state = replace(state, loss=torch.where(state.rounds == 0, state.losses[:, 0], state.loss))
        places, first, turns = job.x.shape[1], state.rounds == self.ranking, state.rounds >= self.ranking
        losses = by_place(state.losses[:, 1:-places], job)
        rank = pick(first, self.ranked(job, state, losses, state.losses[:, -places:]), state.rank)
        # The candidates of the first place may be known from the ranking, those of others wait for their turn.
        mine = turns[:, None] & (~first[:, None] | one_hot(rank[:, 0], places).bool())
        known = state.losses.clone()
        known[:, 1:-places] = losses.masked_fill(~mine[:, :, None], math.inf).flatten(1)
        walk, better = walked(problem, job, replace(state, losses=known))
        walk = replace(walk, losses=pick(turns, walk.losses, state.losses), rank=rank)
        return self._asking(problem, job, walk, first & (self.ranking > 1), better)

    def _asking(
        self, problem: Problem[Substitutions], job: Job, state: RankedState, known: Tensor, better: Tensor
    ) -> RankedState:
        """The next questions; `known` (B,): the first place has had its turn, and if it was no `better`, none is."""
        places, turns = job.x.shape[1], state.rounds >= self.ranking
        legal = by_place(problem.threat.legal(state.base, job), job)
        done = state.done + known.long()
        waiting = legal.any(2).gather(1, state.rank) & (torch.arange(places, device=done.device) >= done[:, None])
        place = waiting.int().argmax(1)
        mine = one_hot(state.rank.gather(1, place[:, None])[:, 0], places).bool() & waiting.any(1, keepdim=True)
        tried = torch.where(turns[:, None], mine & (better | ~known)[:, None], (state.rounds == 1)[:, None])
        moves = legal & tried[:, :, None]
        blanks = legal.any(2) & ((state.rounds == 0) & ~turns)[:, None]
        codes, total = asking(torch.cat([torch.zeros_like(blanks[:, :1]), moves.flatten(1), blanks], 1))
        return replace(state, codes=codes, total=total, done=torch.where(turns, place + 1, state.done))


Order = Literal["delete", "unknown", "saliency", "random"]


@dataclass(frozen=True)
class Ranked(_Ranked):
    """Jin et al. 2020 (TextFooler, arXiv 1907.11932), algorithm 1, but for its choice among several successes.

    There the one at a place whose sentence is most similar is taken, here the first one, which ends the search: the
    most similar word where a place's candidates are in this order.

    Places count by how far the search's loss falls without them, where the papers take the probability of the label.

    Args:
        order: how places are ranked. "delete": by the loss with the word deleted (TextFooler). "unknown": with an
            unknown word instead (Gao et al. 2018, arXiv 1801.04354). "saliency": by the softmax of "unknown" times what
            the best candidate gains (Ren et al. 2019, PWWS, eq. 8); the paper then puts in these candidates one after
            the other, here all of a place are tried once more, except for the first. "random": by lot.
        queries: queries per row.
    """

    order: Order = "delete"
    queries: int = 5000

    facts: ClassVar[Facts] = Facts(
        paper="Jin et al.: Is BERT Really Robust? A Strong Baseline for Natural Language Attack",
        year=2020,
        family="moves",
        cost="places + candidates forwards at most (saliency: twice the candidates)",
        use="long texts: fewest queries, some strength lost",
    )
    need: ClassVar[Need] = Need.VALUE

    @property
    def blank(self) -> float:  # type: ignore[override]
        return BLANK if self.order == "delete" else UNKNOWN

    @property
    def ranking(self) -> int:  # type: ignore[override]
        return {"random": 0, "delete": 1, "unknown": 1, "saliency": 2}[self.order]

    def ranked(self, job: Job, state: RankedState, losses: Tensor, blanks: Tensor) -> Tensor:
        if self.order == "random":
            return uniform(job.key, zeros(job), 0, job.x.shape[1:]).argsort(1)
        matters = state.loss[:, None] - blanks
        if self.order == "saliency":
            gain = state.loss[:, None] - losses.amin(2)
            matters = (matters.softmax(1) * gain).nan_to_num(nan=-math.inf)
        return matters.argsort(dim=1, descending=True, stable=True)


@dataclass(frozen=True)
class RankedByGradient(_Ranked):
    """As `Ranked`, in the order of what the best candidate of a place gains to first order, from one gradient.

    Yoo et al. 2020 (arXiv 2009.06368), section 3.1, rank by the norm of the gradient at a word: candidates count here.

    Args:
        queries: queries per row.
    """

    queries: int = 5000

    facts: ClassVar[Facts] = Facts(
        paper="Yoo et al.: Searching for a Search Method",
        year=2020,
        family="moves",
        cost="1 + candidates forwards at most, 1 backward",
        use="networks with embeddings; fewest queries of all",
    )
    need: ClassVar[Need] = Need.SLOPES

    def absorb(
        self, problem: Problem[Substitutions], job: Job, state: RankedState, seen: Seen, count: Tensor
    ) -> RankedState:
        if seen.grad is not None:
            legal = problem.threat.legal(job.start, job)
            slopes = seen.grad[:, 0, : legal.shape[1]].masked_fill(~legal, math.inf)
            gain = -by_place(slopes, job).amin(2)
            rank = gain.argsort(dim=1, descending=True, stable=True)
            state = replace(state, rank=pick(state.t == 0, rank, state.rank))
        return super().absorb(problem, job, state, seen, count)

    def ranked(self, job: Job, state: RankedState, losses: Tensor, blanks: Tensor) -> Tensor:
        return state.rank

    def scores_enough(self, state: RankedState) -> Tensor:
        return state.t > 0
