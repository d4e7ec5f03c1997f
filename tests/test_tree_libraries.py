"""Trees against the libraries that made them, where these are installed: raw sums equal to the last bit."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_wine

from blindspots.models.trees import catboost, lightgbm, onnx, xgboost
from blindspots.models.trees.forest import Forest
from blindspots.models.trees.model import TreeModel
from blindspots.models.trees.probes import probes

TWO, THREE, TEN, VALUES = (
    load(return_X_y=True) for load in (load_breast_cancer, load_wine, load_digits, load_diabetes)
)
BOTH = (VALUES[0], np.stack([VALUES[1], -VALUES[1]], 1))


def rows_for(found: Forest, x: Any) -> Any:
    """At every threshold and next to it, and the data."""
    return np.concatenate([probes(found), x.astype(np.float32)])


@torch.no_grad()
def compared(found: Forest, rows: Any, raw: Any, said: Any) -> None:
    """`raw`: sums of the library; `said`: its probabilities or values."""
    model = TreeModel(found)
    assert np.array_equal(model.net[1].sums(torch.from_numpy(rows)).numpy(), np.asarray(raw).reshape(len(rows), -1))
    ours = model.logits(torch.from_numpy(rows)).numpy()
    if found.of_values:
        assert np.allclose(ours.reshape(said.shape), said, rtol=1e-6, atol=0)
    else:
        wanted = said.argmax(1) if said.ndim == 2 else (said > 0.5).astype(int)
        assert (ours.argmax(1) == wanted).all()


XGBOOST: dict[str, tuple[dict[str, Any], Any]] = {
    "binary:logistic": ({}, TWO),
    "binary:hinge": ({"base_score": 0.2}, TWO),
    "reg:logistic": ({"num_parallel_tree": 3, "subsample": 0.5}, TWO),
    "multi:softprob": ({"num_class": 3, "base_score": 0.3}, THREE),
    "multi:softprob dart": ({"num_class": 10, "booster": "dart", "rate_drop": 0.3}, TEN),
    "multi:softprob vectors": ({"num_class": 3, "multi_strategy": "multi_output_tree", "tree_method": "hist"}, THREE),
    "reg:squarederror": ({}, BOTH),
    "reg:absoluteerror": ({}, VALUES),
    "reg:pseudohubererror": ({"tree_method": "exact", "gamma": 1}, VALUES),
    "reg:quantileerror": ({"quantile_alpha": [0.1, 0.9]}, VALUES),
    "count:poisson": ({}, VALUES),
    "reg:gamma": ({}, VALUES),
    "reg:tweedie": ({}, VALUES),
    "survival:cox": ({}, VALUES),
}


@pytest.mark.parametrize("kind", XGBOOST)
@pytest.mark.parametrize("form", ["json", "ubj"])
def test_xgboost(kind: str, form: str) -> None:
    peer = pytest.importorskip("xgboost")
    settings, (x, y) = XGBOOST[kind]
    booster = peer.train({"objective": kind.split()[0], "max_depth": 4, "seed": 0, **settings}, peer.DMatrix(x, y), 5)
    found = xgboost.read(bytes(booster.save_raw("ubj" if form == "ubj" else "json"))).forest
    rows = rows_for(found, x)
    data = peer.DMatrix(rows)
    compared(found, rows, booster.predict(data, output_margin=True), booster.predict(data))


LIGHTGBM: dict[str, tuple[dict[str, Any], Any]] = {
    "binary": ({"sigmoid": 0.3}, TWO),
    "multiclass": ({"num_class": 10, "boosting": "dart"}, TEN),
    "multiclassova": ({"num_class": 3}, THREE),
    "cross_entropy": ({}, TWO),
    **dict.fromkeys(
        ("regression", "regression_l1", "huber", "fair", "quantile", "mape", "poisson", "gamma", "tweedie"),
        ({}, VALUES),
    ),
}


@pytest.mark.parametrize("kind", LIGHTGBM)
def test_lightgbm(kind: str) -> None:
    peer = pytest.importorskip("lightgbm")
    settings, (x, y) = LIGHTGBM[kind]
    booster = peer.train({"objective": kind, "verbose": -1, "seed": 0, **settings}, peer.Dataset(x, y), 5)
    found = lightgbm.read(booster.model_to_string().encode()).forest
    rows = rows_for(found, x)
    wide = rows.astype(np.float64)
    factor = settings.get("sigmoid", 1.0)
    compared(found, rows, booster.predict(wide, raw_score=True) / (1 / factor), booster.predict(wide))


CATBOOST: dict[str, tuple[dict[str, Any], Any]] = {
    "Logloss": ({}, TWO),
    "Logloss Lossguide": ({"grow_policy": "Lossguide"}, TWO),
    "MultiClass": ({}, THREE),
    "MultiClass Depthwise": ({"grow_policy": "Depthwise"}, THREE),
    "MultiClassOneVsAll": ({}, THREE),
    **dict.fromkeys(("RMSE", "MAE", "MAPE", "Quantile:alpha=0.3", "Poisson", "LogCosh", "Huber:delta=1"), ({}, VALUES)),
    **dict.fromkeys(("Expectile:alpha=0.3", "Lq:q=3", "Tweedie:variance_power=1.5"), ({}, VALUES)),
    "MultiRMSE": ({}, BOTH),
}


@pytest.mark.parametrize("kind", CATBOOST)
def test_catboost(kind: str, tmp_path: Path) -> None:
    peer = pytest.importorskip("catboost")
    settings, (x, y) = CATBOOST[kind]
    make = peer.CatBoostRegressor if y.dtype == float else peer.CatBoostClassifier
    quiet = {"verbose": 0, "allow_writing_files": False, "thread_count": 1, "random_seed": 0}
    model = make(iterations=5, depth=4, loss_function=kind.split()[0], **settings, **quiet).fit(x, y)
    model.save_model(str(tmp_path / "model.json"), format="json")
    found = catboost.read((tmp_path / "model.json").read_bytes()).forest
    rows = rows_for(found, x)
    said = model.predict_proba(rows) if hasattr(model, "predict_proba") else model.predict(rows)
    compared(found, rows, model.predict(rows, prediction_type="RawFormulaVal"), said)


@pytest.mark.parametrize("data", [TWO, THREE, VALUES])
@pytest.mark.parametrize("kind", ["RandomForest", "GradientBoosting"])
def test_onnx(kind: str, data: Any) -> None:
    runtime, writer = pytest.importorskip("onnxruntime"), pytest.importorskip("skl2onnx")
    import sklearn.ensemble

    x, y = data
    estimator = getattr(sklearn.ensemble, f"{kind}{'Regressor' if data is VALUES else 'Classifier'}")
    options = None if data is VALUES else {"zipmap": False}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitted = estimator(n_estimators=8, max_depth=4, random_state=0).fit(x, y)
        content = writer.to_onnx(fitted, x[:1].astype(np.float32), options=options).SerializeToString()
    model = TreeModel(onnx.read(content).forest)
    rows = rows_for(model.forest, x)
    one = runtime.SessionOptions()
    one.intra_op_num_threads = 1  # several add up parts of the trees
    answers = runtime.InferenceSession(content, one).run(None, {"X": rows})
    said = model.logits(torch.from_numpy(rows)).numpy()
    if data is VALUES:
        assert np.array_equal(said, answers[0][:, 0])
    else:
        assert (said.argmax(1) == answers[0]).all()
