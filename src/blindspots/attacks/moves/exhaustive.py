"""Every point within the radius, those with the fewest changes first."""

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from blindspots.attacks.attack import Facts, State, zeros
from blindspots.attacks.rounds import Ahead
from blindspots.capabilities import Substitutes
from blindspots.lattice import SUBSTITUTING, Substitutions, put_at
from blindspots.problem import Job, Need, Problem, Seen


@dataclass(frozen=True)
class ExhaustiveState(State):
    ways: Tensor  # (B, D + 1, P + 1) int64 [d, j]: points with d changes at the places from j on, at most queries + 1
    size: Tensor  # (B,) int64 points in all, counted as far as queries + 1


@dataclass(frozen=True)
class Exhaustive(Ahead[ExhaustiveState, Substitutions]):
    """The exact answer where there are at most `queries` points within the radius: a row that stands has none.

    Where there are more, the search is cut short, and does not make the row stand.

    Args:
        queries: queries per row.
    """

    queries: int = 100_000

    facts: ClassVar[Facts] = Facts(
        paper="enumeration",
        year=2026,
        family="moves",
        cost="as many forwards as there are points, `queries` at most",
        use="small lattices: the exact answer that others are measured by",
    )
    need: ClassVar[Need] = Need.VALUE
    requires: ClassVar[type] = Substitutes
    threats: ClassVar[tuple[str, ...]] = SUBSTITUTING

    @property
    def looks(self) -> int:
        return self.queries

    def init(self, problem: Problem[Substitutions], job: Job) -> ExhaustiveState:
        ways = self._ways(problem.threat.legal_each(job.x[:, None], job)[:, 0].sum(2))
        changes = torch.arange(ways.shape[1], device=job.r.device)
        allowed = changes <= job.r[:, None]
        size = (ways[:, :, 0] * allowed).sum(1).clamp_max(self.queries + 1)
        return ExhaustiveState(job.x, zeros(job), ways, size)

    def _ways(self, count: Tensor) -> Tensor:
        """`ExhaustiveState.ways` for a `count` (B, P) of candidates."""
        places = count.shape[1]
        most = min(places, self.queries.bit_length())  # with so many changes there are more than `queries` points
        ways = count.new_zeros((len(count), most + 1, places + 1))
        ways[:, 0] = 1
        for j in reversed(range(places)):
            taken = ways[:, :-1, j + 1] * count[:, j : j + 1]
            ways[:, 1:, j] = (ways[:, 1:, j + 1] + taken).clamp_max(self.queries + 1)
        return ways

    def proposals(self, problem: Problem[Substitutions], job: Job, state: ExhaustiveState, lanes: int) -> Tensor:
        number = state.t[:, None] + torch.arange(lanes, device=state.t.device)
        return self._point(problem, job, state, number.minimum(state.size[:, None] - 1))

    def _point(self, problem: Problem[Substitutions], job: Job, state: ExhaustiveState, number: Tensor) -> Tensor:
        """The points with these numbers (B, K), from 0: (B, K, P)."""
        row = torch.arange(len(number), device=number.device)[:, None]
        before = state.ways[:, :, 0].cumsum(1)
        changes = (number[:, :, None] >= before[:, None]).sum(2)
        number = torch.where(changes > 0, number - before[row, (changes - 1).clamp_min(0)], number)
        tokens, legal = problem.threat.tokens(job), problem.threat.legal_each(job.x[:, None], job)[:, 0]
        tokens = tokens.gather(2, (~legal).int().argsort(dim=2, stable=True))
        x = job.x[:, None].expand(-1, number.shape[1], -1)
        for _ in range(int(changes.max())):
            # The next place is the first behind which so many changes have no more than `number` ways.
            rest = state.ways[row, changes, 1:]
            place = (rest > number[:, :, None]).sum(2).clamp_max(x.shape[2] - 1)
            number = number - rest.gather(2, place[:, :, None])[:, :, 0]
            below = state.ways[row, (changes - 1).clamp_min(0), place + 1]
            own = x.gather(2, place[:, :, None])[:, :, 0]
            token = tokens[row, place, (number // below).clamp(0, tokens.shape[2] - 1)]
            x = put_at(x, place, torch.where(changes > 0, token, own))
            number, changes = number % below, (changes - 1).clamp_min(0)
        return x

    def absorb(
        self, problem: Problem[Substitutions], job: Job, state: ExhaustiveState, seen: Seen, count: Tensor
    ) -> ExhaustiveState:
        state = replace(state, t=state.t + count)
        return replace(state, probe=self.proposals(problem, job, state, 1)[:, 0])

    def ahead(self, state: ExhaustiveState) -> Tensor:
        return (state.size - state.t - 1).clamp_min(0)

    def exhausted(self, state: ExhaustiveState) -> Tensor:
        return super().exhausted(state) | (state.t >= state.size)

    def unfinished(self, state: ExhaustiveState) -> Tensor:
        return state.size > self.queries
