"""Texts and their labels, from Python, from files, and the embedded reviews."""

import hashlib
import math
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any, Literal

import numpy as np
from torch import Tensor

from blindspots.data.dataset import Stream
from blindspots.data.labels import Labels, labels_of
from blindspots.errors import InputError
from blindspots.findings import Finding
from blindspots.texts.codes import as_codes
from blindspots.texts.pairs import SEPARATOR
from blindspots.texts.reviews import CLASSES, reviews


class TextData(Stream):
    """Texts, one per row. Inputs are their code points (L,), padded with 0 (see `texts.codes`).

    Texts are held as strings, exactly as they were stored: nothing is normalised, trimmed or split. L, the width of an
    input, leaves room for what attacks insert.

    Attributes:
        fixed: which side of a pair never changes, "first" or "second"; None where texts are no pairs.
    """

    unit = "text"

    def __init__(
        self,
        texts: Sequence[str],
        labels: Labels,
        name: str,
        spec: str | None = None,
        fixed: Literal["first", "second"] | None = None,
        layout: str | None = None,
        notes: Iterable[Finding] = (),
    ) -> None:
        if not texts:
            raise InputError(f"expected at least one text in {name}, got none: pass texts with labels")
        super().__init__(name, spec, (_width(texts),), labels, list(notes))
        self._texts, self.fixed, self.layout = texts[: len(labels.y)], fixed, layout

    @classmethod
    def of(
        cls,
        texts: Any,
        labels: Any,
        name: str = "texts",
        *,
        spec: str | None = None,
        class_names: Iterable[str] | None = None,
        rows: int | None = None,
    ) -> "TextData":
        """Texts from Python: a list, an array or a column of strings.

        Args:
            labels: one class per text: integers or words; see `labels_of` for other forms.
            class_names: names of the labels 0, 1, ...; words in `labels` are looked up among them.
            rows: use only the first `rows` texts.

        Raises InputError: something is no text, or labels do not fit.
        """
        listed = _listed(texts)
        for row, text in enumerate(listed):
            check_text(text, row, name)
        return cls(listed, labels_of(labels, len(listed), name, class_names).first(rows), name, spec)

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
    """The longest text, a quarter more, and 64 characters: synonyms are longer by less, and inserted words fit in."""
    return math.ceil(1.25 * max(map(len, texts))) + 64


def check_text(text: Any, row: int, name: str) -> None:
    """Raises InputError: it is no text, or has NUL or half of a surrogate pair, which no encoding can hold."""
    if not isinstance(text, str):
        raise InputError(f"expected texts in {name}, got {type(text).__name__} in row {row}: leave that row out")
    if text.isascii() and "\0" not in text:
        return
    wrong = next((i for i, c in enumerate(text) if c == "\0" or "\ud800" <= c <= "\udfff"), None)
    if wrong is not None:
        what = "NUL" if text[wrong] == "\0" else "half of a surrogate pair"
        raise InputError(f"expected characters in row {row} of {name}, got {what} at {wrong}: remove it")


# ------------------------------------------------------------------ from Python


def are_texts(x: Any) -> bool:
    """Whether it is a list, an array or a column of strings."""
    if isinstance(x, list | tuple):
        return bool(x) and all(isinstance(text, str) for text in x)
    kind = getattr(getattr(x, "dtype", None), "kind", "")
    return kind == "U" or (kind == "O" and len(x) > 0 and all(isinstance(text, str) for text in x))


def _listed(texts: Any) -> list[Any]:
    if isinstance(texts, str) or not hasattr(texts, "__iter__"):
        raise InputError(f"expected a list of texts, got {type(texts).__name__}: pass [text, ...]")
    return np.asarray(texts).tolist() if hasattr(texts, "dtype") else list(texts)


# ------------------------------------------------------------------ embedded


def reviews_test(rows: int | None = None) -> TextData:
    """The 1,000 test rows of the embedded reviews."""
    texts, labels = reviews("test")
    return TextData.of(texts, labels, "reviews", spec="reviews", class_names=CLASSES, rows=rows)


def reviews_training(rows: int | None = None) -> TextData:
    """The other 4,000, on which the embedded networks were trained."""
    (texts, labels), name = reviews("train"), "reviews, training rows"
    return TextData.of(texts, labels, name, spec="reviews-training", class_names=CLASSES, rows=rows)
