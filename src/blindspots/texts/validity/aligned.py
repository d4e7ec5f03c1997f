"""Which words of a text became which others."""

from collections.abc import Sequence
from difflib import SequenceMatcher
from functools import lru_cache

from blindspots.texts.words import words

Block = tuple[tuple[str, ...], tuple[str, ...]]  # words that were there, words that are there instead
Range = tuple[int, int, int, int]  # words a to b were there, words c to d are there instead


def blocks(clean: str, changed: str) -> tuple[Block, ...]:
    """The exchanges of words that lead from one text to the other, in order; none where only gaps between differ.

    Texts of equally many words are compared place by place, unless an alignment needs fewer changes.
    """
    old, new = split(clean), split(changed)
    return tuple((old[a:b], new[c:d]) for a, b, c, d in ranges(clean, changed))


@lru_cache(4096)
def ranges(clean: str, changed: str) -> tuple[Range, ...]:
    """The places of `blocks` among the words of both texts."""
    old, new = split(clean), split(changed)
    aligned = _aligned(old, new)
    in_place = [(i, i + 1, i, i + 1) for i, (a, b) in enumerate(zip(old, new, strict=False)) if a != b]
    return tuple(in_place if len(old) == len(new) and len(in_place) <= _size(aligned) else aligned)


def size(clean: str, changed: str) -> int:
    """How many words are exchanged, inserted or deleted."""
    return _size(ranges(clean, changed))


def windows(clean: str, changed: str, width: int) -> list[tuple[str, str]]:
    """What stands around every exchange in both texts: `width` words, or all where there are fewer.

    The whole texts where only gaps between words differ.
    """
    found = ranges(clean, changed)
    return [(_around(clean, a, b, width), _around(changed, c, d, width)) for a, b, c, d in found] or [(clean, changed)]


def _around(text: str, a: int, b: int, width: int) -> str:
    """The `width` words that have words a to b in their middle, or as near to it as the ends of the text allow."""
    spans = words(text)
    first = max(0, min((a + b - width) // 2, len(spans) - width))
    some = spans[first : first + width]
    return text[some[0][0] : some[-1][1]] if some else ""


@lru_cache(4096)
def split(text: str) -> tuple[str, ...]:
    """The words of a text."""
    return tuple(text[a:b] for a, b in words(text))


def _aligned(old: Sequence[str], new: Sequence[str]) -> list[Range]:
    """By Ratcliff and Obershelp's longest common runs."""
    steps = SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
    return [(a, b, c, d) for kind, a, b, c, d in steps if kind != "equal"]


def _size(found: Sequence[Range]) -> int:
    return sum(max(b - a, d - c) for a, b, c, d in found)
