"""All checks of changed texts together: parsed from words, fitted and calibrated on the user's texts, kept as JSON."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from pydantic import ValidationError

from blindspots import spec
from blindspots.errors import InputError
from blindspots.records import Record
from blindspots.texts.validity.agreement import Agreement
from blindspots.texts.validity.antonyms import Antonyms
from blindspots.texts.validity.calibration import Calibration, Threshold, sampled, threshold_of
from blindspots.texts.validity.changed import Changed
from blindspots.texts.validity.check import Array, Check, Corpus, Encoder, Measure
from blindspots.texts.validity.fluency import Fluency
from blindspots.texts.validity.pairs import Pairs, Synonyms
from blindspots.texts.validity.similarity import Similarity
from blindspots.texts.vectors import Vectors
from blindspots.texts.vocabulary import SYNONYMS

CHECKS: Mapping[str, type[Check]] = {
    "similarity": Similarity,
    "fluency": Fluency,
    "agreement": Agreement,
    "antonyms": Antonyms,
    "changed": Changed,
}
USUAL = "similarity+fluency+agreement+antonyms+changed"


@dataclass(frozen=True)
class Judged:
    """What the m checks say of k pairs.

    Attributes:
        names: of the checks.
        thresholds: of each.
        values: (k, m) float32.
        passes: (k, m) bool.
    """

    names: tuple[str, ...]
    thresholds: tuple[float, ...]
    values: Array
    passes: Array

    @property
    def valid(self) -> Array:
        """(k,) bool: every check is passed."""
        valid: Array = np.all(self.passes, axis=1)
        return valid


class _File(Record):
    """Everything that decides what passes, but for the texts and the functions that were given."""

    checks: str
    texts: str  # SHA-256
    thresholds: dict[str, Threshold]
    together: Calibration | None


@dataclass(frozen=True)
class Validity:
    """Checks of changed texts.

    Args:
        spec: the checks in words.
        checks: by name.
        thresholds: by the same names; empty until the checks are fitted.
        together: which of the pairs of the calibration pass all checks; None where nothing was calibrated.
        texts: SHA-256 of the texts that they were fitted on.
        measures: by the same names; empty in what was read from JSON until it is fitted again.
    """

    spec: str
    checks: Mapping[str, Check]
    thresholds: Mapping[str, Threshold] = field(default_factory=dict)
    together: Calibration | None = None
    texts: str = ""
    measures: Mapping[str, Measure] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.checks)

    def fit(
        self,
        texts: Sequence[str],
        *,
        vectors: Vectors | None = None,
        encoder: Encoder | None = None,
        language: Encoder | None = None,
        synonyms: Synonyms = SYNONYMS,
        exchanges: float = 1,
    ) -> "Validity":
        """The checks fitted on the user's texts; thresholds that are open yet are calibrated on 1,000 of them at most.

        Of each such text there are a paraphrase, with words exchanged for synonyms, and a text with random content
        words in the same places. A threshold is where a share (0.95) of the paraphrases passes. Deterministic; what
        was read from JSON keeps its thresholds.

        Args:
            texts: e.g. those that are attacked.
            vectors: of words, such as the victim's embeddings, for `similarity`.
            encoder: texts -> sentence vectors (n, d), in place of what is made of `vectors`, or of character n-grams.
            language: texts -> mean negative log2 probability per word (n,), for `fluency` in place of n-grams.
            synonyms: for paraphrases, by the word in small letters.
            exchanges: words that differ in a paraphrase, or below 1 a share of them, as the radius of a threat.

        Raises InputError: too few texts have a word with a synonym, a function's answers are not of that form, or these
        are not the texts that what was read from JSON had been fitted on.
        """
        if not any(map(str.strip, texts)):
            raise InputError(
                f"expected texts to fit checks on, got {len(texts)} empty ones: give the texts of the data"
            )
        corpus, digest = Corpus(texts, vectors, encoder, language), _digest(texts)
        said = {name: check.describe(corpus) for name, check in self.checks.items()}
        self._check_same(said, digest)
        measures = {name: check.measure(corpus) for name, check in self.checks.items()}
        fitted = replace(self, texts=digest, measures=measures)
        if self.thresholds:
            return fitted
        is_open = any(check.threshold is None for check in self.checks.values())
        found = sampled(texts, synonyms, exchanges) if is_open else None
        return fitted._with_thresholds(said, found, exchanges)

    def judged(self, clean: Sequence[str], changed: Sequence[str]) -> Judged:
        """What the checks say of each pair. Raises InputError: they were not fitted."""
        self._check_fitted(self.measures)
        return self._judged(self._values(clean, changed))

    def describe(self) -> list[str]:
        """A sentence for each check: what passes, and by what right. Raises InputError: they were not fitted."""
        self._check_fitted(self.thresholds)
        said = [self.thresholds[name].describe(name, check) for name, check in self.checks.items()]
        return [*said, f"All checks together: {self.together}"] if self.together else said

    def to_json(self) -> str:
        """The checks with their thresholds; `from_json` reads it."""
        file = _File(checks=self.spec, texts=self.texts, thresholds=dict(self.thresholds), together=self.together)
        return file.model_dump_json(indent=2) + "\n"

    @classmethod
    def from_json(cls, content: str) -> "Validity":
        """What `to_json` wrote, with its thresholds, to be fitted on the same texts. Raises InputError: it is not."""
        try:
            file = _File.model_validate_json(content)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "the file"
            raise InputError(f"expected checks as JSON, got {first['msg']} at {where}: mend that place") from error
        read = parse_validity(file.checks)
        if file.thresholds and tuple(file.thresholds) != read.names:
            raise InputError(
                f"expected thresholds of {', '.join(read.names)}, got {', '.join(file.thresholds)}: give one each"
            )
        return replace(read, thresholds=file.thresholds, together=file.together, texts=file.texts)

    def _with_thresholds(self, said: Mapping[str, str], found: Pairs | None, exchanges: float) -> "Validity":
        pairs = found or Pairs([], [], [])
        values = [self._values(pairs.clean, changed) for changed in (pairs.paraphrases, pairs.random)]
        columns = zip(self.checks.items(), *(v.T for v in values), strict=True)
        thresholds = {name: threshold_of(check, said[name], exchanges, *v) for (name, check), *v in columns}
        whole = replace(self, thresholds=thresholds)
        if found is None:
            return whole
        return replace(whole, together=Calibration.of(exchanges, *(whole._judged(v).valid for v in values)))

    def _values(self, clean: Sequence[str], changed: Sequence[str]) -> Array:
        """(k, m) float32."""
        values = np.zeros((len(clean), len(self.checks)), np.float32)
        for column, measure in zip(values.T, self.measures.values(), strict=True):
            column[:] = measure(clean, changed)
        return values

    def _judged(self, values: Array) -> Judged:
        limits = tuple(self.thresholds[name].value for name in self.names)
        passes = [check.passes(v, t) for check, v, t in zip(self.checks.values(), values.T, limits, strict=True)]
        return Judged(self.names, limits, values, np.stack(passes, 1))

    @staticmethod
    def _check_fitted(needed: Mapping[str, Any]) -> None:
        if not needed:
            raise InputError("expected checks that were fitted, got some that were not: call fit(texts) first")

    def _check_same(self, said: Mapping[str, str], texts: str) -> None:
        """Raises InputError: what was read from JSON had been fitted on something else."""
        if self.texts not in ("", texts):
            raise InputError("expected the texts that the checks were fitted on, got others: give the same ones")
        for name, threshold in self.thresholds.items():
            if threshold.measured != said[name]:
                raise InputError(
                    f"expected to measure {threshold.measured}, as when the checks were fitted, got {said[name]}: give "
                    "the same vectors or functions, and install lemminflect where it was there"
                )


def parse_validity(text: str = USUAL) -> Validity:
    """The checks that `text` describes, e.g. "similarity:least=0.9+agreement+antonyms:file=mine.txt+changed:most=0.2".

    Raises InputError: a check has no such name or setting, is named twice, or its file cannot be read.
    """
    terms = spec.terms("checks of changed texts", CHECKS, text)
    checks = {term.partition(":")[0].strip().lower(): spec.build("a check", CHECKS, term) for term in terms}
    if len(checks) < len(terms):
        raise InputError(f"expected every check once, got {text!r}: leave out what is double")
    return Validity(text, checks)


def _digest(texts: Sequence[str]) -> str:
    return hashlib.sha256("\0".join(texts).encode("utf-8", "surrogatepass")).hexdigest()
