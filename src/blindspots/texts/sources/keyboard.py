"""Slips of the finger: letters beside each other on a QWERTY keyboard."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from blindspots.texts.sources.source import Source, in_turns

_ROWS = ("1234567890-", "qwertyuiop[", "asdfghjkl;", "zxcvbnm,")  # each half a key to the right of the one above
_NEAR = ((0, -1), (0, 1), (-1, 0), (-1, 1), (1, -1), (1, 0))  # rows down, keys to the right


def _beside(row: int, key: int) -> Iterator[str]:
    for down, right in _NEAR:
        if 0 <= row + down < len(_ROWS) and 0 <= key + right < len(_ROWS[row + down]):
            yield _ROWS[row + down][key + right]


KEYS = {
    letter: "".join(k for k in _beside(row, key) if k.isalpha())
    for row, keys in enumerate(_ROWS)
    for key, letter in enumerate(keys)
    if letter.isalpha()
}  # small letters, and the letters around each


def neighbours(letter: str) -> str:
    """The letters around a letter, in its case; nothing for what is no letter of this keyboard."""
    return KEYS.get(letter, "") or KEYS.get(letter.lower(), "").upper()


@dataclass(frozen=True)
class Keyboard(Source):
    """A letter is replaced by one beside it on a QWERTY keyboard."""

    title = "slips to neighbouring keys"

    def of(self, word: str) -> Iterable[str]:
        return in_turns([word[:i] + key + word[i + 1 :] for key in neighbours(c)] for i, c in enumerate(word))
