"""The words of a text, as spans of characters: the same for the same text, whatever its script."""

import re
import unicodedata
from functools import lru_cache

from blindspots.errors import InputError
from blindspots.texts.memo import Memo

Span = tuple[int, int]  # text[a:b], in the order of storage, also where text is read from right to left

# Every character gets a letter for its class, so that one expression over classes does for all scripts.
_LETTER, _DIGIT, _MARK, _JOINER, _IDEOGRAPH, _EMOJI, _FLAG, _APOSTROPHE, _HYPHEN, _POINT, _OTHER = "admzcer'-. "
_WORD = re.compile(
    r"c[mz]*"  # ideographs and kana one by one
    r"|rm*rm*|[er]m*(?:z[er]m*)*"  # emoji, joined and coloured ones; flags are pairs
    r"|[ad][mz]*(?:[ad][mz]*|['-](?=[ad])|(?<=d)\.(?=d))*"  # don't, well-known, 3.5, 1,000
)
_SINGLE = {
    "'": _APOSTROPHE, "\u2019": _APOSTROPHE, "\u02bc": _APOSTROPHE, "-": _HYPHEN, "\u2010": _HYPHEN, "\u2011": _HYPHEN,
    ".": _POINT, ",": _POINT, "\u200c": _JOINER, "\u200d": _JOINER, "\xad": _MARK, "\u2060": _MARK,
}  # fmt: skip
_IDEOGRAPHS = (
    (0x3005, 0x3007), (0x3031, 0x3035), (0x303B, 0x303B), (0x3041, 0x30FF), (0x31F0, 0x31FF), (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0xFF66, 0xFF9F), (0x1AFF0, 0x1B16F), (0x20000, 0x3FFFF),
)  # fmt: skip
_NEEDS_SEGMENTER = {
    "Thai": "\u0e00-\u0e7f",
    "Lao": "\u0e80-\u0eff",
    "Myanmar": "\u1000-\u109f\ua9e0-\ua9ff\uaa60-\uaa7f",
    "Khmer": "\u1780-\u17ff\u19e0-\u19ff",
}
_UNSEGMENTED = re.compile(f"[{''.join(_NEEDS_SEGMENTER.values())}]")


@lru_cache(maxsize=64)
def words(text: str) -> tuple[Span, ...]:
    """Where the words of a text are; what is left out is white space and punctuation.

    Letters and digits with the marks on them, with apostrophes and hyphens between them; numbers with their points and
    commas; every Han character and kana on its own, since they are written without spaces; every emoji with its skin
    tone and what is joined to it. `text[a:b]` for each span (a, b) in order; they are disjoint.
    """
    return tuple(match.span() for match in _WORD.finditer(text.translate(_CLASSES)))


def refuse_unsegmented(text: str) -> None:
    """Raises InputError: the text has letters of a script that puts no spaces between words, nor takes one for each."""
    if found := _UNSEGMENTED.search(text):
        script = next(name for name, letters in _NEEDS_SEGMENTER.items() if re.match(f"[{letters}]", found.group()))
        raise InputError(
            f"expected words that can be told apart, got {script} text (character {found.start()}), which is written "
            "without spaces: change characters with edits, or leave such texts out"
        )


def _class(code: int) -> str:
    character = chr(code)
    if character in _SINGLE:
        return _SINGLE[character]
    if any(first <= code <= last for first, last in _IDEOGRAPHS):
        return _IDEOGRAPH
    if 0x1F1E6 <= code <= 0x1F1FF:
        return _FLAG
    if 0x1F3FB <= code <= 0x1F3FF or 0xE0020 <= code <= 0xE007F:  # skin tones, and letters of regional flags
        return _MARK
    category = unicodedata.category(character)
    if category == "So" and code >= 0x2190:
        return _EMOJI
    return {"L": _LETTER, "N": _DIGIT, "M": _MARK}.get(category[0], _OTHER)


_CLASSES = Memo(_class)  # by code point
