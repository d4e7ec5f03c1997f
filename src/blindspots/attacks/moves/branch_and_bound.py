"""Branch and bound: changes are added one by one, as long as what they gain alone leaves a hope."""

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from blindspots.attacks.attack import Facts, full, zeros
from blindspots.attacks.rounds import Rounds, RoundState, asking, first_round
from blindspots.capabilities import Substitutes
from blindspots.lattice import SUBSTITUTING, Substitutions
from blindspots.problem import Job, Need, Problem, Seen
from blindspots.rows import pick

_ROUNDING = 1e-5  # of margins, as a share of the largest gain


@dataclass(frozen=True)
class BranchAndBoundState(RoundState):
    """Code 0 asks about the clean input, code 1 + m where move m leads from there, the last code about the node.

    Moves are ranked by what they gain alone. A node is a way down a tree, along which ranks rise.
    """

    gains: Tensor  # (B, M) what each move does to the margin alone, lowest first; inf where there is none
    order: Tensor  # (B, M) int64 the moves by their rank
    path: Tensor  # (B, P) int64 ranks of the moves that led to the node
    depth: Tensor  # (B,) int64 how many there are
    margins: Tensor  # (B, P + 1) along the way, that of the clean input first
    later: Tensor  # (B,) int64 the rank from which on moves may still be added to the node


@dataclass(frozen=True)
class BranchAndBound(Rounds[BranchAndBoundState, Substitutions]):
    """Land and Doig 1960 (Econometrica 28), depth first, the most promising change first.

    First every single change is evaluated. Then changes are added to changes, best ones first, and a branch is left out
    where the margin of its text, less all that further changes may gain, stays above 0. How much that is, no model
    known by its answers alone can say, so the user does: in any text a change gains at most what it gains alone in the
    clean one, and `interaction` more.

    None makes no assumption and leaves out nothing: an exact answer for every model, as `Exhaustive` gives, with fewer
    queries where rows fall and as many where they stand. 0 is exact where margins are sums over places: bags of words,
    naive Bayes and other linear models with two classes and without a normalisation by the length or norm of a text
    (the mean of words is one, unless all candidates have as many tokens as what they stand for). Then a row costs as
    many queries as there are candidates. In between, an exact answer under that assumption.

    Args:
        interaction: of margins, that is of logits; at least 0.
        queries: queries per row; a row whose search they cut short does not stand by it.
    """

    interaction: float | None = None
    queries: int = 100_000

    facts: ClassVar[Facts] = Facts(
        paper="Land, Doig: An Automatic Method of Solving Discrete Programming Problems",
        year=1960,
        family="moves",
        cost="as many forwards as points at most; as candidates with interaction=0",
        use="small lattices, and linear models on all: exact as exhaustive search, rows fall sooner",
    )
    need: ClassVar[Need] = Need.VALUE
    requires: ClassVar[type] = Substitutes
    threats: ClassVar[tuple[str, ...]] = SUBSTITUTING

    @property
    def looks(self) -> int:
        return self.queries

    def init(self, problem: Problem[Substitutions], job: Job) -> BranchAndBoundState:
        gains, path = full(job, math.inf)[:, None].repeat(1, problem.threat.moves(job)), torch.zeros_like(job.x).long()
        return BranchAndBoundState(
            **vars(first_round(replace(job, start=job.x), 2 + gains.shape[1])),
            gains=gains,
            order=torch.zeros_like(gains).long(),
            path=path,
            depth=zeros(job),
            margins=torch.zeros_like(job.x[:, :1]).repeat(1, 1 + job.x.shape[1]),
            later=zeros(job),
        )

    def points(self, problem: Problem[Substitutions], job: Job, state: BranchAndBoundState, codes: Tensor) -> Tensor:
        moves, node = state.order.shape[1], job.x[:, None]
        for i in range(int(state.depth.max())):
            move = state.order.gather(1, state.path[:, i : i + 1])
            node = problem.threat.leads_each(node, job, move.masked_fill((i >= state.depth)[:, None], -1))
        there = problem.threat.leads(job.x, job, (codes - 1).masked_fill(codes > moves, -1))
        return torch.where((codes > moves)[:, :, None], node, there)

    def absorb(
        self, problem: Problem[Substitutions], job: Job, state: BranchAndBoundState, seen: Seen, count: Tensor
    ) -> BranchAndBoundState:
        """By margins, whatever the loss: they are below 0 exactly where a row falls."""
        return super().absorb(problem, job, state, replace(seen, loss=seen.margin), count)

    def next_round(self, problem: Problem[Substitutions], job: Job, state: BranchAndBoundState) -> BranchAndBoundState:
        first, answers = state.rounds == 0, state.losses
        clean = pick(first, answers[:, 0], state.margins[:, 0])
        gains, order = (answers[:, 1:-1] - clean[:, None]).sort(dim=1, stable=True)
        here = pick(state.rounds > 1, answers[:, -1], clean)
        state = replace(
            state,
            gains=pick(state.rounds == 1, gains, state.gains),
            order=pick(state.rounds == 1, order, state.order),
            margins=state.margins.scatter(1, state.depth[:, None], here[:, None]),
            losses=torch.full_like(answers, math.inf),
        )
        state, found = self._descended(job, state, ~first)
        alone = problem.threat.legal(job.x, job) & first[:, None]
        codes, total = asking(torch.cat([torch.zeros_like(alone[:, :1]), alone, found[:, None]], 1))
        return replace(state, codes=codes, total=total)

    def _descended(self, job: Job, state: BranchAndBoundState, searching: Tensor) -> tuple[BranchAndBoundState, Tensor]:
        """At the next node to be evaluated, for rows that are `searching` (B,), and where there is one: (B,) bool."""
        found = torch.zeros_like(searching)
        while bool(searching.any()):
            rank, hopeful = self._branch(job, state)
            down, up = searching & hopeful, searching & ~hopeful & (state.depth > 0)
            state = _deeper(state, rank, down, up)
            known = state.depth == 1  # what changes do alone was asked at first
            found, searching = down & ~known | found, down & known | up
        return state, found

    def _branch(self, job: Job, state: BranchAndBoundState) -> tuple[Tensor, Tensor]:
        """The rank (B,) of the best move that may still be added to the node, and whether there is hope behind it.

        If there is none behind the best one, there is none behind any.
        """
        place = state.order // (state.order.shape[1] // job.x.shape[1])
        free = ~_changed(state, place).gather(1, place) & state.gains.isfinite()
        free &= torch.arange(place.shape[1], device=place.device) >= state.later[:, None]
        rank = free.int().argmax(1, keepdim=True)
        gain, left = state.gains.gather(1, rank)[:, 0], (job.r - state.depth)[:, None]
        more = math.inf if self.interaction is None else self.interaction
        most = (state.gains - more).clamp_max(0).masked_fill(~free, 0)
        others = torch.zeros_like(job.x).scatter_reduce(1, place, most, "amin").scatter(1, place.gather(1, rank), 0.0)
        further = others.sort(1).values.masked_fill(torch.arange(others.shape[1], device=left.device) >= left - 1, 0)
        gain = torch.where(state.depth > 0, gain - more, gain)
        bound = state.margins.gather(1, state.depth[:, None])[:, 0] + gain + further.sum(1)
        return rank[:, 0], free.any(1) & (left[:, 0] >= 1) & (bound < _ROUNDING * state.gains[:, 0].abs())


