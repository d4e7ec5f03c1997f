"""Texts and their labels, from Python, from files, and the embedded reviews."""

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from blindspots.arguments import Checked
from blindspots.data.columns import Columns, Picked, found, parse_columns, picked
from blindspots.data.dataset import Stream, note
from blindspots.data.labels import Labels, labels_of
from blindspots.data.names import shown
from blindspots.data.tables import Row, Table, read_table
from blindspots.errors import InputError
from blindspots.findings import Finding
from blindspots.texts.codes import as_codes, as_texts
from blindspots.texts.pairs import SEPARATOR, Side, joined
from blindspots.texts.reviews import CLASSES, reviews

_UNLABELLED = (None, "", "-", "-1", -1)  # as in the test rows of GLUE and where the writers of SNLI disagreed


class TextData(Stream, Checked):
    """Texts, one per row. Inputs are their code points (L,), padded with 0 (see `texts.codes`).

    Texts are held as strings, exactly as they were stored: nothing is normalised, trimmed or split. L, the width of an
    input, leaves room for what attacks insert.

    Args:
        texts: a list, an array or a column of strings.
        labels: one class per text: integers or words; see `labels_of` for other forms.
        class_names: names of the labels 0, 1, ...; words in `labels` are looked up among them.
        fixed: the side that never changes, "first" or "second", where each text is a pair, see `texts.pairs`.
        rows: use only the first `rows` texts.
        notes: findings on where the texts come from.

    Raises InputError: something is no text, or labels do not fit.
    """

    unit = "text"
    unchecked = frozenset({"texts", "labels"})

    def __init__(
        self,
        texts: Any,
        labels: Any,
        name: str = "texts",
        *,
        spec: str | None = None,
        class_names: Iterable[str] | None = None,
        fixed: Side | None = None,
        rows: int | None = None,
        notes: Sequence[Finding] = (),
    ) -> None:
        listed = _listed(texts, name)
        for row, text in enumerate(listed):
            _check_text(text, row, name, fixed)
        known = labels if isinstance(labels, Labels) else labels_of(labels, len(listed), name, class_names)
        super().__init__(name, spec, (_width(listed),), known.first(rows), list(notes))
        self._texts, self.fixed = listed[: len(self)], fixed

    def part(self, x: Tensor, y: Tensor, name: str) -> "TextData":
        """Some of its rows, by their code points (N, L) and labels (N,), with its classes and its notes."""
        return TextData(as_texts(x), y, name, class_names=self.class_names, fixed=self.fixed, notes=self.notes)

    @property
    def content(self) -> str:
        """SHA-256 (hex) of the texts in use, their labels, and what is fixed of them."""
        return self._content

    @cached_property
    def _content(self) -> str:
        digest = hashlib.sha256(repr((len(self), self.fixed)).encode())
        for text in self._texts:
            digest.update(f"{len(text)} {text}".encode())
        digest.update(self._stored.numpy().data)
        return digest.hexdigest()

    def texts(self, start: int, stop: int) -> list[str]:
        """The texts of rows start .. stop - 1."""
        return list(self._texts[start:stop])

    def free(self, start: int, stop: int) -> list[tuple[int, int]]:
        """Which characters of rows start .. stop - 1 may change: text[a:b], all of it or one side of a pair."""
        return [self._free(text) for text in self._texts[start:stop]]

    def _free(self, text: str) -> tuple[int, int]:
        at = text.find(SEPARATOR)
        return {None: (0, len(text)), "first": (at + 1, len(text)), "second": (0, at)}[self.fixed]

    def _read(self, start: int, stop: int) -> Tensor:
        return as_codes(self._texts[start:stop], self.shape[0])


def _width(texts: Iterable[str]) -> int:
    """The longest text, a quarter more, and 64 characters.

    Exchanged words may be longer and inserted ones come on top: where 15 % of the words change, a quarter allows for
    synonyms more than twice as long, and 64 characters for a few words in a short text.
    """
    return math.ceil(1.25 * max(map(len, texts))) + 64


def _check_text(text: Any, row: int, name: str, fixed: Side | None) -> None:
    """Raises InputError: it is no text or no pair, or has NUL or half of a surrogate pair, which no file can hold."""
    if not isinstance(text, str):
        raise InputError(f"expected texts in {name}, got {type(text).__name__} in row {row}: leave that row out")
    if fixed and text.count(SEPARATOR) != 1:
        raise InputError(
            f"expected a pair in row {row} of {name}, two texts with one character U+001E between them, got "
            f"{text.count(SEPARATOR)} of it: join both with blindspots.texts.pairs, and remove it inside of them"
        )
    if text.isascii() and "\0" not in text:
        return
    wrong = next((i for i, c in enumerate(text) if c == "\0" or "\ud800" <= c <= "\udfff"), None)
    if wrong is not None:
        what = "NUL" if text[wrong] == "\0" else "half of a surrogate pair"
        raise InputError(f"expected characters in row {row} of {name}, got {what} at {wrong}: remove it")


# ------------------------------------------------------------------ from files


def read_texts(path: Path, spec: str, rows: int | None = None, layout: str | None = None) -> TextData:
    """The texts of a table in a file (see `tables.READERS`), the first `rows` of them or all.

    Args:
        layout: which columns to read, see `columns.parse_columns`; None: they are found by their names.

    Raises InputError: it cannot be read, columns are not there or not clear, a row has no label, or no text.
    """
    data = _of_table(read_table(path), spec, rows, None if layout is None else parse_columns(layout))
    data.layout = layout
    return data


