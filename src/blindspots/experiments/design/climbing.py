"""The search for better designs on a surrogate: gradient ascent in a box, one exchanged letter after another."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from blindspots.experiments.design.surrogates import Climb, Surrogates
from blindspots.experiments.design.tasks import Designs


@dataclass(frozen=True)
class Region:
    """Designs no farther than `radius` (r,) from the nearest of the data (r, n, size): L2 in the box that is scaled to
    [-1, 1], or how many letters differ."""

    data: Tensor
    radius: Tensor

    @classmethod
    def around(cls, data: Tensor, quantile: float) -> "Region":
        """As far as that share of the data is from the nearest other one."""
        apart = distances(data, data)
        apart.diagonal(dim1=1, dim2=2).fill_(math.inf)
        return cls(data, apart.amin(2).double().quantile(quantile, dim=1).to(apart.dtype))

    def inside(self, x: Tensor) -> Tensor:
        """Designs (r, m, size) drawn towards the nearest of the data, if they are too far."""
        far, at = distances(x, self.data).min(2, keepdim=True)
        near = self.data.gather(1, at.expand_as(x))
        return near + (x - near) * (self.radius[:, None, None] / far.clamp_min(1e-12)).clamp_max(1)


def distances(a: Tensor, b: Tensor) -> Tensor:
    """Between designs (r, m, size) and (r, n, size), L2 or how many letters differ: (r, m, n) float32."""
    if a.dtype == torch.uint8:
        return (a[:, :, None] != b[:, None]).sum(3).float()
    return (a[:, :, None] - b[:, None]).square().sum(3).sqrt()


def climbed(
    task: Designs, surrogates: Surrogates, starts: Tensor, steps: int, stride: float, region: Region | None = None
) -> Iterator[Tensor]:
    """Designs (r, m, size) at the start and after each of the steps."""
    x = starts
    yield x
    for _ in range(steps):
        if task.letters:
            x = _substituted(task, surrogates, x, region)
        else:
            x = _moved(surrogates, x, stride)
            x = region.inside(x) if region else x
        yield x


def climb_of(task: Designs, steps: int, stride: float) -> Climb:
    """What conservative training climbs by: features (r, n, f) to features.

    In sequences it takes substitutions by their gain in the first order: to try all of them at every update would take
    positions * letters as long.
    """

    def ascent(surrogates: Surrogates, x: Tensor) -> Tensor:
        for _ in range(steps):
            x = _exchanged(surrogates, x, task.letters) if task.letters else _moved(surrogates, x, stride)
        return x

    return ascent


def _moved(surrogates: Surrogates, x: Tensor, stride: float) -> Tensor:
    return (x + stride * surrogates.slopes(x)).clamp(-1, 1)


# ------------------------------------------------------------------ sequences


def _exchanged(surrogates: Surrogates, x: Tensor, letters: int) -> Tensor:
    """One-hot sequences (r, n, positions * letters) after the substitution that gains most in the first order."""
    old = x.view(*x.shape[:2], -1, letters)
    slopes = surrogates.slopes(x).view_as(old)
    gains = (slopes - (slopes * old).sum(3, keepdim=True)).flatten(2)
    gain, best = gains.max(2)
    return torch.where((gain > 0)[..., None], _with(old, best).flatten(2), x)


def _with(old: Tensor, at: Tensor) -> Tensor:
    """One-hot sequences (r, n, positions, letters), one letter exchanged; at (r, n): position * letters + letter."""
    positions, letters = old.shape[2:]
    there = one_hot(at // letters, positions).bool()[..., None]
    return torch.where(there, one_hot(at % letters, letters)[:, :, None].to(old.dtype), old)


def _substituted(task: Designs, surrogates: Surrogates, x: Tensor, region: Region | None) -> Tensor:
    """Sequences (r, m, positions) after the substitution with the largest predicted gain, if any gains."""
    said = _alternatives(task, surrogates, x)
    now = surrogates.predicted(_seen(task, x))
    if region is not None:
        said = said.masked_fill(~_allowed(region, x, task.letters), -math.inf)
    best, at = said.flatten(2).max(2)
    other = x.scatter(2, (at // task.letters)[..., None], (at % task.letters)[..., None].to(x.dtype))
    return torch.where((best > now + 1e-6)[..., None], other, x)  # a step that only rounding calls a gain never ends


def _alternatives(task: Designs, surrogates: Surrogates, x: Tensor) -> Tensor:
    """Predictions for all sequences with one letter exchanged: (r, m, positions, letters).

    An exchange adds a row of the first layer and takes one away, so only the other layers have to be asked.
    """
    nets, members = surrogates.nets, surrogates.members
    seen = _seen(task, x).repeat_interleave(members, 0)
    summed, rows = nets.summed(seen), nets.first.view(len(seen), task.size, task.letters, -1)
    apart, told = seen.view(*seen.shape[:2], task.size, task.letters), []
    for position in range(task.size):
        own = apart[:, :, position] @ rows[:, position]
        every = (summed - own)[:, :, None] + rows[:, None, position]
        told.append(surrogates.after(every.flatten(1, 2)).view(*x.shape[:2], task.letters))
    return torch.stack(told, 2)


def _allowed(region: Region, x: Tensor, letters: int) -> Tensor:
    """(r, m, positions, letters) bool: the exchange stays in the region."""
    apart = distances(x, region.data)
    found = []
    for position in range(x.shape[2]):
        theirs = region.data[:, None, :, position]
        rest = apart - (x[:, :, None, position] != theirs).float()
        differs = theirs[..., None] != torch.arange(letters, dtype=torch.uint8)
        found.append((rest[..., None] + differs).amin(2) <= region.radius[:, None, None])
    return torch.stack(found, 2)


def _seen(task: Designs, x: Tensor) -> Tensor:
    return task.seen(x.flatten(0, 1)).view(*x.shape[:2], -1)
