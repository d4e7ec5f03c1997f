"""scikit-learn's pipelines of texts as models: whatever turns strings into features, and a classifier of these."""

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from blindspots.errors import InputError
from blindspots.models.classifiers import check_classifier, names_of_labels, places_of, quiet
from blindspots.models.texts import Answers, TextModel
from blindspots.texts.reviews import reviews

_PROBES, _WORDS = 256, 8  # texts that it is tried on, and how many of the words that it knows each of them has
_METHODS: dict[str, Answers] = {  # the first that says the same as `predict` is asked
    "decision_function": "scores",
    "predict_log_proba": "scores",
    "predict_proba": "probabilities",
    "predict": "labels",
}
_LEAST = -1e6  # in place of the logarithm of 0


def takes_texts(estimator: Any) -> bool:
    """Whether one of its steps is a vectorizer of texts: CountVectorizer, TfidfVectorizer, HashingVectorizer."""
    return any(True for _ in _vectorizers(estimator))


def _vectorizers(estimator: Any) -> Iterator[Any]:
    from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer

    if isinstance(estimator, CountVectorizer | HashingVectorizer):
        yield estimator
    for part in _parts(estimator):
        yield from _vectorizers(part)


def _parts(estimator: Any) -> Iterator[Any]:
    """The steps of a pipeline, the members of a union, what a search or a calibration was made of."""
    for attribute in ("steps", "transformer_list"):
        yield from (part[1] for part in getattr(estimator, attribute, ()))
    fitted = getattr(estimator, "best_estimator_", getattr(estimator, "estimator", None))
    if fitted is not None:
        yield fitted


class TextEstimator(TextModel):
    """A fitted classifier of texts. See `estimators.from_estimator`."""

    def __init__(self, estimator: Any, name: str, spec: str | None) -> None:
        check_classifier(estimator)
        _check_content(estimator)
        self.estimator, self.labels = estimator, np.asarray(estimator.classes_)
        self.probes = _probes(estimator)
        self.method = next(method for method in _METHODS if self._agrees(method))
        super().__init__(
            self.said,
            _METHODS[self.method],
            len(self.labels),
            name=name,
            spec=spec,
            class_names=names_of_labels(self.labels),
        )

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of class, labels and the outputs for fixed texts, equal wherever the pipeline is loaded."""
        answers = np.ascontiguousarray(self.said(self.probes))
        kind = (type(self.estimator).__qualname__, self.labels.tolist(), self.method, answers.shape)
        return hashlib.sha256(repr(kind).encode() + answers.tobytes()).hexdigest()

    def said(self, texts: list[str]) -> Any:
        """Scores or probabilities (B, C), or places of labels (B,)."""
        return self._answers(self.method, texts)

    def _answers(self, method: str, texts: list[str]) -> Any:
        with quiet(f"{type(self.estimator).__name__}.{method}"), np.errstate(divide="ignore"):
            found = np.asarray(getattr(self.estimator, method)(texts))
        if method == "predict":
            return places_of(self.labels, found)
        found = np.stack([-found / 2, found / 2], 1) if found.ndim == 1 else found
        return np.maximum(found, _LEAST).astype(np.float32)

    def _agrees(self, method: str) -> bool:
        """Whether the largest answer is the label that it predicts, for every probe."""
        if method == "predict" or not hasattr(self.estimator, method):
            return method == "predict"
        found, labels = (self._answers(asked, self.probes) for asked in (method, "predict"))
        return found.shape == (len(labels), len(self.labels)) and bool((found.argmax(1) == labels).all())


def _check_content(estimator: Any) -> None:
    """Raises InputError: it opens the files that texts name, so every change of a text would be looked for on disk."""
    if strange := [v for v in _vectorizers(estimator) if v.input != "content"]:
        raise InputError(
            f"expected a {type(strange[0]).__name__} of texts, got one of input={strange[0].input!r}: build it with "
            "input='content' and pass what the files hold"
        )


def _probes(estimator: Any) -> list[str]:
    """Texts of words that it knows; where it does not say which, reviews."""
    known = sorted({word for v in _vectorizers(estimator) for word in getattr(v, "vocabulary_", ())})
    if not known:
        return list(reviews("test")[0][:_PROBES])
    drawn = np.random.default_rng(0).integers(len(known), size=(_PROBES, _WORDS))
    return [" ".join(known[i] for i in row) for row in drawn]
