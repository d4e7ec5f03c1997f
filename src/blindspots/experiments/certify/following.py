"""Bounds on what a network computes of all texts within a number of exchanges, layer by layer.

A network is called on an object of this module in the place of its embeddings. Up to the first nonlinear layer every
number is linear in the embeddings, so what single exchanges change adds up exactly: `Sums`. From there on `Bounds` say,
for every number, what each place can change at most, and between which ends the number stays.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from blindspots.errors import InputError

Linear = Callable[[Tensor, Tensor], Tensor]  # linear in each of its arguments


class Followed(ABC):
    """Stands for a tensor (1, ...) of one text, as its shape says. All fields are float64 tensors (N, ...)."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _followed(func.__name__, *args, **(kwargs or {}))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return partial(_followed, name, self)

    def __mul__(self, other: Any) -> Any:
        return _followed("mul", self, other)

    def __truediv__(self, other: Any) -> Any:
        return _followed("div", self, other)

    def __add__(self, other: Any) -> Any:
        return _followed("add", self, other)

    def __sub__(self, other: Any) -> Any:
        return _followed("sub", self, other)

    __rmul__, __radd__ = __mul__, __add__

    @property
    @abstractmethod
    def shape(self) -> torch.Size: ...

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @abstractmethod
    def affine(self, f: Linear, weight: Tensor, shift: Tensor | None) -> "Followed":
        """f(self, weight) + shift."""

    @abstractmethod
    def each(self, f: Callable[[Tensor], Tensor]) -> Self:
        """A linear function without negative weights, which leaves the first axis alone."""

    @abstractmethod
    def joined(self, others: Sequence["Followed"], dim: int) -> "Followed":
        """This and others in a row."""

    @abstractmethod
    def bounds(self) -> "Bounds": ...


@dataclass(frozen=True, eq=False)
class Sums(Followed):
    """A number that is linear in the embeddings: what several exchanges change is the sum of what each one changes.

    Args:
        values: (1 + D, ...) of the text as it is, and of each text with one exchange, place by place.
        counts: candidates of each place, D in all.
        most: exchanges.
    """

    values: Tensor
    counts: tuple[int, ...]
    most: int

    @property
    def shape(self) -> torch.Size:
        return self.values[:1].shape

    def affine(self, f: Linear, weight: Tensor, shift: Tensor | None) -> "Sums":
        made = f(self.values, weight)
        return replace(self, values=made if shift is None else made + shift)

    def each(self, f: Callable[[Tensor], Tensor]) -> "Sums":
        return replace(self, values=f(self.values))

    def joined(self, others: Sequence[Followed], dim: int) -> Followed:
        if not all(isinstance(other, Sums) for other in others):
            return self.bounds().joined(others, dim)
        values = [one.values for one in (self, *others) if isinstance(one, Sums)]
        return replace(self, values=torch.cat(values, dim))

    def bounds(self) -> "Bounds":
        """Each place changes a number by one of its candidates' changes, or not at all; at most `most` places do."""
        value = self.values[:1]
        changes = torch.split(self.values[1:] - value, list(self.counts))
        up = torch.stack([change.amax(0).clamp_min(0) for change in changes])
        down = torch.stack([(-change).amax(0).clamp_min(0) for change in changes])
        return _tight(value, up, down, value - _largest(down, self.most), value + _largest(up, self.most), self.most)


