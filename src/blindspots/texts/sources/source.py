"""What all sources of candidates have in common."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice, zip_longest
from typing import ClassVar, Self

from blindspots.texts.vectors import Vectors
from blindspots.texts.words import Span, refuse_unsegmented, words

_NOBODY = "\0"  # stands in no text


@dataclass(frozen=True)
class Source(ABC):
    """Proposes what may stand in the place of a word.

    Args:
        count: how many candidates a word gets at most; the limits choose among these.
    """

    count: int = 50

    title: ClassVar[str]  # in a sentence: "synonyms"
    contextual: ClassVar[bool] = False  # whether candidates depend on the text around the word

    @abstractmethod
    def of(self, word: str) -> Iterable[str]:
        """Candidates for a word as it stands, best first; what is not new is left out by the builder."""

    def offers(self, text: str, spans: Sequence[Span]) -> list[Sequence[str]]:
        """At most `count` candidates for each of some places of a text."""
        return [unique(self.of(text[a:b]), but=text[a:b], count=self.count) for a, b in spans]

    def places(self, text: str) -> Sequence[Span]:
        """Where something may change: the words.

        Raises InputError: the text's script needs a segmenter.
        """
        refuse_unsegmented(text)
        return words(text)

    def on(self, vectors: Vectors) -> Self:
        """The same with the victim's words and vectors, where the source asks for these."""
        return self

    @property
    def resources(self) -> Mapping[str, str]:
        """SHA-256 of every file that candidates come from, by its name."""
        return {}

    def __str__(self) -> str:
        """The source in words, for reports."""
        return self.title


class Lexicon(Source):
    """A source that knows words in small letters; its candidates take the case of the word that they replace."""

    @abstractmethod
    def known(self, word: str) -> Iterable[str]:
        """Candidates for a word in small letters, best first."""

    def of(self, word: str) -> Iterable[str]:
        return (cased(candidate, word) for candidate in self.known(word.lower()))


def cased(candidate: str, word: str) -> str:
    """The candidate written as the word is: good, Good or GOOD. Other patterns, as in iPhone, leave it as it comes."""
    if word.isupper() and len(word) > 1:
        return candidate.upper()
    return candidate[:1].upper() + candidate[1:] if word[:1].isupper() and word[1:] == word[1:].lower() else candidate


def unique(candidates: Iterable[str], but: str, count: int | None = None) -> tuple[str, ...]:
    """The first `count` candidates, each once and none of them `but`."""
    seen = {but}
    new = (c for c in candidates if not (c in seen or seen.add(c)))  # type: ignore[func-returns-value]
    return tuple(islice(new, count))


def in_turns(lists: Iterable[Iterable[str]]) -> Iterable[str]:
    """The first of every list, then the second of every list, and so on."""
    rounds = zip_longest(*lists, fillvalue=_NOBODY)
    return (candidate for candidate in chain.from_iterable(rounds) if candidate != _NOBODY)
