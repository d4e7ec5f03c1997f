"""Whether a changed text means the same, as far as sentence vectors tell."""

import itertools
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from blindspots.errors import InputError
from blindspots.texts.validity.aligned import split, windows
from blindspots.texts.validity.check import Array, Calibrated, Corpus, Encoder, Measure, answers
from blindspots.texts.vectors import Vectors

_AT_ONCE = 256  # texts per call of an encoder
_FEATURES = 5000  # the most frequent n-grams


@dataclass(frozen=True)
class Similarity(Calibrated):
    """The cosine of the sentence vectors of both texts.

    Vectors come from the encoder of the `Corpus`, else they are idf-weighted means of its word vectors, else counts of
    character n-grams with TF-IDF. The same text twice has 1, a text without a known word 0 with any other.

    Args:
        least: -1 to 1; none: what `share` of paraphrases reach.
        share: of paraphrases that pass, above 0 and below 1.
        window: words around every change that are compared, as many on either side as the text has, and the least
            similar window counts (Jin et al. 2020, whose code takes 15); None: the whole texts.

    Raises InputError: a window of no words.
    """

    least: float | None = None
    window: int | None = None

    at_least: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.window is not None and self.window < 1:
            raise InputError(
                f"expected a window of at least one word, got {self.window}: give e.g. 15, or leave it out"
            )

    @property
    def threshold(self) -> float | None:
        return self.least

    def measure(self, corpus: Corpus) -> Measure:
        encoder, window = corpus.encoder or _usual(corpus), self.window
        if window is None:
            return lambda clean, changed: _cosines(encoder, clean, changed)
        return lambda clean, changed: _least_cosines(encoder, clean, changed, window)

    def describe(self, corpus: Corpus) -> str:
        means = "character n-grams (TF-IDF)" if corpus.vectors is None else "idf-weighted means of word vectors"
        where = (
            "" if self.window is None else f" in windows of {self.window} words around the changes, the least of them,"
        )
        return f"the cosine of {means if corpus.encoder is None else 'sentence vectors of the given encoder'}{where}"


def _usual(corpus: Corpus) -> Encoder:
    return characters(corpus.texts) if corpus.vectors is None else MeanVectors(corpus.vectors, corpus.texts)


class MeanVectors:
    """Sentence vectors: the mean of the words' vectors, each weighted by its inverse document frequency.

    idf(w) = log((1 + n) / (1 + texts with w)) over n texts. Words without a vector are left out.
    """

    def __init__(self, vectors: Vectors, texts: Sequence[str]) -> None:
        self.vectors = vectors
        self.found = Counter(word for text in texts for word in {w.lower() for w in split(text)})
        self.texts = len(texts)

    def __call__(self, texts: list[str]) -> Array:
        return np.stack([self._mean(text) for text in texts])

    def _mean(self, text: str) -> Array:
        known = [word for word in map(str.lower, split(text)) if word in self.vectors.place]
        rows = self.vectors.unit[[self.vectors.place[word] for word in known]]
        weights = np.array([math.log((1 + self.texts) / (1 + self.found[word])) for word in known])
        mean: Array = weights @ rows / max(1, len(known))
        return mean


def characters(texts: Sequence[str]) -> Encoder:
    """Sentence vectors that need no word vectors: runs of 2 to 4 characters inside words, by TF-IDF over `texts`."""
    from sklearn.feature_extraction.text import TfidfVectorizer  # here: most evaluations do without it

    counted = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), max_features=_FEATURES).fit(texts)
    return lambda some: np.asarray(counted.transform(some).toarray())


def _cosines(encoder: Encoder, clean: Sequence[str], changed: Sequence[str]) -> Array:
    starts = range(0, len(clean), _AT_ONCE)
    parts = [(list(clean[i : i + _AT_ONCE]), list(changed[i : i + _AT_ONCE])) for i in starts]
    return np.concatenate([np.zeros(0), *(_cosine(encoder, *part) for part in parts)])


def _least_cosines(encoder: Encoder, clean: Sequence[str], changed: Sequence[str], window: int) -> Array:
    """Of the windows of each pair the least."""
    each = [windows(a, b, window) for a, b in zip(clean, changed, strict=True)]
    found = iter(_cosines(encoder, *zip(*itertools.chain(*each), strict=True))) if each else iter(())
    return np.array([min(itertools.islice(found, len(some))) for some in each], np.float64)


def _cosine(encoder: Encoder, clean: list[str], changed: list[str]) -> Array:
    a, b = answers(encoder, clean, 2), answers(encoder, changed, 2)
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    cosines = (a * b).sum(1) / np.where(lengths > 0, lengths, 1)
    return np.where([x == y for x, y in zip(clean, changed, strict=True)], 1, np.clip(cosines, -1, 1))
