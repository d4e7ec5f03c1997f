"""scikit-learn's classifiers as models: they answer as they did, their gradients are right, and files of them load."""

import subprocess
import sys
import warnings
import zipfile
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis, QuadraticDiscriminantAnalysis
from sklearn.ensemble import BaggingClassifier, HistGradientBoostingClassifier, RandomForestClassifier, VotingClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import (
    LogisticRegression,
    LogisticRegressionCV,
    PassiveAggressiveClassifier,
    Perceptron,
    Ridge,
    RidgeClassifier,
    RidgeClassifierCV,
    SGDClassifier,
)
from sklearn.model_selection import FixedThresholdClassifier, GridSearchCV
from sklearn.naive_bayes import GaussianNB, MultinomialNB
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler, Normalizer, StandardScaler
from sklearn.svm import SVC, LinearSVC, NuSVC
from sklearn.tree import DecisionTreeClassifier
from torch import Tensor

import blindspots as bs
from blindspots.data import digits_arrays
from blindspots.errors import InputError
from blindspots.models import BlackBox, Model, from_estimator, load_model
from blindspots.models.translate import OneVsOne
from blindspots.problem import Need

TRAIN, LABELS = digits_arrays("train")
TEST, TEST_LABELS = digits_arrays("test")
NOISE = torch.rand(500, 1, 8, 8, generator=torch.Generator().manual_seed(0))
INPUTS = torch.cat([TEST, NOISE])  # near the boundaries too, where classes are confused
FLAT = INPUTS.flatten(1).numpy().astype(np.float64)

LINEAR: list[Callable[[], Any]] = [
    LogisticRegression,
    lambda: LogisticRegressionCV(Cs=2, cv=2, l1_ratios=(0.0,), use_legacy_attributes=False),
    lambda: LinearSVC(random_state=0),
    lambda: SGDClassifier(random_state=0),
    lambda: SGDClassifier("log_loss", random_state=0),
    RidgeClassifier,
    RidgeClassifierCV,
    lambda: Perceptron(random_state=0),
    lambda: PassiveAggressiveClassifier(random_state=0),
    LinearDiscriminantAnalysis,
]
OTHERS: list[Callable[[], Any]] = [
    *(lambda a=a: MLPClassifier((20, 10), a, random_state=0, max_iter=20) for a in ("identity", "logistic", "tanh")),
    lambda: MLPClassifier((20, 10), "relu", random_state=0, max_iter=20),
    *(lambda k=k: SVC(kernel=k) for k in ("linear", "rbf", "poly", "sigmoid")),
    lambda: SVC(kernel="poly", degree=2, coef0=0.5, gamma=0.1, class_weight="balanced"),
    lambda: SVC(kernel="sigmoid", break_ties=True),
    lambda: NuSVC(nu=0.05),
    GaussianNB,
    MultinomialNB,
    lambda: QuadraticDiscriminantAnalysis(reg_param=0.1),
    NearestCentroid,
    lambda: make_pipeline(StandardScaler(), PCA(20, whiten=True), SVC()),
    lambda: make_pipeline(StandardScaler(with_mean=False), PCA(20), LinearDiscriminantAnalysis()),
    lambda: make_pipeline(StandardScaler(with_std=False), Normalizer("l1"), LogisticRegression()),
    lambda: make_pipeline(MinMaxScaler((-1, 0.5), clip=True), Normalizer("max"), "passthrough", GaussianNB()),
    lambda: make_pipeline(Normalizer(), make_pipeline(MinMaxScaler(), LogisticRegression())),
    lambda: GridSearchCV(make_pipeline(StandardScaler(), LogisticRegression()), {"logisticregression__C": [0.1, 1]}),
]
ASKED: list[tuple[Callable[[], Any], str]] = [
    (KNeighborsClassifier, "probabilities"),
    (lambda: BaggingClassifier(GaussianNB(), 3, random_state=0), "probabilities"),
    (lambda: make_pipeline(StandardScaler(), KNeighborsClassifier()), "probabilities"),
    (lambda: make_pipeline(FunctionTransformer(np.sqrt), LogisticRegression()), "probabilities"),
    (lambda: SVC(kernel=lambda a, b: a @ b.T, break_ties=True), "scores"),
    (lambda: SVC(kernel=lambda a, b: a @ b.T), "labels"),  # votes can be tied: the scores do not always decide
    (lambda: VotingClassifier([("a", LogisticRegression()), ("b", GaussianNB())]), "labels"),
    (lambda: NearestCentroid(metric="manhattan"), "labels"),
]