def _of_table(table: Table, spec: str | None = None, rows: int | None = None, asked: Columns | None = None) -> TextData:
    read = picked(table, asked)
    labels = labels_of(_labels(read), len(read.rows), read.name, table.classes.get(read.columns.label))
    labels = _from_zero(labels) if read.bare else labels
    side = read.columns.side if read.columns.fixed else None
    return TextData(_texts(read), labels, read.name, spec=spec, fixed=side, rows=rows, notes=[_said(read)])


def _texts(read: Picked) -> list[str]:
    """One text per row; both sides of a pair are joined."""
    columns = read.columns
    parts = [_strings(read, name) for name in columns.text]
    free = [" ".join(cells) for cells in zip(*parts, strict=True)]
    if not columns.fixed:
        return free
    fixed = _strings(read, columns.fixed)
    return list(map(joined, *((fixed, free) if columns.side == "first" else (free, fixed))))


def _strings(read: Picked, name: str) -> list[str]:
    cells = read.column(name)
    for row, cell in enumerate(cells):
        if not isinstance(cell, str):
            raise InputError(
                f"expected a text in row {row} of {read.name}, column {name!r}, got {cell!r}: leave that row out"
            )
    return cells


def _labels(read: Picked) -> list[Any]:
    cells = read.column(read.columns.label)
    for row, cell in enumerate(cells):
        if cell in _UNLABELLED or cell != cell:  # NaN differs from itself
            raise InputError(
                f"expected a label in every row of {read.name}, got {cell!r} in row {row}, column "
                f"{read.columns.label!r}: leave rows without labels out"
            )
    return cells


def _from_zero(labels: Labels) -> Labels:
    """Numbers 1, 2, ... C as 0, 1, ... C - 1: so the corpora of Zhang et al. (2015), AG News among them, count."""
    last = int(labels.y.max())
    if labels.names is not None or last < 2 or set(labels.y.tolist()) != set(range(1, last + 1)):
        return labels
    how = "the numbers from 1 in the file, counted from 0"
    return replace(labels, y=labels.y - 1, how=how, called=lambda k: str(k + 1))


def _said(read: Picked) -> Finding:
    columns = read.columns
    said = f"Texts were read from {_columns(columns.text)}, labels from {_columns([columns.label])}"
    if columns.fixed:
        said += f"; {_columns([columns.fixed])} is the {columns.side} text of each pair and stays as it is"
    unread = [name for name in read.names if name not in columns.used]
    return note("columns", f"{said}; not read: {shown(unread)}." if unread else f"{said}.")


def _columns(names: Sequence[str]) -> str:
    return f"{'columns' if len(names) > 1 else 'column'} {' and '.join(map(repr, names))}"


# ------------------------------------------------------------------ from Python


def are_texts(x: Any) -> bool:
    """Whether it is a list, an array or a column of strings."""
    if isinstance(x, list | tuple):
        return bool(x) and all(isinstance(text, str) for text in x)
    kind = getattr(getattr(x, "dtype", None), "kind", "")
    return kind == "U" or (kind == "O" and len(x) > 0 and all(isinstance(text, str) for text in x))


def text_columns(given: Any) -> TextData | None:
    """Texts in columns, {"text": [...], "label": [...]} or a Hugging Face dataset with such names; None for others."""
    names = list(given) if isinstance(given, Mapping) else getattr(given, "column_names", None)
    columns = found(names) if isinstance(names, list) and all(isinstance(name, str) for name in names) else None
    if columns is None or not are_texts(list(given[columns.text[0]])):
        return None
    cells = {name: list(given[name]) for name in columns.used}
    if len(set(map(len, cells.values()))) > 1:
        lengths = ", ".join(f"{len(column)} for {name!r}" for name, column in cells.items())
        raise InputError(f"expected columns of one length, got {lengths}: give every text a label")
    known = getattr(getattr(given, "features", {}).get(columns.label), "names", None)
    rows: list[Row] = list(zip(*cells.values(), strict=True))
    return _of_table(Table("texts", rows, list(cells), {columns.label: known} if known else {}))


def _listed(texts: Any, name: str) -> list[Any]:
    if isinstance(texts, list | tuple) and not texts:
        raise InputError(f"expected at least one text in {name}, got none: pass texts with their labels")
    if not are_texts(texts):
        raise InputError(f"expected strings as texts for {name}, got {type(texts).__name__}: pass ['a text', ...]")
    listed: list[Any] = np.asarray(texts).tolist() if hasattr(texts, "dtype") else list(texts)
    return listed


# ------------------------------------------------------------------ embedded


def reviews_test(rows: int | None = None) -> TextData:
    """The 1,000 test rows of the embedded reviews."""
    texts, labels = reviews("test")
    return TextData(texts, labels, "reviews", spec="reviews", class_names=CLASSES, rows=rows)


def reviews_training(rows: int | None = None) -> TextData:
    """The other 4,000, on which the embedded networks were trained."""
    (texts, labels), name = reviews("train"), "reviews, training rows"
    return TextData(texts, labels, name, spec="reviews-training", class_names=CLASSES, rows=rows)
