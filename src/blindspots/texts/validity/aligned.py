"""Which words of a text became which others."""

from collections.abc import Sequence
from difflib import SequenceMatcher
from functools import lru_cache

from blindspots.texts.words import words

Block = tuple[tuple[str, ...], tuple[str, ...]]  # words that were there, words that are there instead


@lru_cache(4096)
def blocks(clean: str, changed: str) -> tuple[Block, ...]:
    """The exchanges of words that lead from one text to the other, in order; none where only gaps between differ.

    Texts of equally many words are compared place by place, unless an alignment needs fewer changes.
    """
    old, new = split(clean), split(changed)
    aligned = _aligned(old, new)
    in_place = [((a,), (b,)) for a, b in zip(old, new, strict=False) if a != b]
    return tuple(in_place if len(old) == len(new) and len(in_place) <= _size(aligned) else aligned)


def size(clean: str, changed: str) -> int:
    """How many words are exchanged, inserted or deleted."""
    return _size(blocks(clean, changed))


@lru_cache(4096)
def split(text: str) -> tuple[str, ...]:
    """The words of a text."""
    return tuple(text[a:b] for a, b in words(text))


def _aligned(old: Sequence[str], new: Sequence[str]) -> list[Block]:
    """By Ratcliff and Obershelp's longest common runs."""
    steps = SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
    return [(tuple(old[a:b]), tuple(new[c:d])) for kind, a, b, c, d in steps if kind != "equal"]


def _size(found: Sequence[Block]) -> int:
    return sum(max(len(old), len(new)) for old, new in found)