def fitted(estimator: Any, classes: int = 10) -> Any:
    rows = classes > LABELS
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.simplefilter("ignore", FutureWarning)  # of classes that the next version drops
        warnings.filterwarnings("ignore", "self.within_class_std_dev_", UserWarning)
        return estimator.fit(TRAIN[rows].flatten(1).numpy(), LABELS[rows].numpy())


@torch.no_grad()
def answers(model: Model) -> np.ndarray:
    with model.borrowed():
        return model.logits(INPUTS).numpy()


def softmax(logits: np.ndarray) -> np.ndarray:
    return torch.from_numpy(logits).double().softmax(1).numpy()


@pytest.mark.filterwarnings("ignore:Class PassiveAggressive:FutureWarning")
@pytest.mark.parametrize("classes", [2, 10])
@pytest.mark.parametrize("make", [*LINEAR, *OTHERS])
def test_a_network_predicts_exactly_what_its_estimator_does(make: Callable[[], Any], classes: int) -> None:
    estimator = fitted(make(), classes)
    model = from_estimator(estimator)
    assert model.access is Need.GRAD
    logits = answers(model)
    assert logits.shape == (len(INPUTS), classes)
    assert (logits.argmax(1) == estimator.predict(FLAT)).all()


@pytest.mark.filterwarnings("ignore:Class PassiveAggressive:FutureWarning")
@pytest.mark.parametrize("classes", [2, 10])
@pytest.mark.parametrize("make", LINEAR)
def test_the_logits_of_a_linear_classifier_are_its_decision_function(make: Callable[[], Any], classes: int) -> None:
    estimator = fitted(make(), classes)
    logits, scores = answers(from_estimator(estimator)), estimator.decision_function(FLAT)
    ours = logits[:, 1] - logits[:, 0] if classes == 2 else logits
    assert np.allclose(ours, scores, rtol=1e-5, atol=1e-6 * abs(scores).max())


@pytest.mark.parametrize("classes", [2, 10])
@pytest.mark.parametrize(
    "make", [LogisticRegression, LinearDiscriminantAnalysis, *OTHERS[:4], *OTHERS[11:14], *OTHERS[16:]]
)
def test_softmax_gives_back_the_probabilities(make: Callable[[], Any], classes: int) -> None:
    estimator = fitted(make(), classes)
    assert np.allclose(softmax(answers(from_estimator(estimator))), estimator.predict_proba(FLAT), atol=1e-5)


# ------------------------------------------------------------------ one against one


def one_vs_one(kernel: str = "rbf", **settings: Any) -> tuple[Any, OneVsOne]:
    estimator = fitted(SVC(kernel=kernel, decision_function_shape="ovo", **settings))
    network = from_estimator(estimator).net[1]
    assert isinstance(network, OneVsOne)
    return estimator, network


@pytest.mark.parametrize("kernel", ["linear", "rbf", "poly", "sigmoid"])
def test_the_decisions_between_two_classes_are_those_of_libsvm(kernel: str) -> None:
    estimator, network = one_vs_one(kernel)
    ours, theirs = network.decisions(torch.from_numpy(FLAT)).numpy(), estimator.decision_function(FLAT)
    assert np.allclose(ours, theirs, rtol=1e-9, atol=1e-9 * abs(theirs).max())


