"""A classifier of which nothing is known but its answers: a plain function, a remote service, a device."""

from collections.abc import Callable
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from blindspots.errors import InputError
from blindspots.models.model import Model
from blindspots.problem import Need

Answers = Literal["labels", "scores", "probabilities"]


class BlackBox(Model):
    """A function of inputs that returns labels or scores.

    It is asked for nothing but attacks: no checks beforehand, no padding; `queries` counts every input it was given.

    Args:
        function: takes a float32 array (B, *shape) with values within the bounds, returns an array: labels (B,)
            integers, or scores (B, C).
        answers: what it returns; "scores" are logits or anything else whose largest entry is the prediction.
        classes: how many classes there are; needed where it returns labels.
        bounds: the smallest and the largest value an input can have.
        name: how reports call it.

    Raises:
        InputError: a value above does not fit, or, when called, the function's answer does not.
    """

    def __init__(
        self,
        function: Callable[[Any], Any],
        answers: Answers = "scores",
        classes: int | None = None,
        bounds: tuple[float, float] = (0.0, 1.0),
        name: str | None = None,
    ) -> None:
        if answers not in get_args(Answers):
            raise InputError(f"expected answers to be one of {', '.join(get_args(Answers))}, got {answers!r}: pick one")
        if answers == "labels" and (classes is None or classes < 2):
            raise InputError(
                f"expected the number of classes (at least 2) of a model that answers with labels, got {classes}: pass "
                "classes=10, say"
            )
        super().__init__(function, bounds, name=name)
        self.access = Need.LABEL if answers == "labels" else Need.VALUE
        self.function, self.answers, self.classes = function, answers, classes
        self.queries = 0

    @property
    def metered(self) -> bool:
        return True

    def logits(self, x: Tensor) -> Tensor:
        """Scores (B, C) of inputs x (B, *shape); 1 for the label and 0 elsewhere if that is all there is."""
        self.queries += len(x)
        answer = np.asarray(self.function(x.detach().cpu().numpy()))
        if self.answers == "labels":
            return self._one_hot(answer, len(x))
        scores = self._many(self._scores(answer, len(x)))
        return scores.clamp_min(torch.finfo(torch.float32).tiny).log() if self.answers == "probabilities" else scores

    def _one_hot(self, answer: Any, rows: int) -> Tensor:
        assert self.classes is not None
        good = answer.shape == (rows,) and np.issubdtype(answer.dtype, np.integer)
        if not good or (rows and not 0 <= answer.min() <= answer.max() < self.classes):
            raise InputError(
                f"expected labels of shape ({rows},), integers from 0 to {self.classes - 1}, got "
                f"{answer.dtype} of shape {answer.shape}: let the function return one class per input"
            )
        return torch.nn.functional.one_hot(torch.from_numpy(answer.astype(np.int64)), self.classes).float()

    def _scores(self, answer: Any, rows: int) -> Tensor:
        if answer.ndim != 2 or len(answer) != rows or answer.shape[1] < 2 or answer.dtype.kind not in "fiu":
            raise InputError(
                f"expected scores of shape ({rows}, classes) with at least 2 classes, got {answer.dtype} of shape "
                f"{answer.shape}: let the function return one row of scores per input"
            )
        return torch.from_numpy(answer.astype(np.float32))
