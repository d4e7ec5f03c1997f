"""Nearest neighbours in a table of word vectors."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Self

from pydantic import ConfigDict

from blindspots.errors import InputError
from blindspots.texts.sources.source import Lexicon
from blindspots.texts.tables import digest
from blindspots.texts.vectors import Vectors, read_vectors


@dataclass(frozen=True)
class Embedding(Lexicon):
    """The words with the largest cosines, nearest first.

    Args:
        file: vectors as JSON {word: [number, ...]}, or a word and its numbers per line (GloVe, word2vec).
        cosine: the least of a candidate.
        vectors: the victim's own, in place of a file.

    Raises InputError: the file has another form; at the first word: there is neither.
    """

    file: str | None = None
    cosine: float = 0.5
    vectors: Vectors | None = None

    title: ClassVar[str] = "nearest neighbours"
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(arbitrary_types_allowed=True)

    def __post_init__(self) -> None:
        if self.file is not None:
            _ = self.table  # so that errors come early

    def known(self, word: str) -> Iterable[str]:
        return self.table.nearest(word, self.count, self.cosine)

    def on(self, vectors: Vectors) -> Self:
        return self if self.file else replace(self, vectors=vectors)

    @cached_property
    def table(self) -> Vectors:
        """The vectors that are searched."""
        return given(self.file, self.vectors)

    @property
    def resources(self) -> Mapping[str, str]:
        return {} if self.file is None else {self.file: digest(Path(self.file))}

    def __str__(self) -> str:
        whose = "the model's own vectors" if self.file is None else Path(self.file).name
        return f"{self.title} in {whose} with a cosine of {self.cosine:g} or more"


def given(file: str | None, vectors: Vectors | None) -> Vectors:
    """The vectors, or those of the file. Raises InputError: there is neither."""
    if file is not None:
        return read_vectors(Path(file))
    if vectors is None:
        raise InputError("expected vectors of words, got neither a file nor a model that has some: write file=PATH")
    return vectors