@dataclass(frozen=True, eq=False)
class Bounds(Followed):
    """A number v of the clean text that becomes w: for every set S of at most `most` exchanged places

        v - sum of down[p] over S <= w <= v + sum of up[p] over S,   low <= w <= high.

    Args:
        value: (1, ...)
        up, down: (P, ...), at least 0.
        low, high: (1, ...)
        last: what a linear layer was applied to, its weight and its bias, so that differences of its outputs can be
            bounded as one.
    """

    value: Tensor
    up: Tensor
    down: Tensor
    low: Tensor
    high: Tensor
    most: int
    last: "tuple[Bounds, Tensor, Tensor | None] | None" = None

    @property
    def shape(self) -> torch.Size:
        return self.value.shape

    def bounds(self) -> "Bounds":
        return self

    def affine(self, f: Linear, weight: Tensor, shift: Tensor | None) -> "Bounds":
        """Positive weights keep the ends, negative ones swap them; sums over S stay sums over S."""
        plus, minus = weight.clamp_min(0), (-weight).clamp_min(0)
        made = (
            f(self.value, weight),
            f(self.up, plus) + f(self.down, minus),
            f(self.down, plus) + f(self.up, minus),
            f(self.low, plus) - f(self.high, minus),
            f(self.high, plus) - f(self.low, minus),
        )
        value, up, down, low, high = made
        if shift is not None:
            value, low, high = value + shift, low + shift, high + shift
        return _tight(value, up, down, low, high, self.most)

    def each(self, f: Callable[[Tensor], Tensor]) -> "Bounds":
        return _tight(f(self.value), f(self.up), f(self.down), f(self.low), f(self.high), self.most)

    def joined(self, others: Sequence[Followed], dim: int) -> "Bounds":
        every = [self, *(other.bounds() for other in others)]
        value, up, down, low, high = (
            torch.cat([getattr(one, field) for one in every], dim) for field in ("value", "up", "down", "low", "high")
        )
        return Bounds(value, up, down, low, high, self.most)

    def relu(self) -> "Bounds":
        """With s the sum over S: the gain relu(v + s) - relu(v) is convex in s and 0 at 0, so it lies below the chord
        up to the highest s; what is lost is at most s, and at most relu(v) - relu(low), which `_tight` sees to.
        """
        value, low, high = self.value.relu(), self.low.relu(), self.high.relu()
        return _tight(value, self.up * _ratio(high - value, self.high - self.value), self.down, low, high, self.most)

    def amax(self, dim: int, keepdim: bool = False) -> "Bounds":
        """Entry t, with s its sum over S, passes the largest one m by at most (v + s - m)+, convex in s and 0 at 0: as
        for relu, and then the sum over S of each place's maximum over t is above the maximum of the sums. What is lost
        is at most what the largest entry loses.
        """
        top, at = self.value.max(dim, keepdim=True)
        ratio = _ratio((self.high - top).clamp_min(0), self.high - self.value)
        up = (self.up * ratio).amax(dim, keepdim=True)
        down = self.down.gather(dim, at.expand(len(self.down), *at.shape[1:]))
        low, high = self.low.amax(dim, keepdim=True), self.high.amax(dim, keepdim=True)
        made = _tight(top, up, down, low, high, self.most)
        return made if keepdim else made.each(lambda x: x.squeeze(dim))


def _tight(value: Tensor, up: Tensor, down: Tensor, low: Tensor, high: Tensor, most: int) -> Bounds:
    """Ends no further than `most` places lead, and no place leads further than the ends: where a sum over S has such a
    place, the end bounds it anyway.
    """
    low, high = torch.maximum(low, value - _largest(down, most)), torch.minimum(high, value + _largest(up, most))
    return Bounds(value, torch.minimum(up, high - value), torch.minimum(down, value - low), low, high, most)


def _largest(changes: Tensor, most: int) -> Tensor:
    """The sum of the `most` largest of (P, ...): (1, ...)."""
    return changes.topk(min(most, len(changes)), 0).values.sum(0, keepdim=True)


def _ratio(a: Tensor, b: Tensor) -> Tensor:
    """a / b, where 0 <= a <= b; 0 where both are 0."""
    return torch.where(b > 0, a / b.clamp_min(torch.finfo(b.dtype).tiny), 0.0).clamp_max(1.0)


# ------------------------------------------------------------------ what networks may do


class _Most(NamedTuple):
    values: Bounds
    indices: None = None


def _linear(x: Followed, weight: Tensor, bias: Tensor | None = None) -> Followed:
    weight, bias = weight.double(), None if bias is None else bias.double()
    made = x.affine(F.linear, weight, bias)
    return replace(made, last=(x, weight, bias)) if isinstance(x, Bounds) and isinstance(made, Bounds) else made


