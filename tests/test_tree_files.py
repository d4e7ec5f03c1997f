"""Files of trees: they answer bit for bit as their libraries did, and what is damaged is refused."""

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_wine

import blindspots as bs
from blindspots.errors import InputError
from blindspots.models import TreeModel, from_estimator, load_model
from blindspots.models.trees import catboost, lightgbm, onnx, xgboost
from blindspots.models.trees.forest import Forest
from blindspots.models.trees.probes import probes
from blindspots.models.trees.ubjson import from_ubjson

FILES = Path(__file__).parent / "data" / "trees"
EXPECTED = dict(np.load(FILES / "expected.npz"))
NAMES = sorted({key.split()[0] for key in EXPECTED})


@torch.no_grad()
def sums(model: TreeModel, x: Any) -> Any:
    return model.net[1].sums(torch.from_numpy(x)).numpy()


@torch.no_grad()
def said(model: bs.Model, x: Any) -> Any:
    return model.logits(torch.from_numpy(x)).numpy()


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
        ((*PARAM, "num_target"), "2", "one class each, got 2 labels"),
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
    x, y = load_wine(return_X_y=True)
    make = {
        "xgboost": lambda: peer.XGBClassifier(n_estimators=3, max_depth=2),
        "lightgbm": lambda: peer.LGBMClassifier(n_estimators=3, num_leaves=4, verbose=-1),
        "catboost": lambda: peer.CatBoostClassifier(iterations=3, depth=2, verbose=0, allow_writing_files=False),
    }[library]
    model = from_estimator(make().fit(x, y))
    assert isinstance(model, TreeModel)
    assert model.class_names == ["0", "1", "2"]
    with pytest.raises(InputError, match="expected a fitted"):
        from_estimator(make())


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
