"""Where a row may be moved to, and what that costs: the geometry of a ball threat, in float64 over flat features."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from blindspots.ball import Ball
from blindspots.tables.rules import Rules

Array = NDArray[Any]


@dataclass(frozen=True)
class Region:
    """The box around one row. All arrays are (features,) float64; bounds and `x` are float32 numbers.

    Attributes:
        p: of the norm: 0, 1, 2 or inf.
        x: the row.
        lo, hi: where each feature may lie; both are `x` where nothing may change.
        unit: what counts as a change of 1.
        step: what changes are multiples of, 0 for any number; None: nothing is whole.
        groups: the places of categories, of each of which one feature is 1 and the others 0.
    """

    p: float
    x: Array
    lo: Array
    hi: Array
    unit: Array
    step: Array | None = None
    groups: tuple[slice, ...] = ()

    def cost(self, moves: Array) -> Array:
        """The length of moves (..., features), in units of the threat; inf where one of them is."""
        if self.p == 0:
            blocked = np.where(np.isinf(moves).any(-1), np.inf, 0.0)
            counted: Array = np.count_nonzero(moves, axis=-1) + blocked
            for group in self.groups:  # two of its features are one column
                counted = counted - (np.count_nonzero(moves[..., group], axis=-1) > 1)
            return counted
        scaled = np.abs(moves) / self.unit
        if self.p == np.inf:
            return scaled.max(-1, initial=0.0)  # type: ignore[no-any-return]
        return np.linalg.norm(scaled, self.p, axis=-1)  # type: ignore[no-any-return]

    def of(self, features: Array) -> "Region":
        """The same for these features alone, of which none is part of a category."""
        return Region(self.p, self.x[features], self.lo[features], self.hi[features], self.unit[features])


class Frame:
    """What all rows have in common: a threat over inputs of a shape, and of a table what its columns are."""

    def __init__(self, threat: Ball, shape: tuple[int, ...], rules: Rules | None = None) -> None:
        self.rules = rules
        self.step, self.groups = (None, ()) if rules is None else _steps(rules)
        one = torch.zeros(1, *shape)
        lo, hi = (bound.numpy().reshape(-1).astype(np.float64) for bound in threat.to(one.device).whole.like(one))
        self.p, self.lo, self.hi = threat.p, lo, hi
        self.unit = _spread(threat.unit, shape, np.ones(1), np.float64)
        self.free = _spread(threat.where, shape, np.ones(1, bool), np.bool_)

    def around(self, x: Array) -> Region:
        """The region of a row (features,)."""
        x = x.astype(np.float64)
        lo, hi = np.where(self.free, self.lo, x), np.where(self.free, self.hi, x)
        if self.rules is not None:
            lo[self.rules.up], hi[self.rules.down] = x[self.rules.up], x[self.rules.down]
        return Region(self.p, x, lo, hi, self.unit, self.step, self.groups)

    def spacing(self, x: Array, point: Array) -> Array:
        """How finely points (n, features) can be placed, in float32, in what they change of rows `x`: (n,)."""
        step = np.spacing(np.maximum(np.abs(x), np.abs(point)).astype(np.float32)).astype(np.float64)
        moves = np.where(point != x, step, 0.0) / self.unit
        if self.p == 0:
            return np.zeros(len(x))
        found: Array = np.linalg.norm(moves, self.p, axis=1)
        return found


def _steps(rules: Rules) -> tuple[Array | None, tuple[slice, ...]]:
    """What changes are multiples of, and categories; None where all columns are real numbers."""
    step = np.zeros(rules.width)
    step[rules.whole] = 1.0
    for place, levels in rules.levels:
        step[place] = levels[1] - levels[0]
    return (step, tuple(rules.groups)) if step.any() or rules.groups else (None, ())


def is_linear(rules: Rules, threat: Ball) -> bool:
    """Whether rows of a table differ from those of a box by no more than whole steps, directions and categories."""
    even = all(len(set(np.diff(levels))) == 1 and float(levels[0]).is_integer() and float(levels[1]).is_integer()
               for _, levels in rules.levels)  # fmt: skip
    unit = None if threat.unit is None else threat.unit.cpu().numpy().reshape(-1)
    alike = unit is None or len(unit) == 1 or all(len(set(unit[group])) == 1 for group in rules.groups)
    return not rules.features.relations and even and alike


def _spread(given: torch.Tensor | None, shape: tuple[int, ...], usual: Array, dtype: type) -> Array:
    values = usual if given is None else given.cpu().numpy()
    flat: Array = np.broadcast_to(values, shape).reshape(-1).astype(dtype)
    return flat
