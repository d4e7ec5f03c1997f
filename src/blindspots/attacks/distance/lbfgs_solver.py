"""Projected L-BFGS for many problems at once: every row minimises c |x - x0|^2 + loss(x) of its own inside a box."""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from blindspots.box import Box
from blindspots.rows import Rows, pick, tree

_ENOUGH = 1e-4  # share of the first-order decrease that a step must achieve (Armijo)
_CURVED = 1e-6  # a pair with a smaller <s, y> / <y, y> would send the direction far away
_ROUNDING = 1e-6  # relative error of a float32 objective


def dot(a: Tensor, b: Tensor) -> Tensor:
    """<a, b> over the last dimension."""
    return (a * b).sum(-1)


def length(a: Tensor) -> Tensor:
    """|a| over the last dimension."""
    return dot(a, a).sqrt()


@dataclass(frozen=True)
class Spot(Rows):
    """A point and what was seen there."""

    x: Tensor  # (B, D)
    loss: Tensor  # (B,)
    grad: Tensor  # (B, D) of the loss
    gap: Tensor  # (B,) by how much the loss would have to fall to the boundary; negative where the goal is reached
    slope: Tensor  # (B,) how steep the loss is here because of its form alone, 1 at the boundary

    @property
    def won(self) -> Tensor:
        return self.gap < 0

    def where(self, mask: Tensor, other: Self) -> Self:
        """This spot in the rows of `mask` (B,), the other one elsewhere."""
        return tree(lambda a, b: pick(mask, a, b), self, other)  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Memory(Rows):
    """The last m moves and how the loss's gradient changed along them, the latest last; zeros where there is none.

    The square's share of y is known and added when it is needed, so the pairs hold for any c.
    """

    s: Tensor  # (B, m, D)
    y: Tensor  # (B, m, D)

    @classmethod
    def blank(cls, x: Tensor, size: int) -> "Memory":
        none = x.new_zeros(len(x), size, x.shape[1])
        return cls(none, none)

    def push(self, mask: Tensor, old: Spot, new: Spot) -> "Memory":
        """With the move from `old` to `new`, and without the oldest one, in the rows of `mask` (B,)."""
        s = torch.cat([self.s[:, 1:], (new.x - old.x)[:, None]], 1)
        y = torch.cat([self.y[:, 1:], (new.grad - old.grad)[:, None]], 1)
        return Memory(pick(mask, s, self.s), pick(mask, y, self.y))


@dataclass(frozen=True)
class Objective:
    """c |x - x0|^2 + loss(x) for x in a box."""

    x0: Tensor  # (B, D)
    c: Tensor  # (B,)
    box: Box  # of the D components
    span: float  # its width

    def value(self, at: Spot) -> Tensor:
        return self.c * dot(at.x - self.x0, at.x - self.x0) + at.loss

    def grad(self, at: Spot) -> Tensor:
        return at.grad + 2 * self.c[:, None] * (at.x - self.x0)

    def free(self, x: Tensor, g: Tensor) -> Tensor:
        """(B, D) 0 where the box stops a step along -g, else 1."""
        return (~(((x <= self.box.lo) & (g > 0)) | ((x >= self.box.hi) & (g < 0)))).to(x.dtype)

    def free_grad(self, at: Spot, g: Tensor | None = None) -> Tensor:
        """The gradient, or `g`, without the components along which the box stops its descent: (B, D)."""
        g = self.grad(at) if g is None else g
        return g * self.free(at.x, g)

    def falls_enough(self, old: Spot, new: Spot) -> Tensor:
        """(B,) Armijo's rule for a path that bends at the box."""
        before = self.value(old)
        least = _ENOUGH * dot(self.grad(old), new.x - old.x).clamp_max(0)
        return self.value(new) <= before + least + _ROUNDING * before.abs()

    def shorter(self, old: Spot, new: Spot) -> Tensor:
        """(B,) by how much a failed step is to be shortened: to the lowest point of the parabola through both ends."""
        slope = dot(self.grad(old), new.x - old.x)
        bend = self.value(new) - self.value(old) - slope
        return (-slope / (2 * bend)).nan_to_num(0.5).clamp(0.1, 0.5)

    def direction(self, at: Spot, memory: Memory) -> Tensor:
        """-H g on the free coordinates, zero elsewhere; where that does not descend, steepest descent."""
        g = self.grad(at)
        free = self.free(at.x, g)
        g = g * free
        d = self._two_loops(g, free, memory)
        return torch.where((dot(d, g) < 0)[:, None], d, -g / (2 * self.c[:, None]))

    def _two_loops(self, g: Tensor, free: Tensor, memory: Memory) -> Tensor:
        """Nocedal and Wright, algorithm 7.4, among the free coordinates, without pairs that bend downwards."""
        s = memory.s * free[:, None]
        y = memory.y * free[:, None] + 2 * self.c[:, None, None] * s
        sy, yy = dot(s, y), dot(y, y)
        good = sy > _CURVED * yy
        rho, recent = torch.where(good, 1 / sy, 0.0), range(s.shape[1])
        d, alpha, scale = -g, torch.zeros_like(rho), 0.5 / self.c
        for k in reversed(recent):
            alpha[:, k] = rho[:, k] * dot(s[:, k], d)
            d = d - alpha[:, k, None] * y[:, k]
        for k in recent:
            scale = torch.where(good[:, k], sy[:, k] / yy[:, k], scale)
        d = scale[:, None] * d
        for k in recent:
            d = d + (alpha[:, k] - rho[:, k] * dot(y[:, k], d))[:, None] * s[:, k]
        return d * free
