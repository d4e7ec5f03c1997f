"""What is looked at of a shard whose goal reads numbers: its scores and measures, by formulas written a second time."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from blindspots.errors import InputError
from blindspots.experiments.evaluate.verify_dense import margins
from blindspots.runs.again import EDGE

Array = NDArray[Any]
DENSE_WAYS = {"pixels": 4, "missed": 1}  # goals about parts of a row, and in how many ways they are searched
Function = Callable[[torch.Tensor, torch.Tensor], Any]


class Reader:
    """The goal of a run, from its words in the manifest, or the function that was given.

    Raises InputError: the words name a function, and none was given.
    """

    def __init__(self, words: str, given: object) -> None:
        self.name, _, numbers = words.partition(":")
        self.function: Function | None = getattr(given, "function", given if callable(given) else None)
        try:
            self.numbers = [] if self.function else [float(number) for number in numbers.split(",")]
        except ValueError as error:
            raise InputError(
                f"expected the goal {words!r} itself, since the run was given it from Python: pass it, as in "
                "bs.verify(run, given={'goal': function})"
            ) from error

    def scores(self, output: Array, y: Array, clean: Array) -> tuple[Array, Array]:
        """Scores (m, C), and how much rounding may move them (m,), of outputs, truths and outputs on clean inputs."""
        if self.function is not None:
            margin, _ = self._called(output, y)
            return np.stack([margin, 0 * margin], 1), EDGE * np.maximum(np.abs(margin), 1)
        if self.name in DENSE_WAYS:
            decides, _ = margins(self.name, self.numbers, output, y)
            ways = np.repeat(-decides[:, None], DENSE_WAYS[self.name], 1)
            size = np.abs(_table(output)).max(1, initial=0)
            return np.concatenate([0 * ways[:, :1], ways], 1).astype(np.float32), 4 * EDGE * size
        f, f0 = _table(output), _table(clean)
        unit = self._unit(f0)
        ways = np.concatenate([way / unit for way in self._ways(f, _table(y), f0)], 1)
        kept = np.full((len(f), 1), 1.0 if self.name in ("move", "error", "up", "down") else 0.0)
        size = np.maximum(np.abs(f).max(1, initial=0), np.abs(f0).max(1, initial=0))
        return np.concatenate([kept, ways], 1).astype(np.float32), 4 * EDGE * size / unit[:, 0]

    def _unit(self, clean: Array) -> Array:
        """What one unit of a score is worth, (m, 1): the tolerance, or the way that a clean output has to go."""
        if self.name in ("move", "error", "up", "down"):
            return np.full((len(clean), 1), self.numbers[0])
        gap: Array = np.maximum(np.abs(clean - self.numbers[0]).max(1, keepdims=True, initial=0), 1e-12)
        return gap

    def _ways(self, f: Array, y: Array, f0: Array) -> list[Array]:
        first = self.numbers[0]
        if self.name == "to":
            return [
                self.numbers[1] - np.abs(f - first)
                if len(self.numbers) > 1
                else np.where(f0 < first, f - first, first - f)
            ]
        ways: dict[str, tuple[Array, ...]] = {
            "move": (f - f0, f0 - f), "up": (f - f0,), "down": (f0 - f,), "above": (f - first,), "below": (first - f,),
        }  # fmt: skip
        return [f - y, y - f] if self.name == "error" else list(ways[self.name])

    def sides(self, y: Array, clean: Array) -> list[tuple[int, int, float, float]]:
        """Where outputs of a row succeed: which output, 1 for above and -1 for below, from which value, to which."""
        first, margin = self.numbers[0], (self.numbers[1:] or [0.0])[0]
        found: list[tuple[int, int, float, float]] = []
        for k, (f0, truth) in enumerate(zip(clean.reshape(-1).tolist(), y.reshape(-1).tolist(), strict=True)):
            around = truth if self.name == "error" else f0
            nearer = -1 if self.name == "to" and f0 >= first else 1
            ways = {
                "up": [(1, f0 + first)], "down": [(-1, f0 - first)], "above": [(1, first)], "below": [(-1, first)],
                "to": [(nearer, first - nearer * margin)],
            }  # fmt: skip
            known = ways.get(self.name, [(1, around + first), (-1, around - first)])
            found += [(k, side, at, at + side * 2 * margin if margin else side * np.inf) for side, at in known]
        return found

    def measures(self, output: Array, y: Array, clean: Array) -> Array:
        """(m, columns) float64."""
        if self.function is not None:
            return _stacked(list(self._called(output, y)[1].values()), len(output))
        if self.name in DENSE_WAYS:
            return _stacked([margins(self.name, self.numbers, output, y)[1]], len(output))
        f, f0 = _table(output), _table(clean)
        columns = [np.abs(f - _table(other)).max(1, initial=0) for other in (y, clean)]
        if self.reach == "gain":
            columns.append(self._gain(f, f0))
        return _stacked([*columns, *([f[:, 0]] if f.shape[1] == 1 else [])], len(f))

    @property
    def of_numbers(self) -> bool:
        """Whether outputs are numbers, one or a few per row."""
        return self.function is None and self.name not in DENSE_WAYS

    @property
    def reach(self) -> str:
        """The measure that grows the further an adversary comes."""
        return {"move": "shift", "error": "error"}.get(self.name, "gain")

    def _gain(self, f: Array, f0: Array) -> Array:
        """How far numbers (m, k) came the way of the goal since those on the clean inputs: (m,)."""
        if self.name == "to":
            return np.asarray(self._approach(f, f0).max(1))
        sign = -1 if self.name in ("down", "below") else 1
        return np.asarray((sign * (f - f0)).max(1))

    def _approach(self, f: Array, f0: Array) -> Array:
        """How much nearer to the value, or without a tolerance how much further past it."""
        first = self.numbers[0]
        if len(self.numbers) > 1:
            return np.asarray(np.abs(f0 - first) - np.abs(f - first))
        return np.asarray(np.where(f0 < first, f - f0, f0 - f))

    def _called(self, output: Array, y: Array) -> tuple[Array, Mapping[str, Any]]:
        assert self.function is not None
        answer = self.function(torch.from_numpy(output), torch.from_numpy(y))
        margin, more = answer if isinstance(answer, tuple) else (answer, {})
        return margin.float().numpy(), more


def _table(values: Array) -> Array:
    return values.reshape(len(values), int(np.prod(values.shape[1:]))).astype(np.float64)


def _stacked(columns: Sequence[Any], rows: int) -> Array:
    return np.stack([np.asarray(c, np.float64) for c in columns], 1) if columns else np.zeros((rows, 0))


def spread(values: Array) -> dict[str, float]:
    """What a verdict says of a measure: (n,) -> five numbers."""
    finite = np.sort(values[np.isfinite(values)].astype(np.float64))
    if not len(finite):
        finite = np.zeros(1)
    middle, last = len(finite) / 2, len(finite) - 1
    median = (finite[int(middle - 0.5)] + finite[int(middle)]) / 2
    place = 0.95 * last
    low = int(place)
    high = finite[low] + (place - low) * (finite[min(low + 1, last)] - finite[low])
    total = float(sum(finite.tolist()))
    return {
        "mean": total / len(finite),
        "root_mean_square": float(np.linalg.norm(finite) / np.sqrt(len(finite))),
        "median": float(median),
        "high": float(high),
        "largest": float(finite[-1]),
    }
