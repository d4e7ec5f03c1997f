"""Edits of one character in a word: swapped, left out, put in, replaced."""

from collections.abc import Iterable
from dataclasses import dataclass
from string import ascii_lowercase
from typing import ClassVar

from blindspots.errors import InputError
from blindspots.texts.sources.homoglyph import Homoglyph
from blindspots.texts.sources.invisible import Invisible
from blindspots.texts.sources.keyboard import Keyboard
from blindspots.texts.sources.source import Source, in_turns


@dataclass(frozen=True)
class Swap(Source):
    """Two neighbouring characters change places."""

    title = "swapped characters"

    def of(self, word: str) -> Iterable[str]:
        return (word[:i] + word[i + 1] + word[i] + word[i + 2 :] for i in range(len(word) - 1))


@dataclass(frozen=True)
class Delete(Source):
    """A character is left out of a word of two or more."""

    title = "characters left out"

    def of(self, word: str) -> Iterable[str]:
        return (word[:i] + word[i + 1 :] for i in range(len(word)) if len(word) > 1)


@dataclass(frozen=True)
class Split(Source):
    """A word is cut in two by a space (TextBugger's "insert"; Li et al. 2019, arXiv 1812.05271)."""

    title = "words cut in two"

    def of(self, word: str) -> Iterable[str]:
        return (f"{word[:i]} {word[i:]}" for i in range(1, len(word)))


@dataclass(frozen=True)
class _Spelling(Source):
    """Args: alphabet: the characters that may be put in."""

    alphabet: str = ascii_lowercase

    def __post_init__(self) -> None:
        check_alphabet(self.alphabet)


@dataclass(frozen=True)
class Insert(_Spelling):
    """A character is put between two others.

    Args:
        alphabet: the characters that may be put in.
    """

    title = "inserted characters"

    def of(self, word: str) -> Iterable[str]:
        return in_turns([word[:i] + c + word[i:] for c in self.alphabet] for i in range(1, len(word)))


@dataclass(frozen=True)
class Substitute(_Spelling):
    """A character is replaced by any other.

    Args:
        alphabet: the characters that may take its place.
    """

    title = "replaced characters"

    def of(self, word: str) -> Iterable[str]:
        return in_turns([word[:i] + c + word[i + 1 :] for c in self.alphabet] for i in range(len(word)))


@dataclass(frozen=True)
class Typo(Source):
    """The edits of DeepWordBug (Gao et al. 2018, arXiv 1801.04354) in turns: swap, substitute, delete, insert.

    The paper draws one letter at random; here all of a to z are candidates.
    """

    kinds: ClassVar[tuple[type[Source], ...]] = (Swap, Substitute, Delete, Insert)
    title = "swapped, replaced, left out and inserted characters"

    def of(self, word: str) -> Iterable[str]:
        return in_turns(kind().of(word) for kind in self.kinds)


@dataclass(frozen=True)
class Characters(Typo):
    """Slips and tricks in turns: swaps, omissions, insertions, neighbouring keys, lookalikes, invisible characters."""

    kinds = (Swap, Delete, Keyboard, Homoglyph, Insert, Invisible)
    title = "slips and tricks of one character"


def check_alphabet(alphabet: str) -> None:
    """Raises InputError for one that is empty, has a character twice, or NUL, which no text has."""
    if not alphabet or len(set(alphabet)) < len(alphabet) or "\0" in alphabet:
        raise InputError(f"expected different characters as alphabet, without NUL, got {alphabet!r}: name each once")
