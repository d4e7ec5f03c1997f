"""A text's lattice: the places that may change, and what may stand there instead."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any


@dataclass(frozen=True)
class Lattice:
    """
    Args:
        text: as it is.
        spans: places in order, disjoint: the characters a to b - 1 of the text may be replaced.
        candidates: what may stand at each place instead, best first; "" deletes it.
    """

    text: str
    spans: tuple[tuple[int, int], ...]
    candidates: tuple[tuple[str, ...], ...]

    @cached_property
    def fixed(self) -> tuple[str, ...]:
        """What stands before, between and behind the places."""
        edges = [0, *(edge for span in self.spans for edge in span), len(self.text)]
        return tuple(self.text[a:b] for a, b in zip(edges[::2], edges[1::2], strict=True))

    @cached_property
    def choices(self) -> tuple[tuple[str, ...], ...]:
        """At each place what is there, followed by its candidates."""
        return tuple((self.text[a:b], *there) for (a, b), there in zip(self.spans, self.candidates, strict=True))

    def at(self, choice: Sequence[int]) -> str:
        """The text with candidate c - 1 at the places where `choice` says c > 0, and nothing where it says c < 0."""
        parts = [self.fixed[0]]
        for words, c, behind in zip(self.choices, choice, self.fixed[1:], strict=False):
            parts += (words[c] if c >= 0 else "", behind)
        return "".join(parts)

    def spans_at(self, choice: Sequence[int]) -> list[tuple[int, int]]:
        """Where the places are in the text of this choice."""
        spans, end = [], 0
        for before, words, c in zip(self.fixed, self.choices, choice, strict=False):
            start = end + len(before)
            end = start + (len(words[c]) if c >= 0 else 0)
            spans.append((start, end))
        return spans

    def choice(self, text: str) -> list[int] | None:
        """What was chosen, with as few changes as possible, if `text` is a point of this lattice."""
        if not text.startswith(self.fixed[0]):
            return None
        ways: _Ways = {len(self.fixed[0]): (0, None)}
        for words, behind in zip(self.choices, self.fixed[1:], strict=True):
            ways = _read_on(text, ways, words, behind)
        return _listed(ways[len(text)][1]) if len(text) in ways else None


_Chain = tuple[Any, int] | None  # of choices, the last one first
_Ways = dict[int, tuple[int, _Chain]]  # where reading has come to -> the fewest changes, and the choices that led there


def _read_on(text: str, ways: _Ways, words: Sequence[str], behind: str) -> _Ways:
    """One place further, with what stands behind it."""
    further: _Ways = {}
    for end, (changes, so_far) in ways.items():
        for c, word in enumerate(words):
            stop, count = end + len(word) + len(behind), changes + (c > 0)
            fits = text.startswith(word, end) and text.startswith(behind, end + len(word))
            if fits and (stop not in further or count < further[stop][0]):
                further[stop] = (count, (so_far, c))
    return further


def _listed(chain: _Chain) -> list[int]:
    found = []
    while chain is not None:
        chain, choice = chain
        found.append(choice)
    return found[::-1]
