"""Models of the columns themselves, such as a scikit-learn pipeline that encodes categories, as models of inputs."""

import hashlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from blindspots.arguments import checked
from blindspots.errors import InputError
from blindspots.models.blackbox import Answers, BlackBox
from blindspots.models.classifiers import check_classifier, names_of_labels, places_of, quiet
from blindspots.models.front import read_front
from blindspots.models.model import Model
from blindspots.models.translate import translate
from blindspots.tables.encoding import Array, decoded, word_of
from blindspots.tables.features import Column, Features, needs_range, read_features
from blindspots.tables.threat import box_of

_METHODS: Mapping[Answers, str] = {
    "probabilities": "predict_proba",
    "scores": "decision_function",
    "labels": "predict",
    "values": "predict",
}
_PROBES = 256
_AGREEMENT = 0.99  # of a translation with the pipeline: rows on a boundary may fall to either side
_NUMBERS = 1e-4  # by how much predicted numbers may differ, of the largest
_SEARCHES = ("GridSearchCV", "RandomizedSearchCV", "HalvingGridSearchCV", "HalvingRandomSearchCV")


@checked()
def from_columns(
    model: Any, features: str | Path | Features, name: str | None = None, answers: Answers | None = None
) -> Model:
    """A model that takes the columns of a table, as one of the inputs (B, D) that attacks change.

    A scikit-learn Pipeline whose steps before the last one are a sum of functions of single columns (a
    ColumnTransformer of scalers, encoders, imputers and what passes through; also PCA behind it), and whose last step
    `from_estimator` makes a network of, becomes a network too, with gradients; it is compared with the pipeline's own
    answers first. Every other model is attacked as a black box, through `protocols` such as "tables-scores".

    Args:
        model: a fitted scikit-learn estimator, such as a Pipeline with a ColumnTransformer, which gets a data frame of
            pandas; or a function of the columns {name: list} that returns probabilities (B, C).
        features: the feature file, whose columns it takes by their names.
        name: its name in reports.
        answers: what a function returns, see `BlackBox`; estimators say so themselves.

    Raises InputError: it is neither, it knows other columns, or pandas is not installed for an estimator.
    """
    table = features if isinstance(features, Features) else read_features(features)
    if not hasattr(model, "predict"):
        if not callable(model):
            raise InputError(
                f"expected a fitted estimator or a function of columns, got {type(model).__name__}: pass a Pipeline"
            )
        return _Asked(model, table, name or str(getattr(model, "__name__", "a function of columns")), answers)
    told = _Columns(model, table)
    called = name or type(told.steps[-1]).__name__
    return _Read.of(told, called) or _Asked(model, table, called, answers)


def takes_columns(estimator: Any) -> bool:
    """Whether it is a pipeline that treats columns in different ways, which have names, or hold words."""
    steps = _steps(estimator)
    if not any(hasattr(step, "transformers_") for step in steps):
        return False
    values = [values for encoder, _ in _encoders(steps, []) for values in encoder.categories_]
    return hasattr(estimator, "feature_names_in_") or any(v.dtype.kind in "OUS" for v in values)


class ColumnPipeline(Model):
    """A pipeline of columns until it meets the feature file of a table, which says what they are."""

    def __init__(self, estimator: Any, name: str, spec: str | None) -> None:
        if hasattr(estimator, "classes_"):
            check_classifier(estimator)
        self.estimator, self.labels = estimator, np.asarray(getattr(estimator, "classes_", ()))
        output: Any = "auto" if len(self.labels) else "values"
        names = names_of_labels(self.labels) if len(self.labels) else None
        super().__init__(self._refuse, output=output, name=name, spec=spec, class_names=names)

    def _refuse(self, x: Tensor) -> Tensor:
        raise InputError(
            f"expected a table with a feature file for {self.name}, which takes columns by their names: write one by "
            "blindspots features rows.csv --out features.toml, read it, and pass --features features.toml"
        )

    def of_table(self, table: Features) -> Model:
        return _again(self, self.estimator, table)


class _Columns:
    """A fitted pipeline, and how it is asked about inputs (B, D)."""

    def __init__(self, estimator: Any, table: Features) -> None:
        self.estimator, self.table, self.steps = estimator, table, _steps(estimator)
        self.names = [str(name) for name in getattr(estimator, "feature_names_in_", table.columns)]
        self.labels = np.asarray(getattr(estimator, "classes_", ()))
        if lacking := [name for name in self.names if name not in table.columns]:
            raise InputError(
                f"expected the columns that {type(estimator).__name__} was fitted on in the feature file, which lacks "
                f"{', '.join(map(repr, lacking))}: add them"
            )

        fitted = getattr(estimator, "n_features_in_", len(self.names))
        if fitted != len(self.names):
            raise InputError(
                f"expected the {fitted} columns that {type(estimator).__name__} was fitted on, in their order, in the "
                f"feature file, got {len(self.names)}: it knows them by their places"
            )

    def frame(self, x: Array) -> Any:
        """The columns as a data frame of pandas, or as an array of objects where it was fitted on one."""
        columns = {name: self._spoken(name, cells) for name, cells in decoded(self.table, x).items()}
        if not hasattr(self.estimator, "feature_names_in_"):
            return np.array([columns[name] for name in self.names], dtype=object).T
        try:
            import pandas
        except ImportError as error:
            raise InputError(
                "expected pandas for an estimator of named columns, got none: pip install pandas, or pass a function "
                "of columns"
            ) from error
        return pandas.DataFrame({name: columns[name] for name in self.names})

    def _spoken(self, name: str, cells: list[Any]) -> list[Any]:
        known = self.known.get(name)
        return cells if known is None else [known.get(cell, cell) for cell in cells]

    @cached_property
    def known(self) -> dict[str, dict[str, Any]]:
        """Of columns of words: the values that an encoder was fitted on, by their words, such as True by "True"."""
        return {
            name: {word_of(value): value for value in values}
            for encoder, names in _encoders(self.steps, self.names)
            for name, values in zip(names, encoder.categories_, strict=False)
            if not self.table.columns[name].numeric
        }

    def asked(self, method: str, x: Array) -> Array:
        with quiet(f"{type(self.estimator).__name__}.{method}"):
            return np.asarray(getattr(self.estimator, method)(self.frame(x)))

    def before_last(self, x: Array) -> Array:
        """What the last step gets: (B, E)."""
        frame = self.frame(x)
        with quiet("the pipeline before its last step"):
            for step in self.steps[:-1]:
                frame = step.transform(frame)
        return np.asarray(frame.toarray() if hasattr(frame, "toarray") else frame, np.float64)

    @cached_property
    def probes(self) -> Array:
        return _probes(self.table)


