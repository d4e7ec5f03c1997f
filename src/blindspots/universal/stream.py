"""Rows of a dataset in any order, and their division into those that are searched on and those that are not."""

import hashlib
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from blindspots.data import Dataset
from blindspots.errors import InputError
from blindspots.findings import Finding
from blindspots.journal import pack_inputs, unpack_inputs
from blindspots.random import keys, normal, uniform

_KEPT = 1 << 30  # bytes of inputs that are kept in memory; more are read again whenever they are wanted
_BLOCK = 64


class Rows:
    """The rows of `data` at the places `at` (N,), addressed by 0 .. N - 1. A row is read once if all fit in memory."""

    def __init__(self, data: Dataset, at: Tensor) -> None:
        self.data, self.at = data, at
        self._kept: list[Tensor | None] = [None] * len(at)
        self._labels = torch.zeros(len(at), dtype=torch.int64)
        self._keeps = len(at) * math.prod(data.shape) <= _KEPT

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
        if self._keeps:
            self._kept[i] = pack_inputs(x)[0]
        return x[0]

    def blocks(self) -> list[Tensor]:
        """All places in order, in pieces."""
        return list(torch.split(torch.arange(len(self)), _BLOCK))

    def digests(self) -> list[bytes]:
        """SHA-256 of each input, as it is seen by a model; labels do not count."""
        return [hashlib.sha256(self._input(i).contiguous().numpy().tobytes()).digest() for i in range(len(self))]

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
        rest = order[fit:] if heldout is None else order[fit : fit + heldout]
        if not len(rest):
            raise InputError(
                f"expected rows that the search does not see, got a fit set of all {len(data)} rows of {data.name}: "
                "fit fewer rows or name other data to hold out"
            )
        return _without_repeats(taken, Rows(data, rest))
    return _other(taken, Rows(heldout, torch.arange(len(heldout))))


def shuffled(rows: int, seed: int, number: int) -> Tensor:
    """An order of 0 .. rows - 1 that seed and number decide: (rows,) int64."""
    key = keys(seed, torch.arange(rows), number)
    return uniform(key, torch.zeros_like(key), 0, (1,))[:, 0].argsort(stable=True)


def _shuffled(rows: int, seed: int) -> Tensor:
    return shuffled(rows, seed, -1)


def _without_repeats(fit: Rows, heldout: Rows) -> Division:
    seen = set(fit.digests())
    new = [i for i, digest in enumerate(heldout.digests()) if digest not in seen]
    repeats = len(heldout) - len(new)
    if not new:
        raise InputError(
            f"expected held-out rows that the search does not see, got {repeats} that all repeat fit rows: "
            "use data with different inputs"
        )
    said = f"{repeats} held-out rows are the same inputs as fit rows and were left out."
    return Division(
        fit, heldout.only(new), (Finding(code="repeats", severity="note", saw=said, do=""),) * bool(repeats)
    )


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
