"""Trees of fitted Python objects, read from what these hold or save, and compared with what they answer."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from blindspots.box import Numbers
from blindspots.errors import InputError
from blindspots.models.classifiers import check_classifier, features_of, names_of_labels, quiet
from blindspots.models.trees import catboost, lightgbm, scikit, xgboost
from blindspots.models.trees.model import TreeModel
from blindspots.models.trees.probes import probes
from blindspots.models.trees.reading import Read

_COMPARED = 200  # nodes, with three rows each
_ROUNDING = 1e-5  # of values, relative to the largest


def is_booster(thing: Any) -> bool:
    """Whether it is a model of XGBoost or LightGBM without the methods of scikit-learn."""
    return type(thing).__name__ == "Booster" and _library(thing) in _READERS


def tree_model(
    thing: Any,
    bounds: tuple[Numbers, Numbers] | None,
    name: str,
    spec: str | None,
    shape: Sequence[int] | None,
) -> TreeModel | None:
    """The trees of a fitted estimator or booster as a model.

    None where it is something else, and where the trees that were read do not answer as it does itself.

    Raises InputError: it is not fitted, or asks what only its library can answer.
    """
    found = _read(thing)
    if found is None:
        return None
    if not is_booster(thing):
        features_of(thing, shape)
    model = TreeModel(found.forest, bounds, name, spec, found.class_names, shape)
    return model if is_booster(thing) or _agrees(model, thing) else None


def _read(thing: Any) -> Read | None:
    library = _library(thing)
    if library in _READERS:
        found = _READERS[library](thing)
        return found._replace(class_names=_names(thing) or found.class_names)
    forest = scikit.read(thing)
    if forest is None:
        return None
    if not forest.of_values:
        check_classifier(thing)
    return Read(forest, _names(thing))


def _library(thing: Any) -> str:
    return type(thing).__module__.partition(".")[0]


def _names(thing: Any) -> list[str] | None:
    classes = getattr(thing, "classes_", None)
    return None if classes is None or not len(classes) else names_of_labels(np.asarray(classes))


def _of_xgboost(thing: Any) -> Read:
    if is_booster(thing):
        return xgboost.read(bytes(thing.save_raw("ubj")))
    missing = thing.get_params().get("missing", math.nan)
    if missing is not None and not math.isnan(missing):
        raise InputError(
            f"expected a model of XGBoost in which every number is one, got missing={missing}: fit it with "
            "missing=nan, or pass a BlackBox that asks it"
        )
    booster = _fitted(thing, thing.get_booster)
    best = booster.attr("best_iteration")  # a search stopped there: `predict` goes no further
    return _of_xgboost(booster if best is None else booster[: int(best) + 1])


def _of_lightgbm(thing: Any) -> Read:
    booster = thing if is_booster(thing) else _fitted(thing, lambda: thing.booster_)
    return lightgbm.read(booster.model_to_string().encode())


def _of_catboost(thing: Any) -> Read:
    if not thing.is_fitted():
        raise InputError(f"expected a fitted {type(thing).__name__}: call fit(x, y) on it first")
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.json"
        thing.save_model(str(path), format="json")
        return catboost.read(path.read_bytes())


def _fitted(thing: Any, ask: Callable[[], Any]) -> Any:
    from sklearn.exceptions import NotFittedError

    try:
        return ask()
    except NotFittedError as error:
        raise InputError(f"expected a fitted {type(thing).__name__}: call fit(x, y) on it first") from error


def _agrees(model: TreeModel, estimator: Any) -> bool:
    """Whether the trees predict what the estimator does, at thresholds and next to them."""
    any_row = np.zeros((1, model.forest.features), np.float32)  # for trees that ask nothing
    rows = np.concatenate([any_row, probes(model.forest, _COMPARED)])
    with quiet(f"{type(estimator).__name__}.predict"):
        wanted = np.asarray(estimator.predict(rows.astype(np.float64)))
    with torch.no_grad():
        said = model.logits(model.undone(torch.from_numpy(rows))).numpy()
    if model.forest.of_values:
        wanted = wanted.reshape(said.shape)
        return bool(np.abs(said - wanted).max(initial=0) <= _ROUNDING * np.abs(wanted).max(initial=0))
    tied = np.isclose(*np.sort(said, 1)[:, -2:].T)  # libraries break ties in their own ways
    classes = np.asarray(estimator.classes_) if hasattr(estimator, "classes_") else np.arange(said.shape[1])
    return bool((tied | (classes[said.argmax(1)] == wanted.reshape(-1))).all())


_READERS: dict[str, Callable[[Any], Read]] = {
    "catboost": _of_catboost,
    "lightgbm": _of_lightgbm,
    "xgboost": _of_xgboost,
}
