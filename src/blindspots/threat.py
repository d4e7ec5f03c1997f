"""What an adversary may change: balls of the Lp norms, intersected with the box of valid inputs.

Everything that measures, projects onto, or draws from such a set lives here; nothing else projects. Inputs are float32
(B, ...) with any number of trailing dimensions, radii are (B,) and may be inf; no row depends on another. The clean
inputs lie in the box.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from blindspots.arguments import Checked, checked
from blindspots.errors import InputError
from blindspots.random import normal, sign, uniform
from blindspots.rows import Around, col, pick

RELATIVE_SLACK = 1e-5  # of the radius: well above the rounding of a float32 norm, 2e-7 at 150,528 components
UNIT_ROUNDOFF = 2.0**-24  # of float32
FLOAT32_EXACT = 1e-9  # a relative error in float64 that is invisible in a float32 result
TINY = torch.finfo(torch.float32).tiny


def _peak(d: Tensor) -> Tensor:
    """max_i |d_i| of each row: (B,)."""
    flat = d.flatten(1)
    return flat.amax(1).abs().maximum(flat.amin(1).abs())


def _total(d: Tensor) -> Tensor:
    """sum_i |d_i| of each row: (B,)."""
    return d.flatten(1).abs().sum(1)


def _length(d: Tensor) -> Tensor:
    """sqrt(sum_i d_i^2) of each row: (B,), for sizes whose squares float32 can hold."""
    return d.flatten(1).square().sum(1).sqrt()


def _scaled(d: Tensor) -> tuple[Tensor, Tensor]:
    """Each row divided by its peak, and the peak: squares of a saturated loss's gradient would vanish in float32."""
    peak = _peak(d).clamp_min(TINY)
    return d / col(peak, d), peak


def _largest_entry(g: Tensor) -> Tensor:
    """The sign of the largest |g_i| of each row at its place, zero elsewhere; ties go to the lower index."""
    flat = g.flatten(1)
    at = flat.abs().argmax(1, keepdim=True)
    return torch.zeros_like(flat).scatter_(1, at, flat.gather(1, at).sign()).view_as(g)


def _keep_best(scores: Tensor, x: Tensor, around: Around) -> Tensor:
    """`x` at the floor(r) largest scores of each row, else the clean value; ties go to the lower index, NaNs stay."""
    scores = scores.flatten(1)
    count = around.r.clamp_max(scores.shape[1]).long()[:, None]
    everything = count == scores.shape[1]
    ranked = count.masked_fill(everything, 0)
    best = scores.topk(int(ranked.max()), dim=1).values
    least = torch.cat([torch.full_like(scores[:, :1], torch.inf), best], 1).gather(1, ranked)
    least = least.masked_fill(everything, -torch.inf)
    tied = scores == least
    surplus = tied & (tied.cumsum(1) > count - (scores > least).sum(1, keepdim=True))
    return torch.where(((scores < least) | surplus).view_as(x), around.x, x)


def _scale(d: Tensor, low: Tensor, high: Tensor, r: Tensor, scale: Tensor, most: Tensor) -> Tensor:
    """The s <= `most` at which clip(s d, low, high) has the Euclidean norm r, for rows (B, D), from a `scale` below it.

    The set of clipped components only grows with s, so solving for the others gives an increasing sequence that ends
    after finitely many steps; a row that has converged stays where it is.
    """
    squares, wanted, got = d.square(), torch.empty_like(d), torch.empty_like(d)
    while True:
        torch.mul(d, scale[:, None], out=wanted)
        torch.clamp(wanted, low, high, out=got)
        clipped = wanted.sub_(got).sign_().square_()  # 1 where the box stops the component, else 0
        spent = got.square_().mul_(clipped).sum(1)
        free = clipped.mul_(squares).neg_().add_(squares).sum(1)
        larger = ((r.square() - spent) / free).sqrt().minimum(most)
        grows = larger > scale
        if not bool(grows.any()):
            return scale
        scale = torch.where(grows, larger, scale)


