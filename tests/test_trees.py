"""Ensembles of trees: what is read answers bit for bit as its library did, and what is damaged is refused."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine
from sklearn.decomposition import PCA
from sklearn.ensemble import (
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
from blindspots.models import BlackBox, TreeModel, from_estimator, load_model
from blindspots.models.trees import catboost, lightgbm, onnx, xgboost
from blindspots.models.trees.forest import LEAF, Forest, Tree, above, forest
from blindspots.models.trees.probes import probes
from blindspots.models.trees.ubjson import from_ubjson
from blindspots.problem import Need

FILES = Path(__file__).parent / "data" / "trees"
EXPECTED = dict(np.load(FILES / "expected.npz"))
NAMES = sorted({key.split()[0] for key in EXPECTED})
WINE, CANCER, DIABETES = (load(return_X_y=True) for load in (load_wine, load_breast_cancer, load_diabetes))

CLASSIFIERS: list[Callable[[], Any]] = [
    lambda: DecisionTreeClassifier(max_depth=6, random_state=0),
    lambda: ExtraTreeClassifier(max_depth=6, random_state=0),
    lambda: RandomForestClassifier(9, max_depth=5, random_state=0),
    lambda: ExtraTreesClassifier(8, max_depth=5, random_state=0),
    lambda: GradientBoostingClassifier(n_estimators=6, random_state=0),
    lambda: GradientBoostingClassifier(n_estimators=3, init="zero", random_state=0),
    lambda: HistGradientBoostingClassifier(max_iter=5, max_leaf_nodes=8, random_state=0),
]
REGRESSORS: list[Callable[[], Any]] = [
    lambda: DecisionTreeRegressor(max_depth=6, random_state=0),
    lambda: ExtraTreeRegressor(max_depth=6, random_state=0),
    lambda: RandomForestRegressor(9, max_depth=5, random_state=0),
    lambda: ExtraTreesRegressor(8, max_depth=5, random_state=0),
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
@pytest.mark.parametrize("make", [CLASSIFIERS[0], CLASSIFIERS[2], CLASSIFIERS[4]])
def test_trees_behind_scalers_turn_at_the_same_float32(make: Callable[[], Any], scaler: Callable[[], Any]) -> None:
    estimator = make_pipeline(scaler(), make()).fit(*WINE)
    model = trees_of(estimator)
    x = np.concatenate([probes(model.forest), WINE[0].astype(np.float32)])
    own = getattr(estimator, "decision_function", estimator.predict_proba)(x.astype(np.float64))
    assert np.array_equal(sums(model, x), own.reshape(len(x), -1))


def test_trees_behind_what_mixes_features_are_asked() -> None:
    assert isinstance(from_estimator(make_pipeline(PCA(3), DecisionTreeClassifier()).fit(*WINE)), BlackBox)


@pytest.mark.parametrize(
    "make",
    [
        lambda: HistGradientBoostingClassifier(max_iter=2, categorical_features=[0], random_state=0),
        lambda: GradientBoostingClassifier(n_estimators=2, init=LogisticRegression(max_iter=5000), random_state=0),
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


# ------------------------------------------------------------------ files of other libraries


@pytest.mark.parametrize("name", NAMES)
def test_a_file_answers_as_its_library_did_at_every_threshold(name: str) -> None:
    if name.endswith(".onnx"):
        pytest.importorskip("onnx")
    model = load_model(str(FILES / name))
    assert isinstance(model, TreeModel)
    x, raw, own = (EXPECTED[f"{name} {what}"] for what in ("x", "sums", "said"))
    if raw.shape[1]:
        assert np.allclose(sums(model, x), raw, rtol=1e-15 if "forest" in name else 0, atol=0)
    ours = said(model, x)
    if model.forest.of_values:
        assert np.allclose(ours.reshape(own.shape), own, rtol=3e-7, atol=0)
        return
    own = np.stack([1 - own, own], 1) if own.ndim == 1 else own
    assert (ours.argmax(1) == own.argmax(1)).all()
    assert np.allclose(np.exp(ours) / np.exp(ours).sum(1, keepdims=True), own, rtol=1e-5, atol=1e-6)


def test_the_committed_files_ask_at_every_threshold_and_on_either_side() -> None:
    for name in NAMES:
        if not name.endswith(".onnx"):
            model = load_model(str(FILES / name))
            assert np.array_equal(EXPECTED[f"{name} x"], probes(model.forest, most=20)), name


def test_class_names_come_from_the_file() -> None:
    assert load_model(str(FILES / "cat-words.json")).class_names == ["red", "rose", "white"]


def test_a_word_before_the_name_says_which_library(tmp_path: Path) -> None:
    path = tmp_path / "mine.bin"
    path.write_bytes((FILES / "lgb-binary.txt").read_bytes())
    assert load_model(f"lightgbm:{path}").digest == load_model(str(FILES / "lgb-binary.txt")).digest


def test_json_and_ubjson_hold_the_same_model() -> None:
    document = from_ubjson((FILES / "xgb-multi.ubj").read_bytes(), "a model")
    again = xgboost.read(json.dumps(document).encode())
    assert np.array_equal(again.forest.value, load_model(str(FILES / "xgb-multi.ubj")).forest.value)


def test_a_search_that_stopped_early_predicts_with_its_best_rounds() -> None:
    document = json.loads((FILES / "xgb-binary.json").read_bytes())
    document["learner"]["attributes"] = {"best_iteration": "1"}
    assert xgboost.from_document(document).forest.trees == 3  # of `train`, whose boosters predict with all
    document["learner"]["attributes"]["scikit_learn"] = "{}"
    assert xgboost.from_document(document).forest.trees == 2


def changed(name: str, *where: Any, to: Any) -> Any:
    document = json.loads((FILES / name).read_bytes())
    inner = document
    for key in where[:-1]:
        inner = inner[key]
    inner[where[-1]] = to
    return document


TREE = ("learner", "gradient_booster", "model", "trees", 0)
PARAM = ("learner", "learner_model_param")


@pytest.mark.parametrize(
    ("where", "to", "message"),
    [
        (("version",), [4, 0, 0], r"of versions 1 to 3, got 4\.0\.0"),
        (("version",), "new", "version is wrong"),
        (("learner", "objective", "name"), "reg:mystery", "objective among .* got reg:mystery"),
        (("learner", "gradient_booster", "name"), "gblinear", r"expected trees \(gbtree or dart\)"),
        ((*TREE, "split_type"), [1, 0, 0, 0, 0, 0, 0], "questions about categories"),
        ((*TREE, "left_children"), [1, 3, 5], "as many thresholds, children"),
        ((*TREE, "left_children"), [0, 3, 5, -1, -1, -1, -1], "two paths to one node"),
        ((*TREE, "left_children"), [99, 3, 5, -1, -1, -1, -1], "children among the 7 nodes"),
        ((*TREE, "split_indices"), [4, 0, 0, 0, 0, 0, 0], "features from 0 to 3"),
        ((*TREE, "split_indices"), [-1, 0, 0, 0, 0, 0, 0], "got a negative one"),
        ((*TREE, "split_conditions"), [float("nan")] * 7, "got NaN or infinity"),
        (("learner", "gradient_booster", "model", "tree_info"), [0, 0], "what it is for, got fewer"),
        (("learner", "gradient_booster", "model", "tree_info"), [0, 0, 1], "trees for outputs 0 to 0"),
        ((*PARAM, "base_score"), "many", "expected base_score of 1 outputs"),
        ((*PARAM, "base_score"), "[0.1,0.2]", "expected base_score of 1 outputs"),
        ((*PARAM, "base_score"), "[1E0]", "got NaN or infinity"),
        (("learner", "attributes"), {"best_iteration": "-1", "scikit_learn": "{}"}, "number of the best round"),
    ],
)
def test_a_damaged_model_of_xgboost_is_refused(where: tuple[Any, ...], to: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        xgboost.from_document(changed("xgb-binary.json", *where, to=to))


@pytest.mark.parametrize(
    ("where", "to", "message"),
    [
        (("scale_and_bias",), [1], "scale_and_bias"),
        (("features_info", "categorical_features"), [{}], "of categories, texts or embeddings"),
        (("model_info", "params", "loss_function", "type"), "Focal", "loss among .* got Focal"),
        (("oblivious_trees", 0, "leaf_values"), [1.0], "expected 4 leaves with 1 numbers each"),
        (("oblivious_trees", 0, "splits", 0, "split_type"), "OnlineCtr", "got OnlineCtr of feature"),
        (("oblivious_trees", 0, "splits", 0, "float_feature_index"), 77, "of feature 77"),
        (("oblivious_trees",), [], "at least one tree"),
    ],
)
def test_a_damaged_model_of_catboost_is_refused(where: tuple[Any, ...], to: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        catboost.from_document(changed("cat-binary.json", *where, to=to))


def test_trees_of_catboost_within_each_other_are_checked() -> None:
    document = json.loads((FILES / "cat-lossguide.json").read_bytes())
    document["trees"][0] = {"value": [1.0, 2.0]}
    with pytest.raises(InputError, match="expected 1 numbers in every leaf"):
        catboost.from_document(document)
    deep: dict[str, Any] = {"value": 1.0}
    for _ in range(5000):
        deep = {"split": document["trees"][1]["split"], "left": deep, "right": {"value": 0.0}}
    document["trees"] = [deep]
    with pytest.raises(InputError, match="expected a model of CatBoost"):
        catboost.from_document(document)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("version=v4", "version=v9", "of version v3 or v4, got v9"),
        ("version=v4", "", "of version v3 or v4, got None"),
        ("end of trees", "", "without its beginning or its end"),
        ("tree_sizes=", "tree_sizes=1 ", "with 4 trees, 1 in each round, got 3"),
        ("objective=binary sigmoid:2", "objective=regression sqrt", "got 'regression sqrt'"),
        ("objective=binary sigmoid:2", "objective=binary", "expected numbers for sigmoid"),
        ("decision_type=2", "decision_type=1", "questions about categories"),
        ("decision_type=2", "decision_type=4", "zero_as_missing"),
        ("is_linear=0", "is_linear=1", "linear leaves"),
        ("left_child=", "left_child=7 ", "expected 4 leaves"),
        ("split_feature=", "split_feature=x", "expected numbers for split_feature"),
        ("num_leaves=4", "num_leaves=9", "expected 9 leaves"),
        ("split_feature=", "split_feature=-1 ", "expected 4 leaves"),
        ("max_feature_idx=3", "max_feature_idx=0", "features from 0 to 0"),
    ],
)
def test_a_damaged_model_of_lightgbm_is_refused(old: str, new: str, message: str) -> None:
    text = (FILES / "lgb-binary.txt").read_text()
    assert old in text
    with pytest.raises(InputError, match=message):
        lightgbm.read(text.replace(old, new).encode())


def test_zeros_may_be_missing_where_they_go_as_the_threshold_says() -> None:
    text = (FILES / "lgb-binary.txt").read_text().replace("decision_type=2 2 2", "decision_type=6 6 6")
    again = lightgbm.read(text.encode()).forest  # all thresholds are above 0, and missing numbers go left
    assert np.array_equal(again.threshold, load_model(str(FILES / "lgb-binary.txt")).forest.threshold)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_damaged_bytes_are_refused_or_still_a_forest(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(["xgb-multi.ubj", "xgb2-binary.json", "lgb-multi.txt", "cat-lossguide.json"]))
    content = bytearray((FILES / name).read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(0, len(content)))] if data.draw(st.booleans()) else content
    reader = {"xgb": xgboost.read, "lgb": lightgbm.read, "cat": catboost.read}[name[:3]]
    try:
        found = reader(bytes(content)).forest
    except InputError:
        return
    assert isinstance(found, Forest)


def test_an_onnx_model_of_trees_is_that_alone() -> None:
    pytest.importorskip("onnx")
    import onnx as format_

    model = format_.load_model_from_string((FILES / "onnx-forest.onnx").read_bytes())
    other = copy.deepcopy(model)
    other.graph.node.append(format_.helper.make_node("Exp", [other.graph.node[0].output[1]], ["more"]))
    twice = copy.deepcopy(model)
    twice.graph.node.append(copy.deepcopy(twice.graph.node[0]))
    equal = copy.deepcopy(model)
    modes = next(a for a in equal.graph.node[0].attribute if a.name == "nodes_modes")
    modes.strings[0] = b"BRANCH_EQ"
    for bad, message in ((other, "got a node of Exp"), (twice, "got 2 and"), (equal, "BRANCH_EQ")):
        with pytest.raises(InputError, match=message):
            onnx.read(bad.SerializeToString())
    with pytest.raises(InputError, match="damaged"):
        onnx.read(b"TreeEnsemble")


@pytest.mark.parametrize("library", ["xgboost", "lightgbm", "catboost"])
def test_fitted_objects_of_other_libraries_are_read(library: str) -> None:
    peer = pytest.importorskip(library)
    x, y = WINE
    make = {
        "xgboost": lambda: peer.XGBClassifier(n_estimators=3, max_depth=2),
        "lightgbm": lambda: peer.LGBMClassifier(n_estimators=3, num_leaves=4, verbose=-1),
        "catboost": lambda: peer.CatBoostClassifier(iterations=3, depth=2, verbose=0, allow_writing_files=False),
    }[library]
    model = trees_of(make().fit(x, y))
    assert model.class_names == ["0", "1", "2"]
    with pytest.raises(InputError, match="expected a fitted"):
        from_estimator(make())


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


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "its end"),
        (b"[$l#U\xff", "its end"),
        (b"{L\x00\x00\x00\x00\x00\x00\x00\x01aQ}", "unknown type"),
        (b"[]more", "4 bytes after its end"),
        (b"[" * 100, "lists in each other"),
        (b"{U\x01\xff", "no UTF-8"),
        (b"[#Sx", "a length of type"),
        (b"[#i\xff", "a length of -1"),
        (b"[$Z#L\x7f\xff\xff\xff\xff\xff\xff\xff", "a list of type"),
    ],
)
def test_damaged_ubjson_is_refused(content: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message):
        from_ubjson(content, "a model")


def test_ubjson_is_read_by_its_types() -> None:
    value = b"{U\x01a[i\xfeI\x01\x00TFZ]U\x01b[$d#U\x02\x3f\x80\x00\x00\xbf\x00\x00\x00U\x01cSU\x02hi}"
    assert from_ubjson(value, "it") == {"a": [-2, 256, True, False, None], "b": [1.0, -0.5], "c": "hi"}


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
