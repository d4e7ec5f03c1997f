"""Whole words are left out or put in."""

from collections.abc import Iterable
from dataclasses import dataclass

from blindspots.texts.sources.source import Source
from blindspots.texts.sources.vocabulary import Vocabulary


@dataclass(frozen=True)
class DeleteWord(Source):
    """The word is left out; the space on either side stays."""

    title = "nothing"

    def of(self, word: str) -> Iterable[str]:
        return [""]


@dataclass(frozen=True)
class InsertWord(Vocabulary):
    """A word of a list comes after the word.

    Args:
        count: how many of them.
        file: one word per line.
        words: the victim's own, in place of a file.

    Raises InputError: the file cannot be read, or is empty; at the first word: there is neither.
    """

    count: int = 50

    title = "the word followed by words"

    def of(self, word: str) -> Iterable[str]:
        return (f"{word} {other}" for other in self.table)
