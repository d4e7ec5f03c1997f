"""Rows of a dataset in any order, and their division into those that are searched on and those that are not."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from blindspots.data import Dataset
from blindspots.errors import InputError
from blindspots.findings import Finding
from blindspots.journal import pack_inputs, unpack_inputs
from blindspots.random import keys, normal, uniform

_KEPT = 1 << 30  # bytes of inputs that are kept in memory; others are read again whenever they are wanted
_BLOCK = 64


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
        return (hashlib.sha256(self._input(i).contiguous().numpy().tobytes()).digest() for i in range(len(self)))

    def only(self, places: list[int]) -> "Rows":
        """These places alone."""
        return Rows(self.data, self.at[torch.tensor(places, dtype=torch.int64)])


class Proxies(Rows):
    """Random images of the data's range, for methods that see no data: normal around the middle of the box."""

    def __init__(self, data: Dataset, rows: int, bounds: tuple[float, float], seed: int) -> None:
        super().__init__(data, torch.arange(rows))
        self._bounds, self._seed = bounds, seed

    def take(self, places: Tensor) -> tuple[Tensor, Tensor]:
        lo, hi = self._bounds
        key = keys(self._seed, places)
        noise = normal(key, torch.zeros_like(key), 31, self.data.shape)
        return ((lo + hi) / 2 + (hi - lo) / 4 * noise).clamp(lo, hi), torch.zeros_like(places)


@dataclass(frozen=True)
class Division:
    """What a perturbation is made from, and what it is judged by: no input is in both."""

    fit: Rows
    heldout: Rows
    findings: tuple[Finding, ...]


def divide(data: Dataset, fit: int, heldout: Dataset | int | None, seed: int) -> Division:
    """Take `fit` rows of `data` by lot, and hold out the rest, so many of the rest, or other data.

    Raises InputError: there are too few rows, or inputs of other held-out data are among those of the fit. Of the same
    data, held-out rows that repeat a fit row are dropped, and it is said.
    """
    if not 0 < fit <= len(data):
        raise InputError(f"expected 1 to {len(data)} fit rows of {data.name}, got {fit}: ask for as many as there are")
    order = _shuffled(len(data), seed)
    taken = Rows(data, order[:fit])
    if heldout is None or isinstance(heldout, int):
        rest = Rows(data, order[fit:])
        _check_left(rest, heldout)
        return _without_repeats(taken, rest, len(rest) if heldout is None else heldout)
    return _other(taken, Rows(heldout, torch.arange(len(heldout))))


def shuffled(rows: int, seed: int, number: int) -> Tensor:
    """An order of 0 .. rows - 1 that seed and number decide: (rows,) int64."""
    key = keys(seed, torch.arange(rows), number)
    return uniform(key, torch.zeros_like(key), 0, (1,))[:, 0].argsort(stable=True)


def _shuffled(rows: int, seed: int) -> Tensor:
    return shuffled(rows, seed, -1)


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