def _conv1d(
    x: Followed,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Followed:
    def f(v: Tensor, w: Tensor) -> Tensor:
        return F.conv1d(v, w, None, stride, padding, dilation, groups)

    return x.affine(f, weight.double(), None if bias is None else bias.double()[:, None])


def _mul(x: Any, y: Any) -> Any:
    x, factor = (x, y) if isinstance(x, Followed) else (y, x)
    return x.affine(torch.mul, _number("mul", factor), None)


def _div(x: Any, y: Any) -> Any:
    if not isinstance(x, Followed):
        raise _refusal("a division by what depends on the text")
    return x.affine(torch.mul, 1 / _number("div", y), None)


def _add(x: Any, y: Any) -> Any:
    x, term = (x, y) if isinstance(x, Followed) else (y, x)
    return x.affine(torch.mul, torch.ones((), dtype=torch.float64), _number("add", term))


def _sub(x: Any, y: Any) -> Any:
    if not isinstance(x, Followed):
        raise _refusal("a difference with what depends on the text behind the sign")
    return _add(x, -_number("sub", y))


def _number(name: str, given: Any) -> Tensor:
    if isinstance(given, Followed):
        raise _refusal(f"{name} of two things that depend on the text")
    return torch.as_tensor(given).double()


def _dropout(x: Followed, p: float = 0.5, training: bool = True, inplace: bool = False) -> Followed:
    if training:
        raise _refusal("dropout that is on")
    return x


def _relu(x: Followed, inplace: bool = False) -> Followed:
    return x.bounds().relu()


def _amax(x: Followed, dim: int, keepdim: bool = False) -> Followed:
    return x.bounds().amax(_inner(x, dim), keepdim)


def _max(x: Followed, dim: int, keepdim: bool = False) -> _Most:
    return _Most(x.bounds().amax(_inner(x, dim), keepdim))


def _sum(x: Followed, dim: int, keepdim: bool = False) -> Followed:
    dim = _inner(x, dim)
    return x.each(lambda t: t.sum(dim, keepdim))


def _mean(x: Followed, dim: int, keepdim: bool = False) -> Followed:
    dim = _inner(x, dim)
    return x.each(lambda t: t.mean(dim, keepdim))


def _transpose(x: Followed, a: int, b: int) -> Followed:
    a, b = _inner(x, a), _inner(x, b)
    return x.each(lambda t: t.transpose(a, b))


def _flatten(x: Followed, start_dim: int) -> Followed:
    start_dim = _inner(x, start_dim)
    return x.each(lambda t: t.flatten(start_dim))


def _squeeze(x: Followed, dim: int) -> Followed:
    dim = _inner(x, dim)
    return x.each(lambda t: t.squeeze(dim))


def _cat(parts: Sequence[Any], dim: int = 0) -> Followed:
    first, *others = parts
    if not all(isinstance(part, Followed) for part in parts):
        raise _refusal("cat of what depends on the text with what does not")
    made: Followed = first.joined(others, _inner(first, dim))
    return made


def _inner(x: Followed, dim: int) -> int:
    """An axis other than that of texts."""
    at = dim % x.ndim
    if at == 0:
        raise _refusal("an operation across texts")
    return at


_RULES: dict[str, Callable[..., Any]] = {
    "linear": _linear, "conv1d": _conv1d, "relu": _relu, "dropout": _dropout, "amax": _amax, "max": _max, "sum": _sum,
    "mean": _mean, "mul": _mul, "div": _div, "add": _add, "sub": _sub, "transpose": _transpose, "cat": _cat,
    "flatten": _flatten, "squeeze": _squeeze,
}  # fmt: skip


def _followed(name: str, *args: Any, **given: Any) -> Any:
    name = {"true_divide": "div", "__rsub__": "rsub"}.get(name, name)
    if name not in _RULES:
        raise _refusal(name)
    return _RULES[name](*args, **given)


def _refusal(what: str) -> InputError:
    return InputError(
        f"expected a network of {', '.join(_RULES)}, through which bounds can be followed, got {what}: certify the "
        "vote under exchanges instead (votes)"
    )
