"""How a perturbation grows from layer to layer: adversarial ones against noise of the same size, from any layer on."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from blindspots.experiments.inspect.stability.graph import Graph, Step
from blindspots.random import normal
from blindspots.rows import col


@dataclass(frozen=True)
class Median:
    """A median over rows with an interval from order statistics: at least `confidence`, whatever the distribution.

    `interval` is None where there are too few rows for one.
    """

    median: float
    interval: tuple[float, float] | None
    rows: int


@dataclass(frozen=True)
class Growth:
    """What became of perturbations after one layer: ||h(x + d) - h(x)|| / ||h(x)|| per row, (B,) each."""

    name: str
    adversarial: Tensor
    noise: Tensor


def amplification(graph: Graph, x: Tensor, adversarial: Tensor, keys: Tensor, at: int = 0) -> list[Growth]:
    """The relative size of adversarial perturbations and of noise of the same length after each layer.

    Rows are taken `graph.rows` at a time and activations are dropped as soon as nothing reads them, so memory does not
    depend on the number of rows.

    Args:
        x, adversarial: (B, *shape). Noise is normal, scaled to ||adversarial - x|| of its row, not clipped.
        keys: int64 (B,), of the noise.
        at: the step behind which perturbations are made. 0: at the input. Else `adversarial` is a perturbed result of
            that step, (B, ...), as `adversarial_at` makes, and x are still inputs.

    Returns: for every layer from `at` on whose results are real numbers of single rows, in order. NaN where the clean
        result of a row is 0.
    """
    found: list[list[tuple[Tensor, Tensor]]] = []
    for part in torch.split(torch.arange(len(x)), graph.rows):
        rows = part[torch.arange(graph.rows).clamp_max(len(part) - 1)]  # the last call is filled up
        grown = list(_grown(graph, x[rows], adversarial[rows], keys[rows], at))
        found.append([(a[: len(part)], b[: len(part)]) for a, b in grown])
    names = [graph.steps[i].name for i in _behind(graph, at) if _is_told(graph.steps[i])]
    joined = [[torch.cat(parts) for parts in zip(*each, strict=True)] for each in zip(*found, strict=True)]
    return [Growth(name, *each) for name, each in zip(names, joined, strict=True)]


def _behind(graph: Graph, at: int) -> list[int]:
    """Step `at` and all that depends on it."""
    moved = {at}
    for i in range(at + 1, len(graph.steps)):
        moved |= {i} if moved.intersection(graph.steps[i].reads) else set()
    return sorted(moved)


def _is_told(step: Step) -> bool:
    return step.real and step.axis is not None


def _grown(graph: Graph, x: Tensor, adversarial: Tensor, keys: Tensor, at: int) -> Iterator[tuple[Tensor, Tensor]]:
    """The clean network and two perturbed ones, step by step."""
    clean, behind = dict[int, Any](), set(_behind(graph, at))
    others = [dict[int, Any](), dict[int, Any]()]
    last = graph.last
    for i, step in enumerate(graph.steps):
        clean[i] = step.run(clean) if i else x.double()
        if i == at:
            change = adversarial.double() - clean[i]
            for other, moved in zip(others, (change, _noise(change, keys)), strict=True):
                other[i] = clean[i] + moved
        elif i in behind:
            for other in others:
                other[i] = step.run({read: other.get(read, clean[read]) for read in step.reads})
        if i in behind and _is_told(step):
            rows, *moved = (step.by_row(known[i], graph.rows) for known in (clean, *others))
            yield _relative(rows, moved[0]), _relative(rows, moved[1])
        for read in [r for r in set(step.reads) if last[r] == i]:
            for known in (clean, *others):
                known.pop(read, None)


def _noise(change: Tensor, keys: Tensor) -> Tensor:
    """Normal noise of the length of each row's change."""
    draw = normal(keys, torch.zeros_like(keys), 0, change.shape[1:]).double()
    return draw * col(_length(change) / _length(draw), draw)


def _length(x: Tensor) -> Tensor:
    length: Tensor = torch.linalg.vector_norm(x.reshape(len(x), -1), dim=1)
    return length


def _relative(clean: Tensor, other: Tensor) -> Tensor:
    size = _length(clean)
    return torch.where(size > 0, _length(other - clean) / size, torch.nan)


def adversarial_at(graph: Graph, x: Tensor, at: int, size: float, steps: int = 5) -> Tensor:
    """The result of step `at` at rows x (`graph.rows`, *shape), moved by `size` of its length towards another class.

    Normalised gradient steps in l2 down the margin between the predicted class and the next one, over the rest of the
    network: what an adversary could do who were able to change this layer.

    Returns: (`graph.rows`, ...) float64.
    """
    kept = dict(graph.run(x, keep=True))
    clean: Tensor = kept[at]
    top = kept[len(graph.steps) - 1].argmax(1, keepdim=True)
    radius = size * _length(clean)
    h: Tensor = clean
    for _ in range(steps):
        h = h.detach().requires_grad_()
        with torch.enable_grad():
            (*_, (_, z)) = graph.run(h, at, kept)
            margin = z.gather(1, top)[:, 0] - z.scatter(1, top, -torch.inf).amax(1)
            (slope,) = torch.autograd.grad(margin.sum(), h)
        moved = h.detach() - slope * col(2 * radius / steps / _length(slope).clamp_min(1e-300), slope) - clean
        h = clean + moved * col((radius / _length(moved).clamp_min(1e-300)).clamp_max(1), moved)
    return h


def median(values: Tensor, confidence: float = 0.95) -> Median:
    """The median of the finite values among (B,), with the interval between two order statistics.

    The k-th smallest and the k-th largest cover the median with probability 1 - 2 P(Binomial(B, 1/2) < k).
    """
    from scipy.stats import binom

    kept = values[values.isfinite()].sort().values
    count = len(kept)
    if not count:
        return Median(float("nan"), None, 0)
    k = int(binom.ppf((1 - confidence) / 2, count, 0.5))
    while k > 0 and 2 * binom.cdf(k - 1, count, 0.5) > 1 - confidence:
        k -= 1
    interval = (float(kept[k - 1]), float(kept[count - k])) if k else None
    return Median(float(kept.quantile(0.5)), interval, count)
