"""Units against rotations of the same space: an exact test, and how large the difference is."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from blindspots.experiments.inspect.units.bases import rotations, whitened
from blindspots.experiments.inspect.units.statistics import Likeness, entropy, highest, histogram, label_entropy
from blindspots.random import keys, uniform

SPACES = ("centred", "whitened")
RESAMPLED = 100  # bootstrap samples of the rows
RESAMPLED_BASES = 8  # rotations in every bootstrap sample, the first ones
_DEEPER = 4  # times as many top rows are ordered, so that a sample with repetitions still has enough
Columns = dict[str, Tensor]


@dataclass(frozen=True)
class Sample:
    """Answers (n, m) of a layer's units to rows in an order of lots, labels (n,) and unit embeddings (n, d)."""

    answers: Tensor
    labels: Tensor
    embedded: Tensor

    @property
    def live(self) -> Tensor:
        """Places of the units that do not answer all rows alike."""
        return (self.answers.amax(0) > self.answers.amin(0)).nonzero()[:, 0]


@dataclass(frozen=True)
class Basis:
    """A layer's live units in one space, of which `most` at most are judged, drawn by lot where there are more.

    Args:
        space: "centred", or "whitened": random directions of the first inherit what varies most.
        number: what tells the layer's draws from those of others.
        top: rows by whose labels a direction is judged.
    """

    sample: Sample
    space: str
    seed: int
    number: int
    most: int
    top: int

    @cached_property
    def answers(self) -> Tensor:
        """(n, live units)"""
        centred = self.sample.answers[:, self.sample.live] - self.sample.answers[:, self.sample.live].mean(0)
        return whitened(centred) if self.space == "whitened" else centred

    @cached_property
    def chosen(self) -> Tensor:
        """Places among the live units: (r,)."""
        units = len(self.sample.live)
        key = keys(self.seed, torch.arange(units), self.number)
        by_lot = uniform(key, torch.zeros_like(key), 3, (1,))[:, 0].argsort(stable=True)
        return by_lot[: self.most].sort().values

    @property
    def own(self) -> Tensor:
        """The units as directions: (live units, r)."""
        return torch.eye(len(self.sample.live))[:, self.chosen]

    def random(self, count: int) -> Iterator[Tensor]:
        """As many random directions as units, from `count` rotations."""
        return rotations(self.seed, self.number, count, len(self.sample.live), len(self.chosen))


def compared(basis: Basis, count: int) -> Columns:
    """Purity of the units and of `count` random bases, and how both vary with the rows."""
    if len(basis.sample.live) < 2:
        return _nothing(basis.sample.live)
    return {**purity(basis, count), **resampled(basis, count)}


def purity(basis: Basis, count: int) -> Columns:
    """Entropy and likeness of the units, and their means over each of `count` random bases.

    If the basis is no better than another (the hypothesis), the units are one more rotation, so that the share of
    bases that are at least as pure is uniform: the test is exact. That holds since both are measured in the same way:
    the same space, the same number of directions, one sign for each.
    """
    likeness, live = Likeness(basis.answers, basis.sample.embedded), basis.sample.live
    null = torch.stack([torch.stack([m.mean() for m in _measured(basis, likeness, q)]) for q in basis.random(count)])
    own_entropy, own_likeness = _measured(basis, likeness, basis.own)
    return {
        "chosen": live[basis.chosen], "live": torch.tensor([len(live)]), "entropy": own_entropy,
        "likeness": own_likeness, "null_entropy": null[:, 0], "null_likeness": null[:, 1],
    }  # fmt: skip


def _measured(basis: Basis, likeness: Likeness, q: Tensor) -> tuple[Tensor, Tensor]:
    values = basis.answers @ q
    return label_entropy(values, basis.sample.labels, basis.top), likeness.of(q, values.amin(0), values.amax(0))


def _nothing(live: Tensor) -> Columns:
    empty = torch.zeros(0, dtype=torch.float64)
    names = ("entropy", "likeness", "null_entropy", "null_likeness", "resampled_entropy", "resampled_likeness")
    none = torch.zeros(0, dtype=torch.int64)
    return {"chosen": none, "live": torch.tensor([len(live)]), **dict.fromkeys(names, empty)}


# ------------------------------------------------------------------ how sure the difference is


def resampled(basis: Basis, count: int) -> Columns:
    """Units less rotations, (RESAMPLED,) for either statistic, each on rows drawn with repetition."""
    sample, rows = basis.sample, len(basis.answers)
    directions = [basis.own, *basis.random(min(RESAMPLED_BASES, count))]
    values = [basis.answers @ q for q in directions]
    ends = [(v.amin(0), v.amax(0)) for v in values]
    deep = [highest(v, min(rows, _DEEPER * basis.top)) for v in values]
    answers, embedded = basis.answers.double(), sample.embedded.double()
    entropies, likenesses = [], []
    for i in range(RESAMPLED):
        weights = _weights(rows, basis.seed, basis.number, i)
        e = [_weighted_entropy(at, weights, sample.labels, basis.top).mean() for at in deep]
        likeness = Likeness(answers, embedded, weights)
        s = [likeness.of(q, *end).mean() for q, end in zip(directions, ends, strict=True)]
        entropies.append(e[0] - torch.stack(e[1:]).mean())
        likenesses.append(s[0] - torch.stack(s[1:]).mean())
    return {"resampled_entropy": torch.stack(entropies), "resampled_likeness": torch.stack(likenesses)}


def _weights(rows: int, seed: int, number: int, sample: int) -> Tensor:
    """How often each row is drawn: (rows,) float64, which sum to `rows`."""
    key = keys(seed, torch.tensor([sample]), number)
    drawn = (uniform(key, torch.zeros_like(key), 5, (rows,))[0].double() * rows).long()
    return torch.bincount(drawn, minlength=rows).double()


def _weighted_entropy(at: Tensor, weights: Tensor, labels: Tensor, top: int) -> Tensor:
    """Entropy of the `top` rows of a sample with repetitions; `at` (m, deep): rows, the most exciting ones first."""
    w = weights[at]
    taken = (top - (w.cumsum(1) - w)).clamp_min(0).minimum(w)
    counts = torch.zeros(len(at), int(labels.max()) + 1, dtype=torch.float64).scatter_add_(1, labels[at], taken)
    return entropy(counts)


def entropy_by_lot(labels: Tensor, top: int) -> float:
    """What directions would reach that know nothing: mean entropy of `top` rows by lot, in bits."""
    groups = labels[: len(labels) // top * top].view(-1, top)
    return float(entropy(histogram(groups, int(labels.max()) + 1)).mean())
