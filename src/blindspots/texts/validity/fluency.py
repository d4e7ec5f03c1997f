"""Whether a changed text reads as well."""

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from blindspots.errors import InputError
from blindspots.texts.validity.check import Array, Calibrated, Corpus, Encoder, Measure, answers
from blindspots.texts.validity.ngrams import NGrams

_MOST = 6_000_000  # characters that are counted


@dataclass(frozen=True)
class Fluency(Calibrated):
    """By how many bits per word the changed text is less likely than the clean one.

    Words are judged by n-grams of the user's texts. There are two models, each fitted on one half of the texts (by a
    checksum), and a pair is judged by that which has not seen its clean text: else every word of a text that was
    fitted would look right, and every other one wrong.

    Args:
        most: bits per word; none: what `share` of paraphrases keep to.
        share: of paraphrases that pass, above 0 and below 1.
    """

    most: float | None = None

    at_least: ClassVar[bool] = False

    @property
    def threshold(self) -> float | None:
        return self.most

    def measure(self, corpus: Corpus) -> Measure:
        if corpus.language is not None:
            return _by(corpus.language)
        return _Halves(corpus.texts)

    def describe(self, corpus: Corpus) -> str:
        by = "n-grams of the texts" if corpus.language is None else "the given language model"
        return f"the increase in bits per word by {by}"


class _Halves:
    """N-grams of either half of the texts."""

    def __init__(self, texts: Sequence[str]) -> None:
        step = math.ceil(sum(map(len, texts)) / _MOST) or 1
        halves = [[text for text in texts[::step] if _half(text) == half] for half in (0, 1)]
        if not all(halves):
            raise InputError(
                f"expected texts for two halves to fit n-grams on, got {len(texts)}: give more, or leave fluency out"
            )
        self.models = [NGrams(other) for other in reversed(halves)]

    def __call__(self, clean: Sequence[str], changed: Sequence[str]) -> Array:
        return np.array([self._increase(a, b) for a, b in zip(clean, changed, strict=True)], np.float64)

    def _increase(self, clean: str, changed: str) -> float:
        model = self.models[_half(clean)]
        return model.bits(changed) - model.bits(clean)


def _half(text: str) -> int:
    return zlib.crc32(text.encode("utf-8", "surrogatepass")) & 1


def _by(language: Encoder) -> Measure:
    return lambda clean, changed: answers(language, list(changed), 1) - answers(language, list(clean), 1)
