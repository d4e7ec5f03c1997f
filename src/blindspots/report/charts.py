"""The geometry of the report's charts. Plots are small SVGs in percent of their area; text around them is HTML,
which stays readable at every width and follows the reader's colours.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

Point = tuple[float, float]


@dataclass(frozen=True)
class Tick:
    at: float  # percent of the axis
    value: float


@dataclass(frozen=True)
class Mark:
    """A place on an axis, in percent of it, and what stands there."""

    at: float
    text: str


@dataclass(frozen=True)
class Line:
    label: str
    line: str  # SVG path in percent, y downwards
    band: str  # "" without intervals
    dots: list[tuple[float, float]]  # percent from the left, percent from the bottom
    values: list[str]  # of the points in `Plot.where`, for the table


@dataclass(frozen=True)
class Plot:
    name: str
    across: str
    x: list[Mark]
    y: list[Mark]
    lines: list[Line]
    marks: list[Mark]  # dashed
    where: list[str]  # x of the points, for the table


def ticks(largest: float, about: int = 6) -> list[Tick]:
    """Round numbers 0, s, 2s, ... up to `largest`, with s = 1, 2 or 5 times a power of ten."""
    rough = largest / about
    power = 10 ** math.floor(math.log10(rough))
    step = next(power * k for k in (1, 2, 5, 10) if power * k >= rough * (1 - 1e-9))
    return [Tick(100 * i * step / largest, i * step) for i in range(int(largest / step + 1e-9) + 1)]


def path(corners: Sequence[Point]) -> str:
    """An SVG path through corners in percent, y downwards."""
    return "M" + "L".join(f"{x:.2f} {y:.2f}" for x, y in corners)


def rising(points: Sequence[Point]) -> str:
    """An SVG path through points in percent, y upwards."""
    return path([(x, 100 - y) for x, y in points])


def quarters() -> list[Mark]:
    """The marks of an axis of shares."""
    return [Mark(share, f"{share} %") for share in (0, 25, 50, 75, 100)]
