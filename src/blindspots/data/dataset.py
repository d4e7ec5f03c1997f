"""What the engine reads from: rows with labels, wherever they are stored, and how datasets describe themselves."""

import copy
import hashlib
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol, Self

import numpy as np
import torch
from torch import Tensor

from blindspots.data.labels import Labels
from blindspots.data.names import checked, found, has_numbers, numbered, places, shown, telling
from blindspots.errors import InputError
from blindspots.findings import Finding, Severity


class Dataset(Protocol):
    """What the engine reads from. Row i is the same input and label whenever it is read."""

    @property
    def name(self) -> str: ...
    @property
    def spec(self) -> str | None:
        """What `load_data` was given; None for arrays passed from Python."""

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of the data and of the meaning of their labels."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one input: (channels, height, width) for images, (features,) for tables."""

    @property
    def class_names(self) -> list[str] | None:
        """Names of the labels 0, 1, ...; None for bare numbers."""

    @property
    def notes(self) -> list[Finding]:
        """What was inferred or decided when the data was opened."""

    def __len__(self) -> int: ...

    def rows(self, start: int, stop: int) -> tuple[Tensor, Tensor]:
        """Inputs float32 (n, *shape) and labels int64 (n,) of rows start .. stop - 1, n = stop - start.

        8-bit images are divided by 255, so they are in [0, 1]; floats are returned as stored.

        Raises:
            InputError: a value is NaN or infinite (the sentence names the row), or the file has been damaged since.
        """


def note(code: str, saw: str, do: str = "", severity: Severity = "note") -> Finding:
    """Something that was inferred or decided."""
    return Finding(code=code, severity=severity, saw=saw, do=do)


class Stream(ABC):
    """The part of every dataset that does not depend on where its inputs come from."""

    layout: str | None = None  # the layout that `load_data` needs to read the same rows again; None: it is inferred
    unit = "row"  # what a row is called
    values = False  # y are numbers, which a goal compares outputs with, and no classes

    def __init__(self, name: str, spec: str | None, shape: tuple[int, ...], labels: Labels, notes: list[Finding]):
        self.name, self.spec, self.shape = name, spec, shape
        self.class_names = labels.names
        self._stored = self._y = labels.y
        self._labels, self._notes = labels, [*notes, *labels.notes]
        self._how = labels.how
        self.ordered = labels.ordered

    def __len__(self) -> int:
        return len(self._y)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, rows={len(self)}, shape={self.shape})"

    @property
    def notes(self) -> list[Finding]:
        """What was inferred or decided; one of the notes lists the classes and their labels."""
        return [*self._notes, *([note("classes", f"{self._classes()}.")] if self._how else [])]

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of the data, and of the meaning of their labels where these have names."""
        if not telling(self.class_names):
            return self.content
        meaning = repr((self.content, self.class_names)).encode()
        return hashlib.sha256(meaning + self._y.numpy().tobytes()).hexdigest()

    @property
    @abstractmethod
    def content(self) -> str:
        """SHA-256 (hex) of the data as they are stored."""

    def rows(self, start: int, stop: int) -> tuple[Tensor, Tensor]:
        """Inputs float32 (n, *shape) and labels int64 (n,) of rows start .. stop - 1. See `Dataset.rows`.

        Where y are values, float32 (n, ...).
        """
        if not 0 <= start <= stop <= len(self):
            raise IndexError(f"rows {start} to {stop} of {len(self)}")
        x = self._read(start, stop)
        broken = (~x.flatten(1).isfinite().all(1)).nonzero()
        if len(broken):
            row = start + int(broken[0])
            raise InputError(f"expected finite inputs in {self.name}, got NaN or infinity in row {row}: remove it")
        return x, self._y[start:stop].clone()

    @abstractmethod
    def _read(self, start: int, stop: int) -> Tensor: ...

    def readings(self) -> "list[Self]":
        """The same rows read in other ways, where their form is ambiguous and no choice was given."""
        return []

    def among(self, classes: Iterable[str], whose: str = "the model's classes") -> Self:
        """The same rows, with labels that are indices of `classes`, found by name.

        Labels without names are looked up by number where the classes are named by numbers other than their indices
        (3, 5, 8); else they are indices already.

        Raises InputError: a class of the rows is not among them.
        """
        classes = checked(classes, whose)
        if self.class_names == classes and self.ordered:
            return self
        made = copy.copy(self)
        if self.class_names == classes:
            made.ordered = True
            return made
        where, how = self._places(classes, whose)
        made._y = _renumbered(self._y, where)
        made.class_names, made._how, made.ordered = classes, how, True
        return made

    def _places(self, classes: Sequence[str], whose: str) -> tuple[Mapping[int, int], str]:
        """The index of every label in use, and how it was found."""
        used = sorted(set(self._y.tolist()))
        names = telling(self.class_names)
        if names:
            by_name = found(places([names[k] for k in used], classes), classes, self.name, whose)
            return {k: by_name[names[k]] for k in used}, f"matched by name to {whose}"
        if has_numbers(classes):
            how = f"numbers looked up among {whose} ({shown(classes)})"
            return found(numbered(used, classes), classes, self.name, whose), how
        if used and not 0 <= used[0] <= used[-1] < len(classes):
            raise InputError(
                f"expected labels from 0 to {len(classes) - 1} in {self.name}, the indices of {whose} "
                f"({shown(classes)}), got {used[0]} to {used[-1]}: map them to these indices"
            )
        return {k: k for k in used}, f"indices of {whose}"

    def by_place(self, why: str) -> Self:
        """The same rows and labels; where only the data give their order, the notes say why it was used."""
        if not self._how or self.ordered or self._how.endswith(why):
            return self
        made = copy.copy(self)
        made._how = f"{self._how}{why}"
        return made

    def close(self) -> None:  # noqa: B027 - most have nothing open
        """Close what is open; it is opened again when rows are read."""

    # -------------------------------------------------------------- in words

    def _classes(self) -> str:
        """ "3 class folders: cat=0 (12 images), dog=1 (9), ship=2 (11); labels: indices of the sorted names" """
        rows = Counter(zip(self._stored.tolist(), self._y.tolist(), strict=True))
        spoken = [self._spoken(*pair, rows[pair], unit=i == 0) for i, pair in enumerate(sorted(rows))]
        return f"{self._headed(len(spoken))}: {shown(spoken)}; labels: {self._how}"

    def _headed(self, classes: int) -> str:
        return f"{classes} classes" if classes != 1 else "1 class"

    def _spoken(self, stored: int, label: int, rows: int, unit: bool) -> str:
        called, counted = self._labels.called(stored), f"{rows} {self.unit}{'s' * (rows != 1)}" if unit else rows
        return f"{called} ({counted})" if called == str(label) else f"{called}={label} ({counted})"


def _renumbered(y: Tensor, where: Mapping[int, int]) -> Tensor:
    if not len(y):
        return y
    used, at = np.unique(y.numpy(), return_inverse=True)
    return torch.from_numpy(np.array([where[int(k)] for k in used], np.int64)[at])
