"""What a random point near an input is: laws of nearby points, each an image of independent standard normal numbers.

So every law is drawn from and walked in by the same code, in a latent space (B, n) of standard normal numbers.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from blindspots.errors import InputError

Bounds = tuple[float, float]


@dataclass(frozen=True)
class Law(ABC):
    """A law of points around inputs x0 (B, ...).

    Args:
        size: radius or standard deviation, in the units of the input; above 0.
        box: the bounds of valid inputs, which x0 keeps; None: points may leave them.

    Raises InputError for a size that is not above 0 or not finite, and for an empty box.
    """

    size: float
    box: Bounds | None = None

    norm: ClassVar[str | None] = None  # of the ball that holds all points; None: none does

    def __post_init__(self) -> None:
        if not (self.size > 0 and math.isfinite(self.size)):
            raise InputError(f"expected a size above 0, got {self.size:g}: give a radius or a standard deviation")
        if self.box is not None and not self.box[0] < self.box[1]:
            raise InputError(f"expected a box (low, high), got {self.box}: give the smaller bound first")

    def latent(self, x0: Tensor) -> int:
        """How many standard normal numbers one point takes."""
        return math.prod(x0.shape[1:])

    @abstractmethod
    def point(self, z: Tensor, x0: Tensor) -> Tensor:
        """The points (B, ...) that z (B, latent) stands for."""

    @property
    @abstractmethod
    def words(self) -> str:
        """What it is, as the end of a sentence."""


class Ball(Law):
    """Uniform in the Euclidean ball; with a box, what lies beyond a face is reflected at it.

    The first d of d + 2 coordinates of a uniform point of the unit sphere are uniform in the unit ball (Barthe et al.
    2005, Corollary 4). Reflection never leaves the ball. The outcome is uniform in ball and box where every feature
    lies on a face or at least the radius away from both; near a face it is up to twice as dense.
    """

    norm = "l2"

    def latent(self, x0: Tensor) -> int:
        return super().latent(x0) + 2

    def point(self, z: Tensor, x0: Tensor) -> Tensor:
        inside = z[:, :-2] / z.norm(dim=1, keepdim=True)
        x = x0 + self.size * inside.view_as(x0)
        return x if self.box is None else _reflected(x, *self.box)

    @property
    def words(self) -> str:
        return f"uniform in the l2 ball of radius {self.size:g}{_behind(self.box, 'reflected at the bounds')}"


class Cube(Law):
    """Uniform in the linf ball; with a box, uniform in what both have in common, exactly."""

    norm = "linf"

    def point(self, z: Tensor, x0: Tensor) -> Tensor:
        share: Tensor = torch.special.erf(z.view_as(x0) * math.sqrt(0.5))  # uniform in (-1, 1)
        if self.box is None:
            return x0 + self.size * share
        low, high = self.ends(x0)
        return ((low + high) / 2 + (high - low) / 2 * share).clamp(*self.box)

    def ends(self, x0: Tensor) -> tuple[Tensor, Tensor]:
        """The lowest and the highest values that points around x0 can have."""
        low, high = self.box or (-math.inf, math.inf)
        return (x0 - self.size).clamp_min(low), (x0 + self.size).clamp_max(high)

    @property
    def words(self) -> str:
        return f"uniform in the linf ball of radius {self.size:g}{_behind(self.box, 'within the bounds')}"


class Gaussian(Law):
    """x0 + N(0, size^2 I); with a box, clipped to it, as noise on pixels is."""

    def point(self, z: Tensor, x0: Tensor) -> Tensor:
        x = x0 + self.size * z.view_as(x0)
        return x if self.box is None else x.clamp(*self.box)

    @property
    def words(self) -> str:
        return f"normal noise of standard deviation {self.size:g}{_behind(self.box, 'clipped to the bounds')}"


class Sphere(Law):
    """Uniform on the Euclidean sphere around x0."""

    norm = "l2"

    def point(self, z: Tensor, x0: Tensor) -> Tensor:
        x = x0 + self.size * (z / z.norm(dim=1, keepdim=True)).view_as(x0)
        return x if self.box is None else _reflected(x, *self.box)

    @property
    def words(self) -> str:
        return f"uniform on the sphere of radius {self.size:g}{_behind(self.box, 'reflected at the bounds')}"


def covered(law: Law, certified: Tensor) -> Tensor:
    """Which rows (B,) keep their prediction under the law: their certified radius, in its norm, covers all points."""
    return certified.isinf() if law.norm is None else certified >= law.size


def _reflected(x: Tensor, low: float, high: float) -> Tensor:
    """Folded into the box at its faces, as often as it takes: no distance between two points grows."""
    width = high - low
    return (high - ((x - low).remainder(2 * width) - width).abs()).clamp(low, high)


def _behind(box: Bounds | None, how: str) -> str:
    return "" if box is None else f", {how} [{box[0]:g}, {box[1]:g}]"
