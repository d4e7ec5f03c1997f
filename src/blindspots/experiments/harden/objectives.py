"""What training minimises: functions of the scores of clean and adversarial rows, one number per row."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from blindspots.experiments.harden.recipe import TrainingLoss
from blindspots.objective import own, strongest_other

Net = Callable[[Tensor], Tensor]
Slope = Callable[[Tensor], Tensor]
_NEVER_ZERO = 1e-12


def kl(reference: Tensor, logits: Tensor) -> Tensor:
    """KL(softmax(reference) || softmax(logits)) of rows of scores (B, C): (B,)."""
    before = reference.log_softmax(1)
    return (before.exp() * (before - logits.log_softmax(1))).sum(1)


def boosted_cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    """-log p_y - log(1 - max_{k != y} p_k): (B,) (Wang et al. 2020, BCE)."""
    other = strongest_other(logits.softmax(1), y)
    return F.cross_entropy(logits, y, reduction="none") - torch.log1p(-other.clamp_max(1 - 1e-6))


def losses(objective: TrainingLoss, net: Net, x: Tensor, adversarial: Tensor | None, y: Tensor) -> Tensor:
    """One number per row (B,) to be made small; `adversarial` None: clean rows alone."""
    if adversarial is None:
        return _cross_entropy(objective, net(x), y)
    if objective.name == "trades":
        clean = net(x)
        return _cross_entropy(objective, clean, y) + objective.weight * kl(clean, net(adversarial))
    if objective.name == "mart":
        return _mart(objective, net(x), net(adversarial), y)
    hurt = _cross_entropy(objective, net(adversarial), y)
    if not objective.clean:
        return hurt
    return objective.clean * _cross_entropy(objective, net(x), y) + (1 - objective.clean) * hurt


def slope(objective: TrainingLoss, net: Net, x: Tensor, y: Tensor) -> Slope:
    """What the adversary makes small, of the scores at its probe: (B, C) -> (B,)."""
    if objective.name != "trades":
        return lambda logits: -F.cross_entropy(logits, y, reduction="none")
    with torch.no_grad():
        clean = net(x)
    return lambda logits: -kl(clean, logits)


def _cross_entropy(objective: TrainingLoss, logits: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(logits, y, reduction="none", label_smoothing=objective.smoothing)


def _mart(objective: TrainingLoss, clean: Tensor, hurt: Tensor, y: Tensor) -> Tensor:
    doubt = 1 - own(clean.softmax(1), y).clamp_min(_NEVER_ZERO)
    return boosted_cross_entropy(hurt, y) + objective.weight * doubt * kl(clean, hurt)
