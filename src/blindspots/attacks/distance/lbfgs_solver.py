"""L-BFGS for many problems at once: every row minimises a weight * |x - x0|^2 + loss(x) of its own inside a box."""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from blindspots.rows import Rows, pick

_ENOUGH = 1e-4  # share of the first-order decrease that a step must achieve (Armijo)
_CURVED = 1e-6  # a pair whose curvature is a smaller share of |y|^2 would blow up the direction
_NOISE = 1e-6  # relative error of a float32 objective


def dot(a: Tensor, b: Tensor) -> Tensor:
    """<a, b> over the last dimension."""
    return (a * b).sum(-1)


def length(a: Tensor) -> Tensor:
    return dot(a, a).sqrt()


@dataclass(frozen=True)
class Spot(Rows):
    """A point and what is known of the loss there."""

    x: Tensor  # (B, D)
    loss: Tensor  # (B,)
    grad: Tensor  # (B, D) of the loss
    margin: Tensor  # (B,) negative where the goal is reached
    slope: Tensor  # (B,) d loss / d margin

    def where(self, mask: Tensor, other: Self) -> Self:
        """This spot in the rows of `mask` (B,), elsewhere the other."""
        pairs = ((getattr(self, k), getattr(other, k)) for k in ("x", "loss", "grad", "margin", "slope"))
        return type(self)(*(pick(mask, a, b) for a, b in pairs))


@dataclass(frozen=True)
class Memory(Rows):
    """The last m moves with the changes of the loss's gradient along them, the latest last; zeros where there is none.

    The square's share of the curvature is known exactly and is added for the weight in hand, so a change of the weight
    invalidates nothing.
    """

    moves: Tensor  # (B, m, D)
    turns: Tensor  # (B, m, D)

    @classmethod
    def blank(cls, x: Tensor, size: int) -> "Memory":
        none = x.new_zeros(len(x), size, x.shape[1])
        return cls(none, none)

    def push(self, mask: Tensor, move: Tensor, turn: Tensor) -> "Memory":
        """With one more pair in the rows of `mask` (B,)."""
        moves, turns = torch.cat([self.moves[:, 1:], move[:, None]], 1), torch.cat([self.turns[:, 1:], turn[:, None]], 1)
        return Memory(pick(mask, moves, self.moves), pick(mask, turns, self.turns))


@dataclass(frozen=True)
class Objective:
    """weight * |x - x0|^2 + loss, for rows of flat points in the box [lo, hi]."""

    x0: Tensor  # (B, D)
    weight: Tensor  # (B,)
    lo: float
    hi: float

    def value(self, spot: Spot) -> Tensor:
        return self.weight * dot(spot.x - self.x0, spot.x - self.x0) + spot.loss

    def grad(self, spot: Spot) -> Tensor:
        return spot.grad + 2 * self.weight[:, None] * (spot.x - self.x0)

    def free(self, x: Tensor, g: Tensor) -> Tensor:
        """(B, D) 0 where the box stops a step against `g`, else 1 (Bertsekas 1982's active set)."""
        return 1 - (((x <= self.lo) & (g > 0)) | ((x >= self.hi) & (g < 0))).to(x.dtype)

    def decreased(self, old: Spot, new: Spot) -> Tensor:
        """(B,) whether the step is long enough by Armijo's rule, for a path that bends at the box."""
        before = self.value(old)
        wanted = _ENOUGH * dot(self.grad(old), new.x - old.x).clamp_max(0)
        return self.value(new) <= before + wanted + _NOISE * before.abs()

    def quasi_newton(self, g: Tensor, free: Tensor, memory: Memory) -> Tensor:
        """-H g on the free coordinates by the two-loop recursion (Nocedal and Wright, algorithm 7.4): (B, D)."""
        moves = memory.moves * free[:, None]
        turns = memory.turns * free[:, None] + 2 * self.weight[:, None, None] * moves
        bends, squares = dot(moves, turns), dot(turns, turns)
        good = bends > _CURVED * squares
        share = torch.where(good, 1 / bends, 0.0)
        q, first = g * free, (0.5 / self.weight)
        alphas = []
        for j in reversed(range(moves.shape[1])):
            alpha = share[:, j] * dot(moves[:, j], q)
            q = q - alpha[:, None] * turns[:, j]
            alphas.append(alpha)
        for j in range(moves.shape[1]):
            first = torch.where(good[:, j], bends[:, j] / squares[:, j], first)
        q = first[:, None] * q
        for j, alpha in enumerate(reversed(alphas)):
            beta = share[:, j] * dot(turns[:, j], q)
            q = q + (alpha - beta)[:, None] * moves[:, j]
        return -q * free
