"""Where inputs lie: between two bounds, or two for every feature."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from blindspots.errors import InputError

Bound = float | Tensor  # one for all features, or a float32 tensor that broadcasts against an input
Numbers = float | np.ndarray | Tensor  # as a user gives them


def to_8bit(x: Tensor, bounds: tuple[Bound, Bound]) -> Tensor:
    """The nearest of 256 evenly spaced levels between the bounds: what a picture file can hold."""
    return to_levels(x, bounds, 255)


def to_levels(x: Tensor, bounds: tuple[Bound, Bound], steps: int) -> Tensor:
    """The nearest of the levels that divide the bounds into so many steps."""
    lo, hi = bounds
    return lo + ((x - lo) / (hi - lo) * steps).round() / steps * (hi - lo)


class Box(NamedTuple):
    """Where inputs lie: between two bounds, or two for every feature."""

    lo: Bound
    hi: Bound

    @property
    def width(self) -> Bound:
        return self.hi - self.lo

    def clip(self, x: Tensor) -> Tensor:
        return x.clamp(self.lo, self.hi)  # type: ignore[arg-type]  # two numbers, or two tensors

    def holds(self, x: Tensor) -> Tensor:
        """Whether each row lies in it: (B,) bool; False for a row with a NaN."""
        if isinstance(self.lo, Tensor):
            return ((x >= self.lo) & (x <= self.hi)).flatten(1).all(1)
        flat = x.flatten(1)
        return (flat.amin(1) >= self.lo) & (flat.amax(1) <= self.hi)

    @property
    def hull(self) -> tuple[float, float]:
        """The smallest and the largest value of any feature."""
        lo, hi = self
        return lo if isinstance(lo, float) else float(lo.min()), hi if isinstance(hi, float) else float(hi.max())

    def to(self, device: torch.device) -> "Box":
        return Box(*(b.to(device) if isinstance(b, Tensor) else b for b in self))

    def over(self, x: Tensor, f: Callable[[Tensor], Tensor]) -> "Box":
        """The bounds of the values of `f(x)`, which rearranges those of `x`."""
        return Box(*map(f, self.like(x))) if isinstance(self.lo, Tensor) else self

    def like(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Both bounds in the shape of `x`."""
        lo, hi = (torch.as_tensor(bound, dtype=x.dtype, device=x.device).expand_as(x) for bound in self)
        return lo, hi


def as_box(lo: Numbers, hi: Numbers) -> Box:
    """Two numbers where all features have the same bounds, else two tensors.

    Raises InputError for a box that is empty or not finite.
    """
    low, high = (as_tensor(name, bound) for name, bound in (("lo", lo), ("hi", hi)))
    try:
        low, high = low + 0 * high, high + 0 * low
    except RuntimeError as error:
        raise InputError(
            f"expected bounds that go together, got shapes {(*low.shape,)} and {(*high.shape,)}: give one each per "
            "feature"
        ) from error
    if not bool((low.isfinite() & high.isfinite() & (low < high)).all()):
        said = f"[{lo}, {hi}]" if low.ndim == 0 else "arrays without"
        raise InputError(f"expected finite bounds lo < hi, got {said}: give the range of inputs")
    if bool((low == low.flatten()[0]).all() & (high == high.flatten()[0]).all()):
        return Box(_number_of(lo, low), _number_of(hi, high))
    return Box(low, high)


def _number_of(given: Numbers, t: Tensor) -> float:
    """In float64 where it was given as a number, not as an array."""
    return float(given) if isinstance(given, int | float) else float(t.flatten()[0])


def as_tensor(name: str, given: Numbers) -> Tensor:
    """Float32; raises InputError for what holds no numbers."""
    try:
        # On the CPU, whatever the caller's default device is: tensors stay where they are.
        device = given.device if isinstance(given, Tensor) else "cpu"
        return torch.as_tensor(given, dtype=torch.float32, device=device)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"expected numbers for {name}, got a {type(given).__name__}: give one per feature") from error


def fits(given: Sequence[int], shape: Sequence[int]) -> bool:
    """Whether an array of the shape `given` broadcasts against an input of `shape`."""
    return len(given) <= len(shape) and all(g in (1, s) for g, s in zip(given[::-1], shape[::-1], strict=False))
