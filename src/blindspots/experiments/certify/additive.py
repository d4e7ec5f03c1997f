"""Exact certificates: of models whose scores are sums over the words of a text."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from blindspots.errors import InputError
from blindspots.experiments.certify.exchanges import Exchanges
from blindspots.experiments.certify.reading import Reading, check_words, read, tokens_of
from blindspots.models.pipelines import TextEstimator
from blindspots.models.reviews import Bag
from blindspots.models.texts import TextModel, TokenModel
from blindspots.texts.lattice import Lattice
from blindspots.texts.threats import TextThreat

Array = NDArray[np.float64]
ROUNDING = 1e-5  # of the largest score: a lead below that is none, since float32 may decide otherwise
_ALIKE = 1e-4  # of the largest score: how far sums may be from what the model says
_PATTERN = r"(?u)\b\w\w+\b"  # scikit-learn's usual one: words of two letters or more


@dataclass(frozen=True)
class Additive:
    """A model whose scores of a text are, up to a factor above 0, `once` and those of each of its tokens.

    Args:
        each: (V, C) of every token.
        once: (C,)
        read: of a lattice the tokens of all its texts, None where these are not those of its pieces.
    """

    each: Array
    once: Array
    read: Callable[[Lattice], Reading | None]

    def withstood(self, lattice: Lattice, top: int) -> int:
        """How many exchanges leave the class `top`: all places there are if none matter, 0 if it cannot be read."""
        reading = self.read(lattice)
        if reading is None:
            return 0
        scores = self.once + self.each[reading.clean].sum(0)
        gains = np.zeros((1 + len(lattice.spans), len(scores)))  # at each place at most, towards each class
        for place, choices in enumerate(reading.choices, 1):
            change = np.stack([self.each[tokens].sum(0) for tokens in choices]) - self.each[choices[0]].sum(0)
            gains[place] = (change - change[:, [top]]).max(0)
        gains[1:] = np.sort(gains[1:], 0)[::-1]
        left = scores[top] - scores - gains.cumsum(0)  # after 0, 1, 2, ... exchanges
        broken = (left <= ROUNDING * np.abs(scores).max())[:, np.arange(len(scores)) != top].any(1)
        return max(int(broken.argmax()) - 1, 0) if broken.any() else len(lattice.spans)


def certify_linear(model: TextModel, threat: TextThreat, texts: Sequence[str]) -> Exchanges:
    """How many exchanges each text withstands, exactly: what a search of all choices would find.

    With scores that are sums over tokens, k exchanges gain at most the k largest gains of single places.

    Args:
        model: one whose network is a bag of words, such as "reviews", or a scikit-learn pipeline, see `additive`.
        threat: its lattices; the radius does not matter. Of a text with a place that is part of a longer word nothing
            is proved.

    Raises InputError: the model is something else.
    """
    sums, tops = additive(model), model.of(texts).argmax(1)
    rows = [sums.withstood(threat.lattice(text), top) for text, top in zip(texts, tops.tolist(), strict=True)]
    return Exchanges(tops, torch.tensor(rows, dtype=torch.int64))


def additive(model: TextModel) -> Additive:
    """What the model adds up.

    Of scikit-learn's pipelines: a CountVectorizer, or a TfidfVectorizer(norm=None), of single words, and a linear
    classifier or MultinomialNB. Lengths by which TF-IDF is divided change with every exchange.

    Raises InputError: its scores are no sums over words.
    """
    if isinstance(model, TokenModel) and isinstance(model.net, Bag):
        # The mean over words and a bias are, up to a factor above 0, the sum over words of each one's scores.
        with torch.no_grad():
            each = model.net.out(model.net.table.weight).double().cpu().numpy()
        return Additive(each, np.zeros(each.shape[1]), partial(read, partial(tokens_of, check_words(model))))
    if isinstance(model, TextEstimator):
        return _of_pipeline(model)
    raise _refusal(model, "another model")


def _of_pipeline(model: TextEstimator) -> Additive:
    steps = [step for _, step in getattr(model.estimator, "steps", ())]
    if len(steps) != 2 or (why := _why_not(steps[0])):
        raise _refusal(model, why if len(steps) == 2 else f"{len(steps)} steps")
    vectorizer, classifier = steps
    each, once = _weights(model, classifier)
    each = each * getattr(vectorizer, "idf_", np.ones(len(each)))[:, None]
    analyse, known = vectorizer.build_analyzer(), vectorizer.vocabulary_

    def tokens(piece: str) -> list[int]:
        return [known[word] for word in analyse(piece) if word in known]

    sums = np.stack([once + each[tokens(text)].sum(0) for text in model.probes])
    said = model.of(model.probes).double().numpy()
    leads, again = (scores - scores[:, :1] for scores in (said, sums))
    if not np.allclose(leads, again, atol=_ALIKE * max(1.0, np.abs(sums).max()), rtol=_ALIKE):
        raise _refusal(model, f"a {type(classifier).__name__} that says something else")
    return Additive(each, once, partial(read, tokens, never_empty=False))


def _why_not(vectorizer: Any) -> str:
    """What keeps the features of a text from being sums over its words; "" where nothing does."""
    from sklearn.feature_extraction.text import CountVectorizer

    if not isinstance(vectorizer, CountVectorizer):
        return f"a {type(vectorizer).__name__}"
    usual = {
        "analyzer": "word", "tokenizer": None, "preprocessor": None, "token_pattern": _PATTERN, "ngram_range": (1, 1),
        "binary": False, "strip_accents": None, "norm": None, "sublinear_tf": False,
    }  # fmt: skip
    odd = [name for name, value in usual.items() if getattr(vectorizer, name, value) != value]
    return f"{type(vectorizer).__name__}({odd[0]}={getattr(vectorizer, odd[0])!r})" if odd else ""


def _weights(model: TextEstimator, classifier: Any) -> tuple[Array, Array]:
    """(V, C) and (C,) of a linear classifier."""
    if hasattr(classifier, "feature_log_prob_") and hasattr(classifier, "class_log_prior_"):
        return np.asarray(classifier.feature_log_prob_).T, np.asarray(classifier.class_log_prior_)
    if not (hasattr(classifier, "coef_") and hasattr(classifier, "intercept_")):
        raise _refusal(model, f"a {type(classifier).__name__}")
    each, once = np.asarray(classifier.coef_).T, np.atleast_1d(classifier.intercept_)
    return (np.hstack([-each / 2, each / 2]), np.hstack([-once / 2, once / 2])) if each.shape[1] == 1 else (each, once)


def _refusal(model: TextModel, what: str) -> InputError:
    return InputError(
        "expected a bag of words for exact bounds (a network that adds up words, or counts and a linear classifier), "
        f"got {model.name} with {what}: certify the vote under exchanges instead (votes)"
    )