def test_the_margin_is_twice_the_decision_at_the_boundary_and_zero_on_it() -> None:
    """Between any two rows of different classes the prediction changes where the margin passes through zero."""
    estimator, _ = one_vs_one()
    model, pairs = from_estimator(estimator), list(combinations(range(10), 2))
    a, b = TEST[0].flatten().double(), TEST[1].flatten().double()
    points = (a + (b - a) * torch.linspace(0, 1, 4001, dtype=torch.float64)[:, None]).float()
    top = model.logits(points).topk(2)
    change = (top.indices[1:, 0] != top.indices[:-1, 0]).nonzero()[:, 0]
    assert len(change) >= 1
    margins = (top.values[:, 0] - top.values[:, 1])[change]
    assert margins.max() < 1e-2 * (top.values[:, 0] - top.values[:, 1]).max()
    for at in change.tolist():
        pair = sorted((int(top.indices[at, 0]), int(top.indices[at + 1, 0])))
        decisions = estimator.decision_function(points[at : at + 1].numpy().astype(np.float64))[0]
        margin = float(top.values[at, 0] - top.values[at, 1])
        assert 2 * abs(decisions[pairs.index(tuple(pair))]) == pytest.approx(margin, rel=1e-3)


@pytest.mark.parametrize(("break_ties", "chosen"), [(False, 0), (True, 1)])
def test_where_the_decisions_run_in_a_circle_the_votes_or_the_confidence_choose(break_ties: bool, chosen: int) -> None:
    """0 beats 1 by 0.1, 1 beats 2 by 3, 2 beats 0 by 2: one vote each; 1 is the most confident by far."""
    network = OneVsOne(torch.nn.Identity(), 3, break_ties)
    scores = network(torch.tensor([[0.1, -2.0, 3.0]], dtype=torch.float64))
    assert int(scores.argmax(1)) == chosen
    assert sorted(scores[0].tolist()) == [-3.0, -2.0, -0.1]


# ------------------------------------------------------------------ gradients


@pytest.mark.parametrize(
    "make",
    [LINEAR[0], *OTHERS[1:3], *OTHERS[5:8], lambda: GaussianNB(var_smoothing=0.1), *OTHERS[12:18]],
)
def test_gradients_are_those_of_finite_differences(make: Callable[[], Any]) -> None:
    net = from_estimator(fitted(make())).net
    # Away from zeros, at which a norm has a corner.
    x = TEST[:2].flatten(1).double() * 0.8 + 0.1
    assert torch.autograd.gradcheck(net, x.requires_grad_(), eps=1e-6, atol=1e-3, rtol=1e-3)


def test_a_row_of_zeros_has_a_gradient_through_a_norm() -> None:
    model = from_estimator(fitted(make_pipeline(Normalizer(), LogisticRegression())))
    x = torch.zeros(1, 64, requires_grad=True)
    (gradient,) = torch.autograd.grad(model.logits(x).square().sum(), x)
    assert gradient.isfinite().all()


@pytest.mark.parametrize("make", [LogisticRegression, LinearSVC, RidgeClassifier, LinearDiscriminantAnalysis])
def test_the_smallest_distance_is_the_margin_over_the_weights_difference(make: Any) -> None:
    """|f_y - f_j| / |w_y - w_j|, the smallest over j; the box is out of reach for these rows."""
    estimator = fitted(make())
    x = torch.from_numpy(FLAT[:40]).float() * 0.3 + 0.35
    scores, y = estimator.decision_function(x.numpy()), torch.from_numpy(estimator.predict(x.numpy()))
    gaps = np.take_along_axis(scores, y[:, None].numpy(), 1) - scores
    lengths = np.linalg.norm(estimator.coef_[y][:, None] - estimator.coef_, axis=2)
    others = np.where(lengths > 0, gaps / np.where(lengths > 0, lengths, 1), np.inf)
    found = bs.attack(from_estimator(estimator), x, y, bs.attacks.DeepFool(), threat=bs.L2()).norms.numpy()
    ratio = found / others.min(1)
    assert ratio.min() > 1 - 1e-4
    assert np.median(ratio) < 1.001
    assert ratio.max() < 1.05  # its second step, off a boundary that it only touched, may lead elsewhere