def _threshold(size: Tensor, room: Tensor, r: Tensor) -> Tensor:
    """The t >= 0 at which sum_i clip(size_i - t, 0, room_i) is r, for rows (B, D) where it is more than r at t = 0.

    The sum falls with t, linearly as long as no component reaches 0 or leaves its bound: once it is that near, Newton's
    method is exact. A step that leaves the bracket is replaced by bisection.
    """
    below, above = torch.zeros_like(size[:, 0]), size.amax(1)
    t, wanted, got = below, torch.empty_like(size), torch.empty_like(size)
    while True:
        torch.sub(size, t[:, None], out=wanted).clamp_min_(0)
        torch.minimum(wanted, room, out=got)
        excess = got.sum(1) - r
        clipped = got.sub_(wanted).sign_().sum(1)  # counts -1 each
        free = wanted.sign_().sum(1) + clipped
        below, above = torch.where(excess > 0, t, below), torch.where(excess > 0, above, t)
        newton = t + excess / free
        following = torch.where((newton > below) & (newton <= above), newton, (below + above) / 2)
        off = excess.abs() > FLOAT32_EXACT * r
        going = off & (following > below) & (following != t)
        if not bool(going.any()):
            return torch.where(off, above, t)  # no number lies between the two: take the one inside the ball
        t = torch.where(going, following, t)


def _clock(key: Tensor) -> Tensor:
    return torch.full_like(key, -1)  # an attack's own clock starts at 0, so its draws differ


def to_8bit(x: Tensor, bounds: tuple[float, float]) -> Tensor:
    """The nearest of 256 evenly spaced levels between the bounds: what a picture file can hold."""
    lo, hi = bounds
    return lo + ((x - lo) / (hi - lo) * 255).round() / 255 * (hi - lo)


@dataclass(frozen=True)
class Threat(Checked, ABC):
    """{x : |x - x0|_p <= radius} within the box [lo, hi].

    `radius`: None means unbounded (attacks search for the smallest distance). Raises InputError for a radius that is
    negative or NaN, and for a box that is empty or not finite.
    """

    radius: float | None = None
    lo: float = 0.0
    hi: float = 1.0

    p: ClassVar[float]
    name: ClassVar[str]

    def __post_init__(self) -> None:
        if self.radius is not None and not self.radius >= 0:
            raise InputError(f"expected a radius of at least 0, got {self.radius}: give a distance, or none at all")
        if not -math.inf < self.lo < self.hi < math.inf:
            raise InputError(f"expected finite bounds lo < hi, got [{self.lo}, {self.hi}]: give the range of inputs")

    @property
    def spec(self) -> str:
        """The text form that `parse_threat` reads back to an equal threat (bounds aside)."""
        return self.name if self.radius is None else f"{self.name}:{float(self.radius)!r}"

    def within(self, lo: float, hi: float) -> Self:
        """The same threat in another box."""
        return replace(self, lo=lo, hi=hi)

    def diameter(self, shape: tuple[int, ...]) -> float:
        """How far two inputs of this shape can be apart within the box."""
        count = math.prod(shape)
        return (self.hi - self.lo) * (1.0 if self.p == math.inf else count ** (1 / self.p))

    @abstractmethod
    def norm(self, d: Tensor) -> Tensor:
        """|d|_p of each row: (B,)."""

    def distance(self, x: Tensor, x0: Tensor) -> Tensor:
        """How far the rows of `x` are from those of `x0`: (B,), in the unit of the radius."""
        return self.norm(x - x0)

    @abstractmethod
    def dual(self, g: Tensor) -> Tensor:
        """The largest <g, u> over |u|_p <= 1 of each row: (B,). For L0, over single coordinates with |u_i| <= 1."""

    @abstractmethod
    def steepest(self, g: Tensor) -> Tensor:
        """The u with |u|_p <= 1 that maximises <g, u>: (B, ...); zero where the gradient is zero."""

    @abstractmethod
    def project(self, x: Tensor, around: Around) -> Tensor:
        """The point of ball and box that is nearest to `x` in the Euclidean distance."""

    @abstractmethod
    def sample(self, around: Around, key: Tensor) -> Tensor:
        """A random point of ball and box; uniform in the box where the radius is infinite. `key`: int64 (B,)."""

    def holds(self, x: Tensor, around: Around) -> Tensor:
        """Whether each row is in its ball and in the box: (B,) bool; False for a row with a NaN.

        The box is exact. The norm may exceed the radius by what float32 forces on an exact projection: storing
        x0 + d rounds each component by at most 2^-24 |x_i|, so |x - x0| <= |d| + 2^-24 |x|.
        """
        slack = UNIT_ROUNDOFF * self.norm(x)
        return self._in_box(x) & (self.distance(x, around.x) <= around.r * (1 + RELATIVE_SLACK) + slack)

    def _in_box(self, x: Tensor) -> Tensor:
        flat = x.flatten(1)
        return (flat.amin(1) >= self.lo) & (flat.amax(1) <= self.hi)

    def _anywhere(self, x0: Tensor, key: Tensor) -> Tensor:
        """A uniform point of the box."""
        return (self.lo + (self.hi - self.lo) * uniform(key, _clock(key), 3, x0.shape[1:])).clamp(self.lo, self.hi)

    def _from_direction(self, direction: Tensor, around: Around, key: Tensor) -> Tensor:
        """A point of ball and box, uniform in the ball before the box if `direction` is uniform on the sphere."""
        x0, r = around.x, around.r
        reach = torch.where(r.isinf(), 0, r)
        length = uniform(key, _clock(key), 2, (1,))[:, 0] ** (1 / math.prod(x0.shape[1:]))
        d = direction * col(reach * length / self.norm(direction).clamp_min(TINY), direction)
        return pick(r.isinf(), self._anywhere(x0, key), self.project(x0 + d, around.within(reach)))


