"""Thresholds, and what they rest on."""

import math
from collections.abc import Sequence

from blindspots.errors import InputError
from blindspots.records import Record
from blindspots.texts.validity.check import Array, Calibrated, Check
from blindspots.texts.validity.pairs import Pairs, Synonyms, pairs

_MOST_TEXTS, _FEWEST_PAIRS = 1000, 20
_HARDLY = 0.8  # of random exchanges pass: what tells little


class Calibration(Record):
    """Which of the pairs of a calibration pass."""

    pairs: int
    exchanges: float  # words exchanged in each: a number, or a share of them
    paraphrases: float  # share that passes
    random: float  # share that passes of the same texts with random words in the same places

    @classmethod
    def of(cls, exchanges: float, paraphrases: Array, random: Array) -> "Calibration":
        """Of what passed, (k,) bool each."""
        shares = {"paraphrases": float(paraphrases.mean()), "random": float(random.mean())}
        return cls(pairs=len(paraphrases), exchanges=exchanges, **shares)

    def __str__(self) -> str:
        many = f"{self.exchanges:.0%} of the words" if self.exchanges < 1 else f"{self.exchanges:.0f} words"
        each = "a word exchanged for a synonym" if self.exchanges == 1 else f"{many} exchanged for synonyms"
        weak = "" if self.random < _HARDLY else ": it tells little here"
        return (
            f"{self.paraphrases:.1%} of {self.pairs:,} paraphrases ({each}) pass, and {self.random:.1%} of the same "
            f"texts with random words in their place{weak}."
        )


class Threshold(Record):
    """What decides of one check. `calibration`: None where the user gave the value, or it is the check's own."""

    value: float
    measured: str  # what the value is of, as a noun
    calibration: Calibration | None = None

    def describe(self, name: str, check: Check) -> str:
        """One sentence, or two."""
        side = "at least" if check.at_least else "at most"
        said = f"{name.capitalize()}: {self.measured} is {side} {self.value:.4g}"
        return f"{said}; {self.calibration}" if self.calibration else f"{said}."


def sampled(texts: Sequence[str], synonyms: Synonyms, exchanges: float) -> Pairs:
    """Pairs of at most 1,000 texts from all parts of the data, since these may be sorted.

    Raises InputError: too few of them have a word with a synonym.
    """
    found = pairs(texts[:: math.ceil(len(texts) / _MOST_TEXTS) or 1], synonyms, exchanges)
    if len(found) < _FEWEST_PAIRS:
        raise InputError(
            f"expected {_FEWEST_PAIRS} texts or more with a word that has a synonym to calibrate on, got {len(found)}: "
            "give synonyms in the language of the texts, or thresholds as in similarity:least=0.9+fluency:most=1"
        )
    return found


def threshold_of(check: Check, measured: str, exchanges: float, paraphrases: Array, random: Array) -> Threshold:
    """The check's own threshold, else the one that its share of the values (k,) of paraphrases passes."""
    if check.threshold is not None:
        return Threshold(value=check.threshold, measured=measured)
    assert isinstance(check, Calibrated)
    value = check.calibrated(paraphrases)
    passing = (check.passes(values, value) for values in (paraphrases, random))
    return Threshold(value=value, measured=measured, calibration=Calibration.of(exchanges, *passing))