def test_the_smallest_distance_of_two_classes_is_the_score_over_the_weights() -> None:
    estimator = fitted(LinearSVC(), 2)
    x = torch.from_numpy(FLAT[:40]).float() * 0.2 + 0.4
    y = torch.from_numpy(estimator.predict(x.numpy()))
    distance = abs(estimator.decision_function(x.numpy())) / np.linalg.norm(estimator.coef_)
    found = bs.attack(from_estimator(estimator), x, y, bs.attacks.DDN(300), threat=bs.L2()).norms.numpy()
    assert (found > distance * (1 - 1e-4)).all()
    assert (found < distance * 1.01 + 1e-3).all()


def test_just_inside_of_the_distance_of_two_classes_nothing_falls_and_just_outside_everything() -> None:
    estimator = fitted(LogisticRegression(), 2)
    x = torch.from_numpy(FLAT[:60]).float() * 0.2 + 0.4
    y = torch.from_numpy(estimator.predict(x.numpy()))
    distance = abs(estimator.decision_function(x.numpy())) / abs(estimator.coef_).sum()
    for factor, falls in ((0.99, False), (1.01, True)):
        for i in range(0, 60, 10):
            threat = bs.Linf(float(distance[i]) * factor)
            done = bs.attack(from_estimator(estimator), x[i : i + 1], y[i : i + 1], bs.attacks.FGSM(), threat=threat)
            assert bool(done.success[0]) is falls


# ------------------------------------------------------------------ black boxes


@pytest.mark.parametrize(("make", "answer"), ASKED)
def test_whatever_is_not_known_is_asked(make: Callable[[], Any], answer: str) -> None:
    estimator = fitted(make())
    model = from_estimator(estimator, shape=(1, 8, 8))
    assert isinstance(model, BlackBox)
    assert (model.answers, model.classes) == (answer, 10)
    logits = answers(model)
    assert (logits.argmax(1) == estimator.predict(FLAT)).all()
    if answer == "probabilities":
        assert np.allclose(softmax(logits), estimator.predict_proba(FLAT), atol=1e-6)


def test_two_classes_are_asked_too() -> None:
    estimator = fitted(SVC(kernel=lambda a, b: a @ b.T), 2)
    logits = answers(from_estimator(estimator, shape=(1, 8, 8)))
    assert np.allclose(logits[:, 1] - logits[:, 0], estimator.decision_function(FLAT), rtol=1e-5, atol=1e-5)


def test_probabilities_that_do_not_decide_are_not_what_is_asked_for() -> None:
    shifted = FixedThresholdClassifier(GaussianNB(), threshold=1 - 1e-9, response_method="predict_proba")
    model = from_estimator(fitted(shifted, 2))
    assert isinstance(model, BlackBox)
    assert model.answers == "labels"


class Contrary(LogisticRegression):
    def predict(self, x: Any) -> Any:
        return 9 - super().predict(x)


def test_an_estimator_that_overrides_an_answer_is_asked_not_translated() -> None:
    estimator = fitted(Contrary())
    model = from_estimator(estimator)
    assert isinstance(model, BlackBox)
    assert (answers(model).argmax(1) == estimator.predict(FLAT)).all()


def test_a_translation_that_does_not_answer_like_the_estimator_is_not_used() -> None:
    estimator = fitted(LogisticRegression())
    honest = estimator.predict
    estimator.predict = lambda x: (honest(x) + 1) % 10
    model = from_estimator(estimator)
    assert isinstance(model, BlackBox)
    assert (answers(model).argmax(1) == estimator.predict(FLAT)).all()


def test_only_attacks_are_counted_as_queries() -> None:
    model = from_estimator(fitted(KNeighborsClassifier()))
    assert isinstance(model, BlackBox)
    assert model.digest
    model.logits(TEST[:7])
    assert model.queries == 7


# ------------------------------------------------------------------ shapes, classes, digests


