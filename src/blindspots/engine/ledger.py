"""Per row: the best confirmed point, how near the others came, and the total cost. Attacks never see it."""

from dataclasses import dataclass

import torch
from torch import Tensor

from blindspots.engine.result import Result
from blindspots.problem import Seen
from blindspots.rows import Around, Rows, pick
from blindspots.threat import Threat


@dataclass(frozen=True)
class Ledger(Rows):
    """The engine writes it in place; entry i belongs to row i of a shard, or to the row in slot i."""

    best: Tensor  # (B, ...) successful point of the smallest norm; the clean input until there is one
    norm: Tensor  # (B,) its norm; inf until there is one
    said: Tensor  # (B,) int64 the prediction there, which a service may not repeat; -1 until then
    near: Tensor  # (B, ...) the point inside the threat where the margin was lowest
    margin: Tensor  # (B,) that margin
    low: Tensor  # (B,) lowest margin of the current job
    once: Tensor  # (B,) lowest margin that a finished job of this search reached; inf until there is one
    twice: Tensor  # (B,) lowest margin that two of them reached; inf until there are two
    won: Tensor  # (B,) bool
    looks: Tensor  # (B,) int64 of attacks
    moved: Tensor  # (B,) bool: one of them was not at the clean input
    result: Tensor  # (B,) uint8, a Result
    forwards: Tensor  # (B,) int64
    backwards: Tensor  # (B,) int64

    @classmethod
    def blank(cls, x: Tensor, margin: Tensor, draws: int = 1) -> "Ledger":
        """For rows whose clean inputs `x` were evaluated once, with `draws` draws, and had these margins."""
        none = torch.zeros(len(x), dtype=torch.int64, device=x.device)
        return cls(
            best=x.clone(),
            norm=torch.full_like(margin, torch.inf),
            said=none - 1,
            near=x.clone(),
            margin=margin.clone(),
            low=torch.full_like(margin, torch.inf),
            once=torch.full_like(margin, torch.inf),
            twice=torch.full_like(margin, torch.inf),
            won=none.bool(),
            looks=none.clone(),
            moved=none.bool(),
            result=torch.full_like(none, Result.UNSEARCHED).to(torch.uint8),
            forwards=none + draws,
            backwards=none.clone(),
        )

    def charge_(self, live: Tensor, backwards: Tensor, draws: int = 1) -> None:
        """One forward for every row that is `live` (B,), and its `backwards` (B,), `draws` times."""
        self.forwards.add_(draws * live)
        self.backwards.add_(draws * backwards)

    def charge_at_(self, at: Tensor, forwards: int, backwards: int) -> None:
        self.forwards.index_add_(0, at, torch.full_like(at, forwards))
        self.backwards.index_add_(0, at, torch.full_like(at, backwards))

    def judge_(self, live: Tensor, threat: Threat, around: Around, probe: Tensor, seen: Seen) -> None:
        """Record what was seen at `probe`: only points that really lie inside the threat count."""
        hopeful = live & (seen.won | (seen.margin < self.margin) | (seen.margin < self.low))
        # Measuring and copying only these rows is what makes cheap models fast; on a GPU it would force a wait.
        at = hopeful.nonzero()[:, 0] if hopeful.device.type == "cpu" else torch.arange(len(live), device=live.device)
        if len(at):
            inside, norm = _measured(hopeful[at], threat, around[at], probe[at])
            self._enter_(at, inside, norm, probe[at], seen.margin[at], seen.logits[at])

    def judge_ahead_(
        self, at: Tensor, lane: Tensor, last: Tensor, threat: Threat, around: Around, probe: Tensor, seen: Seen,
        stop_early: bool,
    ) -> Tensor:  # fmt: skip
        """As `judge_`, for evaluations (R,) of the rows `at` (R,), those in lane 0 first.

        Up to the lane `last` (S,) of each row; if `stop_early` to its first success. Returned is which lane that was.
        """
        hopeful = seen.won | (seen.margin < self.margin[at]) | (seen.margin < self.low[at])  # a job's first one is
        some = (hopeful & (lane <= last[at])).nonzero()[:, 0]
        at, lane, probe, margin, logits = at[some], lane[some], probe[some], seen.margin[some], seen.logits[some]
        inside, norm = _measured(torch.ones_like(some, dtype=torch.bool), threat, around[some], probe)
        for k in sorted(set(lane.tolist())):
            now = (lane == k).nonzero()[:, 0]
            rows = at[now]
            self._enter_(rows, inside[now] & (last[rows] >= k), norm[now], probe[now], margin[now], logits[now])
            if stop_early:
                last = last.index_copy(0, rows, torch.where(self.won[rows], last[rows].clamp_max(k), last[rows]))
        return last

    def _enter_(self, at: Tensor, inside: Tensor, norm: Tensor, probe: Tensor, margin: Tensor, logits: Tensor) -> None:
        old_norm, old_margin, old_low = self.norm[at], self.margin[at], self.low[at]
        better = inside & (margin < 0) & (norm < old_norm)
        nearer = inside & (margin < old_margin)
        self.best.index_copy_(0, at, pick(better, probe, self.best[at]))
        self.norm.index_copy_(0, at, torch.where(better, norm, old_norm))
        self.said.index_copy_(0, at, torch.where(better, logits.argmax(1), self.said[at]))
        self.near.index_copy_(0, at, pick(nearer, probe, self.near[at]))
        self.margin.index_copy_(0, at, torch.where(nearer, margin, old_margin))
        self.low.index_copy_(0, at, torch.where(inside & (margin < old_low), margin, old_low))
        self.won.index_copy_(0, at, self.won[at] | better)

    def count_look_(self, live: Tensor, x: Tensor, r: Tensor, probe: Tensor) -> None:
        """Count an evaluation of the rows that are `live` (B,), and whether it was away from their clean input `x`.

        Where nothing may change, no evaluation is informative.
        """
        self.looks.add_(live)
        new = live & ~self.moved & (r > 0)
        if new.device.type != "cpu":
            self.moved.logical_or_(new & _differ(probe, x))
        elif len(at := new.nonzero()[:, 0]):  # as in `judge_`: soon these are none
            self.moved[at] = _differ(probe[at], x[at])

    def count_looks_(self, count: Tensor, at: Tensor, lane: Tensor, around: Around, probe: Tensor) -> None:
        """As `count_look_`, for the first `count` (S,) of the evaluations (R,) of the rows `at` (R,)."""
        self.looks.add_(count)
        new = ((lane < count[at]) & ~self.moved[at] & (around.r > 0)).nonzero()[:, 0]
        if len(new):
            self.moved[at[new[_differ(probe[new], around.x[new])]]] = True

    def end_job_(self, at: Tensor) -> None:
        """The current jobs of the rows `at` (K,) have ended: remember how low the two best of them came."""
        low, once = self.low[at], self.once[at]
        self.twice[at] = self.twice[at].minimum(low.maximum(once))
        self.once[at] = low.minimum(once)
        self.low[at] = torch.inf

    def begin_search_(self) -> None:
        """Forget the jobs of the previous search."""
        for column in (self.low, self.once, self.twice):
            column.fill_(torch.inf)

    def stand_(self, ended: Tensor) -> None:
        """A job of the rows in `ended` (B,) ran to its end: they stand, unless another one was cut short."""
        self.settle_(ended & self._looked & (self.result == Result.UNSEARCHED), Result.STOOD)

    @property
    def cut_short(self) -> Tensor:
        """The rows that no search has ended for, although one began: (B,) bool."""
        return (self.result == Result.BUDGET) | (self._looked & (self.result == Result.UNSEARCHED))

    @property
    def _looked(self) -> Tensor:
        """A single evaluation is a guess, and so are those at the clean input: a search takes a step from there."""
        return self.moved & (self.looks > 1)

    def settle_(self, where: Tensor, result: Result) -> None:
        self.result.masked_fill_(where, result)


def _measured(hopeful: Tensor, threat: Threat, around: Around, probe: Tensor) -> tuple[Tensor, Tensor]:
    """Whether probes (K, ...) that are `hopeful` (K,) lie inside the threat, and the norms of all."""
    return hopeful & threat.holds(probe, around), threat.distance(probe, around.x)


def _differ(a: Tensor, b: Tensor) -> Tensor:
    """Whether corresponding rows of the two (B, ...) differ: (B,) bool."""
    return (a != b).flatten(1).any(1)
