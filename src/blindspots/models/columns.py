"""Models of the columns themselves, such as a scikit-learn pipeline that encodes categories: known by their answers."""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from blindspots.arguments import checked
from blindspots.errors import InputError
from blindspots.models.blackbox import Answers, BlackBox
from blindspots.models.classifiers import names_of_labels, places_of, quiet
from blindspots.tables.encoding import Array, decoded
from blindspots.tables.features import Column, Features, needs_range, read_features

_METHODS: Mapping[Answers, str] = {
    "probabilities": "predict_proba",
    "scores": "decision_function",
    "labels": "predict",
    "values": "predict",
}
_PROBES = 256
Predict = Callable[[Any], Any]


@checked()
def from_columns(
    model: Any, features: str | Path | Features, name: str | None = None, answers: Answers | None = None
) -> BlackBox:
    """A model that takes the columns of a table, as one of the inputs (B, D) that attacks change.

    It gives no gradients, so it is attacked as a black box, through `protocols` such as "tables-scores".

    Args:
        model: a fitted scikit-learn estimator, such as a Pipeline with a ColumnTransformer, which gets a data frame of
            pandas; or a function of the columns {name: list} that returns probabilities (B, C).
        features: the feature file, whose columns it takes by their names.
        name: its name in reports.
        answers: what a function returns, see `BlackBox`; estimators say so themselves.

    Raises InputError: it is neither, or pandas is not installed for an estimator.
    """
    table = features if isinstance(features, Features) else read_features(features)
    if not hasattr(model, "predict") and not callable(model):
        raise InputError(
            f"expected a fitted estimator or a function of columns, got {type(model).__name__}: pass e.g. a Pipeline"
        )
    return _Asked(model, table, name, answers)


class _Asked(BlackBox):
    """Inputs become columns, and those are asked about."""

    def __init__(self, model: Any, table: Features, name: str | None, answers: Answers | None) -> None:
        self.model, self.features, self.estimator = model, table, hasattr(model, "predict")
        self.labels = np.asarray(getattr(model, "classes_", ()))
        kind = answers or (_answers_of(model) if self.estimator else "probabilities")
        last = getattr(model, "steps", [(None, model)])[-1][1]
        called = name or (
            type(last).__name__ if self.estimator else getattr(model, "__name__", "a function of columns")
        )
        names = names_of_labels(self.labels) if len(self.labels) else None
        super().__init__(self._answer, kind, len(self.labels) or None, name=called, class_names=names)

    def _answer(self, x: Any) -> Any:
        """What it says of inputs (B, D): as `BlackBox` takes it."""
        columns = decoded(self.features, x)
        if not self.estimator:
            return self.model(columns)
        with quiet(f"{type(self.model).__name__}.{_METHODS[self.answers]}"):
            found = np.asarray(getattr(self.model, _METHODS[self.answers])(_frame(columns)))
        if self.answers == "labels":
            return places_of(self.labels, found)
        return np.stack([-found / 2, found / 2], 1) if self.answers == "scores" and found.ndim == 1 else found

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of its class, the columns, and what it says of fixed rows."""
        said = np.ascontiguousarray(self._answer(_probes(self.features)), dtype=np.float64)
        kind = (type(self.model).__qualname__, self.features.to_json(), self.answers, said.shape)
        return hashlib.sha256(repr(kind).encode() + said.tobytes()).hexdigest()


def _answers_of(model: Any) -> Answers:
    if not hasattr(model, "classes_"):
        return "values"
    return next(a for a in ("probabilities", "scores", "labels") if hasattr(model, _METHODS[a]))


def _frame(columns: Mapping[str, list[Any]]) -> Any:
    try:
        import pandas
    except ImportError as error:
        raise InputError(
            "expected pandas for an estimator of named columns, got none: pip install pandas, or pass a function of "
            "columns"
        ) from error
    return pandas.DataFrame(columns)


def _probes(table: Features) -> Array:
    """Rows by lot, always the same: float32 (256, D)."""
    draw = np.random.RandomState(0)
    return np.concatenate([_drawn(column, draw) for column in table.columns.values()], 1).astype(np.float32)


def _drawn(column: Column, draw: np.random.RandomState) -> Array:
    if column.type == "category":
        found: Array = np.eye(column.width)[draw.randint(column.width, size=_PROBES)]
        return found
    if column.type == "ordinal":
        return np.array(column.numbers)[draw.randint(len(column.values), size=_PROBES)][:, None]
    low, high = (0.0, 1.0) if needs_range(column) else column.bounds
    numbers = draw.uniform(low, high, (_PROBES, 1))
    return np.rint(numbers) if column.type == "integer" else numbers
