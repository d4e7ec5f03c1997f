"""How rare errors are counted: last particle splitting, many rows and replicates at once.

N points near a row are kept. Again and again the one that is furthest from an error is killed, and takes the place of a
copy of another one that has walked T steps without going below where it was killed. Once all N are errors, after M
kills, p is about (1 - 1/N)^M (Guyader, Hengartner and Matzner-Lober 2011; for networks Tit, Furon and Rousset 2021).
The law of M, `intervals` says it, is exact where clones have forgotten whom they were copied from.

Ties: points are ordered by (score, lot), the lot being uniform and drawn anew for every proposal. So a plateau is
crossed no faster than by plain rejection; a lot that walked would claim probabilities that nobody has looked for.

Walk: z' = sqrt(1 - s^2) z + s N(0, I) leaves the standard normal law unchanged in any dimension. Its width s follows
from the number of kills and of the step alone: beyond a half-space of probability p = exp(-m/N) the mean excess is
about 1 / sqrt(2 ln 1/p), and twice that is the width at which a clone forgets its origin soonest (a third of the
proposals is taken); in turn, smaller ones find their way where errors are shaped like a corner. Nothing adapts to what
was seen, so each kernel keeps its law exactly, and p is estimated without bias. Whether the steps were enough is
measured (`likeness`); where they were not, `evidence` makes new runs with twice as many.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import cast

import torch
from torch import Tensor

from blindspots.errors import InputError
from blindspots.experiments.certify.noise import gaussian
from blindspots.experiments.inspect.frequency.intervals import kills_below
from blindspots.experiments.inspect.frequency.laws import Law
from blindspots.experiments.inspect.frequency.likeness import FORGOTTEN, Likeness
from blindspots.random import keys, randint, uniform
from blindspots.rows import Rows, pick, tree

Score = Callable[[Tensor, Tensor], Tensor]  # points (L, ...) and their rows (L,) int64 -> (L,), above 0: an error

WIDTHS = (2.0, 1.0, 0.5, 0.25)  # in units of the mean excess over a half-space
_NUMBERS = 1 << 25  # of noise that are drawn at once
_CHOOSING, _LOTS, _AGAIN = range(3)  # streams of a lane


@dataclass(frozen=True)
class Splitting:
    """How an estimate is made.

    Args:
        particles: N, at least 2. The law of the kills is exact for every N; more scatter less.
        replicates: R independent runs per row, at least 2; their kills are compared, then added.
        steps: T of a clone. 20 keep the dispersion of kills within 10 % of Poisson behind half-spaces in any dimension;
            where errors are of another shape, `Runs.short` says whether they did.
        floor: a row is given up once it is certain that p is at most that.

    Raises InputError for numbers out of range.
    """

    particles: int = 10
    replicates: int = 10
    steps: int = 20
    floor: float = 1e-25

    def __post_init__(self) -> None:
        for name, least in (("particles", 2), ("replicates", 2), ("steps", 1)):
            if getattr(self, name) < least:
                raise InputError(f"expected {name} of at least {least}, got {getattr(self, name)}: take 10 or more")
        if not 0 < self.floor < 1:
            raise InputError(f"expected a floor between 0 and 1, got {self.floor:g}: 1e-20 say")

    @property
    def most(self) -> int:
        """Kills of a replicate at which it is given up."""
        return -(-kills_below(self.floor, self.particles * self.replicates) // self.replicates)


@dataclass(frozen=True)
class Ends(Rows):
    """Of B rows with R replicates each."""

    kills: Tensor  # (B, R) int64; where a run is stuck, without those that no longer count
    arrived: Tensor  # (B, R) bool: all particles were errors; else the run was stuck or given up
    stuck: Tensor  # (B, R) bool: at least half of the last N clones could not move
    level: Tensor  # (B, R) the lowest score of a particle at the end
    taken: Tensor  # (B, R) share of the proposals that were taken
    forwards: Tensor  # (B, R) int64


@dataclass(frozen=True)
class Runs(Ends):
    """Also whether clones forgot whom they were copied from."""

    like: Likeness  # (B,)

    @property
    def short(self) -> Tensor:
        """Rows (B,) for which the steps were too few: clones could not move, or are more like their parents than chance
        brings about."""
        return self.stuck.any(1) | (self.like.tau > FORGOTTEN + self.like.chance)


def split(score: Score, x: Tensor, law: Law, key: Tensor, how: Splitting) -> Runs:
    """Last particle runs for the rows x (B, ...), B > 0, each a function of its own key.

    Args:
        score: max_j z_j - z_y of points (L, ...) that belong to rows (L,): see `scoring.error_score`. NaN counts as
            the lowest score, so as no error.
        law: of points around a row.
        key: (B,) int64.
    """
    at_once = max(1, _NUMBERS // (how.replicates * how.steps * law.latent(x)))
    rows = torch.split(torch.arange(len(x), device=x.device), at_once)
    parts = [_split(score, x, law, key, how, part) for part in rows]
    return cast(Runs, tree(lambda *ts: torch.cat(ts), *parts))


@dataclass(frozen=True)
class _Particles(Rows):
    """N of each lane, or one."""

    z: Tensor  # (L, N, n) latent
    score: Tensor  # (L, N)
    lot: Tensor  # (L, N) float64

    def at(self, which: Tensor) -> "_Particles":
        """One of each lane (L,)."""
        return cast(_Particles, tree(lambda t: t[torch.arange(len(t), device=t.device), which], self))

    def having(self, which: Tensor, one: "_Particles") -> "_Particles":
        """With another one in this place of each lane."""
        at = torch.arange(len(which), device=which.device)
        return cast(_Particles, tree(lambda t, new: t.index_put((at, which), new), self, one))

    @property
    def last(self) -> Tensor:
        """The place of the lowest by (score, lot): (L,)."""
        tied = self.score == self.score.amin(1, keepdim=True)
        return self.lot.masked_fill(~tied, torch.inf).argmin(1)


@dataclass(frozen=True)
class _Lanes(Rows):
    """Runs that go on."""

    run: Tensor  # (L,) int64, its place among all runs
    row: Tensor  # (L,) int64
    key: Tensor  # (L,) int64
    particles: _Particles
    moved: Tensor  # (L, N) bool, of the last N clones
    taken: Tensor  # (L,) int64 proposals


def _split(score: Score, x: Tensor, law: Law, key: Tensor, how: Splitting, rows: Tensor) -> Runs:
    def seen(z: Tensor, row: Tensor) -> Tensor:
        return score(law.point(z, x[row]), row).nan_to_num(nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf)

    lanes, ended, kills = _begun(seen, law.latent(x), rows, key, how), [], 0
    like = Likeness.none(len(rows), x.device)
    while True:
        arrived, immobile = (lanes.particles.score > 0).all(1), 2 * lanes.moved.sum(1) <= how.particles
        over = arrived | immobile | (kills >= how.most)
        if bool(over.any()):
            ended.append((lanes.run[over], _ended(lanes[over], arrived[over], immobile[over], kills, how)))
            lanes = lanes[~over]
        if not len(lanes.run):
            return Runs(**vars(_in_order(ended, how.replicates)), like=like)
        lanes, parent, clone = _killed(seen, lanes, kills, how)
        like, kills = like.after(lanes.run, how.replicates, parent, clone), kills + 1


def _begun(seen: Score, latent: int, rows: Tensor, key: Tensor, how: Splitting) -> _Lanes:
    row, run = rows.repeat_interleave(how.replicates), torch.arange(len(rows) * how.replicates, device=rows.device)
    own, n = keys(0, key[row], run % how.replicates), how.particles
    z = _drawn(own, 0, (n, latent))
    scores = seen(z.flatten(0, 1), row.repeat_interleave(n)).view(-1, n)
    lots = uniform(own, torch.zeros_like(own), _LOTS, (n,)).double()
    return _Lanes(run, row, own, _Particles(z, scores, lots), torch.ones_like(lots).bool(), torch.zeros_like(run))


def _drawn(key: Tensor, clock: int, shape: tuple[int, ...]) -> Tensor:
    """N(0, 1) of shape (L, *shape), of each lane by itself."""
    return torch.stack([gaussian(seed, shape, key.device) for seed in keys(0, key.cpu(), clock).tolist()])


def _killed(seen: Score, lanes: _Lanes, kills: int, how: Splitting) -> tuple[_Lanes, Tensor, Tensor]:
    """The last particle of each lane dies; a clone of another one walks in its place.

    Also how far above the dead one its parent and the clone are, (L,).
    """
    clock, last = torch.full_like(lanes.key, kills + 1), lanes.particles.last
    other = 1 + randint(lanes.key, clock, _CHOOSING, how.particles - 1, (1,))[:, 0]
    killed, parent = lanes.particles.at(last), lanes.particles.at((last + other) % how.particles)
    clone, taken = _walked(seen, lanes, killed, parent, kills, how)
    again = uniform(lanes.key, clock, _AGAIN, (1,))[:, 0].double()  # without it, a clone that stayed would tie
    lot = torch.where(clone.score > killed.score, again, killed.lot + (1 - killed.lot) * again)
    moved = lanes.moved.index_copy(1, clock[:1] % how.particles, (taken > 0)[:, None])
    particles = lanes.particles.having(last, replace(clone, lot=lot))
    lanes = replace(lanes, particles=particles, moved=moved, taken=lanes.taken + taken)
    return lanes, parent.score - killed.score, clone.score - killed.score


def _walked(
    seen: Score, lanes: _Lanes, level: _Particles, clone: _Particles, kills: int, how: Splitting
) -> tuple[_Particles, Tensor]:
    """The clones (L, ...) after their steps, none of which goes below the level, and how many were taken (L,)."""
    noise = _drawn(lanes.key, kills + 1, (how.steps, clone.z.shape[1]))
    lots = uniform(lanes.key, torch.full_like(lanes.key, kills + 1), _LOTS, (how.steps,)).double()
    taken = torch.zeros_like(lanes.taken)
    for step in range(how.steps):
        width = min(1.0, WIDTHS[step % len(WIDTHS)] / math.sqrt(1 + 2 * kills / how.particles))
        z = math.sqrt(1 - width**2) * clone.z + width * noise[:, step]
        there = _Particles(z, seen(z, lanes.row), lots[:, step])
        above = (there.score > level.score) | (there.score == level.score) & (there.lot > level.lot)
        clone = cast(_Particles, tree(partial(pick, above), there, clone))
        taken = taken + above
    return clone, taken


def _ended(lanes: _Lanes, arrived: Tensor, immobile: Tensor, kills: int, how: Splitting) -> Ends:
    """Kills since which half of the clones had not moved do not count: they say nothing new."""
    stuck, made = immobile & ~arrived, torch.full_like(lanes.taken, kills)
    return Ends(
        kills=torch.where(stuck, (made - how.particles).clamp_min(0), made),
        arrived=arrived,
        stuck=stuck,
        level=lanes.particles.score.amin(1),
        taken=lanes.taken / (made * how.steps).clamp_min(1),
        forwards=how.particles + made * how.steps,
    )


def _in_order(ended: list[tuple[Tensor, Ends]], replicates: int) -> Ends:
    at = torch.cat([run for run, _ in ended]).argsort()
    return cast(Ends, tree(lambda *ts: torch.cat(ts)[at].view(-1, replicates), *(runs for _, runs in ended)))
