"""What a universal perturbation has to be compared with: changes of the same norm that nobody searched for."""

import torch
from torch import Tensor

from blindspots.attacks import DeepFool
from blindspots.ball import Ball
from blindspots.batching import is_large
from blindspots.data.splits import Rows
from blindspots.experiments.universal.measure import random_direction, random_signs, scaled
from blindspots.experiments.universal.nearest import nearest
from blindspots.experiments.universal.parametrisation import Additive
from blindspots.experiments.universal.verdict import CONTROLS_NAMED
from blindspots.models.model import Model
from blindspots.problem import Need

_SINGLE, _SINGLE_LARGE = 128, 32  # rows whose own smallest perturbations are added up


def controls(model: Model, fit: Rows, threat: Ball, seed: int, chunk: int) -> dict[str, Tensor]:
    """Perturbations (1, *shape) of the threat's norm and radius, by name (the paper's fig. 8, and random signs).

    The sum of single-image perturbations is over the first 128 fit rows, 32 if they are large: DeepFool's smallest l2
    changes. What is scaled to an linf norm is short in l2, since few of its values are large. A model that only answers
    has no such changes, so two controls are missing.
    """
    radius = float(threat.radius or 0)
    x, y = fit.take(torch.arange(min(_rows(fit), len(fit))))
    own = torch.zeros_like(x)
    if model.access is Need.GRAD:
        own = nearest(model, x, y, DeepFool(steps=20), chunk) - x
    shape = tuple(x.shape[1:])
    made = (
        random_signs(Additive(threat, shape), seed),
        random_direction(threat, shape, radius, seed),
        scaled(own.sum(0, keepdim=True), threat, radius),
        scaled(_first(own), threat, radius),
        scaled((x - (threat.lo + threat.hi) / 2).mean(0, keepdim=True), threat, radius),
    )
    return {name: v for name, v in zip(CONTROLS_NAMED, made, strict=True) if float(threat.norm(v)) > 0}


def _rows(fit: Rows) -> int:
    return _SINGLE_LARGE if is_large(fit.data.shape) else _SINGLE


def _first(changes: Tensor) -> Tensor:
    """The first change that is one."""
    at = int(changes.flatten(1).abs().sum(1).gt(0).long().argmax())
    return changes[at : at + 1]
