"""Rows divided by lot into those that are searched or trained on and those that judge: no input is in two parts.

Two rules order the rows: `shuffled`, a pure function of the seed on every device, and whatever generator a caller has.
Rows count as the same where their inputs have the same bytes, whatever their labels.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from blindspots.data.dataset import Dataset
from blindspots.errors import InputError
from blindspots.findings import Finding
from blindspots.packing import pack_inputs, unpack_inputs
from blindspots.random import keys, uniform

_KEPT = 1 << 30  # bytes of inputs that are kept in memory; others are read again whenever they are wanted
_BLOCK = 64
_READ = 256  # rows at once


def shuffled(rows: int, seed: int, number: int) -> Tensor:
    """An order of 0 .. rows - 1 that seed and number decide: (rows,) int64."""
    key = keys(seed, torch.arange(rows), number)
    return uniform(key, torch.zeros_like(key), 0, (1,))[:, 0].argsort(stable=True)


def cut(order: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The first `count` places of an order (N,), and the others: both ascending."""
    return order[:count].sort().values, order[count:].sort().values


def share_of(rows: int, share: float, most: int) -> int:
    """How many rows a share of them is: at least 1, at most `most`."""
    return max(1, min(round(share * rows), most))


class Rows:
    """The rows of `data` at the places `at` (N,), addressed by 0 .. N - 1. Rows that fit in memory are read once."""

    def __init__(self, data: Dataset, at: Tensor) -> None:
        self.data, self.at = data, at
        self._kept: list[Tensor | None] = [None] * len(at)
        self._labels = torch.zeros(len(at), dtype=torch.int64)
        self._room = _KEPT

    def __len__(self) -> int:
        return len(self.at)

    def take(self, places: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs float32 (B, *shape) and labels (B,)."""
        inputs = [self._input(i) for i in places.tolist()]
        return torch.stack(inputs), self._labels[places]

    def _input(self, i: int) -> Tensor:
        kept = self._kept[i]
        if kept is not None:
            return unpack_inputs(kept)
        at = int(self.at[i])
        x, y = self.data.rows(at, at + 1)
        self._labels[i] = y[0]
        self._keep(i, pack_inputs(x)[0])
        return x[0]

    def _keep(self, i: int, packed: Tensor) -> None:
        if packed.nbytes <= self._room:
            self._kept[i], self._room = packed, self._room - packed.nbytes

    def blocks(self) -> list[Tensor]:
        """All places in order, in pieces."""
        return list(torch.split(torch.arange(len(self)), _BLOCK))

    def digests(self) -> Iterator[bytes]:
        """SHA-256 of each input, as it is seen by a model; labels do not count."""
        return (_digest(self._input(i)) for i in range(len(self)))

    def only(self, places: list[int]) -> "Rows":
        """These places alone."""
        return Rows(self.data, self.at[torch.tensor(places, dtype=torch.int64)])


@dataclass(frozen=True)
class Division:
    """What a perturbation is made from, and what it is judged by: no input is in both."""

    fit: Rows
    heldout: Rows
    findings: tuple[Finding, ...]


def divide(data: Dataset, fit: int, heldout: Dataset | int | None, seed: int) -> Division:
    """Take `fit` rows of `data` by lot, and hold out the rest, `heldout` rows of the rest, or other data.

    Raises InputError: there are too few rows, or inputs of other held-out data are among those of the fit. Of the same
    data, held-out rows that repeat a fit row are dropped, and it is said.
    """
    if not 0 < fit <= len(data):
        raise InputError(f"expected 1 to {len(data)} fit rows of {data.name}, got {fit}: ask for as many as there are")
    order = shuffled(len(data), seed, -1)
    taken = Rows(data, order[:fit])
    if heldout is None or isinstance(heldout, int):
        rest = Rows(data, order[fit:])
        _check_left(rest, heldout)
        return _without_repeats(taken, rest, len(rest) if heldout is None else heldout)
    return _other(taken, Rows(heldout, torch.arange(len(heldout))))


def _check_left(rest: Rows, heldout: int | None) -> None:
    if not len(rest):
        raise InputError(
            f"expected rows that the search does not see, got a fit set of all {len(rest.data)} rows of "
            f"{rest.data.name}: fit fewer rows or name other data to hold out"
        )
    if heldout is not None and not 0 < heldout <= len(rest):
        raise InputError(
            f"expected 1 to {len(rest)} held-out rows, as many as are not fitted, got {heldout}: "
            "ask for fewer, or fit fewer"
        )


def _without_repeats(fit: Rows, rest: Rows, wanted: int) -> Division:
    """The first `wanted` of the rest that are no fit rows."""
    seen, new, repeats = set(fit.digests()), list[int](), 0
    for i, digest in enumerate(rest.digests()):
        if digest in seen:
            repeats += 1
        else:
            new.append(i)
        if len(new) == wanted:
            break
    if not new:
        raise InputError(
            f"expected held-out rows that the search does not see, got {repeats} that all repeat fit rows: "
            "use data with different inputs"
        )
    said = f"{repeats} held-out rows are the same inputs as fit rows and were left out."
    return Division(fit, rest.only(new), (Finding(code="repeats", severity="note", saw=said, do=""),) * bool(repeats))


def _other(fit: Rows, heldout: Rows) -> Division:
    if heldout.data.shape != fit.data.shape:
        raise InputError(
            f"expected held-out inputs of shape {fit.data.shape}, got {heldout.data.shape}: use data of one kind"
        )
    seen = {digest: i for i, digest in enumerate(fit.digests())}
    both = [(seen[digest], i) for i, digest in enumerate(heldout.digests()) if digest in seen]
    if both:
        row, other = int(fit.at[both[0][0]]), both[0][1]
        raise InputError(
            f"expected held-out rows that the search does not see, got {len(both)} fit rows among them (row {other} of "
            f"{heldout.data.name} is row {row} of {fit.data.name}): remove them, or hold out rows of one dataset"
        )
    return Division(fit, heldout, ())


def halves(x: Tensor, seed: int = 0) -> tuple[Tensor, Tensor]:
    """A random split of the rows (N, ...) into two halves: ascending places (N1,) and (N2,), int64.

    Rows with equal bytes stay together, so no input of one half is in the other, however often it is repeated; without
    repetitions the sizes differ by one row at most.

    Raises InputError when there are fewer than two different rows.
    """
    digests = [_digest(row) for row in x]
    different = sorted(set(digests))
    if len(different) < 2:
        raise InputError(f"expected at least two different rows to split, got {len(different)}: give more data")
    order = np.random.default_rng(seed).permutation(len(different))
    first = {different[i] for i in order[: len(different) // 2]}
    inside = torch.tensor([digest in first for digest in digests])
    return inside.nonzero()[:, 0], (~inside).nonzero()[:, 0]


def refuse_overlap(train: Dataset, test: Dataset) -> None:
    """Refuse rows to attack that were trained on, found by the digests of their inputs."""
    if train.shape != test.shape:
        raise InputError(
            f"expected rows of one shape to train on and to attack, got {train.shape} and {test.shape}: name the two "
            "parts of one data set"
        )
    known = set(_digests(train))
    common = [i for i, d in enumerate(_digests(test)) if d in known]
    if common:
        raise InputError(
            f"expected rows to attack that nothing is trained on, got {len(common)} that are in both, the first one "
            f"row {common[0]} of {test.name}: name other data for one of them"
        )


def _digests(data: Dataset) -> Iterator[bytes]:
    for start in range(0, len(data), _READ):
        x, _ = data.rows(start, min(start + _READ, len(data)))
        yield from map(_digest, x)


def _digest(x: Tensor) -> bytes:
    """SHA-256 of the bytes of one input."""
    return hashlib.sha256(x.contiguous().numpy().tobytes()).digest()
