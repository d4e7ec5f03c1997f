"""A tokenizer of words and punctuation marks, for the networks that are trained here."""

import hashlib
import re
from collections.abc import Iterable, Sequence
from typing import Self

_TOKEN = re.compile(r"\w+(?:['’]\w+)*|[^\w\s]")


class WordTokenizer:
    """Lower-cased words and punctuation marks; those out of the vocabulary share one number.

    Token 0 fills up, token 1 is any unknown word (and stands for a text without words), the vocabulary follows.
    """

    pad = 0
    unknown = 1
    longest: int | None = None  # the networks take any number of tokens

    def __init__(self, vocabulary: Sequence[str]) -> None:
        self.vocabulary = tuple(vocabulary)
        self.size = 2 + len(self.vocabulary)
        self._numbers = {word: 2 + i for i, word in enumerate(self.vocabulary)}

    @classmethod
    def of(cls, texts: Iterable[str]) -> Self:
        """The words of these texts, sorted."""
        return cls(sorted({word for text in texts for word in _words(text)}))

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of everything that encodings depend on."""
        return hashlib.sha256(repr((_TOKEN.pattern, self.vocabulary)).encode()).hexdigest()

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """The numbers of each text's words and marks, at least one."""
        return [[self._numbers.get(word, self.unknown) for word in _words(text)] or [self.unknown] for text in texts]

    def whole_words(self) -> dict[str, int]:
        """The words of the vocabulary, without punctuation marks, with their numbers."""
        return {word: number for word, number in self._numbers.items() if word[0].isalnum()}

    def spans(self, text: str) -> list[tuple[int, int]]:
        """The characters of each token of `encode([text])[0]`; (0, 0) where it stands for none."""
        return [found.span() for found in _TOKEN.finditer(text)] or [(0, 0)]


def _words(text: str) -> list[str]:
    return [word.lower() for word in _TOKEN.findall(text)]