class _Read(Model):
    """A pipeline that was read: with gradients."""

    told: _Columns

    @classmethod
    def of(cls, told: _Columns, name: str) -> "_Read | None":
        """None where it cannot be read, or what was read answers otherwise."""
        net = translate(told.steps[-1]) if len(told.steps) > 1 else None
        front = None if net is None else read_front(told.before_last, told.table, told.probes)
        if net is None or front is None:
            return None
        values = not len(told.labels)
        made = cls(
            nn.Sequential(front, net),
            box_of(told.table) if not any(map(needs_range, told.table.columns.values())) else (0.0, 1.0),
            output="values" if values else "auto",
            name=name,
            class_names=None if values else names_of_labels(told.labels),
        )
        made.told = told
        return made if made._agrees() else None

    def _agrees(self) -> bool:
        wanted = self.told.asked("predict", self.told.probes)
        with torch.no_grad():
            said = self.logits(torch.from_numpy(self.told.probes)).numpy()
        if self.output == "values":
            return bool(np.abs(said.reshape(wanted.shape) - wanted).max() <= _NUMBERS * np.abs(wanted).max())
        return bool((said.argmax(1) == places_of(self.told.labels, wanted)).mean() >= _AGREEMENT)

    def of_table(self, table: Features) -> Model:
        return _again(self, self.told.estimator, table)


class _Asked(BlackBox):
    """Inputs become columns, and those are asked about."""

    def __init__(self, model: Any, table: Features, name: str, answers: Answers | None) -> None:
        self.model, self.features, self.estimator = model, table, hasattr(model, "predict")
        self.told = _Columns(model, table) if self.estimator else None
        self.labels = np.asarray(getattr(model, "classes_", ()))
        self.said = answers
        kind = answers or (_answers_of(model) if self.estimator else "probabilities")
        names = names_of_labels(self.labels) if len(self.labels) else None
        super().__init__(self._answer, kind, len(self.labels) or None, name=name, class_names=names)

    def _answer(self, x: Any) -> Any:
        """What it says of inputs (B, D): as `BlackBox` takes it."""
        if self.told is None:
            return self.model(decoded(self.features, x))
        found = self.told.asked(_METHODS[self.answers], x)
        if self.answers == "labels":
            return places_of(self.labels, found)
        return np.stack([-found / 2, found / 2], 1) if self.answers == "scores" and found.ndim == 1 else found

    def of_table(self, table: Features) -> Model:
        return _again(self, self.model, table, self.said)

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of its class, the columns, and what it says of fixed rows."""
        said = np.ascontiguousarray(self._answer(_probes(self.features)), dtype=np.float64)
        kind = (type(self.model).__qualname__, self.features.to_json(), self.answers, said.shape)
        return hashlib.sha256(repr(kind).encode() + said.tobytes()).hexdigest()


def _again(model: Model, inner: Any, table: Features, answers: Answers | None = None) -> Model:
    """A model of columns, of those of another feature file."""
    made = from_columns(inner, table, model.name, answers)
    made = Model.of_table(made, table)
    made.spec = model.spec
    return made


def _steps(estimator: Any) -> list[Any]:
    """Those of a pipeline, with the best estimator of a search in its place."""
    if type(estimator).__name__ in _SEARCHES:
        return _steps(getattr(estimator, "best_estimator_", None))
    steps = [step for _, step in getattr(estimator, "steps", ())]
    return [step for step in steps if step is not None and step != "passthrough"] or [estimator]


def _encoders(steps: Sequence[Any], names: Sequence[str]) -> list[tuple[Any, list[str]]]:
    """The encoders of categories in ColumnTransformers, and the names of their columns."""
    parts = [(part, columns) for step in steps for _, part, columns in getattr(step, "transformers_", ())]
    inner = [(one, _named(columns, names)) for part, columns in parts for one in _steps(part)]
    return [(one, found) for one, found in inner if hasattr(one, "categories_")]


def _named(columns: Any, names: Sequence[str]) -> list[str]:
    """Columns as a ColumnTransformer keeps them, names or places, by their names."""
    if isinstance(columns, str):
        return [columns]
    if isinstance(columns, slice):
        return list(names[columns])
    if isinstance(columns, int):
        return [names[columns]]
    return [c if isinstance(c, str) else names[c] for c in columns if isinstance(c, str) or c < len(names)]


def _answers_of(model: Any) -> Answers:
    if not hasattr(model, "classes_"):
        return "values"
    return next(a for a in ("probabilities", "scores", "labels") if hasattr(model, _METHODS[a]))


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
