"""Words that nobody knows become the nearest known one."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from blindspots.errors import InputError
from blindspots.texts.frontends.frontend import Change, FrontEnd, by_words
from blindspots.texts.memo import Memo
from blindspots.texts.sources.source import cased
from blindspots.texts.tables import digest, read_lines
from blindspots.texts.words import words


@dataclass(frozen=True)
class Spell(FrontEnd):
    """Words out of a vocabulary become the known word within one edit, where there is one.

    An edit puts in, leaves out or replaces one letter, or swaps two neighbours (Damerau 1964). Among several known
    words the most frequent one is taken. Words are compared in small letters and keep their case; what holds no
    letter, such as a number, stays.

    Args:
        file: texts, or a word per line, whose words are known, the most frequent first; None: the words of the model,
            in the order of its vocabulary.

    Raises InputError: the file cannot be read or holds no word, or, on a model, nothing says which words are known.
    """

    name: ClassVar[str] = "spell"
    file: str | None = None

    def __post_init__(self) -> None:
        if self.file is not None and not self._listed:
            raise InputError(f"expected words in {self.file!r}, got none: name a file of texts or of words")

    def on(self, known: Sequence[str]) -> Change:
        if self.file is None and not known:
            raise InputError(
                "expected a model with a vocabulary for spell, got one that tells none: name a file of texts or of "
                "words, as in spell:file=FILE"
            )
        near = nearest(self._listed if self.file else known)
        return lambda text: by_words(text, lambda word: cased(near[word.lower()], word))

    @cached_property
    def _listed(self) -> list[str]:
        """The words of the file, the most frequent first, in the order of the file where they are equally so."""
        lines = read_lines(Path(self.file or ""))
        return [word for word, _ in Counter(line[a:b].lower() for line in lines for a, b in words(line)).most_common()]

    @property
    def resources(self) -> Mapping[str, str]:
        return {} if self.file is None else {self.file: digest(Path(self.file))}


def nearest(known: Sequence[str]) -> Memo[str, str]:
    """The known word within one edit of any word in small letters; itself where it is known, or where there is none.

    Args:
        known: words, the most frequent first.
    """
    rank = {word: place for place, word in reversed(list(enumerate(word.lower() for word in known)))}
    without: dict[str, list[str]] = defaultdict(list)  # known words by what is left of them without one letter
    for word in rank:
        for shorter in _shorter(word):
            without[shorter].append(word)

    def near(word: str) -> str:
        if word in rank or not any(map(str.isalpha, word)):
            return word
        shorter = _shorter(word)
        one_off = [w for w in shorter if w in rank] + without.get(word, [])
        one_off += [w for s in shorter for w in without.get(s, ()) if _one_letter(w, word)]
        return min(one_off, key=rank.__getitem__, default=word)

    return Memo(near)


def _shorter(word: str) -> Iterable[str]:
    """What is left without one letter."""
    return {word[:i] + word[i + 1 :] for i in range(len(word))}


def _one_letter(a: str, b: str) -> bool:
    """Whether words of one length differ in one letter, or in two neighbours that are swapped."""
    apart = [i for i, pair in enumerate(zip(a, b, strict=True)) if pair[0] != pair[1]]
    swapped = len(apart) == 2 and apart[1] == apart[0] + 1 and a[apart[0]] == b[apart[1]] and a[apart[1]] == b[apart[0]]
    return len(apart) == 1 or swapped