@dataclass(frozen=True)
class Linf(Threat):
    """No component changes by more than the radius."""

    p: ClassVar[float] = math.inf
    name: ClassVar[str] = "linf"

    def norm(self, d: Tensor) -> Tensor:
        return _peak(d)

    def dual(self, g: Tensor) -> Tensor:
        return _total(g)

    def steepest(self, g: Tensor) -> Tensor:
        return g.sign()

    def project(self, x: Tensor, around: Around) -> Tensor:
        reach = col(around.r, x)
        return x.clamp(around.x - reach, around.x + reach).clamp(self.lo, self.hi)

    def sample(self, around: Around, key: Tensor) -> Tensor:
        x0, reach = around.x, col(around.r, around.x)
        low, high = (x0 - reach).clamp_min(self.lo), (x0 + reach).clamp_max(self.hi)
        return (low + (high - low) * uniform(key, _clock(key), 0, x0.shape[1:])).minimum(high)


@dataclass(frozen=True)
class L2(Threat):
    """The Euclidean length of the change is bounded."""

    p: ClassVar[float] = 2
    name: ClassVar[str] = "l2"

    def norm(self, d: Tensor) -> Tensor:
        unit, peak = _scaled(d)
        return _length(unit) * peak

    def dual(self, g: Tensor) -> Tensor:
        return self.norm(g)

    def steepest(self, g: Tensor) -> Tensor:
        unit, _ = _scaled(g)
        return unit / col(_length(unit).clamp_min(TINY), g)

    def project(self, x: Tensor, around: Around) -> Tensor:
        """x0 + clip(s (x - x0)) to the box, with the one s <= 1 per row that meets the radius (the KKT conditions)."""
        x0, r = around.x, around.r
        unit, peak = _scaled(x - x0)
        scale = (r / _length(unit).clamp_min(TINY)).minimum(peak)
        moved = x0 + unit * col(scale, unit)
        short = ((scale < peak) & ~self._in_box(moved)).nonzero()[:, 0]
        if len(short):  # where the box stops some components, the others may go further
            unit, x0, most = unit[short], x0[short], peak[short]
            low, high = (self.lo - x0).flatten(1), (self.hi - x0).flatten(1)
            scale = _scale(unit.flatten(1), low, high, r[short], scale[short], most)
            moved[short] = x0 + unit * col(scale, unit)
        return moved.clamp(self.lo, self.hi)

    def sample(self, around: Around, key: Tensor) -> Tensor:
        return self._from_direction(normal(key, _clock(key), 0, around.x.shape[1:]), around, key)


