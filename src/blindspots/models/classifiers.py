"""scikit-learn's classifiers as models: networks where their formulas are known, else black boxes."""

import hashlib
import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from blindspots.box import Box, Numbers, as_box
from blindspots.errors import InputError
from blindspots.models.blackbox import Answers, BlackBox
from blindspots.models.model import Model
from blindspots.models.translate import translate
from blindspots.random import keys, uniform

_PROBES = 512
_AGREEMENT = 0.99  # of a translation with the estimator: rows on a boundary may fall to either side


def from_classifier(
    estimator: Any, bounds: tuple[Numbers, Numbers], name: str, spec: str | None, shape: Sequence[int] | None
) -> Model:
    """See `estimators.from_estimator`."""
    known = _Estimator(estimator, bounds, shape)
    net = translate(estimator)
    if net is not None:
        model = Model(nn.Sequential(known.flatten, net), bounds, name=name, spec=spec, class_names=known.names)
        if known.agrees(model):
            return model
    return _AskedEstimator(known, bounds, name, spec)


class Flatten(nn.Module):
    """(B, *shape) to (B, features)."""

    def __init__(self, features: int, shape: tuple[int, ...] | None) -> None:
        super().__init__()
        self.features, self.shape = features, shape

    def forward(self, x: Tensor) -> Tensor:
        fits = math.prod(x.shape[1:]) == self.features if self.shape is None else x.shape[1:] == self.shape
        if not fits:
            raise InputError(
                f"expected inputs of shape {self.shape or f'({self.features},)'}, got {tuple(x.shape[1:])}: "
                "use the data that the estimator was fitted on"
            )
        return x.flatten(1)

    def undone(self, x: Tensor) -> Tensor:
        return x if self.shape is None else x.view(-1, *self.shape)

    def extra_repr(self) -> str:
        return f"features={self.features}, shape={self.shape}"


class _AskedEstimator(BlackBox):
    """A black box around a fitted estimator."""

    def __init__(self, known: "_Estimator", bounds: tuple[Numbers, Numbers], name: str, spec: str | None) -> None:
        super().__init__(known.function, known.answers, len(known.classes), bounds, name)
        self.known, self.spec, self.class_names = known, spec, known.names

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of class, bounds and the outputs for fixed inputs, equal wherever the estimator is loaded."""
        answers = np.ascontiguousarray(self.known.ask(self.answers, self.known.probes.numpy()))
        kind = (type(self.known.estimator).__qualname__, self.bounds, self.known.classes.tolist(), self.answers)
        return hashlib.sha256(repr((kind, answers.shape)).encode() + answers.tobytes()).hexdigest()


class _Estimator:
    """A fitted classifier and the ways to query it."""

    def __init__(self, estimator: Any, bounds: tuple[Numbers, Numbers], shape: Sequence[int] | None) -> None:
        check_classifier(estimator)
        self.estimator, self.box = estimator, as_box(*bounds)
        self.classes = np.asarray(estimator.classes_)
        self.names = names_of_labels(self.classes)
        self.flatten = Flatten(features_of(estimator, shape), None if shape is None else tuple(shape))

    @cached_property
    def probes(self) -> Tensor:
        return probes_within(self.box, self.flatten)

    @cached_property
    def predicted(self) -> Any:
        """The indices of the labels that `predict` returns for the probes: (512,)."""
        labels = self._asked("predict", self.probes.numpy())
        if labels.shape != (_PROBES,):
            raise InputError(
                f"expected one label per row from {type(self.estimator).__name__}, got shape {labels.shape} for "
                f"{_PROBES} rows: fit it on labels (N,)"
            )
        return places_of(self.classes, labels)

    def agrees(self, model: Model) -> bool:
        """Whether the model predicts what the estimator does, except for a few rows."""
        with torch.no_grad():
            same = model.logits(self.flatten.undone(self.probes)).argmax(1).numpy() == self.predicted
        return bool(same.mean() >= _AGREEMENT)

    @cached_property
    def answers(self) -> Answers:
        for answers in ("probabilities", "scores"):
            if hasattr(self.estimator, _METHODS[answers]):
                found = self.ask(answers, self.probes.numpy())
                if found.shape == (_PROBES, len(self.classes)) and (found.argmax(1) == self.predicted).all():
                    return answers
        return "labels"

    def function(self, x: Any) -> Any:
        """The function of a `BlackBox`: `answers` for an array (B, *shape)."""
        return self.ask(self.answers, self.flatten(torch.from_numpy(x)).numpy())

    def ask(self, answers: Answers, x: Any) -> Any:
        """The estimator's output for an array (B, features)."""
        found = self._asked(_METHODS[answers], x)
        if answers == "labels":
            return places_of(self.classes, found)
        found = np.stack([-found / 2, found / 2], 1) if found.ndim == 1 else found
        return found.astype(np.float32)

    def _asked(self, method: str, x: Any) -> Any:
        with quiet(f"{type(self.estimator).__name__}.{method}"):
            return np.asarray(getattr(self.estimator, method)(x.astype(np.float64)))


