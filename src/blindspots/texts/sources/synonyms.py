"""Synonyms from a table."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from blindspots.texts.sources.source import Lexicon
from blindspots.texts.tables import digest, read_synonyms
from blindspots.texts.vocabulary import SYNONYMS


@dataclass(frozen=True)
class Synonyms(Lexicon):
    """Synonyms of a table, in its order.

    Args:
        file: .json {word: [synonym, ...]}, .tsv or .csv with a word and its synonyms per line, or two words per line
            as in PPDB's lists; without one, the groups that the embedded reviews are written with.

    Raises InputError: the file cannot be read, or has another form.
    """

    file: str | None = None

    title = "synonyms"

    def __post_init__(self) -> None:
        _ = self.table  # so that errors come early

    def known(self, word: str) -> Iterable[str]:
        return self.table.get(word, ())

    @cached_property
    def table(self) -> Mapping[str, tuple[str, ...]]:
        """What may stand for a word, by the word in small letters."""
        return SYNONYMS if self.file is None else read_synonyms(Path(self.file))

    @property
    def resources(self) -> Mapping[str, str]:
        return {} if self.file is None else {self.file: digest(Path(self.file))}

    def __str__(self) -> str:
        return f"synonyms of {Path(self.file).name if self.file else 'the embedded reviews'}"
