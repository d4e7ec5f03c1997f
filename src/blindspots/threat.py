"""What an adversary may change: what engine, store and reports need to know of it.

What attacks can use besides is in `capabilities`; balls of the Lp norms are in `ball`, threats whose points have
neighbours in `lattice`, those of texts in `texts`.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import torch
from numpy.typing import NDArray
from torch import Tensor

from blindspots.arguments import Checked
from blindspots.rows import Around, Rows

Array = NDArray[Any]


class Threat(Checked, ABC):
    """What an adversary may change: what engine, store and reports need to know of it.

    What attacks can use besides is in `capabilities`. A subclass is a frozen dataclass with a `radius`.

    Attributes:
        name: as `parse_threat` reads it.
        title: as reports write it before a size.
        allowing: what a radius allows, as a clause with {radius} and {scale}, the range of inputs.
        radius: None means unbounded: searches minimise the distance.
        even: all features have the same box and the same unit, as those of a picture.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    allowing: ClassVar[str]
    even: bool = False
    radius: float | None

    @property
    def spec(self) -> str:
        """The text form that `parse_threat` reads back to an equal threat (tensors and bounds aside)."""
        return self.name if self.radius is None else f"{self.name}:{float(self.radius)!r}"

    @property
    def family(self) -> str:
        """By which name attacks and protocols know it."""
        return self.name

    @abstractmethod
    def distance(self, x: Tensor, x0: Tensor) -> Tensor:
        """How far the rows of `x` are from those of `x0`: (B,), in the unit of the radius."""

    @abstractmethod
    def measured(self, x: Array, x0: Array) -> Array:
        """`distance` once more, in float64 by numpy: what `verify` goes by."""

    @abstractmethod
    def holds(self, x: Tensor, around: Around) -> Tensor:
        """Whether each row may be changed to `x`: (B,) bool; False for a row with a NaN."""

    def reach(self, x: Tensor) -> Tensor:
        """How far the rows `x` (B, ...) may be left: (B,), inf without a radius."""
        return torch.full((len(x),), torch.inf if self.radius is None else float(self.radius), device=x.device)

    def immovable(self, around: Around) -> Tensor:
        """Rows of which nothing may change, whatever the radius: (B,) bool."""
        return torch.zeros_like(around.r, dtype=torch.bool)

    def limits(self, x: Tensor) -> Rows | None:
        """What is allowed to each of the rows `x` (B, ...) alone; None: nothing that differs between rows."""
        return None

    @property
    def features(self) -> dict[str, Tensor]:
        """The tensors that belong to it, by name: what `spec` leaves out."""
        return {}

    def to(self, device: torch.device) -> Self:
        """The same threat with its tensors on that device."""
        return self

    def check(self, shape: tuple[int, ...]) -> None:
        """Raises InputError: it does not fit inputs of this shape."""

    def view(self, requires: type) -> "Threat":
        """As attacks see it that require this class: a table is a ball to some, a lattice to others."""
        return self

    @property
    def ignoring(self) -> "Threat":
        """The threat as attacks see it that know nothing of the relations between features."""
        return self

    # ------------------------------------------------------------------ coordinates of searches: here the inputs

    @property
    def plain(self) -> "Threat":
        """The threat that attacks search in."""
        return self

    def inward(self, around: Around) -> Around:
        """The rows in the coordinates of `plain`."""
        return around

    def outward(self, u: Tensor, inner: Around, around: Around) -> Tensor:
        """Back from points `u` of `plain`, exact where they are unchanged."""
        return u

    def pulled(self, g: Tensor, x: Tensor | None = None) -> Tensor:
        """A gradient (B, ...) in the coordinates of `plain`; zero where nothing may change of the clean rows `x`."""
        return g

    def begun(self, start: Tensor, around: Around) -> Tensor:
        """The point of `plain` where a search begins that was to begin at `start`."""
        return start


class View(Threat):
    """A threat as some attacks see it: what holds is what holds there."""

    of: Threat

    @property
    def radius(self) -> float | None:  # type: ignore[override]
        return self.of.radius

    def distance(self, x: Tensor, x0: Tensor) -> Tensor:
        return self.of.distance(x, x0)

    def measured(self, x: Array, x0: Array) -> Array:
        return self.of.measured(x, x0)

    def holds(self, x: Tensor, around: Around) -> Tensor:
        return self.of.holds(x, around)


@dataclass(frozen=True, eq=False)
class AsItIs(View):
    """Searches keep to the inputs themselves, without coordinates of their own."""

    of: Threat

    @property
    def name(self) -> str:  # type: ignore[override]
        return self.of.name

    def to(self, device: torch.device) -> Self:
        return replace(self, of=self.of.to(device))
