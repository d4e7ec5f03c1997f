"""Models of texts that are not networks: pipelines of scikit-learn and plain functions."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.calibration import CalibratedClassifierCV
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer, TfidfTransformer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import MultinomialNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import FunctionTransformer
from sklearn.svm import SVC, LinearSVC

import blindspots as bs
from blindspots.errors import InputError
from blindspots.models.pipelines import TextEstimator, takes_texts
from blindspots.models.texts import TextModel
from blindspots.problem import Need
from blindspots.texts.reviews import CLASSES, reviews

TRAIN, LABELS = (list(part[:400]) for part in reviews("train"))
WORDS = [CLASSES[label] for label in LABELS]
TEXTS, TRUTH = (list(part[:40]) for part in reviews("test"))
TRUE_WORDS = [CLASSES[label] for label in TRUTH]

PIPELINES: dict[str, tuple[Callable[[], Any], str]] = {
    "tfidf and logistic": (lambda: make_pipeline(TfidfVectorizer(), LogisticRegression()), "decision_function"),
    "counts and bayes": (lambda: make_pipeline(CountVectorizer(), MultinomialNB()), "predict_log_proba"),
    "counts, tfidf and svm": (
        lambda: make_pipeline(CountVectorizer(), TfidfTransformer(), LinearSVC(random_state=0)),
        "decision_function",
    ),
    "union and svm": (
        lambda: make_pipeline(
            make_union(TfidfVectorizer(), HashingVectorizer(analyzer="char_wb", ngram_range=(2, 3), n_features=512)),
            SVC(kernel="linear"),
        ),
        "decision_function",
    ),
    "neighbours": (lambda: make_pipeline(TfidfVectorizer(), KNeighborsClassifier()), "predict_proba"),
    "a search": (
        lambda: GridSearchCV(make_pipeline(TfidfVectorizer(), LogisticRegression()), {}, cv=2),
        "decision_function",
    ),
    "calibrated": (
        lambda: CalibratedClassifierCV(make_pipeline(TfidfVectorizer(), LinearSVC(random_state=0)), cv=2),
        "predict_proba",
    ),
}


@cache
def fitted(name: str) -> Any:
    return PIPELINES[name][0]().fit(TRAIN, WORDS)


@pytest.mark.parametrize("name", PIPELINES)
def test_a_pipeline_of_texts_says_what_it_predicts(name: str) -> None:
    model = bs.from_estimator(fitted(name))
    assert isinstance(model, TextEstimator)
    assert model.class_names == ["negative", "positive"]
    assert (model.method, model.access) == (PIPELINES[name][1], Need.VALUE)
    assert [CLASSES[k] for k in model.of(TEXTS).argmax(1)] == fitted(name).predict(TEXTS).tolist()


def test_more_than_two_classes_and_numbers_as_labels() -> None:
    labels = [7 + len(text) % 3 for text in TRAIN]
    pipeline = make_pipeline(CountVectorizer(analyzer="char"), LogisticRegression(max_iter=10_000)).fit(TRAIN, labels)
    model = bs.from_estimator(pipeline)
    assert model.class_names == ["7", "8", "9"]
    assert isinstance(model, TextEstimator)
    assert np.allclose(model.of(TEXTS), pipeline.decision_function(TEXTS), atol=1e-5)


@pytest.mark.parametrize("name", ["tfidf and logistic", "counts and bayes", "neighbours"])
def test_a_pipeline_is_evaluated_on_strings_and_words(name: str) -> None:
    done = bs.evaluate(fitted(name), TEXTS, TRUE_WORDS, threat="words:2")
    assert done.clean_accuracy == pytest.approx(fitted(name).score(TEXTS, TRUE_WORDS))
    assert done.robust_accuracy < done.clean_accuracy
    assert done.config.protocol == "text-scores"
    chosen = next(f for f in done.findings if f.code == "protocol-chosen")
    assert "in place of 'text-fast'" in chosen.saw


@pytest.mark.parametrize("name", ["tfidf and logistic", "union and svm", "neighbours", "calibrated"])
def test_a_file_of_skops_is_the_same_pipeline(name: str, tmp_path: Path) -> None:
    io = pytest.importorskip("skops.io")
    io.dump(fitted(name), tmp_path / "mine.skops")
    model = bs.load_model(f"sklearn:{tmp_path / 'mine.skops'}")
    assert (model.name, model.digest) == ("mine", bs.from_estimator(fitted(name)).digest)
    out = tmp_path / "run"
    bs.evaluate(model, data="reviews", rows=10, threat="words:1", out=out)
    assert bs.verify(out)


def test_pipelines_of_one_kind_have_digests_of_their_own() -> None:
    half = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(TRAIN[:200], WORDS[:200])
    assert bs.from_estimator(half).digest != bs.from_estimator(fitted("tfidf and logistic")).digest


def test_what_stands_before_the_vectorizer_may_clean_texts() -> None:
    cleaning = FunctionTransformer(lambda texts: [text.replace("!", "") for text in texts])
    assert takes_texts(make_pipeline(cleaning, TfidfVectorizer(), LogisticRegression()))
    assert not takes_texts(make_pipeline(TfidfTransformer(), LogisticRegression()))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: make_pipeline(CountVectorizer(input="filename"), LogisticRegression()), "got one of input='filename'"),
        (lambda: make_pipeline(TfidfVectorizer(), LogisticRegression()), "expected a fitted Pipeline"),
        (lambda: make_pipeline(TfidfVectorizer(), Ridge()).fit(TRAIN, LABELS), "got Ridge, which predicts numbers"),
    ],
)
def test_pipelines_that_cannot_be_asked_are_refused(make: Callable[[], Any], said: str, tmp_path: Path) -> None:
    pipeline = make()
    if said.startswith("got one"):
        files = [tmp_path / name for name in "ab"]
        for file in files:
            file.write_text(f"a text {file.name * 3}")
        pipeline.fit([str(file) for file in files], [0, 1])
    with pytest.raises(InputError, match=said):
        bs.from_estimator(pipeline)


def test_labels_that_the_pipeline_does_not_know_are_refused() -> None:
    with pytest.raises(InputError, match="mixed"):
        bs.evaluate(fitted("tfidf and logistic"), TEXTS[:2], ["positive", "mixed"], threat="words:1")


# ------------------------------------------------------------------ plain functions


def shouting(texts: list[str]) -> list[str]:
    """Praise is what has more e than o."""
    return ["positive" if text.count("e") > text.count("o") else "negative" for text in texts]


def test_a_function_of_labels_is_searched_by_lot() -> None:
    places = bs.TextModel(lambda texts: [CLASSES.index(label) for label in shouting(texts)], "labels", classes=2)
    names = bs.TextModel(shouting, answers="labels", class_names=CLASSES)
    assert (places.access, names.access, names.classes) == (Need.LABEL, Need.LABEL, 2)
    labels = [CLASSES.index(label) for label in shouting(TEXTS)]
    runs = [bs.evaluate(model, TEXTS, labels, threat=bs.Words(3)) for model in (places, names)]
    assert [run.config.protocol for run in runs] == ["text-labels", "text-labels"]
    assert 0 < runs[0].robust_accuracy == runs[1].robust_accuracy < runs[0].clean_accuracy == 1
    assert runs[0].verdict.unsearched == runs[0].verdict.outcomes.get("unsearched", 0)


def test_what_lot_finds_is_there_and_a_point_is_drawn_by_its_own_number() -> None:
    model = bs.TextModel(shouting, answers="labels", class_names=CLASSES)
    y = [CLASSES.index(label) for label in shouting(TEXTS)]
    lot, all_of_them = (
        bs.attack(model, TEXTS, y, attack, threat="words:1")
        for attack in (bs.attacks.Sampling(200), "sampling:queries=400")
    )
    assert bool((lot.success <= all_of_them.success).all())
    scores = bs.TextModel(lambda texts: [[t.count("o"), t.count("e") - 0.5] for t in texts])
    exact = bs.attack(scores, TEXTS, y, bs.attacks.Exhaustive(), threat="words:1")
    assert torch.equal(all_of_them.success, exact.success)


def test_a_function_may_give_probabilities() -> None:
    model = bs.TextModel(lambda texts: np.array([[0.0, 1.0]] * len(texts)), answers="probabilities")
    assert model.of(["a"]).softmax(1).round(decimals=3).tolist() == [[0.0, 1.0]]


@pytest.mark.parametrize(
    ("function", "how", "said"),
    [
        (lambda texts: 1 / 0, {}, "got ZeroDivisionError: division by zero"),
        (lambda texts: [[0.0, 1.0]], {}, "expected logits"),
        (lambda texts: ["good"] * len(texts), {"answers": "labels", "class_names": CLASSES}, "got 'good'"),
        (lambda texts: [2] * len(texts), {"answers": "labels", "classes": 2}, "integers from 0 to 1"),
        (lambda texts: ["good"] * len(texts), {"answers": "labels", "classes": 2}, "integers from 0 to 1"),
        (len, {"answers": "labels"}, "expected the number of classes"),
        (len, {"answers": "word"}, "answers"),
    ],
)
def test_functions_that_fail_and_answers_that_are_none_are_sentences(function: Any, how: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        bs.evaluate(bs.TextModel(function, **how), TEXTS, TRUTH, threat="words:1")


def test_a_factory_may_return_a_function_of_texts(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import blindspots as bs\n\n"
        "def praise(texts):\n    return [[0.5, text.count('e') - text.count('o')] for text in texts]\n\n"
        "def model():\n    return bs.TextModel(praise, class_names=['negative', 'positive'])\n"
    )
    spec = f"{tmp_path / 'mine.py'}:model"
    bs.evaluate(spec, data="reviews", rows=10, threat="words:1", out=tmp_path / "run")
    assert bs.verify(tmp_path / "run")


def test_threats_of_texts_are_public() -> None:
    threats = [bs.Words(2), bs.Characters(0.1), bs.Edits(3), bs.Tokens(1)]
    assert [threat.spec for threat in threats] == ["words:2.0", "chars:0.1", "edits:3.0", "tokens:1.0"]
    with pytest.raises(InputError, match="expected a number of words"):
        bs.Words(1.5)
    done = bs.evaluate("reviews", data="reviews", rows=20, threat=bs.Words(1, candidates="typo"))
    assert done.config.candidates == "typo"


@pytest.mark.parametrize("shape", [(-1,), (-1, 1)])
def test_one_probability_is_that_of_the_second_class(shape: tuple[int, ...]) -> None:
    chances = {"no": 0.2, "yes": 0.7}
    model = TextModel(lambda texts: np.array([chances[t] for t in texts]).reshape(shape), "probabilities")
    assert model.of(["no", "yes"]).argmax(1).tolist() == [0, 1]
    assert torch.allclose(model.of(["no", "yes"]).softmax(1)[:, 1], torch.tensor([0.2, 0.7]))


@pytest.mark.parametrize(
    ("answer", "answers", "said"),
    [
        ([0, 1], "scores", "labels"),
        (["a", "b"], "scores", "labels"),
        ([[0.5, 1.5], [0.0, 1.0]], "probabilities", "from 0 to 1 from"),
        ([[-3.0, -0.1], [-1.0, -0.5]], "probabilities", "answers='scores'"),
    ],
)
def test_answers_that_are_not_what_was_said_are_refused(answer: Any, answers: Any, said: str) -> None:
    with pytest.raises(bs.InputError, match=said):
        TextModel(lambda texts: answer, answers, name="mine").of(["one", "two"])
