"""HotFlip: the moves that the gradient likes best, one after the other, in one text or in a beam of several."""

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import pad

from blindspots.attacks.attack import Facts
from blindspots.attacks.moves.distinct import children_marks, first_of_each
from blindspots.attacks.rounds import Rounds, RoundState, first_round, next_codes
from blindspots.capabilities import Substitutes
from blindspots.lattice import SUBSTITUTING, Substitutions
from blindspots.problem import Job, Need, Problem, Seen


@dataclass(frozen=True)
class HotFlipState(RoundState):
    """Code i asks about text i of the beam."""

    beam: Tensor  # (B, width, P)
    promise: Tensor  # (B, width) the sum of the slopes along the moves that led to each text; inf where there is none
    slopes: Tensor  # (B, width, M) along the moves from each text
    leaves: Tensor  # (B,) bool: no text of this round can be changed further


@dataclass(frozen=True)
class HotFlip(Rounds[HotFlipState, Substitutions]):
    """Ebrahimi et al. 2018 (arXiv 1712.06751), sections 3.1 and 3.3: a beam search that only follows slopes.

    A text counts by the sum of the slopes along the moves that led to it, each taken where it was made, so a round
    costs one forward and one backward per text of the beam. A place that has been changed is not changed again: the
    paper does not say, and slopes at two texts that differ in one place may each promise the other. A text that several
    of the beam lead to is kept once, by the best of its ways.

    Args:
        steps: moves per row at most.
        width: texts that are kept; 10 in the paper, 1 is a greedy search.
    """

    steps: int = 50
    width: int = 10

    facts: ClassVar[Facts] = Facts(
        paper="Ebrahimi et al.: HotFlip: White-Box Adversarial Examples for Text Classification",
        year=2018,
        family="moves",
        cost="width x radius + 1 forwards, width x (radius - 1) + 1 backwards at most",
        use="tokens and categories; a first look, with a beam of 10 for few queries in all",
    )
    need: ClassVar[Need] = Need.SLOPES
    requires: ClassVar[type] = Substitutes
    threats: ClassVar[tuple[str, ...]] = SUBSTITUTING

    @property
    def looks(self) -> int:
        return self.steps * self.width + 1

    def init(self, problem: Problem[Substitutions], job: Job) -> HotFlipState:
        beam = job.start[:, None].repeat(1, self.width, 1)
        return HotFlipState(
            **vars(first_round(job, self.width)),
            beam=beam,
            promise=torch.zeros_like(beam[:, :, 0]),
            slopes=torch.zeros_like(beam[:, :, :1]).repeat(1, 1, problem.threat.moves(job)),
            leaves=torch.zeros_like(job.y, dtype=torch.bool),
        )

    def points(self, problem: Problem[Substitutions], job: Job, state: HotFlipState, codes: Tensor) -> Tensor:
        return state.beam[torch.arange(len(codes), device=codes.device)[:, None], codes]

    def absorb(
        self, problem: Problem[Substitutions], job: Job, state: HotFlipState, seen: Seen, count: Tensor
    ) -> HotFlipState:
        if seen.grad is not None:
            lanes, (moves, width) = seen.grad.shape[1], (state.slopes.shape[2], self.width)
            nobody = torch.arange(lanes, device=count.device) >= count[:, None]
            text = next_codes(state, lanes).masked_fill(nobody, width)[:, :, None].expand(-1, -1, moves)
            room = torch.cat([state.slopes, state.slopes[:, :1]], 1)
            state = replace(state, slopes=room.scatter(1, text, seen.grad[:, :, :moves])[:, :width])
        return super().absorb(problem, job, state, seen, count)

    def next_round(self, problem: Problem[Substitutions], job: Job, state: HotFlipState) -> HotFlipState:
        kept, best = self._best(problem, job, state)
        moves, row = state.slopes.shape[2], torch.arange(len(best), device=best.device)[:, None]
        some = kept.isfinite()
        beam = problem.threat.leads_each(state.beam[row, best // moves], job, (best % moves).masked_fill(~some, -1))
        codes = torch.arange(self.width, device=best.device).expand_as(state.codes)
        state = replace(state, codes=codes, total=some.sum(1), beam=beam, promise=kept)
        return replace(state, leaves=~self._legal(problem, job, state, 1).flatten(1).any(1))

    def _best(self, problem: Problem[Substitutions], job: Job, state: HotFlipState) -> tuple[Tensor, Tensor]:
        """What the best continuations of the beam promise, and their numbers m + M i: (B, width)."""
        promised = (state.promise[:, :, None] + state.slopes).flatten(1)
        promised = promised.masked_fill(~self._legal(problem, job, state, 0).flatten(1), math.inf)
        ranked, order = promised.sort(dim=1, stable=True)
        same = children_marks(problem.threat, job, state.beam).flatten(1).gather(1, order)
        new = first_of_each(same) == torch.arange(same.shape[1], device=same.device)
        ranked = ranked.masked_fill(~new, math.inf)
        least, at = ranked.sort(dim=1, stable=True)
        room = (0, self.width - least.shape[1])  # below 0 it cuts off
        return pad(least, room, value=math.inf), pad(order.gather(1, at), room)

    def _legal(self, problem: Problem[Substitutions], job: Job, state: HotFlipState, ahead: int) -> Tensor:
        """The moves that change another place of a text, as long as there are steps: (B, width, P, C) bool."""
        new = (state.beam == job.x[:, None]) & state.promise.isfinite()[:, :, None]
        legal = problem.threat.legal_each(state.beam, job) & new[..., None]
        return legal & (state.rounds + ahead < self.steps)[:, None, None, None]

    def scores_enough(self, state: HotFlipState) -> Tensor:
        return super().scores_enough(state) | state.leaves
