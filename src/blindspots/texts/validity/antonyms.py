"""Whether a change says the opposite."""

from collections.abc import Set
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import ClassVar

from blindspots.texts.antonyms import ANTONYMS
from blindspots.texts.kept import is_negation
from blindspots.texts.tables import read_pairs
from blindspots.texts.validity.aligned import Block, blocks
from blindspots.texts.validity.check import Check, Corpus, Measure, counts

_OPPOSING = ("un", "non", "dis")  # believable, unbelievable


@dataclass(frozen=True)
class Antonyms(Check):
    """How many exchanges put an antonym in a word's place, and how many negations appeared or vanished. None may.

    Antonyms are the listed ones, words with un-, non- or dis- in front, and -ful against -less.

    Args:
        file: pairs, one per line, as in counter-fitting's lists, besides the few that are embedded here.

    Raises InputError: the file cannot be read, or has another form.
    """

    file: str | None = None

    at_least: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _ = self.pairs  # so that errors come early

    @cached_property
    def pairs(self) -> Set[tuple[str, str]]:
        """Pairs of antonyms in small letters, in both orders."""
        return ANTONYMS | read_pairs(Path(self.file)) if self.file else ANTONYMS

    @property
    def threshold(self) -> float:
        return 0.0

    def measure(self, corpus: Corpus) -> Measure:
        return counts(lambda clean, changed: sum(map(self._reversals, blocks(clean, changed))))

    def describe(self, corpus: Corpus) -> str:
        return "the number of antonyms in place of words, and of negations that appeared or vanished"

    def _reversals(self, block: Block) -> int:
        old, new = (tuple(word.lower() for word in words) for words in block)
        pairs = zip(old, new, strict=True) if len(old) == len(new) else product(old, new)
        negations = abs(sum(map(is_negation, old)) - sum(map(is_negation, new)))
        return negations + sum(pair in self.pairs or _is_built_so(*pair) for pair in pairs)


def _is_built_so(a: str, b: str) -> bool:
    """Whether the words differ in what makes the opposite of a word."""
    short, long = sorted((a, b), key=len)
    if long in [prefix + short for prefix in _OPPOSING]:
        return True
    return any(word.endswith("ful") and other == word.removesuffix("ful") + "less" for word, other in ((a, b), (b, a)))
