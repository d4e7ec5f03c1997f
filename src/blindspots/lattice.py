"""Threats whose points have neighbours instead of directions: texts, tables with categories."""

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from blindspots.capabilities import Embed
from blindspots.errors import InputError
from blindspots.random import uniform
from blindspots.rows import Around, Rows, pick, tree
from blindspots.threat import Threat

Array = NDArray[Any]

SUBSTITUTING = ("substitutions", "words", "chars", "edits", "tokens", "trigger")  # names of threats that replace tokens

# What searches ask about a place besides its candidates: outside of every threat, so never a success.
BLANK, UNKNOWN = -1.0, -2.0  # nothing stands there; a word that the model does not know does


class Neighbours(Threat):
    """A threat that `Enumerates`, out of where a move leads. It builds every neighbour: for short rows."""

    @abstractmethod
    def moves(self, around: Around) -> int:
        """The number M of moves, the same for all rows and points; those that lead nowhere are not legal."""

    @abstractmethod
    def move(self, x: Tensor, around: Around, m: Tensor) -> Tensor:
        """Where the moves `m` (B,) lead from `x` (B, ...); where one leads nowhere, to `x` itself."""

    def leads(self, x: Tensor, around: Around, m: Tensor) -> Tensor:
        """Where each of the moves `m` (B, K) leads from `x` (B, ...); below 0 nowhere: (B, K, ...)."""
        here, wide = (tree(lambda t: t.repeat_interleave(m.shape[1], 0), rows) for rows in (x, around))
        there = pick(m.flatten() < 0, here, self.move(here, wide, m.flatten().clamp_min(0)))
        return there.view(*m.shape, *x.shape[1:])

    def beside(self, around: Around, m: Tensor) -> Tensor:
        """The moves that lead, after one of the moves `m` (B,), to neighbours of the point before: (B, M) bool."""
        return torch.zeros((len(m), self.moves(around)), dtype=torch.bool, device=m.device)

    def legal(self, x: Tensor, around: Around) -> Tensor:
        """The moves that lead from `x` to another allowed point: (B, M) bool."""
        here, there, wide = self._all(x, around)
        return ((here != there).flatten(1).any(1) & self.holds(there, wide)).view(len(x), -1)

    def slopes(self, x: Tensor, around: Around, g: Tensor, embed: Embed) -> Tensor:
        """What each move does to the loss whose gradient at the embeddings is `g`, to first order: (B, M)."""
        here, there, _ = self._all(x, around)
        change = (embed(there) - embed(here)) * g.repeat_interleave(self.moves(around), 0)
        return change.flatten(1).sum(1).view(len(x), -1)

    def _all(self, x: Tensor, around: Around) -> tuple[Tensor, Tensor, Around]:
        """Every row M times, where each of its moves leads, and what they are about."""
        count = self.moves(around)
        here, wide = (tree(lambda t: t.repeat_interleave(count, 0), rows) for rows in (x, around))
        return here, self.move(here, wide, torch.arange(count, device=x.device).repeat(len(x))), wide


def put_at(x: Tensor, place: Tensor, token: Tensor) -> Tensor:
    """The points `x` (B, K, P), each with a token (B, K) at a place (B, K)."""
    return x.scatter(2, place[:, :, None], token[:, :, None])


@dataclass(frozen=True)
class Candidates(Rows):
    """What may stand at each place of a row instead of its own token."""

    tokens: Tensor  # (B, L, C) as inputs have them, padded with -1


