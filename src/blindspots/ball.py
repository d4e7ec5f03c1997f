"""Balls of the Lp norms, intersected with the box of valid inputs.

Everything that measures, projects onto, or draws from such a set lives here; nothing else projects. Inputs are float32
(B, ...) with any number of trailing dimensions, radii are (B,) and may be inf; no row depends on another. The clean
inputs lie in the box.
"""

import math
from abc import abstractmethod
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from blindspots.arguments import checked
from blindspots.box import Bound, Box, Numbers, as_box, as_tensor, fits
from blindspots.errors import InputError
from blindspots.geometry import (
    TINY,
    keep_best,
    largest_entry,
    length,
    peak,
    scale_to_length,
    scaled,
    shrinkage,
    tail,
    total,
)
from blindspots.random import normal, sign, uniform
from blindspots.rows import Around, col, pick
from blindspots.threat import Threat

RELATIVE_SLACK = 1e-5  # of the radius: well above the rounding of a float32 norm, 2e-7 at 150,528 components
UNIT_ROUNDOFF = 2.0**-24  # of float32
Array = NDArray[Any]


def _clock(key: Tensor) -> Tensor:
    return torch.full_like(key, -1)  # an attack's own clock starts at 0, so its draws differ


@dataclass(frozen=True, eq=False, init=False)
class Ball(Threat):
    """{x : |(x - x0) / unit|_p <= radius} within the box [lo, hi].

    All but the radius may differ between features: tensors or arrays that broadcast against an input (without the
    dimension of the rows).

    Args:
        radius: None means unbounded (attacks search for the smallest distance). An array is a radius of 1 whose
            `unit` it is: `Linf(0.1 * x.std(0))`.
        lo, hi: the box.
        unit: what counts as a change of 1 in each feature: a radius, a weight, a standard deviation. Where it is 0
            nothing may change.
        where: bool, what may change; None: everything.
        padding: the value that fills up the end of shorter rows, as of series of several lengths: from where on a row
            holds nothing else, in all channels and up to the end of the last axis, it may not change. None: no row is
            filled up.

    Raises InputError for a radius that is negative or NaN, a box that is empty or not finite, a unit that is negative
    or not finite, a mask of nothing, and padding that is not finite.
    """

    radius: float | None
    lo: Bound
    hi: Bound
    unit: Tensor | None
    where: Tensor | None
    padding: Bound | None

    p: ClassVar[float]

    def __init__(
        self,
        radius: Numbers | None = None,
        lo: Numbers = 0.0,
        hi: Numbers = 1.0,
        unit: Numbers | None = None,
        where: np.ndarray | Tensor | None = None,
        padding: Bound | None = None,
    ) -> None:
        reach, weight = _units(radius, unit)
        weight, free = _free(weight, where)
        if isinstance(padding, int | float) and not math.isfinite(padding):
            raise InputError(f"expected a finite value as padding, got {padding}: leave it out if no row is filled up")
        values = (reach, *as_box(lo, hi), weight, free, padding)
        for name, value in zip((f.name for f in fields(self)), values, strict=True):
            object.__setattr__(self, name, value)

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self._content == other._content

    def __hash__(self) -> int:
        return hash((type(self), self._content))

    @property
    def _content(self) -> tuple[Any, ...]:
        return tuple(_bytes(getattr(self, f.name)) for f in fields(self))

    @property
    def even(self) -> bool:  # type: ignore[override]  # a constant of others
        return not isinstance(self.lo, Tensor) and self.unit is None

    @property
    def features(self) -> dict[str, Tensor]:
        found = {f.name: getattr(self, f.name) for f in fields(self)}
        return {name: value for name, value in found.items() if isinstance(value, Tensor)}

    def within(self, lo: Numbers, hi: Numbers) -> Self:
        """The same threat in another box."""
        return replace(self, lo=lo, hi=hi)  # type: ignore[arg-type]  # whatever `as_box` takes

    def like(self, name: str) -> "Ball":
        """The ball of another norm without a radius that has the same box, units, mask and padding."""
        return BALLS[name](None, self.lo, self.hi, self.unit, self.where, self.padding)

    def to(self, device: torch.device) -> Self:
        moved: dict[str, Any] = {name: t.to(device) for name, t in self.features.items()}
        return replace(self, **moved) if moved else self

    def check(self, shape: tuple[int, ...]) -> None:
        for name in ("lo", "hi", "unit", "where"):
            _check_shape(name, getattr(self, name), shape)

    def diameter(self, shape: tuple[int, ...]) -> float:
        """How far two inputs of this shape can be apart within the box."""
        if self.even and self.where is None:
            count = math.prod(shape)
            return self.span * (1.0 if self.p == math.inf else count ** (1 / self.p))
        lo, hi = self.whole.like(torch.empty(1, *shape, device="cpu"))
        return float(self.norm(hi - lo))

    @cached_property
    def span(self) -> float:
        """The width of the box, in its widest feature."""
        return float(self.width.max()) if isinstance(self.width, Tensor) else self.width

    def box(self, around: Around) -> Box:
        """Where the rows may lie, whatever the radius: in the box, with what may not change as it is."""
        free = self.free(around.x)
        if free is None:
            return self.whole
        return Box(torch.where(free, self.lo, around.x), torch.where(free, self.hi, around.x))

    def free(self, x: Tensor) -> Tensor | None:
        """What may change of clean rows `x` (B, ...): bool, broadcasts against them; None: everything."""
        if self.padding is None:
            return self.where
        inside = ~tail(x, self.padding)
        return inside if self.where is None else inside & self.where

    def immovable(self, around: Around) -> Tensor:
        """Rows that are nothing but padding."""
        if self.padding is None:
            return super().immovable(around)
        return tail(around.x, self.padding).flatten(1).all(1)

    @property
    def whole(self) -> Box:
        """Where any row may lie."""
        return Box(self.lo, self.hi)

    @property
    def bounds(self) -> tuple[float, float]:
        """Those of all features; raises InputError where they differ."""
        if isinstance(self.lo, Tensor) or isinstance(self.hi, Tensor):
            raise InputError("expected one pair of bounds for all features, got bounds that differ: give two numbers")
        return self.lo, self.hi

    @property
    def box_words(self) -> str:
        """ "[0, 1]" """
        return "bounds of their own" if isinstance(self.lo, Tensor) else f"[{self.lo:g}, {self.hi:g}]"

    @property
    def width(self) -> Bound:
        return self.hi - self.lo

    def clip(self, x: Tensor, around: Around) -> Tensor:
        """The nearest point of `box`."""
        return self.box(around).clip(x)

    @cached_property
    def plain(self) -> "Ball":
        """The same threat of u = x / unit, where all features weigh the same: what attacks search in."""
        if self.unit is None:
            return self
        padding = None if self.padding is None else self.padding / self.unit
        return replace(self, lo=self.lo / self.unit, hi=self.hi / self.unit, unit=None, padding=padding)

    def inward(self, around: Around) -> Around:
        return around if self.unit is None else replace(around, x=around.x / self.unit)

    def outward(self, u: Tensor, inner: Around, around: Around) -> Tensor:
        """Back from points `u` of `plain`, exact where they are unchanged, and in the box."""
        return u if self.unit is None else self.clip(torch.where(u == inner.x, around.x, u * self.unit), around)

    def begun(self, start: Tensor, around: Around) -> Tensor:
        """In the box, and as the clean input where nothing may change."""
        start = start if self.where is None and self.padding is None else self.clip(start, around)
        return start if self.unit is None else start / self.unit

    def distance(self, x: Tensor, x0: Tensor) -> Tensor:
        """Inf where something has changed that may not."""
        size, free = self.norm(x - x0), self.free(x0)
        if free is None:
            return size
        return size.masked_fill(((x != x0) & ~free).flatten(1).any(1), torch.inf)

    def measured(self, x: Array, x0: Array) -> Array:
        d = x.astype(np.float64) - x0
        fixed = np.zeros(1, dtype=bool) if self.where is None else ~self.where.cpu().numpy()
        if self.padding is not None:
            fixed = fixed | _padded(x0, float(self.padding))
        moved = ((d != 0) & fixed).reshape(len(d), math.prod(d.shape[1:])).any(1)
        d = d if self.unit is None else d / self.unit.cpu().numpy()
        size = np.linalg.norm(d.reshape(len(d), math.prod(d.shape[1:])), ord=self.p, axis=1)
        return np.where(moved, np.inf, size)

    def norm(self, d: Tensor) -> Tensor:
        """|d / unit|_p of each row, of what may change: (B,)."""
        return self._norm(self._changing(d if self.unit is None else d / self.unit))

    def dual(self, g: Tensor) -> Tensor:
        """The largest <g, u> over |u / unit|_p <= 1 of each row: (B,). For L0, over single coordinates, |u_i| <= 1."""
        return self._dual(self.pulled(g))

    def steepest(self, g: Tensor) -> Tensor:
        """The u with |u / unit|_p <= 1 that maximises <g, u>: (B, ...); zero where the gradient is zero."""
        u = self._steepest(self.pulled(g))
        return u if self.unit is None else u * self.unit

    def pulled(self, g: Tensor, x: Tensor | None = None) -> Tensor:
        g = self._changing(g if self.unit is None else g * self.unit)
        if self.padding is None or x is None:
            return g
        padded = tail(x, self.padding)
        return g.masked_fill(padded if g.ndim == x.ndim else padded[:, None], 0)

    def project(self, x: Tensor, around: Around) -> Tensor:
        """The point of ball and box that is nearest to `x` in the Euclidean distance, in units."""
        if self.unit is None:
            return self._project(x, around)
        inner = self.inward(around)
        return self.outward(self.plain._project(x / self.unit, inner), inner, around)

    def sample(self, around: Around, key: Tensor) -> Tensor:
        """A random point of ball and box; uniform in the box where the radius is infinite. `key`: int64 (B,)."""
        inner = self.inward(around)
        return self.outward(self.plain._sample(inner, key), inner, around)

    def holds(self, x: Tensor, around: Around) -> Tensor:
        """Whether each row is in its ball and in the box.

        The box is exact. The norm may exceed the radius by what float32 forces on an exact projection: storing
        x0 + d rounds each component by at most 2^-24 |x_i|, so |x - x0| <= |d| + 2^-24 |x|. With a unit, x0, the
        projected point and the way back are rounded.
        """
        roundings = 1 if self.unit is None else 4
        slack = roundings * UNIT_ROUNDOFF * self.norm(x)
        return self.box(around).holds(x) & (self.norm(x - around.x) <= around.r * (1 + RELATIVE_SLACK) + slack)

    @abstractmethod
    def _norm(self, d: Tensor) -> Tensor: ...

    @abstractmethod
    def _dual(self, g: Tensor) -> Tensor: ...

    @abstractmethod
    def _steepest(self, g: Tensor) -> Tensor: ...

    @abstractmethod
    def _project(self, x: Tensor, around: Around) -> Tensor: ...

    @abstractmethod
    def _sample(self, around: Around, key: Tensor) -> Tensor: ...

    def _changing(self, d: Tensor) -> Tensor:
        return d if self.where is None else d.masked_fill(~self.where, 0)

    def _counts(self, x: Tensor) -> Tensor:
        """How many features of each of the rows `x` may change: (B,) int64."""
        free = self.free(x)
        free = torch.ones_like(x, dtype=torch.bool) if free is None else free.expand_as(x)
        return free.flatten(1).sum(1)

    def _anywhere(self, around: Around, key: Tensor) -> Tensor:
        """A uniform point of the box."""
        box = self.box(around)
        return box.clip(box.lo + box.width * uniform(key, _clock(key), 3, around.x.shape[1:]))

    def _from_direction(self, direction: Tensor, around: Around, key: Tensor) -> Tensor:
        """A point of ball and box, uniform in the ball before the box if `direction` is uniform on the sphere."""
        x0, r = around.x, around.r
        reach, free = torch.where(r.isinf(), 0, r), self.free(x0)
        direction = direction if free is None else direction.masked_fill(~free, 0)
        length = uniform(key, _clock(key), 2, (1,))[:, 0] ** (1 / self._counts(x0))
        d = direction * col(reach * length / self._norm(direction).clamp_min(TINY), direction)
        return pick(r.isinf(), self._anywhere(around, key), self._project(x0 + d, around.within(reach)))


