"""What all checks of changed texts have in common."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from blindspots.errors import InputError
from blindspots.texts.vectors import Vectors

Array = NDArray[Any]
Encoder = Callable[[list[str]], Array]
Measure = Callable[[Sequence[str], Sequence[str]], Array]


@dataclass(frozen=True)
class Corpus:
    """What checks are fitted on.

    Args:
        texts: of the user.
        vectors: of words, such as the victim's embeddings.
        encoder: texts -> sentence vectors (n, d), in place of what is made of `vectors`.
        language: texts -> mean negative log2 probability per word (n,), in place of n-grams of `texts`.
    """

    texts: Sequence[str]
    vectors: Vectors | None = None
    encoder: Encoder | None = None
    language: Encoder | None = None


class Check(ABC):
    """One number for each pair of a clean and a changed text, and on which side of a threshold it has to be."""

    at_least: ClassVar[bool]  # whether the number must reach the threshold, else it must not exceed it

    @property
    @abstractmethod
    def threshold(self) -> float | None:
        """As the user gave it, or as it always is; None: it is to be calibrated."""

    @abstractmethod
    def measure(self, corpus: Corpus) -> Measure:
        """What gives the numbers (k,) of pairs, fitted on the corpus."""

    @abstractmethod
    def describe(self, corpus: Corpus) -> str:
        """What is measured, as a noun."""

    def passes(self, values: Array, threshold: float) -> Array:
        """(k,) bool; NaN never passes."""
        passed: Array = values >= threshold if self.at_least else values <= threshold
        return passed


@dataclass(frozen=True)
class Calibrated(Check):
    """A check whose threshold is where a share of paraphrases passes, unless the user gave it.

    Args:
        share: above 0 and below 1.
    """

    share: float = 0.95

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise InputError(f"expected a share of paraphrases above 0 and below 1, got {self.share}: change it")

    def calibrated(self, paraphrases: Array) -> float:
        """The strictest threshold that at least `share` of the values (k,) of paraphrases pass."""
        most = math.ceil(self.share * len(paraphrases) - 1e-9)
        values = np.sort(paraphrases)
        return float(values[-most] if self.at_least else values[most - 1])


def answers(function: Encoder, texts: list[str], axes: int) -> Array:
    """What a function of others says of texts: finite numbers, a row for each.

    Raises InputError: the answer has another form.
    """
    found = np.asarray(function(texts), np.float64)
    if found.ndim != axes or len(found) != len(texts) or not np.isfinite(found).all():
        form = "a vector" if axes == 2 else "a number"
        raise InputError(
            f"expected {form} of finite numbers for each of {len(texts)} texts, got an array of shape {found.shape}"
            f"{' with others' if not np.isfinite(found).all() else ''}: mend the function"
        )
    return found


def counts(count: Callable[[str, str], float]) -> Measure:
    """The measure that asks for one pair after the other."""
    return lambda clean, changed: np.array([count(a, b) for a, b in zip(clean, changed, strict=True)], np.float64)
