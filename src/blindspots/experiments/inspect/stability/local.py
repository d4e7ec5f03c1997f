"""How steep a network can be in a ball: the Jacobian at its centre, plus what may come of slopes that are not fixed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Any

import torch
from torch import Tensor
from torch.fx.node import map_aggregate

from blindspots.experiments.inspect.stability.bounds import Layer
from blindspots.experiments.inspect.stability.graph import Graph, Ref, Step
from blindspots.experiments.inspect.stability.layers import arguments, batch_scale, is_affine, is_matrix
from blindspots.experiments.inspect.stability.slopes import slopes, slopes_between
from blindspots.rows import col

_ROUNDING = 1e-10  # by which everything is wider than computed
_ADDING = ("add", "sub", "subtract", "cat", "concat", "stack")


@dataclass(frozen=True)
class Interval:
    """Numbers within mid - rad and mid + rad, elementwise, (B, ...)."""

    mid: Tensor
    rad: Tensor

    @classmethod
    def between(cls, low: Tensor, high: Tensor) -> "Interval":
        return cls((low + high) / 2, (high - low) / 2)

    @property
    def ends(self) -> tuple[Tensor, Tensor]:
        return self.mid - self.rad, self.mid + self.rad

    def wider(self) -> "Interval":
        return Interval(self.mid, self.rad + _ROUNDING * (1e-3 + self.mid.abs() + self.rad))

    def within(self, other: "Interval") -> "Interval":
        """What both contain; they are known to meet."""
        (a, b), (c, d) = self.ends, other.ends
        low, high = a.maximum(c), b.minimum(d)
        return Interval.between(low, high.maximum(low))


@dataclass(frozen=True)
class Slopes:
    """A Jacobian within `rad` of `mid` elementwise, (m, B, ...), and within `error` (B,) in the spectral norm."""

    mid: Tensor
    rad: Tensor
    error: Tensor

    @property
    def norm(self) -> Tensor:
        """At most that, (B,)."""
        total: Tensor = _spectral(self.mid) + self.error
        return total

    @property
    def lengths(self) -> Tensor:
        """Of each row at most that, (B, m)."""
        within = torch.linalg.vector_norm(_flat(self.mid, 2), dim=2) + self.error
        apart: Tensor = torch.linalg.vector_norm(_flat(self.mid.abs() + self.rad, 2), dim=2)
        lengths: Tensor = within.minimum(apart).T
        return lengths

    def plus(self, other: "Slopes | None") -> "Slopes":
        if other is None:
            return self
        return Slopes(self.mid + other.mid, self.rad + other.rad, self.error + other.error)

    def tight(self) -> "Slopes":
        """With what each of the two says of the other: |a| <= ||A|| <= || |A| ||."""
        error = self.error.minimum(_spectral(self.rad))
        return Slopes(self.mid, self.rad.minimum(col(error, self.rad[0])), error)


@dataclass(frozen=True)
class Steepest:
    """Upper bounds over a ball around each row: of the Jacobian's norm, (B,), and of each gradient's, (B, m)."""

    jacobian: Tensor
    gradients: Tensor


def steepest(graph: Graph, layers: Sequence[Layer], ball: Interval, seeds: Tensor, radius: float = inf) -> Steepest:
    """Bounds of m combinations of the scores around each of B = `graph.rows` rows.

    Intervals go forward and tell which slopes an activation can have in the ball (for ReLU 0, 1 or anything between).
    Backward goes a Jacobian M with the middle of these slopes, and how far the true one can be from it, elementwise
    (good for small balls) and in the spectral norm: a slope within d +- e adds ||M diag(e)||, a layer multiplies by its
    norm, so large balls come to no more than about the product bound. At radius 0 it is the Jacobian at the row.

    Args:
        layers: the product bound of the same graph.
        ball: of inputs, (B, *shape): a box, or one around a ball in l2.
        seeds: (m, B, scores): the combinations, such as a row of the identity, or +1 at one class and -1 at another.
        radius: of a ball in l2 inside the box: no result moves more than the product bound allows.
    """
    values = _forward(graph, layers, ball, radius)
    nothing = torch.zeros(graph.rows, dtype=torch.float64)
    owed = {len(graph.steps) - 1: Slopes(seeds.double(), torch.zeros_like(seeds).double(), nothing)}
    for i in range(len(graph.steps) - 1, 0, -1):
        for read, part in _pulled(graph.steps[i], layers[i - 1], owed.pop(i), values):
            owed[read] = part.plus(owed.get(read))
    slack = 1 + _ROUNDING
    return Steepest(owed[0].norm * slack, owed[0].lengths * slack)


def _flat(x: Tensor, axes: int) -> Tensor:
    """With one axis behind the first ones, also of results with a single number for every row."""
    return x.reshape(*x.shape[:axes], -1)


def _spectral(m: Tensor) -> Tensor:
    """Of matrices (m, B, ...), (B,)."""
    flat = _flat(m, 2).transpose(0, 1)
    if not bool(flat.isfinite().all()):
        return torch.full((len(flat),), inf, dtype=torch.float64)
    largest: Tensor = torch.linalg.eigvalsh(flat @ flat.mT)[:, -1]
    return largest.clamp_min(0).sqrt()


# ------------------------------------------------------------------ forward


def _forward(graph: Graph, layers: Sequence[Layer], ball: Interval, radius: float) -> list[Interval]:
    """What every step can result in."""
    values, centres = [ball], {0: ball.mid}
    for i, step in enumerate(graph.steps[1:], 1):
        centres[i] = step.run(centres)
        if step.masked or not step.real:
            values.append(_anything(centres[i]))
            continue
        found = _values(step, layers[i - 1], {read: values[read] for read in step.reads})
        if radius < inf:
            moved = Interval(centres[i], torch.full_like(centres[i], radius * layers[i - 1].upper))
            found = found.within(moved.wider())
        values.append(found.wider())
    return values


def _anything(centre: Tensor) -> Interval:
    """Where masks decide, numbers may jump."""
    return Interval(centre.double(), torch.full(centre.shape, inf, dtype=torch.float64))


def _values(step: Step, layer: Layer, reads: dict[int, Interval]) -> Interval:
    mids, rads = ({i: getattr(v, part) for i, v in reads.items()} for part in ("mid", "rad"))
    if _is_linear(step) and (size := _absolute(step)):
        return Interval(step.run(mids), size.run(rads))
    slope = slopes(step.op, arguments(step)) if len(step.reads) == 1 else None
    if "max_pool" in step.op or (slope is not None and slope[0] >= 0):
        low, high = (step.run({i: v.ends[which] for i, v in reads.items()}) for which in (0, 1))
        return Interval.between(low, high)
    lengths = [torch.linalg.vector_norm(_flat(rads[read], 1), dim=1) for read in step.reads]
    moved = sum((length * g for length, g in zip(lengths, layer.gain.upper, strict=True)), torch.zeros(()))
    mid = step.run(mids)
    return Interval(mid, col(moved, mid).expand_as(mid))


# ------------------------------------------------------------------ backward


def _pulled(step: Step, layer: Layer, owed: Slopes, values: Sequence[Interval]) -> Iterator[tuple[int, Slopes]]:
    """The slopes with respect to everything that a step reads."""
    if _is_linear(step) and (size := _absolute(step)):
        mids, rads = _transposed(step, owed.mid, values), _transposed(size, owed.rad, values)
        for read, mid in mids.items():
            factor = sum(g for r, g in zip(step.reads, layer.gain.upper, strict=True) if r == read)
            yield read, Slopes(mid, rads[read], owed.error * factor).tight()
    elif slopes(step.op, arguments(step)) is not None and len(step.reads) == 1:
        (read,) = step.reads
        own = Interval.between(*slopes_between(step.op, arguments(step), *values[read].ends))
        most, bent = own.mid.abs() + own.rad, owed.mid * own.rad
        error = owed.error * _flat(most, 1).amax(1) + _spectral(bent)
        yield read, Slopes(owed.mid * own.mid, owed.rad * most + bent.abs(), error).tight()
    else:
        for read, g in zip(step.reads, layer.gain.upper, strict=True):
            none = torch.zeros(len(owed.mid), *values[read].mid.shape, dtype=torch.float64)
            yield read, Slopes(none, none + inf, owed.norm * g).tight()


def _transposed(step: Step, slope: Tensor, values: Sequence[Interval]) -> dict[int, Tensor]:
    """m vectors per row times the matrix of a linear step: (m, B, ...) for each step that it reads."""
    with torch.enable_grad():
        inputs = {read: torch.zeros_like(values[read].mid).requires_grad_() for read in step.reads}
        out = step.run(inputs)
        each = [torch.autograd.grad(out, list(inputs.values()), s, retain_graph=True) for s in slope]
    return {read: torch.stack(parts) for read, parts in zip(inputs, zip(*each, strict=True), strict=True)}


def _is_linear(step: Step) -> bool:
    return is_affine(step) or step.op in _ADDING


def _absolute(step: Step) -> Step | None:
    """The same step with the absolute values of its matrix and without its offset; None where that is not known."""
    given = arguments(step)
    if any(given.get(name, 1) not in (None, 1) for name in ("alpha", "beta")):
        return None
    if step.op in ("add", "sub", "subtract", "rsub"):
        return _made(step, lambda *x: sum(x).expand(step.shape))  # type: ignore[attr-defined]  # at least one tensor
    if step.op == "batch_norm":
        scale = batch_scale(given).abs()
        return _made(step, lambda x: x * scale.view(-1, *[1] * (x.ndim - 2)))
    if "weight" in given and not isinstance(given["weight"], Tensor):
        return None
    if "weight" in given:
        return replace(step, args=(), kwargs={**given, "weight": given["weight"].abs(), "bias": None})
    if step.op in _ADDING:
        return replace(step, args=map_aggregate(step.args, lambda a: a * 0 if isinstance(a, Tensor) else a))
    if is_matrix(step):
        offset = {"self": given["self"] * 0} if step.op == "addmm" else {}
        return replace(step, args=(), kwargs={k: _size(v) for k, v in given.items()} | offset)
    (read,) = set(step.reads)
    return _made(step, lambda x: _positive(step, read, x))


def _positive(step: Step, read: int, x: Tensor) -> Tensor:
    made: Tensor = step.run({read: x}) - step.run({read: torch.zeros_like(x)})
    return -made if step.op == "neg" else made


def _size(value: Any) -> Any:
    return abs(value) if isinstance(value, Tensor | float | int) and not isinstance(value, bool) else value


def _made(step: Step, function: Any) -> Step:
    return replace(step, function=function, args=tuple(map(Ref, step.reads)), kwargs={})