def test_inputs_have_any_shape_with_as_many_numbers_or_the_one_that_was_given() -> None:
    estimator = fitted(LogisticRegression())
    free, bound = from_estimator(estimator), from_estimator(estimator, shape=(1, 8, 8))
    for shape in ((64,), (8, 8), (4, 4, 4)):
        assert torch.equal(free.logits(TEST.view(-1, *shape)), free.logits(TEST))
        with pytest.raises(InputError, match=r"inputs of shape \(1, 8, 8\)"):
            bound.logits(TEST.view(-1, *shape))
    assert torch.equal(bound.logits(TEST), free.logits(TEST))


@pytest.mark.parametrize("make", [LogisticRegression, KNeighborsClassifier])
def test_inputs_of_another_size_are_refused(make: Any) -> None:
    model = from_estimator(fitted(make()))
    with pytest.raises(InputError, match=r"expected inputs of shape \(64,\), got \(1, 28, 28\)"):
        model.logits(torch.zeros(2, 1, 28, 28))


@pytest.mark.parametrize("make", [LogisticRegression, KNeighborsClassifier])
@pytest.mark.parametrize("relabel", [lambda y: y * 3 + 1, lambda y: y - 5, lambda y: y > 4])
def test_classes_stand_in_the_order_of_classes(make: Any, relabel: Callable[[Any], Any]) -> None:
    labels = relabel(LABELS.numpy())
    estimator = make().fit(TRAIN.flatten(1).numpy(), labels)
    places = answers(from_estimator(estimator)).argmax(1)
    assert (estimator.classes_[places] == estimator.predict(FLAT)).all()


def test_bounds_name_and_spec_are_kept() -> None:
    scaled = make_pipeline(StandardScaler(), SVC()).fit(TRAIN.flatten(1).numpy() * 16, LABELS.numpy())
    model = from_estimator(scaled, bounds=(0, 16), spec="a:b")
    assert (model.bounds, model.name, model.spec) == ((0.0, 16.0), "SVC", "a:b")
    assert from_estimator(scaled, name="mine").name == "mine"


@pytest.mark.parametrize(
    "make", [lambda seed: SGDClassifier(random_state=seed), lambda seed: RandomForestClassifier(3, random_state=seed)]
)
def test_the_digest_tells_estimators_apart_and_knows_the_same_one_again(make: Callable[[int], Any]) -> None:
    digests = [from_estimator(fitted(make(seed))).digest for seed in (0, 0, 1)]
    assert digests[0] == digests[1] != digests[2]
    assert from_estimator(fitted(make(0)), bounds=(-1, 1)).digest != digests[0]


def test_the_digest_knows_a_kernels_settings() -> None:
    svc = fitted(SVC(kernel="poly"))
    before = from_estimator(svc).digest
    svc.coef0 = 0.1
    assert from_estimator(svc).digest != before


PROGRAM = """
from sklearn.tree import DecisionTreeClassifier
from blindspots.data import digits_arrays
from blindspots.models import from_estimator
x, y = digits_arrays("train")
print(from_estimator(DecisionTreeClassifier(random_state=0).fit(x.flatten(1).numpy(), y.numpy())).digest)
"""


@pytest.mark.slow
def test_the_digest_of_a_tree_is_the_same_in_another_process() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == from_estimator(fitted(DecisionTreeClassifier(random_state=0))).digest


