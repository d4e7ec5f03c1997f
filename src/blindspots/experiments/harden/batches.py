"""Rows to train on, in memory: which are held out, in which order they come, and how they are varied."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from blindspots.data import Dataset
from blindspots.errors import InputError
from blindspots.experiments.harden.recipe import Augmentation
from blindspots.experiments.harden.rows import generator, held_out
from blindspots.packing import pack_inputs, unpack_inputs
from blindspots.random import keys, randint

_LEAST_ROWS = 20
_FLIP, _SHIFT = 100, 101  # streams of draws, beyond those of attacks
_OWN, _EXTRA, _, _ORDER = range(4)  # what a key is for; the third is the lot of rows.py


@dataclass(frozen=True)
class Batch:
    """Inputs (B, *shape) float32 in the model's bounds, labels (B,), and each row's own randomness in this epoch."""

    x: Tensor
    y: Tensor
    key: Tensor

    def to(self, device: torch.device) -> "Batch":
        return Batch(*(t.to(device, non_blocking=True) for t in (self.x, self.y, self.key)))


@dataclass(frozen=True)
class Material:
    """All rows: 8-bit images stay 8-bit."""

    x: Tensor  # (N, *shape) uint8 or float32
    y: Tensor  # (N,) int64
    id: Tensor  # (N,) int64 place in the data

    @classmethod
    def of(cls, data: Dataset) -> "Material":
        x, y = data.rows(0, len(data))
        return cls(pack_inputs(x), y, torch.arange(len(y)))

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, at: Tensor | slice) -> "Material":
        return Material(self.x[at], self.y[at], self.id[at])

    def inputs(self, at: Tensor | slice) -> Tensor:
        return unpack_inputs(self.x[at])


@dataclass(frozen=True)
class Split:
    """Rows that are trained on, rows that choose the best epoch, and extra ones that only fill up batches."""

    training: Material
    held_out: Material
    extra: Material | None = None


def split(data: Dataset, seed: int, extra: Dataset | None = None) -> Split:
    """Hold out a tenth of the rows, at most 1,000, by lot.

    Raises InputError: too few rows, one class alone, or extra rows of another shape.
    """
    rows = Material.of(data)
    _check(rows, data)
    choosing, training = held_out(len(rows), seed)
    more = None if extra is None else _extra(extra, data)
    return Split(rows[training], rows[choosing], more)


def batches(parts: Split, size: int, share: float, seed: int, epoch: int) -> Iterator[Batch]:
    """The batches of an epoch: every training row at most once, in an order of its own; what fills no batch sits out.

    Of every batch, `share` are extra rows where there are some, drawn anew. Rows per batch are always the same.
    """
    rows, more = parts.training, _extra_rows(parts, size, share)
    own = size - more
    order = torch.randperm(len(rows), generator=generator(seed, _ORDER, epoch))
    for i, at in enumerate(order[: len(rows) // own * own].view(-1, own)):
        yield _joined(rows, at, parts.extra, more, seed, epoch, i)


def steps_per_epoch(parts: Split, size: int, share: float) -> int:
    """How many batches `batches` gives."""
    return len(parts.training) // (size - _extra_rows(parts, size, share))


def _extra_rows(parts: Split, size: int, share: float) -> int:
    """How many rows of a batch are extra ones."""
    return 0 if parts.extra is None else min(round(share * size), size - 1)


def fitting(size: int, rows: int) -> int:
    """Rows per batch: as wanted, but at most a quarter of what there is."""
    return max(1, min(size, rows // 4))


def augmented(batch: Batch, how: Augmentation) -> Batch:
    """The batch with every row flipped or shifted by its own lot; anything but images stays as it is."""
    x, clock = batch.x, torch.zeros_like(batch.key)
    if x.ndim != 4:
        return batch
    if how.flip:
        turned = randint(batch.key, clock, _FLIP, 2, (1, 1, 1)).bool()
        x = torch.where(turned, x.flip(3), x)
    if how.shift:
        x = _shifted(x, randint(batch.key, clock, _SHIFT, 2 * how.shift + 1, (2,)) - how.shift)
    return Batch(x, batch.y, batch.key)


def _shifted(x: Tensor, by: Tensor) -> Tensor:
    """Each picture (B, C, H, W) moved by its own (down, right) of (B, 2), the border repeated."""
    height, width = x.shape[2:]
    down = (torch.arange(height, device=x.device) - by[:, :1]).clamp(0, height - 1)
    right = (torch.arange(width, device=x.device) - by[:, 1:]).clamp(0, width - 1)
    x = x.gather(2, down[:, None, :, None].expand(-1, x.shape[1], -1, width))
    return x.gather(3, right[:, None, None, :].expand(-1, x.shape[1], height, -1))


def _joined(rows: Material, at: Tensor, extra: Material | None, more: int, seed: int, epoch: int, i: int) -> Batch:
    batch = Batch(rows.inputs(at), rows.y[at], keys(seed, rows.id[at], epoch, _OWN))
    if extra is None or not more:
        return batch
    drawn = torch.randint(len(extra), (more,), generator=generator(seed, _EXTRA, epoch, i))
    return Batch(
        torch.cat([batch.x, extra.inputs(drawn)]),
        torch.cat([batch.y, extra.y[drawn]]),
        torch.cat([batch.key, keys(seed, extra.id[drawn], epoch, _EXTRA + i)]),
    )


def _check(rows: Material, data: Dataset) -> None:
    if len(rows) < _LEAST_ROWS:
        raise InputError(f"expected at least {_LEAST_ROWS} rows to train on, got {len(rows)} in {data.name}: give more")
    classes = torch.unique(rows.y)
    if len(classes) < 2:
        raise InputError(
            f"expected rows of at least two classes to train on, got only class {int(classes[0])} in {data.name}: "
            "there is nothing to tell apart, so give rows of the other classes, too"
        )


def _extra(extra: Dataset, data: Dataset) -> Material:
    if tuple(extra.shape) != tuple(data.shape):
        raise InputError(
            f"expected extra inputs of shape {tuple(data.shape)}, as in {data.name}, got {tuple(extra.shape)} in "
            f"{extra.name}: bring them to that shape"
        )
    return Material.of(extra)
