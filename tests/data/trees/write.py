"""Writes the models of this folder with their libraries, and what these answer at every threshold and next to it.

Run in an environment with xgboost, lightgbm, catboost, skl2onnx and onnxruntime:

    PYTHONPATH=src python tests/data/trees/write.py

What is in the folder was written by xgboost 3.2.0 (xgb2-* by 2.1.4), lightgbm 4.7.0, catboost 1.2.10, skl2onnx 1.20.0.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import load_wine

from blindspots.models.load import load_model
from blindspots.models.trees.probes import probes

HERE = Path(__file__).parent
COLUMNS = [0, 6, 9, 12]
X, Y = load_wine(return_X_y=True)
X = X[:, COLUMNS].astype(np.float32)
CENTRED = np.where(np.abs(X - X.mean(0)) > X.std(0) / 2, X - X.mean(0), 0)  # half of it zeros
TWO, TARGET = (Y > 0).astype(int), X[:, 3] / 100


def write_xgboost(expected: dict[str, Any], prefix: str) -> None:
    import xgboost

    small = {"max_depth": 2, "seed": 0, "nthread": 1}
    multi = {"objective": "multi:softprob", "num_class": 3, **small}
    both = np.stack([TARGET, -X[:, 0]], 1)
    vector = {"multi_strategy": "multi_output_tree", "tree_method": "hist", **small}
    kinds: dict[str, tuple[dict[str, Any], Any]] = {
        f"{prefix}-binary.json": ({"objective": "binary:logistic", **small}, TWO),
        f"{prefix}-multi.ubj": (multi, Y),
        f"{prefix}-dart.json": ({"booster": "dart", "rate_drop": 0.5, "one_drop": 1, **multi}, Y),
        f"{prefix}-poisson.json": ({"objective": "count:poisson", **small}, TARGET),
    }
    if prefix == "xgb":
        kinds["xgb-vector.ubj"] = (vector, both)
    for name, (settings, target) in kinds.items():
        booster = xgboost.train(settings, xgboost.DMatrix(X, target), 3)
        booster.save_model(HERE / name)
        x = _rows(HERE / name)
        rows = xgboost.DMatrix(x)
        _keep(expected, name, x, booster.predict(rows, output_margin=True), booster.predict(rows))


def write_lightgbm(expected: dict[str, Any]) -> None:
    import lightgbm

    small = {"num_leaves": 4, "verbose": -1, "seed": 0, "num_threads": 1}
    forest = {"boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.5}
    for name, settings, target in (
        ("lgb-binary.txt", {"objective": "binary", "sigmoid": 2.0}, TWO),
        ("lgb-multi.txt", {"objective": "multiclass", "num_class": 3}, Y),
        ("lgb-forest.txt", {"objective": "binary", **forest}, TWO),
        ("lgb-values.txt", {"objective": "regression"}, TARGET),
        ("lgb-zeros.txt", {"objective": "regression"}, TARGET),
    ):
        zeros = name == "lgb-zeros.txt"  # so that a threshold is among the numbers that count as zero
        rows = lightgbm.Dataset(CENTRED if zeros else X, target)
        booster = lightgbm.train({**settings, **small}, rows, 3)
        booster.save_model(HERE / name)
        x = _rows(HERE / name)
        wide = x.astype(np.float64)
        raw = booster.predict(wide, raw_score=True)
        scale = 2.0 if "binary" in name else 1 / 3 if "forest" in name else 1.0
        _keep(expected, name, x, raw * scale, booster.predict(wide))


def write_catboost(expected: dict[str, Any]) -> None:
    import catboost

    quiet = {"verbose": 0, "allow_writing_files": False}
    small = {"iterations": 3, "depth": 2, "random_seed": 0, "thread_count": 1, **quiet}
    for name, kind, settings, target in (
        ("cat-binary.json", catboost.CatBoostClassifier, {}, TWO),
        ("cat-words.json", catboost.CatBoostClassifier, {}, np.array(["red", "rose", "white"])[Y]),
        ("cat-lossguide.json", catboost.CatBoostRegressor, {"grow_policy": "Lossguide"}, TARGET),
    ):
        model = kind(**settings, **small).fit(X, target)
        model.save_model(str(HERE / name), format="json")
        x = _rows(HERE / name)
        said = model.predict_proba(x) if hasattr(model, "predict_proba") else model.predict(x)
        said = said[:, 1] if name == "cat-binary.json" else said
        _keep(expected, name, x, model.predict(x, prediction_type="RawFormulaVal"), said)


def write_onnx(expected: dict[str, Any]) -> None:
    import onnxruntime
    from skl2onnx import to_onnx
    from sklearn.ensemble import GradientBoostingClassifier, GradientBoostingRegressor, RandomForestClassifier

    for name, kind, target in (
        ("onnx-forest.onnx", RandomForestClassifier(3, max_depth=2, random_state=0), Y),
        ("onnx-two.onnx", RandomForestClassifier(3, max_depth=2, random_state=0), TWO),
        ("onnx-boosted.onnx", GradientBoostingClassifier(n_estimators=3, max_depth=2, random_state=0), Y),
        ("onnx-values.onnx", GradientBoostingRegressor(n_estimators=3, max_depth=2, random_state=0), TARGET),
    ):
        options = {"zipmap": False} if hasattr(kind, "predict_proba") else None
        content = to_onnx(kind.fit(X, target), X[:1], options=options).SerializeToString()
        (HERE / name).write_bytes(content)
        x = _rows(HERE / name)
        answers = onnxruntime.InferenceSession(content).run(None, {"X": x})
        _keep(expected, name, x, np.zeros((len(x), 0)), answers[-1])


def _rows(path: Path) -> Any:
    return probes(load_model(str(path)).forest, most=20)  # type: ignore[attr-defined]


def _keep(expected: dict[str, Any], name: str, x: Any, sums: Any, said: Any) -> None:
    expected |= {f"{name} x": x, f"{name} sums": np.asarray(sums).reshape(len(x), -1), f"{name} said": np.asarray(said)}


def main() -> None:
    path = HERE / "expected.npz"
    expected = dict(np.load(path)) if path.exists() else {}
    if sys.argv[1:] == ["xgb2"]:
        write_xgboost(expected, "xgb2")
    else:
        write_xgboost(expected, "xgb")
        for write in (write_lightgbm, write_catboost, write_onnx):
            write(expected)
    np.savez_compressed(path, **expected)


if __name__ == "__main__":
    main()
