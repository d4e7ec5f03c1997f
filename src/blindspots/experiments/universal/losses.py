"""What the gradients of a shared perturbation are of: one number per row, made small."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from blindspots.objective import Objective
from blindspots.problem import Aim

SharedLoss = Literal["ce", "margin", "cosine"]


@dataclass(frozen=True)
class Clamped(Aim):
    """Cross-entropy or margin that no single row can drive beyond `most` (Shafahi et al. 2020).

    A row that is fooled for good has no slope left; without the bound it would go on to rule the sum.
    """

    most: Tensor  # (B,)
    margin: Tensor  # (B,) bool: the margin, else the cross-entropy

    def descend(self, objective: Objective, logits: Tensor, y: Tensor, target: Tensor) -> Tensor:
        margin = objective.margin(logits, y, target)
        ce = (
            F.cross_entropy(logits, target, reduction="none")
            if objective.targeted
            else -F.cross_entropy(logits, y, reduction="none")
        )
        return torch.where(self.margin, margin, ce).maximum(-self.most)


@dataclass(frozen=True)
class Cosine(Aim):
    """The cosine between the scores and those of the clean input (Cos-UAP; Zhang et al. 2021, ICCV). Untargeted."""

    clean: Tensor  # (B, C)

    def descend(self, objective: Objective, logits: Tensor, y: Tensor, target: Tensor) -> Tensor:
        return F.cosine_similarity(logits, self.clean, dim=1)


@dataclass(frozen=True)
class Sum(Aim):
    """All outputs together, to be made large: of a network that gives the sizes of its activations."""

    sign: Tensor  # (B,) -1

    def descend(self, objective: Objective, logits: Tensor, y: Tensor, target: Tensor) -> Tensor:
        return self.sign * logits.sum(1)


Aimed = Callable[[Tensor], Aim]


def clamped(loss: SharedLoss, most: float) -> Aimed:
    """The loss of rows whose clean scores are given: (B, C)."""
    if loss == "cosine":
        return Cosine
    return lambda scores: Clamped(
        scores.new_full((len(scores),), most), torch.full((len(scores),), loss == "margin", device=scores.device)
    )