# ------------------------------------------------------------------ bad input


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (Ridge, "expected a fitted Ridge"),
        (lambda: KMeans(2, n_init=1, random_state=0).fit(FLAT), "got KMeans"),
        (lambda: LogisticRegression, "got ABCMeta|got type"),
        (lambda: "svc", "got str"),
        (LogisticRegression, "expected a fitted LogisticRegression"),
        (lambda: make_pipeline(StandardScaler(), SVC()), "expected a fitted Pipeline"),
        (lambda: DecisionTreeClassifier().fit(FLAT[:4], [[0, 1], [1, 0], [0, 0], [1, 1]]), "one such label per row"),
        (lambda: DecisionTreeClassifier().fit(FLAT[:4], [1, 1, 1, 1]), "at least 2 classes"),
        (lambda: MLPClassifier((2,), max_iter=1).fit(FLAT[:4], [[0, 1], [1, 0], [0, 0], [1, 1]]), "one label per row"),
        (lambda: SVC(kernel="precomputed").fit(FLAT[:4] @ FLAT[:4].T, [0, 1, 0, 1]), "distances or kernels"),
    ],
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_what_is_no_fitted_classifier_of_numbers_is_refused(make: Callable[[], Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        from_estimator(make())


def test_a_shape_of_another_size_is_refused() -> None:
    with pytest.raises(InputError, match="expected a shape with 64 numbers"):
        from_estimator(fitted(LogisticRegression()), shape=(1, 28, 28))


class Silent(LogisticRegression):
    """Does not say how many features it takes."""

    def __getattribute__(self, name: str) -> Any:
        if name == "n_features_in_":
            raise AttributeError(name)
        return super().__getattribute__(name)


def test_an_estimator_that_does_not_know_its_features_needs_a_shape() -> None:
    estimator = fitted(Silent())
    with pytest.raises(InputError, match="expected the shape of an input"):
        from_estimator(estimator)
    assert (answers(from_estimator(estimator, shape=(1, 8, 8))).argmax(1) == estimator.predict(FLAT)).all()


def test_what_an_estimator_raises_becomes_a_sentence() -> None:
    def boom(x: Any) -> Any:
        raise ValueError("no such thing")

    estimator = fitted(make_pipeline(FunctionTransformer(), LogisticRegression()))
    estimator.steps[0][1].func = boom
    with pytest.raises(InputError, match=r"Pipeline.predict\w* raised ValueError: no such thing"):
        from_estimator(estimator)


def test_an_estimator_where_a_network_is_expected_is_told_what_to_call() -> None:
    with pytest.raises(InputError, match=r"got LogisticRegression: pass blindspots.models.from_estimator\(it\)"):
        Model(fitted(LogisticRegression()))


def test_an_estimator_is_evaluated_as_its_model() -> None:
    estimator = fitted(LogisticRegression())
    asked, given = (
        bs.evaluate(model, TEST[:20], TEST_LABELS[:20], threat=bs.Linf(0.1), row_budget=100)
        for model in (from_estimator(estimator), estimator)
    )
    assert torch.equal(asked.adversarial, given.adversarial)


# ------------------------------------------------------------------ files and factories


@pytest.mark.parametrize(
    "make",
    [
        lambda: make_pipeline(StandardScaler(), SVC()),
        lambda: MLPClassifier((5,), max_iter=5, random_state=0),
        lambda: RandomForestClassifier(3, random_state=0),
        lambda: HistGradientBoostingClassifier(max_iter=2, random_state=0),
        lambda: KNeighborsClassifier(algorithm="kd_tree"),
        lambda: VotingClassifier([("a", LogisticRegression()), ("b", GaussianNB())]),
    ],
)
def test_a_file_of_skops_loads_as_what_was_saved(make: Callable[[], Any], tmp_path: Path) -> None:
    io = pytest.importorskip("skops.io")
    estimator, path = fitted(make()), tmp_path / "mine.skops"
    io.dump(estimator, path)
    model = load_model(f"sklearn:{path}")
    assert (model.name, model.spec) == ("mine", f"sklearn:{path}")
    assert (answers(model).argmax(1) == estimator.predict(FLAT)).all()
    assert model.digest == from_estimator(estimator).digest == load_model(str(path)).digest


class Own(LogisticRegression):
    """Somebody's own class: reading it would import and run it."""


def test_a_file_with_other_types_is_refused(tmp_path: Path) -> None:
    io = pytest.importorskip("skops.io")
    io.dump(fitted(Own()), tmp_path / "own.skops")
    with pytest.raises(InputError, match=r"expected scikit-learn's own types .* got .*Own: if you trust"):
        load_model(f"sklearn:{tmp_path / 'own.skops'}")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("no.skops", None, "which does not exist"),
        ("old.pkl", b"\x80\x04N.", "may be pickled and is not unpickled"),
        ("empty.skops", b"", "expected a file of skops.io.dump"),
    ],
)
def test_what_is_no_file_of_skops_is_refused(name: str, content: bytes | None, said: str, tmp_path: Path) -> None:
    pytest.importorskip("skops.io")
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=said):
        load_model(f"sklearn:{tmp_path / name}")


