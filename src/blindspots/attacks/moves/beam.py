"""Beam search: of all texts with one more change the best few are kept, and so on."""

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import pad

from blindspots.attacks.attack import Facts
from blindspots.attacks.moves.distinct import children_marks, first_of_each
from blindspots.attacks.rounds import Rounds, RoundState, asking, first_round
from blindspots.capabilities import Substitutes
from blindspots.lattice import SUBSTITUTING, Substitutions
from blindspots.problem import Job, Need, Problem


@dataclass(frozen=True)
class BeamState(RoundState):
    """Code 0 asks about the start, code 1 + m + M i where move m leads from text i of the beam."""

    beam: Tensor  # (B, width, P) the texts that were kept


@dataclass(frozen=True)
class Beam(Rounds[BeamState, Substitutions]):
    """Ebrahimi et al. 2018 (arXiv 1712.06751), section 3.3, by losses instead of gradients (Yoo et al. 2020).

    A place that has been changed is not changed again, as in the recipes of the second paper, and a text that several
    of the beam lead to is evaluated once. Texts are asked in the order that the round before promises. So with a width
    of the number of candidates of all places together, two changes are searched exhaustively.

    Args:
        width: texts that are kept.
        queries: queries per row.
    """

    width: int = 8
    queries: int = 20_000

    facts: ClassVar[Facts] = Facts(
        paper="Ebrahimi et al.: HotFlip: White-Box Adversarial Examples for Text Classification",
        year=2018,
        family="moves",
        cost="width x radius x candidates forwards at most",
        use="few changes: nearly what exhaustive search finds",
    )
    need: ClassVar[Need] = Need.VALUE
    requires: ClassVar[type] = Substitutes
    threats: ClassVar[tuple[str, ...]] = SUBSTITUTING

    @property
    def looks(self) -> int:
        return self.queries

    def init(self, problem: Problem[Substitutions], job: Job) -> BeamState:
        rounds = first_round(job, 1 + self.width * problem.threat.moves(job))
        return BeamState(**vars(rounds), beam=job.start[:, None].repeat(1, self.width, 1))

    def points(self, problem: Problem[Substitutions], job: Job, state: BeamState, codes: Tensor) -> Tensor:
        moves, row = problem.threat.moves(job), torch.arange(len(codes), device=codes.device)[:, None]
        text, move = (codes - 1).clamp_min(0) // moves, torch.where(codes > 0, (codes - 1) % moves, -1)
        return problem.threat.leads_each(state.beam[row, text], job, move)

    def next_round(self, problem: Problem[Substitutions], job: Job, state: BeamState) -> BeamState:
        least, best = (t[:, : self.width] for t in state.losses.sort(dim=1, stable=True))
        kept = self.points(problem, job, state, best)
        wanted = self._children(problem, job, kept, least.isfinite())
        codes, total = asking(pad(wanted, (1, 0)), pad(self._promise(state, least, best), (1, 0)))
        return replace(state, codes=codes, total=total, losses=torch.full_like(state.losses, math.inf), beam=kept)

    def _promise(self, state: BeamState, least: Tensor, best: Tensor) -> Tensor:
        """Of each move from the texts that are kept, by what it did to the one that they were made of: (B, width M)."""
        before = state.losses[:, 1:].view(len(best), self.width, -1)
        text = (best - 1).clamp_min(0) // before.shape[2]
        row = torch.arange(len(text), device=text.device)[:, None]
        return (least[:, :, None] + before[row, text]).flatten(1)

    def _children(self, problem: Problem[Substitutions], job: Job, beam: Tensor, alive: Tensor) -> Tensor:
        """The moves of each text (B, width, P) to a text that none before it leads to: (B, width M) bool."""
        new = (beam == job.x[:, None]) & alive[:, :, None]
        legal = (problem.threat.legal_each(beam, job) & new[..., None]).flatten(1)
        there = children_marks(problem.threat, job, beam).flatten(1)
        return legal & (first_of_each(there.masked_fill(~legal, 0)) == torch.arange(legal.shape[1], device=beam.device))
