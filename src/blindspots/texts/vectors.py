"""Words as vectors: neighbours and cosines."""

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from blindspots.errors import InputError
from blindspots.files import check_regular
from blindspots.texts.tables import read_json


class Vectors:
    """A vector for each of some words.

    Args:
        words: each once.
        table: (words, dimensions), finite.

    Attributes:
        words: as given.
        unit: the rows of the table with length 1; those of length 0 stay.

    Raises InputError: words and rows do not fit, or numbers are not finite.
    """

    def __init__(self, words: Sequence[str], table: ArrayLike) -> None:
        rows: NDArray[np.float32] = np.asarray(table, np.float32)
        fits = rows.ndim == 2 and rows.size and len(rows) == len(words) == len(set(words))
        if not fits or not np.isfinite(rows).all():
            raise InputError(
                f"expected a row of finite numbers for each of {len(words)} different words, got an array of shape "
                f"{rows.shape}: leave out what is double or not finite"
            )
        self.words = tuple(words)
        self.unit = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
        self.place = {word: i for i, word in enumerate(self.words)}

    def nearest(self, word: str, count: int, cosine: float = -1.0) -> list[str]:
        """The other words with the `count` largest cosines, none below `cosine`; nothing where `word` has no row."""
        if word not in self.place:
            return []
        near = self.unit @ self.unit[self.place[word]]
        near[self.place[word]] = -np.inf
        best = np.argsort(-near, kind="stable")[:count]
        return [self.words[i] for i in best if near[i] >= cosine]

    def cosine(self, a: str, b: str) -> float | None:
        """The cosine of two words; None where one has no row."""
        if a not in self.place or b not in self.place:
            return None
        return float(self.unit[self.place[a]] @ self.unit[self.place[b]])


def read_vectors(path: Path) -> Vectors:
    """Vectors of a file: JSON {word: [number, ...]}, or a word and its numbers per line (GloVe, word2vec).

    Raises InputError: the file has another form.
    """
    try:
        rows = dict(_rows_of_json(path) if ".json" in path.suffixes else _rows_of_lines(path))
        return Vectors(list(rows), np.array(list(rows.values()), np.float32))
    except InputError:
        raise
    except (ValueError, TypeError) as error:
        raise InputError(
            f"expected a word and equally many numbers for each row of {str(path)!r}, got something else ({error}): "
            "mend it or name another file"
        ) from error


def _rows_of_json(path: Path) -> Iterator[tuple[str, Any]]:
    table = read_json(path)
    if not isinstance(table, dict):
        raise InputError(f'expected {{"word": [number, ...]}} in {str(path)!r}, got another form: name another file')
    yield from table.items()


def _rows_of_lines(path: Path) -> Iterator[tuple[str, Any]]:
    check_regular(path, "vectors of words")
    with path.open(encoding="utf-8", newline="\n") as file:
        head = file.readline().split()
        if len(head) == 2:  # word2vec's first line says how many rows and columns there are
            head = file.readline().split()
        for line in chain([" ".join(head)], file):
            word, *numbers = line.rstrip().rsplit(" ", len(head) - 1)  # some words of GloVe hold spaces
            yield word, np.array(numbers, np.float32)
