"""Rows: structs of tensors that share dimension 0. Row i never depends on its neighbours."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, Self, cast

import torch
from torch import Tensor


def tree(f: Callable[..., Tensor], a: Any, *others: Any) -> Any:
    """Apply `f` to every tensor of a (nested) struct of rows and its like-shaped `others`; None stays None."""
    if a is None:
        return None
    if isinstance(a, Tensor):
        return f(a, *others)
    each = {k.name: tree(f, getattr(a, k.name), *(getattr(o, k.name) for o in others)) for k in fields(a)}
    return type(a)(**each)


def leaves(a: Any, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    """The tensors of a struct with their dotted names, in field order: what a checkpoint stores."""
    if isinstance(a, Tensor):
        yield prefix, a
    elif is_dataclass(a):
        for k in fields(a):
            yield from leaves(getattr(a, k.name), f"{prefix}.{k.name}" if prefix else k.name)


@dataclass(frozen=True)
class Rows:
    """A struct of tensors (B, ...), one entry per row. Immutable: every operation returns a new struct."""

    def __getitem__(self, at: Tensor | slice) -> Self:
        return cast(Self, tree(lambda t: t[at], self))

    def put(self, at: Tensor, rows: Self) -> Self:
        """This struct with `rows` in the places `at` (K,)."""
        return cast(Self, tree(lambda t, r: t.index_copy(0, at, r), self, rows))

    def put_(self, at: Tensor, rows: Self) -> None:
        """As `put`, in place: the cost is that of the rows written, however long the struct is."""
        tree(lambda t, r: t.index_copy_(0, at, r), self, rows)

    def to(self, device: torch.device) -> Self:
        return cast(Self, tree(lambda t: t.to(device), self))


@dataclass(frozen=True)
class Around(Rows):
    """What a threat is about: clean inputs, how far each may be left, and what is allowed to one row alone."""

    x: Tensor  # (B, ...) clean input
    r: Tensor  # (B,) radius; inf in a search for the smallest distance
    own: Rows | None = field(default=None, kw_only=True)  # the limits of a row, of the kind that its threat takes

    def within(self, r: Tensor) -> "Around":
        """The same inputs with other radii (B,)."""
        return Around(self.x, r, own=self.own)


def col(v: Tensor, like: Tensor) -> Tensor:
    """(B,) -> (B, 1, 1, ...), to broadcast against `like` (B, ...). The only place that does this."""
    return v.view(-1, *[1] * (like.ndim - 1))


def pick(mask: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Row-wise choice: `a` where `mask` (B,), else `b`."""
    return torch.where(col(mask, a), a, b)