def _units(radius: Numbers | None, unit: Numbers | None) -> tuple[float | None, Tensor | None]:
    """A radius for each feature is a radius of 1 in units of it."""
    weight = None if unit is None else as_tensor("unit", unit)
    if radius is None or isinstance(radius, int | float):
        reach = radius
    else:
        each = as_tensor("radius", radius)
        reach, weight = 1.0, each if weight is None else each * weight
    if reach is not None and not reach >= 0:
        raise InputError(f"expected a radius of at least 0, got {reach}: give a distance, or none at all")
    return reach, weight


def _free(unit: Tensor | None, where: np.ndarray | Tensor | None) -> tuple[Tensor | None, Tensor | None]:
    """Units above 0, and what may change; None where that makes no difference."""
    free = None if where is None else torch.as_tensor(where, device=getattr(where, "device", "cpu"))
    if free is not None and free.dtype != torch.bool:
        raise InputError(f"expected a mask of True and False, got one of {free.dtype}: compare it, as in mask > 0")
    if unit is not None:
        if not bool((unit >= 0).all() & unit.isfinite().all()):
            raise InputError("expected radii and units that are finite and at least 0, got others: 0 stands for fixed")
        free = unit > 0 if free is None else free & (unit > 0)
        unit = torch.where(unit > 0, unit, 1.0)
    if free is not None and not bool(free.any()):
        raise InputError("expected something that may change, got a mask or units of nothing: mark at least one value")
    return unit, None if free is None or bool(free.all()) else free


