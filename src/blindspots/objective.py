"""Which loss a search descends, and whether only a target class counts.

Success is a property of the scores, never of the loss: an untargeted search succeeds when a class other than the label
has strictly the largest score, a targeted one when the target has. A tie is not a success. Scores are the model's own
where it classifies, and else those that the goal reads from its output: see `goals.Goal`.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from blindspots.arguments import Checked
from blindspots.errors import InputError

LossName = Literal["ce", "margin", "dlr", "probability-margin"]
Loss = Callable[[Tensor, Tensor], Tensor]
DirectedLoss = Callable[[Tensor, Tensor, Tensor], Tensor]


def own(logits: Tensor, y: Tensor) -> Tensor:
    """The logit of class `y` of each row: (B,)."""
    return logits.gather(1, y[:, None])[:, 0]


def strongest_other(logits: Tensor, y: Tensor) -> Tensor:
    """The largest logit among the classes other than `y`: (B,)."""
    return logits.scatter(1, y[:, None], -torch.inf).amax(1)


def margin(logits: Tensor, y: Tensor) -> Tensor:
    """z_y - max_{i != y} z_i: positive where the row is classified as `y` (Carlini and Wagner 2017, f_6)."""
    return own(logits, y) - strongest_other(logits, y)


def _ce(logits: Tensor, y: Tensor) -> Tensor:
    return -F.cross_entropy(logits, y, reduction="none")


def _dlr(logits: Tensor, y: Tensor) -> Tensor:
    """Difference of logits ratio (Croce and Hein 2020, eq. 6), negated, since losses are descended."""
    top = logits.topk(3, dim=1).values
    return margin(logits, y) / (top[:, 0] - top[:, 2]).clamp_min(1e-12)


def _probability_margin(logits: Tensor, y: Tensor) -> Tensor:
    """p_y - max_{i != y} p_i (PMA, arXiv 2411.15210)."""
    return margin(logits.softmax(1), y)


def _ce_to(logits: Tensor, y: Tensor, target: Tensor) -> Tensor:
    return F.cross_entropy(logits, target, reduction="none")


def _margin_to(logits: Tensor, y: Tensor, target: Tensor) -> Tensor:
    return own(logits, y) - own(logits, target)


def _dlr_to(logits: Tensor, y: Tensor, target: Tensor) -> Tensor:
    """Targeted difference of logits ratio (Croce and Hein 2020, eq. 7), negated, since losses are descended."""
    top = logits.topk(4, dim=1).values
    return _margin_to(logits, y, target) / (top[:, 0] - (top[:, 2] + top[:, 3]) / 2).clamp_min(1e-12)


def _probability_margin_to(logits: Tensor, y: Tensor, target: Tensor) -> Tensor:
    return _margin_to(logits.softmax(1), y, target)


LOSSES: dict[str, Loss] = {"ce": _ce, "margin": margin, "dlr": _dlr, "probability-margin": _probability_margin}
DIRECTED: dict[str, DirectedLoss] = {
    "ce": _ce_to,
    "margin": _margin_to,
    "dlr": _dlr_to,
    "probability-margin": _probability_margin_to,
}
CLASSES_NEEDED = {("dlr", False): 3, ("dlr", True): 4}


@dataclass(frozen=True)
class Objective(Checked):
    """`targeted`: success is the row's target class, else any class but its label.

    `directed`: the loss runs towards the row's target (as APGD-T's does) although any wrong class counts.
    """

    targeted: bool = False
    directed: bool = False
    loss: LossName = "margin"

    def defined(self, classes: int) -> "Objective":
        """The same goal with a loss that is defined for this number of classes, if there are at least two.

        AutoAttack checks for both cases (Croce and Hein 2020, `check_n_classes`). With three classes the DLR loss has
        no targeted form: the untargeted one is used, unless only the target counts. With two classes it is undefined,
        and its numerator, the margin, is used.
        """
        if self.loss != "dlr" or classes >= CLASSES_NEEDED["dlr", self.directed or self.targeted]:
            return self
        if self.targeted or classes < CLASSES_NEEDED["dlr", False]:
            return replace(self, loss="margin")
        return replace(self, directed=False)

    def check(self, classes: int) -> None:
        """Raises InputError for a loss that is not defined for this number of classes."""
        if classes < 2:
            raise InputError(
                f"expected a model with at least 2 classes, got {classes}: there is no other class to move to"
            )
        needed = CLASSES_NEEDED.get((self.loss, self.directed or self.targeted), 2)
        if classes < needed:
            kind = "the targeted form of the loss" if needed == 4 else "the loss"
            raise InputError(
                f"{kind} 'dlr' needs at least {needed} classes, the model has {classes}: use 'margin' or 'ce'"
            )

    def margin(self, logits: Tensor, y: Tensor, target: Tensor) -> Tensor:
        """Negative exactly where the goal is reached: (B,)."""
        return -margin(logits, target) if self.targeted else margin(logits, y)

    def descend(self, logits: Tensor, y: Tensor, target: Tensor) -> Tensor:
        """The loss that attacks minimise: (B,), one number per row, never averaged."""
        if self.targeted and self.loss == "margin":
            return -margin(logits, target)
        if self.targeted or self.directed:
            return DIRECTED[self.loss](logits, y, target)
        return LOSSES[self.loss](logits, y)
