"""Trees behind scalers: the same trees with thresholds in the units of the data."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blindspots.models.trees.forest import LEAF, Forest

Scale = Callable[[NDArray[Any], NDArray[np.integer]], NDArray[np.float64]]
_INFINITE = 0x7F800000  # the bits of infinity, and so the place of it among all float32 in their order


def unscaled(forest: Forest, steps: Sequence[Any]) -> Forest | None:
    """The forest for rows before the fitted scalers `steps`; None where one of them is no scaler of single features.

    The forest gets what the scalers make of a float64, rounded to float32. All of that grows with the feature, so each
    threshold becomes the smallest float32 that is scaled to it or above: found by bisection, with their own arithmetic.
    """
    scaled = scaling(steps)
    if scaled is None:
        return None
    inner = forest.feature != LEAF
    features, wanted = forest.feature[inner], forest.threshold[inner]
    threshold = forest.threshold.copy()
    threshold[inner] = _smallest(lambda x: _rounded(scaled(x, features)) >= wanted, len(wanted))
    return replace(forest, threshold=threshold)


def scaling(steps: Sequence[Any]) -> Scale | None:
    """What all of the fitted scalers `steps` make of numbers; None where one is no scaler of single features."""
    scales = [_SCALERS[kind](step) for step in steps if (kind := type(step).__name__) in _SCALERS and _is_own(step)]
    return partial(_through, scales) if len(scales) == len(steps) else None


def beyond(scaled: Scale, t: NDArray[np.float64], features: NDArray[np.integer]) -> NDArray[np.float32]:
    """The smallest float32 of each feature that is scaled to more than t (n,): of those that pass x <= t in float64."""
    return _smallest(lambda x: scaled(x, features) > t, len(t))


def _is_own(step: Any) -> bool:
    """Whether it is a scaler of scikit-learn, or the word for none."""
    return isinstance(step, str) or type(step).__module__.partition(".")[0] == "sklearn"


def _through(scales: Sequence[Scale], x: NDArray[Any], features: NDArray[np.integer]) -> NDArray[np.float64]:
    wide = x.astype(np.float64)
    with np.errstate(over="ignore"):
        for scale in scales:
            wide = scale(wide, features)
    return wide


def _rounded(x: NDArray[np.float64]) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):
        return x.astype(np.float32)


def _smallest(reached: Callable[[NDArray[np.float32]], NDArray[np.bool_]], count: int) -> NDArray[np.float32]:
    """For each of `count` conditions that hold from some float32 on, that float32; infinity where none is enough."""
    low, high = np.full(count, -_INFINITE), np.full(count, _INFINITE)
    while (high - low > 1).any():
        middle = (low + high) // 2
        enough = reached(_number(middle))
        low, high = np.where(enough, low, middle), np.where(enough, middle, high)
    return _number(high)


def _number(place: NDArray[np.int64]) -> NDArray[np.float32]:
    """The float32 at a place in their order, 0 at 0."""
    size = np.abs(place).astype(np.int32).view(np.float32)
    return np.where(place < 0, -size, size)


def _standard(scaler: Any) -> Scale:
    return _shifted(scaler.mean_ if scaler.with_mean else 0.0, scaler.scale_ if scaler.with_std else 1.0)


def _robust(scaler: Any) -> Scale:
    return _shifted(scaler.center_ if scaler.with_centering else 0.0, scaler.scale_ if scaler.with_scaling else 1.0)


def _shifted(centre: Any, scale: Any) -> Scale:
    return lambda x, f: (x - _of(centre, f)) / _of(scale, f)


def _min_max(scaler: Any) -> Scale:
    low, high = scaler.feature_range if scaler.clip else (-np.inf, np.inf)
    return lambda x, f: np.clip(x * _of(scaler.scale_, f) + _of(scaler.min_, f), low, high)


def _of(numbers: Any, features: NDArray[np.integer]) -> Any:
    return numbers if np.ndim(numbers) == 0 else numbers[features]


def _unchanged(step: Any) -> Scale:
    return lambda x, f: x


_SCALERS: dict[str, Callable[[Any], Scale]] = {
    "MaxAbsScaler": lambda scaler: _shifted(0.0, scaler.scale_),
    "MinMaxScaler": _min_max,
    "RobustScaler": _robust,
    "StandardScaler": _standard,
    "str": _unchanged,  # "passthrough"
}
