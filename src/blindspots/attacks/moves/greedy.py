"""Greedy search: every move is evaluated, the best one is made, and so on as long as that helps."""

from dataclasses import dataclass, replace
from typing import ClassVar

from torch import Tensor
from torch.nn.functional import pad

from blindspots.attacks.attack import Facts
from blindspots.attacks.moves.walk import WalkState, first_walk, walked
from blindspots.attacks.rounds import Rounds, asking
from blindspots.capabilities import Enumerates
from blindspots.lattice import SUBSTITUTING, Neighbours
from blindspots.problem import Job, Need, Problem


@dataclass(frozen=True)
class Greedy(Rounds[WalkState, Neighbours]):
    """Kuleshov et al. 2018 (Adversarial Examples for Natural Language Classification Problems), algorithm 1.

    What was seen beside the last move is not asked again. Moves are asked in the order of what they did in the round
    before, so that a row which falls does so early.

    Args:
        queries: queries per row.
    """

    queries: int = 5000

    facts: ClassVar[Facts] = Facts(
        paper="Kuleshov et al.: Adversarial Examples for Natural Language Classification Problems",
        year=2018,
        family="moves",
        cost="queries forwards at most",
        use="tokens and categories; exact where moves add up",
    )
    need: ClassVar[Need] = Need.VALUE
    requires: ClassVar[type] = Enumerates
    threats: ClassVar[tuple[str, ...]] = SUBSTITUTING

    @property
    def looks(self) -> int:
        return self.queries

    def init(self, problem: Problem[Neighbours], job: Job) -> WalkState:
        return first_walk(job, 1 + problem.threat.moves(job))

    def points(self, problem: Problem[Neighbours], job: Job, state: WalkState, codes: Tensor) -> Tensor:
        return problem.threat.leads(state.base, job, codes - 1)

    def next_round(self, problem: Problem[Neighbours], job: Job, state: WalkState) -> WalkState:
        promise = state.losses
        state, better = walked(problem, job, state)
        legal = problem.threat.legal(state.base, job) & ~problem.threat.beside(job, state.last) & better[:, None]
        codes, total = asking(pad(legal, (1, 0)), promise)
        return replace(state, codes=codes, total=total)
