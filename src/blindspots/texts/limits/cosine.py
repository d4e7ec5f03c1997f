"""Word and candidate are near as vectors."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Self

from pydantic import ConfigDict

from blindspots.texts.limits.limit import Pairwise
from blindspots.texts.sources.embedding import given
from blindspots.texts.tables import digest
from blindspots.texts.vectors import Vectors


@dataclass(frozen=True)
class Cosine(Pairwise):
    """The cosine of word and candidate is `least` or more; words without a vector have none.

    Args:
        least: -1 to 1.
        file: vectors, as the source "embedding" reads them.
        vectors: the victim's own, in place of a file.

    Raises InputError: the file has another form; at the first word: there is neither.
    """

    least: float = 0.5
    file: str | None = None
    vectors: Vectors | None = None

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(arbitrary_types_allowed=True)

    def __post_init__(self) -> None:
        if self.file is not None:
            _ = self.table  # so that errors come early

    def allows(self, word: str, candidate: str) -> bool:
        cosine = self.table.cosine(word.lower(), candidate.lower())
        return cosine is not None and cosine >= self.least

    def on(self, vectors: Vectors) -> Self:
        return self if self.file else replace(self, vectors=vectors)

    @cached_property
    def table(self) -> Vectors:
        """The vectors that are compared."""
        return given(self.file, self.vectors)

    @property
    def resources(self) -> Mapping[str, str]:
        return {} if self.file is None else {self.file: digest(Path(self.file))}

    def __str__(self) -> str:
        return f"the cosine to the word is {self.least:g} or more"
