"""What is proved of a row, and by whom."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import NDArray

Array = NDArray[Any]
Stop = Callable[[], bool]


def never() -> bool:
    """No limit in seconds."""
    return False


@dataclass(frozen=True)
class Bracket:
    """The distance of the nearest adversarial example of a row lies in [lower, upper].

    Attributes:
        lower: no adversarial example is nearer than this, however the model rounds; inf: the box holds none.
        upper: the distance of `point`; inf where none was found.
        point: (features,) float32, or None.
        nearer: points (features,) to ask about before `point`, the nearest one first: by how a model rounds, they do.
        exact: the smallest distance if nothing were rounded; None: that is `lower`.
    """

    lower: float
    upper: float = math.inf
    point: Array | None = None
    nearer: tuple[Array, ...] = ()
    exact: float | None = None

    @property
    def smallest(self) -> float:
        """The smallest distance as far as it is known from below, but for rounding."""
        return self.lower if self.exact is None else self.exact

    @property
    def points(self) -> list[Array]:
        """All of them, in the order in which the model is asked; none where there is no point."""
        return [] if self.point is None else [*self.nearer, self.point]

    @property
    def settled(self) -> bool:
        """Whether both are the same, or there is provably no example."""
        return self.lower >= self.upper


class Solver(Protocol):
    """Finds the nearest adversarial example of one row, or proves that there is none.

    Attributes:
        about: what it solves and how, in a few words, for the report.
    """

    about: str

    def nearest(self, x: Array, y: Any, within: float, nodes: int, stop: Stop = never) -> Bracket:
        """The bracket of a row that the model gets right.

        Args:
            x: (features,) float32 in the box.
            y: its label; for a goal of numbers what it compares outputs with, (k,).
            within: examples farther than this are of no interest: the search ends once `lower` is larger.
            nodes: of the search tree, at most.
            stop: asked now and then; True ends the search with the bracket it has.
        """
        ...
