"""What a universal perturbation has to be compared with: changes of the same norm that nobody searched for."""

import torch
from torch import Tensor

from blindspots.attacks import DeepFool
from blindspots.batching import is_large
from blindspots.data.splits import Rows
from blindspots.evaluate import Options, attack
from blindspots.models.model import Model
from blindspots.problem import Need
from blindspots.threat import L2, Threat
from blindspots.universal.measure import random_direction, random_signs, scaled
from blindspots.universal.parametrisation import Additive

_SINGLE, _SINGLE_LARGE = 128, 32  # rows whose own smallest perturbations are added up


def controls(model: Model, fit: Rows, threat: Threat, seed: int, chunk: int) -> dict[str, Tensor]:
    """Perturbations (1, *shape) of the threat's norm and radius, by name (the paper's fig. 8, and random signs).

    The sum of single-image perturbations is over the first 128 fit rows, 32 if they are large: DeepFool's smallest l2
    changes. What is scaled to an linf norm is short in l2, since few of its values are large. A model that only answers
    has no such changes, so two controls are missing.
    """
    radius = float(threat.radius or 0)
    x, y = fit.take(torch.arange(min(_rows(fit), len(fit))))
    own = _smallest(model, x, y, chunk) if model.access is Need.GRAD else torch.zeros_like(x)
    shape = tuple(x.shape[1:])
    made = {
        "random signs": random_signs(Additive(threat, shape), seed),
        "random sphere": random_direction(threat, shape, radius, seed),
        "sum of single-image perturbations": scaled(own.sum(0, keepdim=True), threat, radius),
        "one image's perturbation": scaled(_longest(own), threat, radius),
        "mean image": scaled((x - (threat.lo + threat.hi) / 2).mean(0, keepdim=True), threat, radius),
    }
    return {name: v for name, v in made.items() if float(threat.norm(v)) > 0}


def _rows(fit: Rows) -> int:
    return _SINGLE_LARGE if is_large(fit.data.shape) else _SINGLE


def _smallest(model: Model, x: Tensor, y: Tensor, chunk: int) -> Tensor:
    """The smallest l2 change of each row, zero where none was found: (n, *shape)."""
    options = Options(chunk=chunk, slots=chunk, threads=torch.get_num_threads())  # of the run that this belongs to
    run = attack(model, x, y, DeepFool(steps=20), threat=L2(), options=options)
    return run.adversarial - x


def _longest(changes: Tensor) -> Tensor:
    """The first change that is one."""
    at = int(changes.flatten(1).abs().sum(1).gt(0).long().argmax())
    return changes[at : at + 1]
