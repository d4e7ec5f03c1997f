"""Goals of numbers as comparisons of one output with one value."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blindspots.exact.affine import UNIT
from blindspots.goals.numbers import Above, Below, Down, Move, Regress, To, Up

Array = NDArray[Any]


@dataclass(frozen=True)
class Side:
    """A way to reach a goal: a number has to exceed a limit, or to fall below it.

    Attributes:
        which: of the numbers.
        sign: 1 for above, -1 for below.
        limit: that has to be passed.
        hidden: how far from it float32 can put the boundary, in the output and in the comparison.
        room: how far beyond the limit the goal is still reached.
    """

    which: int
    sign: int
    limit: float
    hidden: float
    room: float = np.inf


def sides(goal: Regress, truth: Array) -> list[Side]:
    """The ways to reach a goal of numbers, with what it compares them with (C,)."""
    room = 2 * goal.tolerance if isinstance(goal, To) and goal.tolerance else np.inf
    found = []
    for k, value in enumerate(truth.astype(np.float64)):
        both = zip((-1, 1), limits(goal, float(value)), strict=True)
        known = [(sign, limit) for sign, limit in both if np.isfinite(limit)]
        hidden = 16 * UNIT * (abs(value) + sum(abs(limit) for _, limit in known) + (room if np.isfinite(room) else 0))
        found += [Side(k, sign, limit, hidden, room) for sign, limit in known]
    return found


def limits(goal: Regress, value: float) -> tuple[float, float]:
    """Below and above which numbers a goal is reached; infinite where one side does not count."""
    size = goal.threshold
    match goal:
        case Move():
            return value - size, value + size
        case Up():
            return -np.inf, value + size
        case Down():
            return value - size, np.inf
        case Above():
            return -np.inf, size
        case Below():
            return size, np.inf
        case To():
            return (-np.inf, size - goal.tolerance) if value < size else (size + goal.tolerance, np.inf)
    raise TypeError(f"expected a goal of numbers, got {goal!r}")
