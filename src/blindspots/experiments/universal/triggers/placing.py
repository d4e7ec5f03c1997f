"""How words get into texts: what a parametrisation is for perturbations of images."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from blindspots.texts.pairs import SEPARATOR, Side
from blindspots.texts.sources.phrase import spaced
from blindspots.texts.triggers import Place
from blindspots.texts.words import Span


@dataclass(frozen=True)
class Placing:
    """Words in front of a text or at its end; of a pair, of the side that may change.

    Args:
        place: "front" or "end".
        fixed: the side of a pair that never changes, see `texts.pairs`.
    """

    place: Place
    fixed: Side | None = None

    def paint(self, words: str, texts: Sequence[str]) -> list[str]:
        """The texts with the words in them."""
        return [self._painted(words, text, self._gap(text)) for text in texts]

    def spans(self, words: str, painted: str) -> list[Span]:
        """Where each of the words stands in a text with them."""
        at = self._gap(painted)
        start = at if self.place == "front" else at - len(words)
        return [(start + found.start(), start + found.end()) for found in re.finditer(r"\S+", words)]

    def _painted(self, words: str, text: str, at: int) -> str:
        return f"{text[:at]}{spaced(words, text, at)}{text[at:]}"

    def _gap(self, text: str) -> int:
        middle = text.find(SEPARATOR)
        if self.place == "front":
            return middle + 1 if self.fixed == "first" else 0
        return middle if self.fixed == "second" else len(text)