def _changed(state: BranchAndBoundState, place: Tensor) -> Tensor:
    """The places that the node has changed, where those of the moves by rank are `place` (B, M): (B, P) bool."""
    there = place.gather(1, state.path)
    on = torch.arange(there.shape[1], device=there.device) < state.depth[:, None]
    return (one_hot(there, there.shape[1]).bool() & on[:, :, None]).any(1)


def _deeper(state: BranchAndBoundState, rank: Tensor, down: Tensor, up: Tensor) -> BranchAndBoundState:
    """With the move of this rank added to nodes that go `down` (B,), and the last one taken from those that go `up`."""
    at, depth = state.depth[:, None], state.depth + down.long() - up.long()
    last = state.path.gather(1, (at - 1).clamp_min(0))[:, 0]
    alone = state.margins[:, 0] + state.gains.gather(1, rank[:, None])[:, 0]
    below = state.margins.scatter(1, (at + 1).clamp_max(state.path.shape[1]), alone[:, None])
    return replace(
        state,
        path=pick(down, state.path.scatter(1, at.clamp_max(state.path.shape[1] - 1), rank[:, None]), state.path),
        depth=depth,
        margins=pick(down & (state.depth == 0), below, state.margins),
        later=torch.where(down, rank + 1, torch.where(up, last + 1, state.later)),
    )
