"""What all limits of candidates have in common."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Self

from blindspots.texts.vectors import Vectors
from blindspots.texts.words import Span


class Limit:
    """Sorts candidates out, from what is known before the model is asked: the word, and the text around it."""

    def of(self, word: str, candidates: Iterable[str]) -> Iterable[str]:
        """The candidates for a word that may stay, in their order; a limit may also change how they are written."""
        return candidates

    def beside(self, text: str, span: Span, candidates: Sequence[str]) -> Sequence[str]:
        """Those of them that fit the neighbours of the word at `span`, as the text was at first."""
        return candidates

    def on(self, vectors: Vectors) -> Self:
        """The same with the victim's words and vectors, where the limit asks for these."""
        return self

    @property
    def resources(self) -> Mapping[str, str]:
        """SHA-256 of every file that it depends on, by its name."""
        return {}


class Pairwise(Limit, ABC):
    """A limit that looks at one candidate at a time."""

    @abstractmethod
    def allows(self, word: str, candidate: str) -> bool:
        """Whether the candidate may stand for the word."""

    def of(self, word: str, candidates: Iterable[str]) -> Iterable[str]:
        return (candidate for candidate in candidates if self.allows(word, candidate))
