"""Any word of a list."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Self

from blindspots.errors import InputError
from blindspots.texts.sources.source import Lexicon
from blindspots.texts.tables import digest, read_list
from blindspots.texts.vectors import Vectors


@dataclass(frozen=True)
class Vocabulary(Lexicon):
    """Every word of a file, in its order, whatever the word means.

    Args:
        count: how many of them, from the first.
        file: one word per line.
        words: the victim's own, in place of a file.

    Raises InputError: the file cannot be read, or is empty; at the first word: there is neither.
    """

    count: int = 1000
    file: str | None = None
    words: tuple[str, ...] | None = None

    title = "words"

    def __post_init__(self) -> None:
        if self.file is not None:
            _ = self.table  # so that errors come early

    def on(self, vectors: Vectors) -> Self:
        return self if self.file else replace(self, words=vectors.words)

    def known(self, word: str) -> Iterable[str]:
        return self.table

    @cached_property
    def table(self) -> tuple[str, ...]:
        """The words."""
        if self.file is not None:
            return read_list(Path(self.file))
        if self.words is None:
            raise InputError("expected a list of words, got neither a file nor a model that has one: write file=PATH")
        return self.words

    @property
    def resources(self) -> Mapping[str, str]:
        return {} if self.file is None else {self.file: digest(Path(self.file))}

    def __str__(self) -> str:
        return f"{self.title} of {Path(self.file).name if self.file else 'the model'}"
