"""What stands before the last step of a pipeline of columns, as a network: a sum of one function per column.

Scalers, encoders, imputers, what passes through, and whatever follows them linearly are such sums. They are not read
but asked: every value of a category, of an ordinal column and of a short range of integers, and a few of all others,
which have to lie on a line. What was read is compared with the answers for other rows before it is believed.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from blindspots.tables.features import Column, Features, needs_range

Array = NDArray[Any]
_MOST = 200  # different integers that are asked one by one
_POINTS = 7  # of a column of real numbers
_AGREEMENT = 1e-9  # of what was read with the answers, relative to the largest of each output


class Front(nn.Module):
    """Inputs (B, D) to what the last step gets, float64 (B, E).

    Args:
        weight, bias: (D, E) and (E,), of columns that count linearly; a category does, in its one-hot inputs.
        knots: of other columns, the input, the numbers that it may be and what these add, (K,) and (K, E); between them
            on a straight line, so that there is a gradient.
    """

    def __init__(self, weight: Array, bias: Array, knots: list[tuple[int, Array, Array]]) -> None:
        super().__init__()
        self.weight, self.bias = (nn.Parameter(torch.tensor(t), requires_grad=False) for t in (weight, bias))
        self.places = [place for place, _, _ in knots]
        self.at = nn.ParameterList(nn.Parameter(torch.tensor(at), requires_grad=False) for _, at, _ in knots)
        self.of = nn.ParameterList(nn.Parameter(torch.tensor(of), requires_grad=False) for _, _, of in knots)

    def forward(self, x: Tensor) -> Tensor:
        x = x.double()
        found = x @ self.weight + self.bias
        for place, at, of in zip(self.places, self.at, self.of, strict=True):
            found = found + _between(x[:, place], at, of)
        return found


def _between(x: Tensor, at: Tensor, of: Tensor) -> Tensor:
    """The polygon through the points `at` (K,), where it is `of` (K, E): (B, E)."""
    k = torch.bucketize(x.detach().contiguous(), at, right=True).clamp(1, len(at) - 1)
    share = ((x - at[k - 1]) / (at[k] - at[k - 1]))[:, None]
    return of[k - 1] + share * (of[k] - of[k - 1])


def read_front(ask: Callable[[Array], Array], table: Features, probes: Array) -> Front | None:
    """The front that answers as `ask`, from inputs (n, D) to (n, E); None where it is no such sum.

    Args:
        probes: possible rows (n, D) for the comparison.
    """
    base = np.concatenate([_values(column)[0] for column in table.columns.values()])
    each = [_values(column) for column in table.columns.values()]
    rows = np.repeat(base[None], sum(map(len, each)), 0)
    ends = np.cumsum([0, *map(len, each)])
    for place, values, start in zip(table.places.values(), each, ends, strict=False):
        rows[start : start + len(values), place] = values
    said = np.asarray(ask(rows.astype(np.float32)), np.float64)
    weight, bias, knots = np.zeros((table.width, said.shape[1])), said[0].copy(), []
    for (name, place), values, start in zip(table.places.items(), each, ends, strict=False):
        gain = said[start : start + len(values)] - said[0]  # the first value of every column is that of the base
        if table.columns[name].type == "category":
            weight[place] = gain
        elif (slope := _slope(values[:, 0], gain, np.abs(said).max(0))) is not None:
            weight[place.start] = slope
            bias -= slope * base[place.start]
        elif _all_known(table.columns[name]):
            knots.append((place.start, values[:, 0].astype(np.float64), gain))
        else:
            return None
    front = Front(weight, bias, knots)
    return front if _agrees(front, ask, probes) else None


def _values(column: Column) -> Array:
    """The inputs of a column that are asked about: (n, width); those that are possible, if they are few."""
    if column.type == "category":
        return np.eye(column.width)
    if column.type == "ordinal":
        return np.array(column.numbers)[:, None]
    low, high = (0.0, 1.0) if needs_range(column) else column.bounds
    if _all_known(column):
        return np.arange(np.ceil(low), np.floor(high) + 1)[:, None]
    points = np.linspace(low, high, _POINTS)
    points = np.rint(points) if column.type == "integer" else points
    return np.unique(points.astype(np.float32)).astype(np.float64)[:, None]


def _all_known(column: Column) -> bool:
    """Whether it can only be one of a few numbers."""
    if column.type == "ordinal":
        return True
    return column.type == "integer" and not needs_range(column) and column.bounds[1] - column.bounds[0] < _MOST


def _slope(x: Array, gain: Array, size: Array) -> Array | None:
    """Of the line through points x (n,) with values `gain` (n, E); None where they lie on none."""
    wide = x[-1] - x[0]
    slope = (gain[-1] - gain[0]) / wide if wide else np.zeros(gain.shape[1])
    off = np.abs(gain - np.outer(x - x[0], slope))
    return slope if (off <= _AGREEMENT * np.maximum(size, 1)).all() else None


def _agrees(front: Front, ask: Callable[[Array], Array], probes: Array) -> bool:
    wanted = np.asarray(ask(probes), np.float64)
    off = np.abs(front(torch.from_numpy(probes)).numpy() - wanted)
    return bool((off <= 10 * _AGREEMENT * np.maximum(1, np.abs(wanted).max(0))).all())
