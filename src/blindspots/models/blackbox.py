"""A model known only through its outputs: a plain function, a remote service, a device."""

import time
from collections.abc import Callable, Iterable
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from blindspots.box import Numbers
from blindspots.errors import InputError
from blindspots.models.foreign import ModelError, call, told
from blindspots.models.model import Model, Service, as_values
from blindspots.problem import Need

Answers = Literal["labels", "scores", "probabilities", "values"]


class BlackBox(Model):
    """A function of inputs that returns labels, scores or values.

    Only attacks query it: there are no checks beforehand and no padding; `queries` counts every input it was given.
    After an exception the query is repeated, then sent row by row. A row that never gets an answer leaves the search
    with an outcome of its own; once a whole batch gets none, there are no more queries (`silent`), and what was found
    by then is the result.

    Args:
        function: takes a float32 array (B, *shape) of its own with values within the bounds, returns an array: labels
            (B,) integers, scores (B, C), or values (B, ...).
        answers: what it returns; "scores" are logits or anything else whose largest entry is the prediction, "values"
            numbers that a goal reads.
        classes: the number of classes; required where it returns labels.
        bounds: the smallest and the largest value an input can have, or arrays of them.
        name: its name in reports.
        class_names: names of the classes, in order; data with named classes are matched by them.
        retries: how often a query is repeated after an exception.
        wait: seconds before the first repetition, doubled each time.

    Raises:
        InputError: a value above does not fit, or, when called, the function's output does not.
    """

    def __init__(
        self,
        function: Callable[[Any], Any],
        answers: Answers = "scores",
        classes: int | None = None,
        bounds: tuple[Numbers, Numbers] = (0.0, 1.0),
        name: str | None = None,
        retries: int = 3,
        wait: float = 0.5,
        class_names: Iterable[str] | None = None,
    ) -> None:
        if answers not in get_args(Answers):
            raise InputError(f"expected answers to be one of {', '.join(get_args(Answers))}, got {answers!r}: pick one")
        if answers == "labels" and (classes is None or classes < 2):
            raise InputError(
                f"expected the number of classes (at least 2) of a model that returns labels, got {classes}: pass "
                "e.g. classes=10"
            )
        super().__init__(function, bounds, name=name, class_names=class_names)
        self.access = Need.LABEL if answers == "labels" else Need.VALUE
        self.function, self.answers, self.classes = function, answers, classes
        if retries < 0 or not 0 <= wait < float("inf"):
            raise InputError(f"expected retries and wait of at least 0, got {retries} and {wait}: change them")
        self.output = "values" if answers == "values" else "auto"
        self.retries, self.wait = retries, wait
        self.queries = self.repeats = 0  # inputs that were sent, and those among them that were sent again
        self.silent, self.failure, self.spent = False, "", False  # it no longer answers; its last exception
        self._shape: tuple[int, ...] | None = (
            None if classes is None else (classes,)
        )  # of what it says of a row, once known

    @property
    def service(self) -> Service:
        return self

    def of_values(self) -> Model:
        return self  # it was said what it answers

    def logits(self, x: Tensor) -> Tensor:
        """Scores (B, C) of inputs x (B, *shape); 1 for the label and 0 elsewhere if it returns labels.

        NaN for rows without an answer. Raises ModelError if there has never been an answer.
        """
        x = x.detach().cpu()
        if self.silent:
            return self._nothing(x)
        try:
            scores = self._patiently(x)
        except ModelError as error:
            if self._shape is None:
                raise
            self.failure = told(error.__cause__ or error)
            scores = self._row_by_row(x)
            self.silent = bool(scores.isnan().all())
        self._shape = tuple(scores.shape[1:])
        return scores

    def _patiently(self, x: Tensor) -> Tensor:
        for attempt in range(self.retries):
            try:
                return self._once(x)
            except ModelError:
                self.repeats += len(x)
                time.sleep(self.wait * 2**attempt)
        return self._once(x)

    def _row_by_row(self, x: Tensor) -> Tensor:
        return torch.cat([self._alone(row[None]) for row in x])

    def _alone(self, row: Tensor) -> Tensor:
        self.repeats += 1
        try:
            return self._once(row)
        except ModelError:
            return self._nothing(row)

    def _nothing(self, x: Tensor) -> Tensor:
        assert self._shape is not None
        return torch.full((len(x), *self._shape), torch.nan)

    def _once(self, x: Tensor) -> Tensor:
        self.queries += len(x)
        answer = _array(call(self.function, x.numpy().copy(), f"a function {self.name!r}"))
        if self.answers == "labels":
            return self._one_hot(answer, len(x))
        if self.answers == "values":
            return as_values(_numbers(answer, self.name), len(x))
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


def _numbers(answer: Any, name: str) -> Tensor:
    if answer.dtype.kind not in "fiub":
        raise InputError(f"expected numbers from {name}, got {answer.dtype}: let the function return an array of them")
    return torch.from_numpy(np.ascontiguousarray(answer, dtype=np.float32))


def _array(answer: Any) -> Any:
    """The output as an array; where that is no array of numbers, its shape or dtype is refused afterwards."""
    if isinstance(answer, Tensor):
        return answer.detach().cpu().numpy()
    try:
        return np.asarray(answer)
    except ValueError:  # ragged
        return np.asarray(None)