def _padded(x: Array, value: float) -> Array:
    """As `tail`, by numpy: (B, 1, ..., T) bool."""
    same = (x == value).all(axis=tuple(range(1, x.ndim - 1)), keepdims=True)
    kept: Array = np.logical_and.accumulate(same[..., ::-1], axis=-1)[..., ::-1]
    return kept


def _bytes(value: Any) -> Any:
    return (value.shape, value.cpu().numpy().tobytes()) if isinstance(value, Tensor) else value


def _check_shape(name: str, t: Bound | None, shape: tuple[int, ...]) -> None:
    if not isinstance(t, Tensor) or fits(t.shape, shape):
        return
    raise InputError(
        f"expected {name} of a threat to broadcast against inputs of shape {shape}, got shape {(*t.shape,)}: give "
        "one value per feature"
    )


class Linf(Ball):
    """No component changes by more than the radius."""

    p: ClassVar[float] = math.inf
    name: ClassVar[str] = "linf"
    title: ClassVar[str] = "L∞"
    allowing: ClassVar[str] = "every value may change by up to {radius}{scale}"

    def _norm(self, d: Tensor) -> Tensor:
        return peak(d)

    def _dual(self, g: Tensor) -> Tensor:
        return total(g)

    def _steepest(self, g: Tensor) -> Tensor:
        return g.sign()

    def _project(self, x: Tensor, around: Around) -> Tensor:
        reach = col(around.r, x)
        return self.clip(x.clamp(around.x - reach, around.x + reach), around)

    def _sample(self, around: Around, key: Tensor) -> Tensor:
        x0, reach = around.x, col(around.r, around.x)
        box = self.box(around)
        low, high = box.clip(x0 - reach), box.clip(x0 + reach)
        return (low + (high - low) * uniform(key, _clock(key), 0, x0.shape[1:])).minimum(high)


