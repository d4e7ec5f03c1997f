"""Letters of other alphabets that look the same."""

from collections.abc import Iterable
from dataclasses import dataclass

from blindspots.texts.sources.source import Source, in_turns

# Latin letters, then Cyrillic, Greek, Armenian, Cherokee and Roman numerals that most fonts draw alike.
LOOKALIKES = {
    "a": "\u0430\u0251", "b": "\u0184", "c": "\u0441\u03f2\u217d", "d": "\u0501\u217e", "e": "\u0435\u212e",
    "f": "\u0192\u0584", "g": "\u0261\u0581", "h": "\u04bb\u0570", "i": "\u0456\u2170", "j": "\u0458\u03f3",
    "k": "\u043a\u03ba", "l": "\u04cf\u217c", "m": "\u217f\u043c", "n": "\u0578\u0438", "o": "\u043e\u03bf\u0585",
    "p": "\u0440\u03c1", "q": "\u051b\u0566", "r": "\u0433", "s": "\u0455", "t": "\u03c4\u0442", "u": "\u057d\u03c5",
    "v": "\u0475\u03bd\u2174", "w": "\u051d\u0461", "x": "\u0445\u2179\u03c7", "y": "\u0443\u04af", "z": "\u1d22",
    "A": "\u0410\u0391", "B": "\u0412\u0392", "C": "\u0421\u03f9\u216d", "D": "\u13a0\u216e", "E": "\u0415\u0395",
    "F": "\u03dc", "G": "\u050c\u13c0", "H": "\u041d\u0397", "I": "\u0406\u0399\u2160", "J": "\u0408\u13ab",
    "K": "\u041a\u039a\u212a", "L": "\u13de\u216c", "M": "\u041c\u039c\u216f", "N": "\u039d", "O": "\u041e\u039f\u0555",
    "P": "\u0420\u03a1", "Q": "\u051a", "R": "\u13a1", "S": "\u0405\u054f", "T": "\u0422\u03a4", "U": "\u054d",
    "V": "\u0474\u13d9\u2164", "W": "\u051c\u13b3", "X": "\u0425\u03a7\u2169", "Y": "\u03a5\u04ae", "Z": "\u0396\u13c3",
}  # fmt: skip


@dataclass(frozen=True)
class Homoglyph(Source):
    """A Latin letter is replaced by one of another alphabet that looks the same."""

    title = "letters of other alphabets that look alike"

    def of(self, word: str) -> Iterable[str]:
        return in_turns([word[:i] + x + word[i + 1 :] for x in LOOKALIKES.get(c, "")] for i, c in enumerate(word))
