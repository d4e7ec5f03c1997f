"""Pipelines of raw columns: what is read of them is what they answer, and they work from a csv file with words."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import (
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    QuantileTransformer,
    StandardScaler,
)

import blindspots as bs
from blindspots.data.table import TableData
from blindspots.models.columns import ColumnPipeline
from blindspots.models.estimators import from_estimator
from blindspots.problem import Need
from blindspots.tables.encoding import decoded, encoded
from blindspots.tables.features import read_features
from rows_of_tables import quick, write

HEAD = ["income", "age", "term", "job", "owner"]
FEATURES = """
[columns.income]
range = [0, 90]
[columns.age]
type = "integer"
range = [18, 90]
[columns.term]
type = "ordinal"
values = [12, 36, 60]
[columns.job]
type = "category"
values = ["clerk", "none", "smith"]
[columns.owner]
type = "category"
values = ["False", "True"]
"""


def rows(count: int = 120) -> tuple[Any, Any]:
    """Objects (count, 5) and labels; `owner` is a bool."""
    draw = np.random.RandomState(0)
    age, income = draw.randint(18, 90, count), draw.uniform(5, 80, count).round(1)
    term = draw.choice([12, 36, 60], count)
    job, owner = draw.choice(["clerk", "none", "smith"], count), draw.rand(count) < 0.5
    score = income / 40 + (job == "smith") - (term == 60) + 0.5 * owner + age / 90
    x = np.array([income.tolist(), age.tolist(), term.tolist(), job.tolist(), owner.tolist()], dtype=object).T
    return x, np.where(score > 2, "paid", "late")


def split(*more: Any, scaler: Any = None) -> ColumnTransformer:
    numbers = make_pipeline(SimpleImputer(), scaler or StandardScaler())
    return ColumnTransformer(
        [("numbers", numbers, [0, 1]), ("words", OneHotEncoder(handle_unknown="ignore"), slice(3, 5)), *more],
        sparse_threshold=0,
    )


def pipelines() -> dict[str, tuple[Pipeline, bool]]:
    """By a name: one, and whether it has gradients once it is read."""
    term, last = ("term", OneHotEncoder(drop="first"), [2]), LogisticRegression()
    coded = ("coded", OrdinalEncoder(), [3])
    return {
        "linear": (make_pipeline(split(term), last), True),
        "network": (make_pipeline(split(coded, scaler=MinMaxScaler()), MLPClassifier((6,), "tanh", max_iter=40)), True),
        "nested": (make_pipeline(split(term, coded), make_pipeline(StandardScaler(), PCA(4), last)), True),
        "search": (GridSearchCV(make_pipeline(split(term), last), {"logisticregression__C": [1.0]}, cv=2), True),
        "no sum": (make_pipeline(split(term), PolynomialFeatures(2), last), False),
        "no line": (make_pipeline(split(scaler=QuantileTransformer(n_quantiles=20)), last), False),
        "trees": (make_pipeline(split(term), RandomForestClassifier(5, random_state=0)), False),
    }


def told(folder: Path) -> str:
    (folder / "f.toml").write_text(FEATURES)
    return str(folder / "f.toml")


@pytest.mark.parametrize("name", pipelines())
@pytest.mark.filterwarnings("ignore:Stochastic")
def test_what_is_read_answers_as_the_pipeline_does(name: str, tmp_path: Path) -> None:
    x, y = rows()
    pipeline, gradients = pipelines()[name]
    pipeline.fit(x, y)
    assert isinstance(from_estimator(pipeline), ColumnPipeline)
    model = bs.from_columns(pipeline, told(tmp_path))
    assert (model.access is Need.GRAD) == gradients
    inputs = bs.load_data(csv_of(tmp_path, x, y), features=told(tmp_path)).rows(0, len(x))[0]
    with torch.no_grad():
        said = model.logits(inputs).softmax(1).numpy()
    assert np.abs(said - pipeline.predict_proba(x)).max() < 1e-5


def csv_of(folder: Path, x: Any, y: Any) -> str:
    """A file with the columns in another order."""
    return write(folder / "r.csv", ["label", *HEAD[::-1]], np.c_[y, x[:, ::-1]].tolist())


def test_a_gradient_of_an_ordinal_column_leads_from_level_to_level(tmp_path: Path) -> None:
    """Between levels the score is a straight line, so a step along it says which level is better."""
    x, y = np.array([[12.0], [36.0], [60.0]] * 10, dtype=object), np.array(["a", "b", "b"] * 10)
    encoder = ColumnTransformer([("term", OneHotEncoder(categories=[[12, 36, 60]]), [0])])
    pipeline = make_pipeline(encoder, LogisticRegression(C=100)).fit(x, y)
    (tmp_path / "f.toml").write_text('[columns.term]\ntype = "ordinal"\nvalues = [12, 36, 60]\n')
    model = bs.from_columns(pipeline, tmp_path / "f.toml")
    at = torch.tensor([[12.0], [30.0], [48.0]], requires_grad=True)
    margin = model.logits(at)[:, 1] - model.logits(at)[:, 0]
    (slopes,) = torch.autograd.grad(margin.sum(), at)
    ends = pipeline.decision_function(np.array([[12.0], [36.0], [60.0]], dtype=object))
    first, second = (ends[1:] - ends[:-1]) / 24
    assert slopes[:, 0].tolist() == pytest.approx([first, first, second], abs=1e-5)
    assert float(margin[1].detach()) == pytest.approx(ends[0] + (ends[1] - ends[0]) * 18 / 24, abs=1e-4)


def test_regressors_of_columns_are_read(tmp_path: Path) -> None:
    x, _ = rows()
    encoder = ColumnTransformer([("n", "passthrough", [0, 1, 2]), ("w", OneHotEncoder(), [3, 4])])
    pipeline = make_pipeline(encoder, Ridge()).fit(x, x[:, 0].astype(float) * 2)
    model = bs.from_columns(pipeline, told(tmp_path))
    assert model.access is Need.GRAD
    assert model.output == "values"


def test_a_pipeline_of_named_columns_from_its_files_and_from_python(tmp_path: Path) -> None:
    """From a csv file with words and a file of skops to examples in the user's columns; it is asked again."""
    pandas, skops = pytest.importorskip("pandas"), pytest.importorskip("skops.io")
    x, y = rows()
    frame = pandas.DataFrame(x, columns=HEAD).infer_objects()
    steps = ColumnTransformer(
        [("n", StandardScaler(), ["age", "income"]), ("w", OneHotEncoder(), ["term", "job", "owner"])]
    )
    pipeline = make_pipeline(steps, LogisticRegression()).fit(frame, y)
    skops.dump(pipeline, tmp_path / "p.skops")
    data = csv_of(tmp_path, x, y)
    spec, said = f"sklearn:{tmp_path}/p.skops", {"threat": "l2:1.2", "scale": "std", "protocol": quick(tmp_path)}
    done = bs.evaluate(spec, data=data, features=told(tmp_path), out=tmp_path / "run", **said)
    assert done.success.float().mean() > 0.2
    table = bs.load_data(data, features=told(tmp_path)).table  # type: ignore[attr-defined]
    found = pandas.DataFrame(decoded(table, done.adversarial.numpy()))
    found["owner"] = found["owner"] == "True"
    assert ((pipeline.predict(found) != y) == (done.success.numpy() | (pipeline.predict(frame) != y))).all()
    assert bs.verify(tmp_path / "run").ok
    live = bs.evaluate(pipeline, frame, y, features=told(tmp_path), **said)
    assert torch.equal(live.success, done.success)
    with pytest.raises(bs.InputError, match="expected a table with a feature file for p"):
        bs.evaluate(spec, data=data, threat="l2:1.2")


