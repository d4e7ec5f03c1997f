"""Ensembles of trees: what is read answers bit for bit as its library did, and what is damaged is refused."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine
from sklearn.decomposition import PCA
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    BaggingRegressor,
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, RobustScaler, StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor, ExtraTreeClassifier, ExtraTreeRegressor

import blindspots as bs
from blindspots.errors import InputError
from blindspots.models import BlackBox, TreeModel, from_estimator
from blindspots.models.trees.forest import LEAF, Forest, Tree, above, forest
from blindspots.models.trees.probes import probes
from blindspots.problem import Need

WINE, CANCER, DIABETES = (load(return_X_y=True) for load in (load_wine, load_breast_cancer, load_diabetes))

CLASSIFIERS: list[Callable[[], Any]] = [
    lambda: DecisionTreeClassifier(max_depth=6, random_state=0),
    lambda: ExtraTreeClassifier(max_depth=6, random_state=0),
    lambda: RandomForestClassifier(9, max_depth=5, random_state=0),
    lambda: ExtraTreesClassifier(8, max_depth=5, random_state=0),
    lambda: GradientBoostingClassifier(n_estimators=6, random_state=0),
    lambda: GradientBoostingClassifier(n_estimators=3, init="zero", random_state=0),
    lambda: HistGradientBoostingClassifier(max_iter=5, max_leaf_nodes=8, random_state=0),
    lambda: BaggingClassifier(n_estimators=5, max_samples=6, max_features=0.5, random_state=0),
    lambda: AdaBoostClassifier(DecisionTreeClassifier(max_depth=2), n_estimators=5, random_state=0),
]
REGRESSORS: list[Callable[[], Any]] = [
    lambda: DecisionTreeRegressor(max_depth=6, random_state=0),
    lambda: ExtraTreeRegressor(max_depth=6, random_state=0),
    lambda: RandomForestRegressor(9, max_depth=5, random_state=0),
    lambda: ExtraTreesRegressor(8, max_depth=5, random_state=0),
    lambda: BaggingRegressor(n_estimators=5, max_features=0.5, bootstrap_features=True, random_state=0),
    lambda: GradientBoostingRegressor(n_estimators=6, loss="quantile", random_state=0),
    lambda: HistGradientBoostingRegressor(max_iter=5, max_leaf_nodes=8, random_state=0),
    lambda: HistGradientBoostingRegressor("poisson", max_iter=5, max_leaf_nodes=8, random_state=0),
]


def trees_of(estimator: Any) -> TreeModel:
    model = from_estimator(estimator)
    assert isinstance(model, TreeModel)
    return model


@torch.no_grad()
def sums(model: TreeModel, x: Any) -> Any:
    return model.net[1].sums(torch.from_numpy(x)).numpy()


@torch.no_grad()
def said(model: bs.Model, x: Any) -> Any:
    return model.logits(torch.from_numpy(x)).numpy()


# ------------------------------------------------------------------ scikit-learn


@pytest.mark.parametrize("data", [WINE, CANCER])
@pytest.mark.parametrize("make", CLASSIFIERS)
def test_a_classifiers_sums_are_its_own_to_the_last_bit(make: Callable[[], Any], data: Any) -> None:
    estimator = make().fit(*data)
    model = trees_of(estimator)
    x = np.concatenate([probes(model.forest), data[0].astype(np.float32)])
    own = getattr(estimator, "decision_function", estimator.predict_proba)(x.astype(np.float64))
    assert np.array_equal(sums(model, x), own.reshape(len(x), -1))
    tied = own.ndim == 1 and own == 0  # class 1 there, no class here
    assert ((said(model, x).argmax(1) == estimator.predict(x.astype(np.float64))) | tied).all()


@pytest.mark.parametrize("make", REGRESSORS)
def test_a_regressor_predicts_its_own_values(make: Callable[[], Any]) -> None:
    estimator = make().fit(*DIABETES)
    model = trees_of(estimator)
    assert model.output == "values"
    x = np.concatenate([probes(model.forest), DIABETES[0].astype(np.float32)])
    own = estimator.predict(x.astype(np.float64)).astype(np.float32)
    if "poisson" in repr(estimator):  # exp of numpy and of torch differ in the last bit
        assert np.allclose(said(model, x), own, rtol=1e-6, atol=0)
    else:
        assert np.array_equal(said(model, x), own)


def test_a_regressor_of_several_numbers_predicts_all_of_them() -> None:
    x, y = DIABETES
    estimator = RandomForestRegressor(4, max_depth=4, random_state=0).fit(x, np.stack([y, -y], 1))
    model = trees_of(estimator)
    rows = probes(model.forest)
    assert np.array_equal(said(model, rows), estimator.predict(rows.astype(np.float64)).astype(np.float32))


def test_classes_have_the_names_of_the_labels_and_searches_are_their_best_trees() -> None:
    x, y = WINE
    search = GridSearchCV(DecisionTreeClassifier(random_state=0), {"max_depth": [1, 3]}, cv=2)
    model = trees_of(search.fit(x, np.array(["red", "rose", "white"])[y]))
    assert (model.class_names, model.forest.depth) == (["red", "rose", "white"], 3)


SCALERS: list[Callable[[], Any]] = [
    StandardScaler,
    lambda: StandardScaler(with_mean=False),
    lambda: MinMaxScaler((-1, 3), clip=True),
    MaxAbsScaler,
    RobustScaler,
    lambda: make_pipeline(StandardScaler(), "passthrough", MinMaxScaler()),
]


@pytest.mark.parametrize("scaler", SCALERS)
@pytest.mark.parametrize("make", [CLASSIFIERS[0], CLASSIFIERS[2], CLASSIFIERS[4], CLASSIFIERS[6]])
def test_trees_behind_scalers_turn_at_the_same_float32(make: Callable[[], Any], scaler: Callable[[], Any]) -> None:
    estimator = make_pipeline(scaler(), make()).fit(*WINE)
    model = trees_of(estimator)
    x = np.concatenate([probes(model.forest), WINE[0].astype(np.float32)])
    own = getattr(estimator, "decision_function", estimator.predict_proba)(x.astype(np.float64))
    assert np.array_equal(sums(model, x), own.reshape(len(x), -1))


def test_a_tree_that_asks_nothing_has_an_answer() -> None:
    model = trees_of(DecisionTreeClassifier(min_samples_leaf=100).fit(*WINE))
    assert model.forest.depth == 0
    assert np.allclose(np.exp(said(model, np.zeros((1, 13), np.float32))), np.bincount(WINE[1]) / len(WINE[1]))


def test_trees_behind_what_mixes_features_are_asked() -> None:
    assert isinstance(from_estimator(make_pipeline(PCA(3), DecisionTreeClassifier()).fit(*WINE)), BlackBox)


@pytest.mark.parametrize(
    "make",
    [
        lambda: HistGradientBoostingClassifier(max_iter=2, categorical_features=[0], random_state=0),
        lambda: GradientBoostingClassifier(n_estimators=2, init=LogisticRegression(max_iter=5000), random_state=0),
        lambda: BaggingClassifier(LogisticRegression(max_iter=5000), n_estimators=2, random_state=0),
        lambda: AdaBoostClassifier(LogisticRegression(max_iter=5000), n_estimators=2, random_state=0),
    ],
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_what_is_more_than_questions_about_numbers_is_asked(make: Callable[[], Any]) -> None:
    x, y = WINE
    assert isinstance(from_estimator(make().fit(np.round(x[:, :2]), y)), BlackBox)


class Proud(DecisionTreeClassifier):
    def predict(self, X: Any, check_input: bool = True) -> Any:
        return np.zeros(len(X), int)


def test_a_subclass_and_trees_that_answer_otherwise_are_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(from_estimator(Proud().fit(*WINE)), BlackBox)
    tree = DecisionTreeClassifier(random_state=0).fit(*WINE)
    monkeypatch.setattr(DecisionTreeClassifier, "predict", lambda self, x: np.zeros(len(x), int))
    assert isinstance(from_estimator(tree), BlackBox)


def test_an_unfitted_forest_is_refused() -> None:
    with pytest.raises(InputError, match="expected a fitted RandomForestClassifier"):
        from_estimator(RandomForestClassifier())


# ------------------------------------------------------------------ the form itself


def stump(feature: int = 0, t: float = 0.5, left: float = -1.0, right: float = 1.0) -> Tree:
    threshold = np.array([t, 0, 0], np.float32)
    children = np.array([1, LEAF, LEAF]), np.array([2, LEAF, LEAF])
    return Tree(np.array([feature, LEAF, LEAF]), threshold, *children, np.array([[0.0], [left], [right]]))


@given(st.floats(allow_nan=False, allow_infinity=False), st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_above_turns_at_most_into_less(t: float, x: float) -> None:
    for near in (x, float(np.float32(np.clip(t, -3e38, 3e38)))):
        near32 = np.float32(near)
        assert (float(near32) <= t) == bool(near32 < above(t))


def test_a_forest_adds_its_leaves_to_its_base() -> None:
    model = TreeModel(forest([stump(), stump(1, 2.0, -10.0, 10.0)], np.array([0.25]), 2), bounds=(0, 4))
    x = np.array([[0.4, 1], [0.5, 1], [0.4, 2], [0.5, 2]], np.float32)
    assert sums(model, x)[:, 0].tolist() == [-10.75, -8.75, 9.25, 11.25]
    assert said(model, x).tolist() == [[5.375, -5.375], [4.375, -4.375], [-4.625, 4.625], [-5.625, 5.625]]
    assert (model.access, model.service, model.padded, model.parameters) == (Need.VALUE, None, True, 6)


def test_nodes_that_no_path_leads_to_are_left_out() -> None:
    tree = stump()
    more = Tree(*(np.concatenate([part, part[:1]]) for part in tree))
    assert len(forest([more], np.zeros(1), 1).feature) == 3


def test_the_class_that_wins_in_float64_wins_in_float32() -> None:
    value = np.array([[0.5, 0.5 + 1e-12]])
    tree = Tree(np.array([LEAF]), np.zeros(1, np.float32), np.array([LEAF]), np.array([LEAF]), value)
    for link in ("logits", "probabilities"):
        scores = said(TreeModel(forest([tree], np.zeros(2), 1, link)), np.zeros((1, 1), np.float32))  # type: ignore[arg-type]
        assert scores[0, 1] == np.nextafter(scores[0, 0], np.float32(1))


def test_two_classes_that_tie_in_float64_both_beat_a_third_in_float32() -> None:
    value = np.array([[0.25, 0.25 + 1e-12, 0.25 + 1e-12]])
    tree = Tree(np.array([LEAF]), np.zeros(1, np.float32), np.array([LEAF]), np.array([LEAF]), value)
    for link in ("logits", "probabilities"):
        scores = said(TreeModel(forest([tree], np.zeros(3), 1, link)), np.zeros((1, 1), np.float32))  # type: ignore[arg-type]
        assert scores[0, 1] == scores[0, 2] == np.nextafter(scores[0, 0], np.float32(1))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"roots": np.array([0, 0], np.int32)}, "two paths"),
        ({"roots": np.array([9], np.int32)}, "roots among the nodes"),
        ({"roots": np.array([1], np.int32)}, "no path leads to"),
        ({"roots": np.zeros(0, np.int32)}, "got 0, 1 and 1"),
        ({"threshold": np.zeros(2, np.float32)}, "threshold of shape"),
        ({"base": np.array([np.inf])}, "NaN or infinity"),
        ({"features": 0}, "got 1, 0 and 1"),
        ({"divisor": 0.0}, "positive divisor"),
        ({"link": "probabilities"}, "at least 2 outputs"),
        ({"link": "cubes"}, "expected a link"),
    ],
)
def test_arrays_that_are_no_forest_are_refused(changes: dict[str, Any], message: str) -> None:
    good = vars(forest([stump()], np.zeros(1), 1))
    fields = {name: value for name, value in good.items() if name in Forest.__dataclass_fields__}
    with pytest.raises(InputError, match=message):
        Forest(**{**fields, **changes})


def test_digests_know_every_threshold() -> None:
    first, same, other = (TreeModel(forest([stump(t=t)], np.zeros(1), 1), (0, 1)) for t in (0.5, 0.5, 0.25))
    assert first.digest == same.digest != other.digest


# ------------------------------------------------------------------ runs


def test_bounds_are_those_of_the_data_unless_they_are_given() -> None:
    x, y = WINE
    model = trees_of(DecisionTreeClassifier(max_depth=3, random_state=0).fit(x, y))
    assert not model.bounded
    x, y = x[::4].astype(np.float32), y[::4]
    x[:, 0] = 13
    run = bs.evaluate(model, x, y, threat=bs.Linf(0.1), row_budget=30)
    (note,) = [f for f in run.findings if f.code == "bounds-of-data"]
    assert "1 that are the same in all rows do not change" in note.saw
    assert (run.adversarial.numpy() >= x.min(0)).all()
    assert (run.adversarial.numpy() <= np.nextafter(x.max(0), np.float32(np.inf))).all()
    given_bounds = from_estimator(DecisionTreeClassifier(max_depth=3).fit(x, y), bounds=(0, 2000))
    run = bs.evaluate(given_bounds, x, y, threat=bs.Linf(0.1), row_budget=30)
    assert not [f for f in run.findings if f.code == "bounds-of-data"]


def test_bounds_of_the_data_are_those_of_all_rows_also_where_few_are_used() -> None:
    x, y = WINE
    fitted = DecisionTreeClassifier(max_depth=3, random_state=0).fit(x, y)
    few, every = (bs.evaluate(fitted, bs.ArrayData(x, y, rows=rows), threat=bs.Linf(0.5)) for rows in (3, None))
    (said,) = [f.saw for f in few.findings if f.code == "bounds-of-data"]
    assert f"in the {len(x)} rows" in said
    assert torch.equal(few.success, every.success[:3])


def test_data_between_0_and_1_have_these_bounds() -> None:
    x, y = WINE
    x = ((x - x.min(0)) / np.ptp(x, 0)).astype(np.float32)
    model = trees_of(DecisionTreeClassifier(max_depth=3, random_state=0).fit(x, y))
    run = bs.evaluate(model, x[::6], y[::6], threat=bs.Linf(0.1), row_budget=30)
    assert [f for f in run.findings if f.code == "bounds-of-data" and "0 to 1, where all" in f.saw]


def test_a_stump_falls_exactly_where_it_can() -> None:
    model = TreeModel(forest([stump(t=0.5)], np.zeros(1), 1), bounds=(0, 1))
    x = np.array([[0.1], [0.45], [0.5], [0.8]], np.float32)
    run = bs.evaluate(model, x, np.array([0, 0, 1, 1]), threat=bs.Linf(0.1), row_budget=200)
    assert run.success.tolist() == [False, True, True, False]