@dataclass(frozen=True)
class L1(Threat):
    """The sum of the absolute changes is bounded."""

    p: ClassVar[float] = 1
    name: ClassVar[str] = "l1"

    def norm(self, d: Tensor) -> Tensor:
        return _total(d)

    def dual(self, g: Tensor) -> Tensor:
        return _peak(g)

    def steepest(self, g: Tensor) -> Tensor:
        return _largest_entry(g)

    def project(self, x: Tensor, around: Around) -> Tensor:
        """Ball and box jointly (Croce and Hein 2021, Proposition 2.2): |x - x0| shrinks by one threshold per row."""
        x0, r, inside = around.x, around.r, x.clamp(self.lo, self.hi)
        far = (self.norm(inside - x0) > r).nonzero()[:, 0]
        if len(far):
            inside[far] = self._shrink(x[far], x0[far], r[far])
        return inside

    def _shrink(self, x: Tensor, x0: Tensor, r: Tensor) -> Tensor:
        d = x - x0
        # float64, since an error in the threshold counts once per component
        size, room = d.abs().double(), torch.where(d > 0, self.hi - x0, x0 - self.lo).double()
        threshold = _threshold(size.flatten(1), room.flatten(1), r)
        change = (size - col(threshold, d)).clamp_min(0).minimum(room) * d.sign()
        return (x0 + change).to(x.dtype).clamp(self.lo, self.hi)

    def sample(self, around: Around, key: Tensor) -> Tensor:
        t, shape = _clock(key), around.x.shape[1:]
        exponential = -torch.log1p(-uniform(key, t, 0, shape))
        return self._from_direction(exponential * sign(key, t, 1, shape), around, key)


@dataclass(frozen=True)
class L0(Threat):
    """The number of components that change is bounded."""

    p: ClassVar[float] = 0
    name: ClassVar[str] = "l0"

    def diameter(self, shape: tuple[int, ...]) -> float:
        return float(math.prod(shape))

    def norm(self, d: Tensor) -> Tensor:
        return d.flatten(1).count_nonzero(dim=1).to(d.dtype)

    def dual(self, g: Tensor) -> Tensor:
        return _peak(g)

    def steepest(self, g: Tensor) -> Tensor:
        return _largest_entry(g)

    def project(self, x: Tensor, around: Around) -> Tensor:
        """Keeps the floor(r) components whose change saves most of the squared distance; ties go to the lower index."""
        x0, inside = around.x, x.clamp(self.lo, self.hi)
        change = inside - x0
        return _keep_best(change * (2 * (x - x0) - change), inside, around)

    def holds(self, x: Tensor, around: Around) -> Tensor:
        """As for other threats; a count needs no slack."""
        return self._in_box(x) & (self.distance(x, around.x) <= around.r)

    def sample(self, around: Around, key: Tensor) -> Tensor:
        anywhere = self._anywhere(around.x, key)
        return _keep_best(uniform(key, _clock(key), 0, around.x.shape[1:]), anywhere, around)


THREATS: dict[str, type[Threat]] = {threat.name: threat for threat in (Linf, L2, L1, L0)}


def as_threat(given: Any) -> Any:
    """Text becomes a threat, anything else is returned as it is."""
    return parse_threat(given) if isinstance(given, str) else given


@checked()
def parse_threat(text: str) -> Threat:
    """A threat in the box [0, 1] from "linf:8/255", "l2:0.5", "l1:12", "l0:10", or without a radius "linf".

    Raises InputError for anything else.
    """
    name, colon, radius = text.strip().lower().partition(":")
    try:
        threat, size = THREATS[name], _number(radius) if colon else None
    except (KeyError, ValueError, ZeroDivisionError) as error:
        forms = "one of " + ", ".join(THREATS) + ", alone or with a radius"
        raise InputError(f"expected a threat, {forms} as in linf:8/255 or l2:0.5, got {text!r}") from error
    return threat(size)


def _number(text: str) -> float:
    above, slash, below = text.partition("/")
    return float(above) / float(below) if slash else float(above)