def test_a_feature_file_that_lacks_a_column_of_the_pipeline_is_refused(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    x, y = rows()
    frame = pandas.DataFrame(x, columns=HEAD).infer_objects()
    steps = ColumnTransformer([("n", StandardScaler(), ["age", "income"])])
    pipeline = make_pipeline(steps, LogisticRegression()).fit(frame, y)
    (tmp_path / "f.toml").write_text("[columns.age]\nrange = [18, 90]\n")
    with pytest.raises(bs.InputError, match="which lacks 'income', 'term', 'job', 'owner'"):
        bs.from_columns(pipeline, tmp_path / "f.toml")


def test_columns_are_read_by_the_data_they_come_from(tmp_path: Path) -> None:
    """A model made for one feature file follows that of the data, whose columns may have another order."""
    x, y = rows()
    encoder = ColumnTransformer([("n", "passthrough", [0, 1]), ("w", OneHotEncoder(), [2])])
    pipeline = make_pipeline(encoder, LogisticRegression()).fit(x[:, [1, 0, 3]], y)
    (tmp_path / "f.toml").write_text(
        '[columns.age]\n[columns.income]\n[columns.job]\ntype="category"\nvalues=["clerk","none","smith"]\n'
    )
    (tmp_path / "g.toml").write_text(
        '[columns.age]\n[columns.income]\n[columns.job]\ntype="category"\nvalues=["smith","none","clerk"]\n'
    )
    cells = {"age": x[:, 1], "income": x[:, 0], "job": x[:, 3]}
    data = TableData(cells, y, features=read_features(tmp_path / "g.toml"))
    model = bs.from_columns(pipeline, tmp_path / "f.toml").of_table(data.table)
    inputs = torch.from_numpy(encoded(data.table, {k: list(v) for k, v in cells.items()}, "rows"))
    with torch.no_grad():
        said = model.logits(inputs).argmax(1).numpy()
    assert (pipeline.classes_[said] == pipeline.predict(x[:, [1, 0, 3]])).all()