@dataclass(frozen=True)
class Substitutions(Neighbours):
    """At most `radius` places of a sequence of tokens (B, L) are replaced, each by one of its `Candidates`.

    Move c + C p puts candidate c at place p. A token of the clean input is never put back. Tokens are at least 0: below
    are `BLANK` and `UNKNOWN`.

    Raises InputError for a radius that is negative or NaN.
    """

    radius: float | None = None

    name: ClassVar[str] = "substitutions"
    title: ClassVar[str] = "substitutions"
    allowing: ClassVar[str] = "up to {radius} places may be replaced by one of their candidates"

    def __post_init__(self) -> None:
        if self.radius is not None and not self.radius >= 0:
            raise InputError(f"expected at least 0 substitutions, got {self.radius}: say how many, or nothing at all")

    def distance(self, x: Tensor, x0: Tensor) -> Tensor:
        """The number of places that differ: (B,)."""
        return (x != x0).flatten(1).sum(1).to(x0.dtype)

    def measured(self, x: Array, x0: Array) -> Array:
        """`distance` once more, by numpy."""
        changed: Array = np.count_nonzero(x.reshape(len(x), -1) != x0.reshape(len(x0), -1), axis=1)
        return changed

    def holds(self, x: Tensor, around: Around) -> Tensor:
        """Whether every place has its own token or one of its candidates, and not too many have another."""
        known = (x == around.x) | ((x[:, :, None] == self.tokens(around)).any(2) & (x >= 0))
        return known.all(1) & (self.distance(x, around.x) <= around.r)

    def immovable(self, around: Around) -> Tensor:
        """Those without any candidate."""
        return (self.tokens(around) < 0).flatten(1).all(1)

    def sample(self, around: Around, key: Tensor) -> Tensor:
        """As many random places as may change, each with a random candidate; `key`: int64 (B,)."""
        tokens, x0 = self.tokens(around), around.x
        u, count = uniform(key, torch.full_like(key, -1), 0, (2, x0.shape[1])), (tokens >= 0).sum(2)
        rank = u[:, 0].masked_fill(count == 0, math.inf).argsort(1).argsort(1)
        known_first = tokens.gather(2, (tokens < 0).int().argsort(dim=2, stable=True))
        chosen = known_first.gather(2, (u[:, 1] * count).long()[:, :, None])[:, :, 0]
        return torch.where((rank < around.r[:, None]) & (count > 0), chosen, x0)

    def moves(self, around: Around) -> int:
        return self.tokens(around)[0].numel()

    def legal(self, x: Tensor, around: Around) -> Tensor:
        """The moves that put another candidate at a place, a new one only while that is allowed: (B, M) bool."""
        return self.legal_each(x[:, None], around)[:, 0].flatten(1)

    def legal_each(self, x: Tensor, around: Around) -> Tensor:
        """As `legal`, for several points (B, K, P) of a row: (B, K, P, C) bool."""
        tokens, changed = self.tokens(around)[:, None], x != around.x[:, None]
        left = changed.sum(2, keepdim=True) + 1 <= around.r[:, None, None]
        return (tokens >= 0) & (tokens != x[..., None]) & (changed | left)[..., None]

    def move(self, x: Tensor, around: Around, m: Tensor) -> Tensor:
        """Where the moves `m` (B,) lead."""
        return self.leads(x, around, m[:, None])[:, 0]

    def leads(self, x: Tensor, around: Around, m: Tensor) -> Tensor:
        return self.leads_each(x[:, None].expand(-1, m.shape[1], -1), around, m)

    def leads_each(self, x: Tensor, around: Around, m: Tensor) -> Tensor:
        """Where each of the moves `m` (B, K) leads from a point of its own (B, K, P); below 0 nowhere: (B, K, P)."""
        tokens = self.tokens(around)
        place, token = m.clamp_min(0) // tokens.shape[2], tokens.flatten(1).gather(1, m.clamp_min(0))
        stays = (m < 0) | (token < 0)
        return put_at(x, place, torch.where(stays, x.gather(2, place[:, :, None])[:, :, 0], token))

    def beside(self, around: Around, m: Tensor) -> Tensor:
        """Those at the same place."""
        count = self.tokens(around).shape[2]
        place = torch.arange(self.moves(around), device=m.device) // count
        return (m[:, None] >= 0) & (m[:, None] // count == place)

    def slopes(self, x: Tensor, around: Around, g: Tensor, embed: Embed) -> Tensor:
        """Ebrahimi et al. 2018 (HotFlip, arXiv 1712.06751), eq. 5: <g_p, e(candidate) - e(token)>.

        Of every move, and behind these of putting back each place's own token: (B, M + P).
        """
        tokens = self.tokens(around)
        there = embed(tokens.clamp_min(0).flatten(1)).view(*tokens.shape, -1)
        here, own = embed(x)[:, :, None], embed(around.x)[:, :, None]
        along, back = (((e - here) * g[:, :, None]).sum(3) for e in (there, own))
        return torch.cat([along.flatten(1), back.flatten(1)], 1)

    def tokens(self, around: Around) -> Tensor:
        """The candidates of every place (B, P, C), -1 where one is missing."""
        if not isinstance(around.own, Candidates):
            raise InputError("expected candidates for every row of a text, got none: give rows `own` Candidates")
        return around.own.tokens
