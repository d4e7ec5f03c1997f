"""The same words at every gap of a text."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

from blindspots.texts.pairs import SEPARATOR
from blindspots.texts.sources.source import Source
from blindspots.texts.triggers import Place
from blindspots.texts.words import Span, refuse_unsegmented, words

_BLANK = re.compile(r"\s+")
_WHERE: dict[Place, str] = {
    "anywhere": "in front, at the end or between two words",
    "front": "in front",
    "end": "at the end",
}


@dataclass(frozen=True)
class Phrase(Source):
    """Words that are put in, with spaces where they touch others: in front, at the end, and between two words.

    Between words are gaps with white space, and those of scripts that need none, as between Han characters. Of a pair
    each side has its own front and end.

    Args:
        phrase: the words.
        place: the only kind of gap that they may be put into.
    """

    phrase: str = ""
    place: Place = "anywhere"

    title = "a phrase"
    contextual: ClassVar[bool] = True

    def of(self, word: str) -> Iterable[str]:
        return [self.phrase]

    def offers(self, text: str, spans: Sequence[Span]) -> list[Sequence[str]]:
        return [[spaced(self.phrase, text, at)] for at, _ in spans]

    def places(self, text: str) -> list[Span]:
        """Gaps (a, a). Raises InputError: the text's script needs a segmenter, and gaps between words are asked for."""
        found = set[int]()
        if self.place != "end":
            found |= {0, *(i + 1 for i in _separators(text))}
        if self.place != "front":
            found |= {len(text), *_separators(text)}
        if self.place == "anywhere":
            refuse_unsegmented(text)
            found.update(_between(text))
        return [(at, at) for at in sorted(found)]

    def __str__(self) -> str:
        return f"“{self.phrase}” {_WHERE[self.place]}"


def spaced(phrase: str, text: str, at: int) -> str:
    """The words with a space on either side where one is missing in the gap before character `at`."""
    before = "" if at == 0 or text[at - 1].isspace() else " "
    behind = "" if at == len(text) or text[at].isspace() else " "
    return f"{before}{phrase}{behind}"


def _separators(text: str) -> Iterator[int]:
    return (i for i, character in enumerate(text) if character == SEPARATOR)


def _between(text: str) -> Iterator[int]:
    """Where the gaps between two words are."""
    listed = words(text)
    for (_, end), (start, _) in pairwise(listed):
        if blank := _BLANK.search(text, end, start):
            yield blank.end()
        elif start == end:
            yield start
