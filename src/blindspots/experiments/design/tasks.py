"""What is designed, and its truth: built-in functions with a known optimum, sequences, and tasks of users."""

import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from blindspots.arguments import Checked
from blindspots.errors import InputError
from blindspots.models.foreign import call
from blindspots.random import keys, uniform
from blindspots.runs.experiment import Columns

Array = NDArray[np.float64]
Truth = Callable[[Array], Any]


class Designs(Protocol):
    """Designs of one form, a truth of them, and how a surrogate sees them. Larger values are better."""

    @property
    def name(self) -> str:
        """In words."""

    @property
    def spec(self) -> str | None:
        """The text form that opens it again; None: it was passed from Python."""

    @property
    def optimum(self) -> float | None:
        """The largest true value; None where nobody knows."""

    @property
    def unit(self) -> str:
        """Of true values; "" without one."""

    @property
    def points(self) -> int:
        """How many random designs are drawn unless it is said."""

    @property
    def size(self) -> int:
        """Numbers or letters of one design."""

    @property
    def letters(self) -> int:
        """Of sequences, how many there are; 0: designs are numbers."""

    def columns(self) -> Columns:
        """What its values follow from, as far as tensors can say it."""

    def drawn(self, seed: int, repeat: int, count: int) -> Tensor:
        """Random designs: (count, size) float32 in [-1, 1], or uint8 letters."""

    def values(self, designs: Tensor) -> Tensor:
        """Their true values: (N,) float64. Raises InputError: the truth fails, or is not finite."""

    def seen(self, designs: Tensor) -> Tensor:
        """What a surrogate is given: (N, features) float32."""


class Task(Checked):
    """A design problem of numbers in a box, with a truth that can be asked. Larger values are better.

    Args:
        bounds: (low, high) of every number of a design, low < high.
        truth: takes designs (n, d) float64 in their own units, returns their n true values. It is asked about the
            random designs that a run begins with, and about every step of every ascent once the ascents are over: no
            search sees what it says there. The same designs must get the same values.
        name: in words.
        optimum: the largest true value, where it is known.
        unit: of the values, such as "km/h".
        points: random designs that a run draws unless it is told otherwise.

    Raises:
        InputError: bounds are no pairs of finite numbers, or there is no truth: without one it could only be shown that
            a design has left the data, and not what is wrong with it.
    """

    unchecked: ClassVar[frozenset[str]] = frozenset({"bounds", "truth"})
    letters = 0

    def __init__(
        self,
        bounds: Sequence[tuple[float, float]],
        truth: Truth,
        *,
        name: str = "task",
        optimum: float | None = None,
        unit: str = "",
        points: int = 50,
    ) -> None:
        self.box = _box(bounds)
        if not callable(truth):
            raise InputError(
                f"expected a truth that can be asked, a function of designs (n, {len(self.box)}), got {truth!r}: "
                "without one it can only be shown that designs leave the data, so pass the function"
            )
        self.truth, self.name, self.optimum, self.unit, self.points = truth, name, optimum, unit, points
        self.spec: str | None = None

    def __repr__(self) -> str:
        return f"Task({self.name!r}, {len(self.box)} numbers)"

    @property
    def size(self) -> int:
        return len(self.box)

    def columns(self) -> Columns:
        return {"bounds": torch.from_numpy(self.box.copy())}

    def drawn(self, seed: int, repeat: int, count: int) -> Tensor:
        key = keys(seed, torch.arange(count), repeat)
        return 2 * uniform(key, torch.zeros_like(key), 0, (self.size,)) - 1

    def plain(self, designs: Tensor) -> Array:
        """Designs in [-1, 1] in their own units: (N, d) float64."""
        low, high = self.box.T
        found: Array = low + (high - low) * (designs.double().numpy() + 1) / 2
        return found

    def values(self, designs: Tensor) -> Tensor:
        x = self.plain(designs)
        said = call(self.truth, x.copy(), f"a truth of {self.name!r}")
        try:
            told = np.asarray(said, dtype=np.float64)
        except (TypeError, ValueError):
            told = np.empty(())
        if told.shape != (len(x),) or not np.isfinite(told).all():
            what = "values that are not finite" if told.shape == (len(x),) else f"shape {told.shape}"
            raise InputError(
                f"expected {len(x)} finite numbers from the truth of {self.name!r} for designs {x.shape}, got {what}: "
                "return one value for each design"
            )
        return torch.from_numpy(told.copy())

    def seen(self, designs: Tensor) -> Tensor:
        return designs


def _box(bounds: Any) -> Array:
    try:
        box = np.array(bounds, dtype=np.float64)
    except (TypeError, ValueError):
        box = np.empty(())
    fits = box.ndim == 2 and box.shape[0] > 0 and box.shape[1] == 2
    if not (fits and np.isfinite(box).all() and (box[:, 0] < box[:, 1]).all()):
        raise InputError(
            f"expected bounds [(low, high), ...] with low < high for every number of a design, got {bounds!r}: change "
            "them"
        )
    return box


# ------------------------------------------------------------------ functions with a known optimum

_A3 = np.array([[3, 10, 30], [0.1, 10, 35], [3, 10, 30], [0.1, 10, 35]])
_P3 = 1e-4 * np.array([[3689, 1170, 2673], [4699, 4387, 7470], [1091, 8732, 5547], [381, 5743, 8828]])
_A6 = np.array(
    [[10, 3, 17, 3.5, 1.7, 8], [0.05, 10, 17, 0.1, 8, 14], [3, 3.5, 1.7, 10, 17, 8], [17, 8, 0.05, 10, 0.1, 14]]
)
_P6 = 1e-4 * np.array(
    [
        [1312, 1696, 5569, 124, 8283, 5886],
        [2329, 4135, 8307, 3736, 1004, 9991],
        [2348, 1451, 3522, 2883, 3047, 6650],
        [4047, 8828, 8732, 5743, 1091, 381],
    ]
)
_WEIGHTS = np.array([1.0, 1.2, 3.0, 3.2])


def _branin(x: Array) -> Array:
    """Minus Branin's function (Dixon and Szegö 1978): three maxima of -0.397887."""
    a, b = x.T
    bowl = (b - 5.1 / (4 * math.pi**2) * a**2 + 5 / math.pi * a - 6) ** 2
    found: Array = -(bowl + 10 * (1 - 1 / (8 * math.pi)) * np.cos(a) + 10)
    return found


def _hartmann(steepness: Array, peaks: Array) -> Truth:
    """Minus Hartmann's function (Dixon and Szegö 1978): a sum of four bumps."""

    def value(x: Array) -> Array:
        found: Array = np.exp(-(steepness * (x[:, None] - peaks) ** 2).sum(2)) @ _WEIGHTS
        return found

    return value


def _named(name: str, *given: Any, **settings: Any) -> Callable[[], Task]:
    def make() -> Task:
        made = Task(*given, name=name, **settings)
        made.spec = name
        return made

    return make


BUILT_IN = {
    "branin": _named("branin", [(-5, 10), (0, 15)], _branin, optimum=-0.397887, points=20),
    "hartmann3": _named("hartmann3", [(0, 1)] * 3, _hartmann(_A3, _P3), optimum=3.86278, points=20),
    "hartmann6": _named("hartmann6", [(0, 1)] * 6, _hartmann(_A6, _P6), optimum=3.32237),
}
