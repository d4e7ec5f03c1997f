"""Characters that look like others, or like nothing, become plain ones."""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import ClassVar

from blindspots.texts.frontends.frontend import Change, FrontEnd
from blindspots.texts.memo import Memo
from blindspots.texts.sources.homoglyph import LOOKALIKES

_PLAIN = {ord(like): letter for letter, alike in LOOKALIKES.items() for like in alike}
_PIECE = re.compile(rf"(?:[^\W\d_]|[{''.join(map(chr, _PLAIN))}])+")  # letters, and what looks like them, in a row


@dataclass(frozen=True)
class Unicode(FrontEnd):
    """Undoes what Boucher et al. 2022 (arXiv 2106.09898) hide in texts, for texts in Latin letters.

    In this order: what is not drawn is removed (format characters such as zero-width and bidirectional ones, variation
    selectors); letters of other alphabets become the Latin ones that they look like, in words with a Latin letter and
    in those that consist of such letters alone; compatible characters become one (NFKC); marks that are left on Latin
    letters, digits or nothing are removed. Words of other scripts keep their letters and marks, but lose joiners.
    """

    name: ClassVar[str] = "unicode"

    def on(self, known: Sequence[str]) -> Change:
        return plain


def plain(text: str) -> str:
    """The text as it looks, in plain characters."""
    if text.isascii():
        return text
    drawn = "".join(c for c in text if _drawn(c))
    composed = unicodedata.normalize("NFKC", _PIECE.sub(_latin, drawn))
    return "".join(_without_marks(_PIECE.sub(_latin, composed)))  # what was composed may look like Latin, too


@cache
def _drawn(character: str) -> bool:
    selector = "\ufe00" <= character <= "\ufe0f" or "\U000e0100" <= character <= "\U000e01ef"
    return not selector and unicodedata.category(character) != "Cf"


def _latin(found: re.Match[str]) -> str:
    """Letters in a row, in Latin ones if some are Latin or all look like it."""
    letters = found.group()
    alike = all(ord(c) in _PLAIN for c in letters)
    return letters.translate(_PLAIN) if alike or any(map(_LATIN.__getitem__, letters)) else letters


def _is_latin(character: str) -> bool:
    return character.isascii() or unicodedata.name(character, "").startswith(("LATIN", "FULLWIDTH LATIN"))


_LATIN = Memo(_is_latin)


def _without_marks(text: str) -> Iterator[str]:
    """Its characters without the marks that do not stand on a letter of another script."""
    foreign = False
    for c in text:
        mark = unicodedata.category(c) in ("Mn", "Me")
        foreign = foreign if mark else c.isalpha() and not _LATIN[c]
        if foreign or not mark:
            yield c
