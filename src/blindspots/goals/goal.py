"""What counts as success for the output of a model: another class, a number that moves, or a function of the user's.

Every goal reads outputs as the scores of a classification. Class `label` is "as it should be", the others are the ways
in which an adversary can succeed: another class, or for a number up and down. So every attack, loss and rule for
targets works for every goal, and success is the same everywhere: another class has strictly the largest score. A tie is
not a success.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from blindspots.arguments import Checked
from blindspots.errors import InputError
from blindspots.objective import margin, own
from blindspots.records import REJECTED

Measures = dict[str, Tensor]  # what is reported of each row besides its margin, by name: (B,)


def folded(logits: Tensor, y: Tensor) -> Tensor:
    """Scores (B, C) of a model that rejects, from its scores (B, C + 1), the last one being that of "reject".

    For an adversary, rejection is as bad as a correct prediction: the label gets the larger of the two scores. So the
    label is strictly beaten exactly where another class beats both, and every loss and attack runs on such a model as
    on any other (Carlini and Wagner 2017, arXiv 1705.07263, treat rejection as one more class).
    """
    held = own(logits, y).maximum(logits[:, -1])
    return logits[:, :-1].scatter(1, y[:, None], held[:, None])


class Goal(Checked, ABC):
    """Reads outputs (B, ...) against truths (B, ...), both of any kind, row by row."""

    classifies: ClassVar[bool] = False  # the scores are the model's own, and the truths are labels
    ways: ClassVar[
        tuple[str, ...]
    ] = ()  # names of the classes after the label, where they are the same for every model

    @property
    @abstractmethod
    def spec(self) -> str:
        """The text form that `parse_goal` reads back."""

    @property
    @abstractmethod
    def kept(self) -> str:
        """What holds of a row where the goal is not reached: the rest of a sentence on its output."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """Of the scores that it reads, where they are the same for every model."""
        return ("as it should be", *self.ways)

    def truth(self, output: Tensor, y: Tensor) -> Tensor:
        """What later outputs are compared with, from those on the clean inputs and the data's own y (B, ...)."""
        return y

    @abstractmethod
    def scores(self, output: Tensor, truth: Tensor) -> Tensor:
        """(B, C) with C >= 2; autograd runs through."""

    def label(self, truth: Tensor) -> Tensor:
        """The class that stands for "as it should be": (B,) int64."""
        return torch.zeros(len(truth), dtype=torch.int64, device=truth.device)

    def predict(self, output: Tensor, truth: Tensor) -> Tensor:
        """The class with the largest score: (B,) int64."""
        return self.scores(output, truth).argmax(1)

    def margin(self, output: Tensor, truth: Tensor) -> Tensor:
        """Negative exactly where the goal is reached: (B,)."""
        return margin(self.scores(output, truth), self.label(truth))

    def refused(self, output: Tensor) -> Tensor:
        """Whether the model gave no answer: (B,) bool."""
        return torch.zeros(len(output), dtype=torch.bool, device=output.device)

    def measures(self, output: Tensor, y: Tensor, clean: Tensor) -> Measures:
        """What is reported of each row besides, from its output, the data's y and the output on its clean input."""
        return {}

    def check(self, output: Tensor, y: Tensor, rows: Tensor) -> None:
        """Raises InputError: outputs on the rows `rows` (B,) of the data, or their y, are not of the kind it reads."""


@dataclass(frozen=True)
class Classify(Goal):
    """Any class but the label. Where a model may reject, being rejected reaches no goal: see `folded`."""

    rejects: bool = False

    classifies: ClassVar[bool] = True

    @property
    def spec(self) -> str:
        return "class"

    @property
    def kept(self) -> str:
        return "is its label"

    def scores(self, output: Tensor, truth: Tensor) -> Tensor:
        return folded(output, truth) if self.rejects else output

    def label(self, truth: Tensor) -> Tensor:
        return truth

    def predict(self, output: Tensor, truth: Tensor) -> Tensor:
        """The class that the model itself says, `REJECTED` where none."""
        return output.argmax(1).masked_fill(self.refused(output), REJECTED)

    def refused(self, output: Tensor) -> Tensor:
        return (output.argmax(1) == output.shape[1] - 1) & self.rejects

    def check(self, output: Tensor, y: Tensor, rows: Tensor) -> None:
        check_labels(y, output.shape[1] - self.rejects, rows)


def check_labels(y: Tensor, classes: int, rows: Tensor) -> None:
    """Raises InputError: a label (n,) of the rows `rows` (n,) is no class of the model."""
    strange = ((y < 0) | (y >= classes)).nonzero()[:, 0]
    if len(strange):
        row, label = int(rows[strange[0]]), int(y[strange[0]])
        raise InputError(
            f"expected labels from 0 to {classes - 1}, since the model has {classes} classes, got {label} in row "
            f"{row}: give every row the number of its class, in the model's order"
        )
