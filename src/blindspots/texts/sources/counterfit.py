"""Nearest neighbours after counter-fitting."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from blindspots.texts.antonyms import ANTONYMS
from blindspots.texts.counterfitting import counterfit
from blindspots.texts.sources.embedding import Embedding
from blindspots.texts.tables import digest, read_pairs
from blindspots.texts.vectors import Vectors


@dataclass(frozen=True)
class CounterFit(Embedding):
    """Neighbours in vectors that were moved until synonyms are near and antonyms are not (Mrksic et al. 2016).

    Args:
        synonyms: a file of pairs, such as PPDB's.
        antonyms: another one; without it the few that are embedded here.

    Raises InputError: a file cannot be read, or has another form.
    """

    synonyms: str | None = None
    antonyms: str | None = None

    title: ClassVar[str] = "nearest counter-fitted neighbours"

    @cached_property
    def table(self) -> Vectors:
        """The vectors as they were moved."""
        synonyms = read_pairs(Path(self.synonyms)) if self.synonyms else frozenset()
        return counterfit(super().table, synonyms, read_pairs(Path(self.antonyms)) if self.antonyms else ANTONYMS)

    @property
    def resources(self) -> Mapping[str, str]:
        return {name: digest(Path(name)) for name in (self.file, self.synonyms, self.antonyms) if name}
