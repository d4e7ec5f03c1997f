"""What a perturbation does to rows: how many it fools, what is left of the accuracy, and what chance does instead."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from blindspots.data.splits import Rows
from blindspots.oracle import Oracle
from blindspots.random import keys, normal, sign
from blindspots.records import Share
from blindspots.threat import Threat
from blindspots.universal.parametrisation import Additive
from blindspots.universal.record import Effect


@dataclass(frozen=True)
class Predictions:
    """Of the rows as they are: looked at once, compared with often."""

    y: Tensor  # (N,) labels
    clean: Tensor  # (N,) int64


def predictions(oracle: Oracle, rows: Rows) -> Predictions:
    """What the model makes of the clean rows."""
    parts = [(y, oracle.logits(x.to(oracle.device)).argmax(1).cpu()) for x, y in _blocks(rows)]
    return Predictions(torch.cat([y for y, _ in parts]), torch.cat([p for _, p in parts]))


def moved(oracle: Oracle, rows: Rows, change: Callable[[Tensor, Tensor], Tensor], clean: Tensor) -> Tensor:
    """What the model makes of the rows after `change(x, clean predictions)`: (N,)."""
    parts, at = [], 0
    for x, y in _blocks(rows):
        painted = change(x.to(oracle.device), clean[at : at + len(y)].to(oracle.device))
        parts.append(oracle.logits(painted).argmax(1).cpu())
        at += len(y)
    return torch.cat(parts)


def _blocks(rows: Rows) -> Iterator[tuple[Tensor, Tensor]]:
    return (rows.take(places) for places in rows.blocks())


def fooled(clean: Tensor, now: Tensor, target: int | None) -> Tensor:
    """Whether each row is predicted otherwise than before, or as the target, which it was not before."""
    return now != clean if target is None else (now == target) & (clean != target)


def share(clean: Tensor, now: Tensor, target: int | None) -> Share:
    """The fooled rows of all, or, towards a target, of those that were not taken for it before."""
    rows = len(clean) if target is None else int((clean != target).sum())
    return Share.of(int(fooled(clean, now, target).sum()), rows)


def effect(known: Predictions, now: Tensor, target: int | None) -> Effect:
    """Fooling rate and accuracies."""
    rows = len(known.y)
    return Effect(
        fooled=share(known.clean, now, target),
        clean_accuracy=Share.of(int((known.clean == known.y).sum()), rows),
        accuracy=Share.of(int((now == known.y).sum()), rows),
    )


def random_signs(space: Additive, seed: int) -> Tensor:
    """Random signs as large as the radius, projected: (1, *shape)."""
    key = keys(seed, torch.arange(1))
    return space.project_change(sign(key, torch.zeros_like(key), 21, space.shape) * float(space.threat.radius or 0))


def random_direction(threat: Threat, shape: tuple[int, ...], norm: float, seed: int) -> Tensor:
    """A Gaussian direction scaled to `norm` in the threat's norm: (1, *shape)."""
    key = keys(seed, torch.arange(1))
    draw = normal(key, torch.zeros_like(key), 22, shape)
    return draw * (norm / threat.norm(draw).view(-1, *[1] * len(shape)))


def scaled(v: Tensor, threat: Threat, norm: float) -> Tensor:
    """`v` (1, *shape) scaled to the threat's norm `norm`."""
    return v * (norm / float(threat.norm(v).clamp_min(1e-30)))
