"""What is found out about the rate of each row, from the cheapest means to the dearest: a proof, draws, splitting."""

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from blindspots.errors import InputError
from blindspots.experiments.inspect.frequency.laws import Law, covered
from blindspots.experiments.inspect.frequency.likeness import FORGOTTEN
from blindspots.experiments.inspect.frequency.sampling import Draws, sample
from blindspots.experiments.inspect.frequency.scoring import wrong
from blindspots.experiments.inspect.frequency.splitting import Runs, Score, Splitting, split
from blindspots.random import keys
from blindspots.records import Record

ENOUGH = 10  # hits: an interval from as many spans a factor of 4, which splitting would have to work for
ROUNDS = 5  # of runs, each with twice the steps of the one before
_FREEING = 2  # rounds of a row whose clones cannot move: there is hardly ever anything above, and steps do not help
_DRAWING, _SPLITTING = range(2)  # what keys of a row are for: _SPLITTING + i for round i


class Round(Record):
    """All replicates of one row, with one number of steps."""

    kills: tuple[int, ...]
    arrived: tuple[bool, ...]
    tau: float  # of clones and parents: see `likeness`
    chance: float  # its standard deviation where clones forgot
    stuck: int = 0  # replicates whose clones could not move any more

    @property
    def remembering(self) -> bool:
        """Whether clones are more like their parents than they may be."""
        return self.tau > FORGOTTEN + self.chance


class Evidence(Record):
    """What is known of one row: all that its rate follows from."""

    wrong: bool  # the row itself is an error; its rate is that of the points around it all the same
    proved: float | None = None  # 0 or 1, where a certificate covers all points of the law
    hits: int = 0
    draws: int = 0
    mean: float | None = None  # of the scores over the draws, and its standard error; above 0 is an error
    error: float | None = None
    unreadable: int = 0
    rounds: tuple[Round, ...] = ()  # the last one counts
    level: float | None = None  # that all replicates of the last round came to, at least; errors are above 0
    particles: int = 0
    steps: int = 0  # of a clone in the first round
    forwards: int = 0


def gather(
    score: Score,
    x: Tensor,
    law: Law,
    key: Tensor,
    *,
    draws: int = 1000,
    splitting: Splitting | None = Splitting(),  # noqa: B008  # immutable
    certified: Tensor | None = None,
) -> list[Evidence]:
    """For every row of x (B, ...): proved, else drawn, else (fewer than ten hits) split.

    Rows whose clones are like their parents are split again with twice the steps, `ROUNDS` times at most; those whose
    clones cannot move, once more. How clones walk decides about it, not where kills ended; what earlier rounds saw is
    kept, see `rates.rate`.

    Args:
        score: above 0 where a point (L, ...) of a row (L,) is an error, as from `scoring.error_score`.
        key: (B,) int64; a row's evidence depends on its own key and input alone.
        draws: per row, at least 2.
        splitting: None: draws alone.
        certified: (B,) radii, in the norm of the law, within which the prediction is proved not to change. A row that
            is right has then a rate of 0, one that is wrong a rate of 1.

    Raises InputError where shapes do not fit together, and for numbers out of range.
    """
    _check(x, key, certified)
    if not len(x):
        return []
    known, search = wrong(score, x), _Search(score, x, law, key)
    proved = torch.zeros_like(known) if certified is None else covered(law, certified)
    found = {row: Evidence(wrong=bool(known[row]), forwards=1) for row in range(len(x))}
    found |= {row: _with(found[row], proved=float(known[row])) for row in _places(proved)}
    few = _draw(search, (~proved).nonzero()[:, 0], draws, found)
    if splitting is not None:
        _split(search, few, splitting, found)
    return [found[row] for row in range(len(x))]


@dataclass(frozen=True)
class _Search:
    """A score, and the points where it is asked."""

    score: Score
    x: Tensor
    law: Law
    key: Tensor

    def of(self, rows: Tensor, purpose: int) -> tuple[Score, Tensor, Law, Tensor]:
        """The same about some of the rows, with keys of their own."""
        return lambda points, row: self.score(points, rows[row]), self.x[rows], self.law, keys(purpose, self.key[rows])


def _draw(search: _Search, rows: Tensor, draws: int, found: dict[int, Evidence]) -> Tensor:
    """Adds draws to the evidence of these rows (K,); returns those that hardly ever hit."""
    if not len(rows):
        return rows
    drawn = sample(*search.of(rows, _DRAWING), draws)
    for place, row in enumerate(rows.tolist()):
        found[row] = _with(found[row], forwards=found[row].forwards + draws, **_of_draws(drawn, place))
    return rows[drawn.hits < ENOUGH]


def _of_draws(drawn: Draws, place: int) -> dict[str, Any]:
    counted = {name: int(getattr(drawn, name)[place]) for name in ("hits", "draws", "unreadable")}
    mean, error = float(drawn.mean[place]), float(drawn.deviation[place] / drawn.draws[place] ** 0.5)
    return counted | {"mean": _finite(mean), "error": _finite(error)}


def _split(search: _Search, rows: Tensor, how: Splitting, found: dict[int, Evidence]) -> None:
    """Adds rounds of runs to the evidence of these rows."""
    for turn in range(ROUNDS):
        if not len(rows):
            return
        runs = split(*search.of(rows, _SPLITTING + turn), replace(how, steps=how.steps << turn))
        for place, row in enumerate(rows.tolist()):
            found[row] = _of_runs(found[row], runs, place, how)
        given_up = runs.stuck.any(1) if turn + 1 >= _FREEING else torch.zeros_like(runs.short)
        rows = rows[runs.short & ~given_up]


def _of_runs(known: Evidence, runs: Runs, place: int, how: Splitting) -> Evidence:
    made = Round(
        kills=tuple(runs.kills[place].tolist()),
        arrived=tuple(runs.arrived[place].tolist()),
        tau=float(runs.like.tau[place]),
        chance=float(runs.like.chance[place]),
        stuck=int(runs.stuck[place].sum()),
    )
    return _with(
        known,
        rounds=(*known.rounds, made),
        level=_finite(float(runs.level[place].min())),
        particles=how.particles,
        steps=how.steps,
        forwards=known.forwards + int(runs.forwards[place].sum()),
    )


def _with(evidence: Evidence, **more: Any) -> Evidence:
    return evidence.model_copy(update=more)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _places(mask: Tensor) -> list[int]:
    return mask.nonzero()[:, 0].tolist()


def _check(x: Tensor, key: Tensor, certified: Tensor | None) -> None:
    for name, given in (("key", key), ("certified radius", certified)):
        if given is not None and given.shape != x.shape[:1]:
            raise InputError(f"expected one {name} per row, ({len(x)},), got {(*given.shape,)}: give as many")