class L2(Ball):
    """The Euclidean length of the change is bounded."""

    p: ClassVar[float] = 2
    name: ClassVar[str] = "l2"
    title: ClassVar[str] = "L2"
    allowing: ClassVar[str] = "the change as a whole may be up to {radius} long (L2){scale}"

    def _norm(self, d: Tensor) -> Tensor:
        unit, peak = scaled(d)
        return length(unit) * peak

    def _dual(self, g: Tensor) -> Tensor:
        return self._norm(g)

    def _steepest(self, g: Tensor) -> Tensor:
        unit, _ = scaled(g)
        return unit / col(length(unit).clamp_min(TINY), g)

    def _project(self, x: Tensor, around: Around) -> Tensor:
        """x0 + clip(s (x - x0)) to the box, with the one s <= 1 per row that meets the radius (the KKT conditions)."""
        x0, r = around.x, around.r
        unit, peak = scaled(x - x0)
        scale = (r / length(unit).clamp_min(TINY)).minimum(peak)
        moved = x0 + unit * col(scale, unit)
        short = ((scale < peak) & ~self.box(around).holds(moved)).nonzero()[:, 0]
        if len(short):  # where the box stops some components, the others may go further
            unit, some = unit[short], around.within(r)[short]
            low, high = ((bound - some.x).flatten(1) for bound in self.box(some))
            scale = scale_to_length(unit.flatten(1), low, high, some.r, scale[short], peak[short])
            moved[short] = some.x + unit * col(scale, unit)
        return self.clip(moved, around)

    def _sample(self, around: Around, key: Tensor) -> Tensor:
        return self._from_direction(normal(key, _clock(key), 0, around.x.shape[1:]), around, key)


