"""What all front ends of text models have in common."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from itertools import pairwise
from typing import ClassVar

from blindspots.texts.words import words

Change = Callable[[str], str]  # of texts


class FrontEnd(ABC):
    """Settings of a change of texts, each on its own; the same text always becomes the same."""

    name: ClassVar[str]

    @abstractmethod
    def on(self, known: Sequence[str]) -> Change:
        """The change before a model that has these words, the most frequent first; none: it tells none."""

    @property
    def resources(self) -> Mapping[str, str]:
        """SHA-256 of every file that the change depends on, by its name."""
        return {}

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of everything that the change depends on."""
        return hashlib.sha256(repr((str(self), sorted(self.resources.values()))).encode()).hexdigest()

    def __str__(self) -> str:
        """In words, as it was written."""
        given = [f"{f.name}={value}" for f in fields(self) if (value := getattr(self, f.name)) != f.default]  # type: ignore[arg-type]
        return f"{self.name}:{','.join(given)}" if given else self.name


def by_words(text: str, change: Change) -> str:
    """The text with each of its words changed."""
    edges = [0, *(edge for span in words(text) for edge in span), len(text)]
    parts = [text[a:b] for a, b in pairwise(edges)]
    parts[1::2] = map(change, parts[1::2])
    return "".join(parts)