def probes_within(box: Box, flatten: Flatten) -> Tensor:
    """Inputs (512, features) within the box, each with its own share of values at the lower bound."""
    rows = torch.arange(_PROBES)
    key = keys(0, rows)
    value, kept = (uniform(key, rows, stream, (flatten.features,)) for stream in (0, 1))
    inside = value * (kept < uniform(key, rows, 2, (1,)))
    box = box.over(flatten.undone(inside), lambda bound: bound.flatten(1))
    return box.clip(box.lo + box.width * inside)


_METHODS: dict[str, str] = {"probabilities": "predict_proba", "scores": "decision_function", "labels": "predict"}


@contextmanager
def quiet(what: str) -> Iterator[None]:
    """One thread, so that sums have one order; no warnings about feature names; errors as sentences."""
    import joblib

    try:
        with joblib.parallel_config(backend="sequential"), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "X does not have valid feature names", UserWarning)
            yield
    except (ValueError, TypeError, AttributeError) as error:
        said = " ".join(str(error).split())
        raise InputError(f"{what} raised {type(error).__name__}: {said or 'no message'}") from error


def check_classifier(estimator: Any) -> None:
    """Refuse what is not a fitted classifier with one label per row."""
    from sklearn.base import is_classifier
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    called = type(estimator).__name__
    if not is_classifier(estimator):
        raise InputError(
            f"expected a scikit-learn classifier or regressor, got {called}, which is neither: pass another"
        )
    try:
        check_is_fitted(estimator)
        classes = np.asarray(estimator.classes_)
    except (NotFittedError, AttributeError) as error:
        raise InputError(f"expected a fitted {called}, got one without classes: call fit(x, y) on it first") from error
    if classes.ndim != 1 or len(classes) < 2 or not _are_labels(classes):
        raise InputError(
            f"expected at least 2 classes of {called}, integers or words, got {estimator.classes_!r}: fit it on one "
            "such label per row"
        )
    if getattr(estimator, "kernel", None) == "precomputed" or getattr(estimator, "metric", None) == "precomputed":
        raise InputError(f"expected a {called} of inputs, got one of distances or kernels: fit it on the inputs")


def _are_labels(classes: Any) -> bool:
    """Whether they are integers (also in floats), booleans or words."""
    if classes.dtype.kind == "f":
        return bool((classes == np.rint(classes)).all())
    return classes.dtype.kind in "iubU" or all(isinstance(label, str) for label in classes)


def names_of_labels(classes: Any) -> list[str]:
    """Names of the classes, by which labels of data are matched."""
    return [str(int(label) if classes.dtype.kind == "f" else label) for label in classes]


def places_of(classes: Any, labels: Any) -> Any:
    """The indices of labels among the classes."""
    order = np.argsort(classes)
    return order[np.searchsorted(classes, labels, sorter=order)]


def features_of(estimator: Any, shape: Sequence[int] | None) -> int:
    """How many numbers an input has. Raises InputError: it does not say, or the shape has another number."""
    given = None if shape is None else math.prod(shape)
    fitted = getattr(estimator, "n_features_in_", given)
    if fitted is None:
        raise InputError(
            f"expected the shape of an input, for {type(estimator).__name__} does not say how many features it was "
            "fitted on: pass e.g. shape=(1, 28, 28)"
        )
    if given not in (None, fitted):
        raise InputError(f"expected a shape with {fitted} numbers, got {shape}: give that of one input")
    return int(fitted)