class L1(Ball):
    """The sum of the absolute changes is bounded."""

    p: ClassVar[float] = 1
    name: ClassVar[str] = "l1"
    title: ClassVar[str] = "L1"
    allowing: ClassVar[str] = "all changes together may add up to {radius} (L1){scale}"

    def _norm(self, d: Tensor) -> Tensor:
        return total(d)

    def _dual(self, g: Tensor) -> Tensor:
        return peak(g)

    def _steepest(self, g: Tensor) -> Tensor:
        return largest_entry(g)

    def _project(self, x: Tensor, around: Around) -> Tensor:
        """Ball and box jointly (Croce and Hein 2021, Proposition 2.2): |x - x0| shrinks by one threshold per row."""
        inside = self.clip(x, around)
        far = (self._norm(inside - around.x) > around.r).nonzero()[:, 0]
        if len(far):
            inside[far] = self._shrink(x[far], around.within(around.r)[far])
        return inside

    def _shrink(self, x: Tensor, around: Around) -> Tensor:
        x0, box = around.x, self.box(around)
        d = x - x0
        # float64, since an error in the threshold counts once per component
        size, room = d.abs().double(), torch.where(d > 0, box.hi - x0, x0 - box.lo).double()
        threshold = shrinkage(size.flatten(1), room.flatten(1), around.r)
        change = (size - col(threshold, d)).clamp_min(0).minimum(room) * d.sign()
        return box.clip((x0 + change).to(x.dtype))

    def _sample(self, around: Around, key: Tensor) -> Tensor:
        t, shape = _clock(key), around.x.shape[1:]
        exponential = -torch.log1p(-uniform(key, t, 0, shape))
        return self._from_direction(exponential * sign(key, t, 1, shape), around, key)


class L0(Ball):
    """The number of components that change is bounded."""

    p: ClassVar[float] = 0
    name: ClassVar[str] = "l0"
    title: ClassVar[str] = "L0"
    allowing: ClassVar[str] = "up to {radius} values may change, each as far as it likes (L0)"

    def diameter(self, shape: tuple[int, ...]) -> float:
        count = math.prod(shape) if self.where is None else int(self.where.expand(shape).sum())
        return float(count)

    def _norm(self, d: Tensor) -> Tensor:
        return d.flatten(1).count_nonzero(dim=1).to(d.dtype)

    def _dual(self, g: Tensor) -> Tensor:
        return peak(g)

    def _steepest(self, g: Tensor) -> Tensor:
        return largest_entry(g)

    def _project(self, x: Tensor, around: Around) -> Tensor:
        """Keeps the floor(r) components whose change saves most of the squared distance; ties go to the lower index."""
        x0, inside = around.x, self.clip(x, around)
        change = inside - x0
        return keep_best(change * (2 * (x - x0) - change), inside, around)

    def holds(self, x: Tensor, around: Around) -> Tensor:
        """As for other threats; a count needs no slack."""
        return self.box(around).holds(x) & (self.norm(x - around.x) <= around.r)

    def _sample(self, around: Around, key: Tensor) -> Tensor:
        drawn = uniform(key, _clock(key), 0, around.x.shape[1:])
        free = self.free(around.x)
        drawn = drawn if free is None else torch.where(free, drawn, -1.0)
        return keep_best(drawn, self._anywhere(around, key), around)


BALLS: dict[str, type[Ball]] = {ball.name: ball for ball in (Linf, L2, L1, L0)}


@checked()
def parse_ball(text: str) -> Ball:
    """A ball in the box [0, 1] from "linf:8/255", "l2:0.5", "l1:12", "l0:10", or without a radius "linf".

    Raises InputError for anything else.
    """
    name, colon, radius = text.strip().lower().partition(":")
    try:
        ball, size = BALLS[name], parse_number(radius) if colon else None
    except (KeyError, ValueError, ZeroDivisionError) as error:
        forms = "one of " + ", ".join(BALLS) + ", alone or with a radius"
        raise InputError(f"expected a threat, {forms} as in linf:8/255 or l2:0.5, got {text!r}") from error
    return ball(size)


def parse_number(text: str) -> float:
    """ "8/255" or "0.5"; raises ValueError or ZeroDivisionError."""
    above, slash, below = text.partition("/")
    return float(above) / float(below) if slash else float(above)
