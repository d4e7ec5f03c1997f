"""How much of the text changed."""

from dataclasses import dataclass
from typing import ClassVar

from blindspots.errors import InputError
from blindspots.texts.validity.aligned import size, split
from blindspots.texts.validity.check import Check, Corpus, Measure, counts


@dataclass(frozen=True)
class Changed(Check):
    """The share of words that differ: exchanged, inserted or deleted ones by the words of the clean text.

    Args:
        most: 0 to 1.
    """

    most: float = 0.3

    at_least: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not 0 <= self.most <= 1:
            raise InputError(f"expected a share of words from 0 to 1 for changed:most, got {self.most}: change it")

    @property
    def threshold(self) -> float:
        return self.most

    def measure(self, corpus: Corpus) -> Measure:
        return counts(lambda clean, changed: size(clean, changed) / max(1, len(split(clean))))

    def describe(self, corpus: Corpus) -> str:
        return "the share of words that differ"