def test_a_broken_file_of_skops_is_refused_with_a_sentence(tmp_path: Path) -> None:
    pytest.importorskip("skops.io")
    with zipfile.ZipFile(tmp_path / "broken.skops", "w") as archive:
        archive.writestr("schema.json", "{}")
    with pytest.raises(InputError, match=r"loading .* raised"):
        load_model(f"sklearn:{tmp_path / 'broken.skops'}")


def test_without_skops_a_sentence_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "skops", None)
    with pytest.raises(InputError, match="pip install skops"):
        load_model("sklearn:any.skops")


FACTORY = """
from sklearn.cluster import KMeans
from sklearn.linear_model import LogisticRegression
from blindspots.data import digits_arrays
x, y = digits_arrays("train")
x, y = x.flatten(1).numpy(), y.numpy()
ready = LogisticRegression().fit(x, y)
def made(): return LogisticRegression().fit(x, y)
def clusters(): return KMeans(2, n_init=1, random_state=0).fit(x)
"""


@pytest.mark.parametrize("name", ["made", "ready"])
def test_a_factory_may_return_an_estimator_or_be_one(name: str, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(FACTORY)
    model = load_model(f"{tmp_path}/mine.py:{name}")
    assert (model.name, model.spec, model.access) == (name, f"{tmp_path}/mine.py:{name}", Need.GRAD)
    assert torch.equal(model.logits(TEST), from_estimator(fitted(LogisticRegression())).logits(TEST))


@pytest.mark.parametrize(("name", "said"), [("clusters", "got KMeans"), ("LogisticRegression", "expected a fitted")])
def test_a_factory_of_another_estimator_is_refused(name: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(FACTORY)
    with pytest.raises(InputError, match=said):
        load_model(f"{tmp_path}/mine.py:{name}")


# ------------------------------------------------------------------ the whole way


@pytest.mark.parametrize(
    ("make", "threat"),
    [
        (LogisticRegression, bs.Linf(0.1)),
        (SVC, bs.L2(0.5)),
        (GaussianNB, bs.Linf(0.05)),
        (NearestCentroid, bs.Linf(0.1)),
    ],
)
def test_a_translated_estimator_is_evaluated_like_a_network(make: Any, threat: Any) -> None:
    x, y = TEST[:16], TEST_LABELS[:16]
    estimator = fitted(make())
    done = bs.evaluate(from_estimator(estimator), x, y, threat=threat)
    assert done.clean_accuracy == (estimator.predict(FLAT[:16]) == y.numpy()).mean()
    assert done.robust_accuracy < done.clean_accuracy
    fooled = (
        estimator.predict(done.adversarial[done.success].flatten(1).numpy().astype(np.float64))
        != y[done.success].numpy()
    )
    assert fooled.all()


@pytest.mark.parametrize(("protocol", "make"), [("blackbox-scores", ASKED[1][0]), ("blackbox-labels", ASKED[0][0])])
def test_an_estimator_that_is_asked_is_evaluated_by_its_answers(protocol: str, make: Callable[[], Any]) -> None:
    x, y = TEST[:8], TEST_LABELS[:8]
    estimator = fitted(make())
    done = bs.evaluate(from_estimator(estimator), x, y, threat=bs.Linf(0.2), protocol=protocol, row_budget=150)
    assert done.backwards == 0
    assert done.success.sum() > 2
    assert "scores-beat-gradients" not in {finding.code for finding in done.findings}  # no gradients were tried
    fooled: Tensor = done.adversarial[done.success]
    assert (estimator.predict(fooled.flatten(1).numpy().astype(np.float64)) != y[done.success].numpy()).all()
