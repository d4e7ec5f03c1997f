"""Labels in their usual forms: numbers, words, one-hot rows. They become one int64 class per row, or are refused.

Where a goal compares outputs with numbers, `values_of` reads y as these instead.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from blindspots.data.names import checked, found, number, places, shown, telling
from blindspots.errors import InputError
from blindspots.findings import Finding

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Labels:
    """One class per row, and what is known about the classes.

    Attributes:
        y: int64 (N,); of values float32 or int64 (N, ...).
        names: names of the labels 0, 1, ..., if they have any.
        how: where the labels come from, as text; "" for numbers that were given as such.
        ordered: the order of the classes was given; else their names are sorted.
        called: the data's own name of the class with this label.
        notes: what was decided.
    """

    y: Tensor
    names: list[str] | None = None
    how: str = ""
    ordered: bool = False
    called: Callable[[int], str] = str
    notes: tuple[Finding, ...] = ()

    def first(self, rows: int | None) -> "Labels":
        """The first `rows` labels; a note says if there are fewer. Raises InputError for no rows."""
        if rows is not None and rows <= 0:
            raise InputError(f"expected a positive number of rows, got {rows}: ask for at least one")
        if rows is None or rows <= len(self.y):
            return replace(self, y=self.y[:rows])
        said = f"{rows} rows were requested, but there are only {len(self.y)}: all are used."
        return replace(self, notes=(*self.notes, Finding(code="rows", severity="note", saw=said, do="")))


@dataclass
class _Found:
    """An array of labels on its way to one number or one word per row."""

    labels: Array
    name: str
    said: list[str] = field(default_factory=list)

    def refused(self, what: str, do: str) -> InputError:
        return InputError(
            f"expected y to be one class per row in {self.name}, integers or words (N,), got {self.labels.dtype} of "
            f"shape {self.labels.shape}{what}: {do}"
        )


def labels_of(y: Any, rows: int, name: str, names: Iterable[str] | None = None) -> Labels:
    """Labels of any form for this number of inputs.

    Integers, booleans, whole floats, one-hot rows and columns (N, 1) are numbers; words are looked up in `names`, else
    they become numbers if all of them are, else indices of the sorted words.

    Args:
        names: of the classes, in order, where they are known.

    Raises:
        InputError: there are not as many labels as inputs, or they are not one class per row.
    """
    given = _Found(_array(y, name), name)
    _one_column(given)
    labels = given.labels
    if len(labels) != rows:
        raise InputError(f"expected as many labels as inputs in {name}, got {len(labels)} for {rows}: check x and y")
    known = None if names is None else checked(names, f"the classes of {name}")
    made = _words(labels, name, known) if labels.dtype.kind == "U" else _whole(given, known)
    notes = tuple(Finding(code="labels", severity="note", saw=f"y {said}.", do="") for said in given.said)
    return replace(made, notes=notes)


def values_of(y: Any, rows: int, name: str) -> Labels:
    """Numbers of any shape (N, ...), one entry per input: whole numbers as int64, others as float32.

    Raises InputError: they are no numbers, or not as many as inputs.
    """
    values = _array(y, name)
    if values.dtype.kind not in "iufb" or not values.ndim:
        raise InputError(
            f"expected y of {name} to be numbers (N, ...), got {values.dtype} of shape {values.shape}: the goal "
            "compares outputs with numbers"
        )
    if len(values) != rows:
        raise InputError(f"expected as many values as inputs in {name}, got {len(values)} for {rows}: check x and y")
    held = values[:, 0] if values.ndim == 2 and values.shape[1] == 1 else values
    dtype = np.float32 if values.dtype.kind == "f" else np.int64
    return Labels(torch.from_numpy(np.ascontiguousarray(held, dtype=dtype)))


def _array(y: Any, name: str) -> Array:
    if isinstance(y, Tensor):
        held: Array = (y.float() if y.dtype == torch.bfloat16 else y).detach().cpu().numpy()
        return held
    try:
        labels: Array = np.asarray(y.to_numpy() if hasattr(y, "to_numpy") else y)
    except (ValueError, TypeError, RuntimeError) as error:
        raise InputError(f"expected labels (N,) in {name}, got no array ({error}): give one per row") from error
    if labels.dtype.kind == "O":
        labels = _plain(labels)
    if labels.dtype.kind == "S":
        labels = np.char.decode(labels, "utf-8")
    return labels


def _plain(labels: Array) -> Array:
    """Objects that are all words, or all numbers, as an array of these."""
    kinds = {type(label) for label in labels.flat}
    if kinds and all(issubclass(k, str) for k in kinds):
        return labels.astype(str)
    if kinds and all(issubclass(k, int | np.integer | np.bool_) for k in kinds):
        return labels.astype(np.int64)
    return labels


def _one_column(given: _Found) -> None:
    """(N, 1) and one-hot rows (N, C) become (N,)."""
    labels = given.labels
    if labels.ndim == 2 and labels.shape[1] == 1:
        given.labels = labels[:, 0]
        given.said.append(f"has the shape {labels.shape}: its only column was used")
    elif labels.ndim == 2 and labels.dtype.kind in "iufb":
        one_hot = ((labels == 0) | (labels == 1)).all() and (labels.sum(1) == 1).all()
        if not one_hot or not len(labels):
            raise given.refused(", which is not one-hot", "give each row the number of its class")
        given.labels = labels.argmax(1)
        given.said.append(f"has the shape {labels.shape} and is one-hot: the column of the 1 was taken as the class")
    if given.labels.ndim != 1 or given.labels.dtype.kind not in "iufbU":
        raise given.refused("", "give each row the number or the name of its class")


def _whole(given: _Found, names: list[str] | None) -> Labels:
    labels = given.labels
    if labels.dtype.kind == "b":
        given.said.append("is boolean: False is class 0, True is class 1")
    if labels.dtype.kind == "f":
        strange = (~np.isfinite(labels) | (labels != np.rint(labels))).nonzero()[0]
        if len(strange):
            raise given.refused(f", {labels[strange[0]]} in row {strange[0]}", "give each row the number of its class")
        given.said.append(f"is {labels.dtype} and holds only whole numbers: they were taken as the classes")
    y = torch.from_numpy(labels.astype(np.int64))
    return Labels(y) if names is None else _named(y, names, given.name)


def _named(y: Tensor, names: list[str], name: str) -> Labels:
    if len(y) and not 0 <= int(y.min()) <= int(y.max()) < len(names):
        raise InputError(
            f"expected labels from 0 to {len(names) - 1} in {name}, whose classes are {shown(names)}, got "
            f"{int(y.min())} to {int(y.max())}: name every class"
        )
    how = "indices of the names given with them" if telling(names) else ""
    return Labels(y, names, how, True, lambda k: names[k])


def _words(labels: Array, name: str, names: list[str] | None) -> Labels:
    different, at = np.unique(labels, return_inverse=True)
    words = [str(word) for word in different]
    if names is not None:
        where = found(places(words, names), names, f"y in {name}", "its names")
        y = np.array([where[word] for word in words], np.int64)[at.reshape(-1)]
        return Labels(torch.from_numpy(y), names, "indices of the names given with them", True, lambda k: names[k])
    return of_names(words, at.reshape(-1), f"words in y of {name}", "words")


def of_names(words: Sequence[str], at: Array, what: str, source: str) -> Labels:
    """Labels from the names of classes: the numbers that they are, else their indices in sorted order.

    Args:
        words: sorted, each once.
        at: for every row, the index of its word.

    Raises InputError: two names are the same number.
    """
    numbers = [number(word) for word in words]
    whole = [k for k in numbers if k is not None]
    if len(whole) == len(words):
        called = dict(zip(whole, words, strict=True))
        if len(called) < len(words):
            twice = [w for w, k in zip(words, numbers, strict=True) if numbers.count(k) > 1]
            raise InputError(f"expected {what} that are different numbers, got {shown(twice)}: merge them")
        y = torch.tensor(whole, dtype=torch.int64)[torch.from_numpy(at.astype(np.int64))]
        return Labels(y, None, f"the {source} as numbers", True, lambda k: called[k])
    y = torch.from_numpy(at.astype(np.int64))
    names = list(words)
    return Labels(y, names, f"indices of the sorted {source}", called=lambda k: names[k])
