"""Errors among random points near a row, counted: Monte Carlo, and the mean score beside it."""

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from blindspots.errors import InputError
from blindspots.experiments.certify.noise import block_of, gaussian
from blindspots.experiments.inspect.frequency.laws import Law
from blindspots.experiments.inspect.frequency.splitting import Score
from blindspots.random import keys
from blindspots.rows import Rows, tree


@dataclass(frozen=True)
class Draws(Rows):
    """Of B rows."""

    hits: Tensor  # (B,) int64 draws that are errors
    draws: Tensor  # (B,) int64
    mean: Tensor  # (B,) float64, of the finite scores: the average case; NaN where there are none
    deviation: Tensor  # (B,) float64, the standard deviation of these scores over the draws
    unreadable: Tensor  # (B,) int64 draws whose score is NaN: they are not counted as errors


def sample(score: Score, x: Tensor, law: Law, key: Tensor, draws: int) -> Draws:
    """So many draws of the law around each row x (B, ...), B > 0, each row by its own key (B,) int64.

    Raises InputError for fewer than 2 draws.
    """
    if draws < 2:
        raise InputError(f"expected at least 2 draws per row, got {draws}: take 1,000, say")
    rows = [_sampled(score, x, law, key, draws, torch.tensor(row, device=x.device)) for row in range(len(x))]
    return cast(Draws, tree(lambda *ts: torch.stack(ts), *rows))


def _sampled(score: Score, x: Tensor, law: Law, key: Tensor, draws: int, row: Tensor) -> Draws:
    seen = torch.cat([score(*_points(x, law, key, n, k, row)) for k, n in _blocks(draws, law.latent(x))]).double()
    finite = seen[seen.isfinite()]
    spread = finite.std() if len(finite) > 1 else finite.new_full((), torch.nan)
    return Draws((seen > 0).sum(), row.new_tensor(draws), finite.mean(), spread, seen.isnan().sum())


def _blocks(draws: int, latent: int) -> list[tuple[int, int]]:
    """Numbers and sizes of the blocks that are drawn at once: a part of what decides the draws."""
    size = block_of((latent,))
    return [(k, min(size, draws - k * size)) for k in range(-(-draws // size))]


def _points(x: Tensor, law: Law, key: Tensor, count: int, block: int, row: Tensor) -> tuple[Tensor, Tensor]:
    x0, seed = x[row].expand(count, *x.shape[1:]), int(keys(0, key[row].cpu().view(1), block))
    return law.point(gaussian(seed, (count, law.latent(x)), x.device), x0), row.expand(count)
