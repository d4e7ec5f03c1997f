"""Units against rotations of the same space: an exact test, and how large the difference is."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from blindspots.experiments.inspect.units.bases import rotations, whitened
from blindspots.experiments.inspect.units.statistics import Likeness, entropy, histogram, label_entropy
from blindspots.random import keys, uniform

SPACES = ("centred", "whitened")
RESAMPLED = 100  # bootstrap samples of the rows
_COMPARED = 8  # rotations in every bootstrap sample
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


def compared(sample: Sample, space: str, seed: int, number: int, count: int, most: int, top: int) -> Columns:
    """Purity of the units and of random bases, and bootstrap samples of both.

    If the basis is no better than another (the hypothesis), the units are one more rotation, so that the share of
    bases that are at least as pure is uniform: the test is exact. That holds since both are measured in the same way:
    the same space, the same number of directions, one sign for each. Where there are more units than `most`, as many
    are drawn by lot.

    Args:
        space: "centred", or "whitened": random directions of the first inherit what varies most.
        count: rotations.
        top: rows by whose labels a direction is judged.
    """
    live = sample.live
    if len(live) < 2:
        return _nothing(live)
    basis = sample.answers[:, live] - sample.answers[:, live].mean(0)
    basis = whitened(basis) if space == "whitened" else basis
    chosen = _by_lot(len(live), min(most, len(live)), seed, number)
    likeness = Likeness(basis, sample.embedded)
    own = torch.eye(len(live))[:, chosen]
    purity = [
        _purity(sample, likeness, q, basis @ q, top) for q in rotations(seed, number, count, len(live), len(chosen))
    ]
    null = torch.stack([torch.stack([h.mean(), s.mean()]) for h, s in purity])
    unit_entropy, unit_likeness = _purity(sample, likeness, own, basis[:, chosen], top)
    drawn = [own, *rotations(seed, number, min(_COMPARED, count), len(live), len(chosen))]
    return {
        "chosen": live[chosen], "live": torch.tensor([len(live)]), "entropy": unit_entropy, "likeness": unit_likeness,
        "null_entropy": null[:, 0], "null_likeness": null[:, 1], **_resampled(sample, basis, drawn, seed, number, top),
    }  # fmt: skip


def _nothing(live: Tensor) -> Columns:
    empty = torch.zeros(0, dtype=torch.float64)
    names = ("entropy", "likeness", "null_entropy", "null_likeness", "resampled_entropy", "resampled_likeness")
    none = torch.zeros(0, dtype=torch.int64)
    return {"chosen": none, "live": torch.tensor([len(live)]), **dict.fromkeys(names, empty)}


def _by_lot(units: int, count: int, seed: int, number: int) -> Tensor:
    key = keys(seed, torch.arange(units), number)
    return uniform(key, torch.zeros_like(key), 3, (1,))[:, 0].argsort(stable=True)[:count].sort().values


def _purity(sample: Sample, likeness: Likeness, q: Tensor, values: Tensor, top: int) -> tuple[Tensor, Tensor]:
    return label_entropy(values, sample.labels, top), likeness.of(q, values)


# ------------------------------------------------------------------ how sure the difference is


def _resampled(sample: Sample, basis: Tensor, drawn: Sequence[Tensor], seed: int, number: int, top: int) -> Columns:
    """Units less rotations, (RESAMPLED,) for either statistic, each on rows drawn with repetition."""
    rows, classes = len(basis), int(sample.labels.max()) + 1
    values = [basis @ q for q in drawn]
    deep = [v.T.topk(min(rows, _DEEPER * top), 1).indices for v in values]
    entropies, likenesses = [], []
    for i in range(RESAMPLED):
        weights = _weights(rows, seed, number, i)
        e = [_weighted_entropy(at, weights, sample.labels, top, classes).mean() for at in deep]
        likeness = Likeness(basis, sample.embedded, weights)
        s = [likeness.of(q, v).mean() for q, v in zip(drawn, values, strict=True)]
        entropies.append(e[0] - torch.stack(e[1:]).mean())
        likenesses.append(s[0] - torch.stack(s[1:]).mean())
    return {"resampled_entropy": torch.stack(entropies), "resampled_likeness": torch.stack(likenesses)}


def _weights(rows: int, seed: int, number: int, sample: int) -> Tensor:
    """How often each row is drawn: (rows,) float64, which sum to `rows`."""
    key = keys(seed, torch.tensor([sample]), number)
    drawn = (uniform(key, torch.zeros_like(key), 5, (rows,))[0].double() * rows).long()
    return torch.bincount(drawn, minlength=rows).double()


def _weighted_entropy(at: Tensor, weights: Tensor, labels: Tensor, top: int, classes: int) -> Tensor:
    """Entropy of the `top` rows of a sample with repetitions; `at` (m, deep): rows, the most exciting ones first."""
    w = weights[at]
    taken = (top - (w.cumsum(1) - w)).clamp_min(0).minimum(w)
    counts = torch.zeros(len(at), classes, dtype=torch.float64).scatter_add_(1, labels[at], taken)
    return entropy(counts)


def entropy_by_lot(labels: Tensor, top: int) -> float:
    """What directions would reach that know nothing: mean entropy of `top` rows by lot, in bits."""
    groups = labels[: len(labels) // top * top].view(-1, top)
    return float(entropy(histogram(groups, int(labels.max()) + 1)).mean())
