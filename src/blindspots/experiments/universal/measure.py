"""What a perturbation does to rows: how many it fools, what is left of the accuracy, and what chance does instead."""

from collections.abc import Callable

import torch
from torch import Tensor

from blindspots.ball import Ball
from blindspots.data.splits import Rows
from blindspots.experiments.universal.parametrisation import Additive
from blindspots.oracle import Oracle
from blindspots.random import keys, normal, sign
from blindspots.records import Share

Change = Callable[[Tensor, Tensor], Tensor]  # of inputs (B, *shape) and their clean predictions (B,)


def predictions(oracle: Oracle, rows: Rows, change: Change = lambda x, clean: x, clean: Tensor | None = None) -> Tensor:
    """What the model makes of the rows, whose clean predictions (N,) are known where they are changed: (N,) int64."""
    parts = []
    for places in rows.blocks():
        x = rows.take(places)[0].to(oracle.device)
        known = places if clean is None else clean[places]
        parts.append(oracle.logits(change(x, known.to(oracle.device))).argmax(1).cpu())
    return torch.cat(parts)


def fooled(clean: Tensor, now: Tensor, target: int | None) -> Tensor:
    """Whether each row is predicted otherwise than before, or as the target, which it was not before."""
    return now != clean if target is None else (now == target) & (clean != target)


def share(clean: Tensor, now: Tensor, target: int | None) -> Share:
    """The fooled rows of all, or, towards a target, of those that were not taken for it before."""
    rows = len(clean) if target is None else int((clean != target).sum())
    return Share.of(int(fooled(clean, now, target).sum()), rows)


def random_signs(space: Additive, seed: int) -> Tensor:
    """Random signs as large as the radius, projected: (1, *shape)."""
    key = keys(seed, torch.arange(1))
    return space.project_change(sign(key, torch.zeros_like(key), 21, space.shape) * space.reach)


def random_direction(threat: Ball, shape: tuple[int, ...], norm: float, seed: int) -> Tensor:
    """A Gaussian direction scaled to `norm` in the threat's norm: (1, *shape)."""
    key = keys(seed, torch.arange(1))
    draw = normal(key, torch.zeros_like(key), 22, shape)
    return draw * (norm / threat.norm(draw).view(-1, *[1] * len(shape)))


def scaled(v: Tensor, threat: Ball, norm: float) -> Tensor:
    """`v` (1, *shape) scaled to the threat's norm `norm`."""
    return v * (norm / float(threat.norm(v).clamp_min(1e-30)))
