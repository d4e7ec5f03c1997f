"""Linear models: distances that count as the smallest, bounds that leave room for rounding, and what is not linear."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_diabetes, load_digits
from sklearn.linear_model import LogisticRegression, Perceptron, Ridge, RidgeClassifier, SGDClassifier
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.svm import LinearSVC
from torch import nn

import blindspots as bs
from blindspots.ball import L0, L1, L2, Linf
from blindspots.data.table import TableData
from blindspots.exact import solver_of
from blindspots.exact.affine import scores_of
from blindspots.exact.linear import LinearSolver
from blindspots.exact.region import Frame
from blindspots.tables.features import Features
from blindspots.tables.rules import Rules
from blindspots.tables.threat import TableThreat, ball_of, box_of


@pytest.fixture(scope="module")
def digits() -> tuple[np.ndarray, np.ndarray]:
    x, y = load_digits(return_X_y=True)
    return (x / 16).astype(np.float32), y


def untrained(seed: int = 0) -> bs.Model:
    torch.manual_seed(seed)
    return bs.Model(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)))


@pytest.mark.parametrize("threat", ["linf", "l0"])
def test_distances_of_networks_in_float32_are_proved(threat: str, digits: Any) -> None:
    """Rounding of their sums leaves room below, yet nothing but float32 lies between example and boundary."""
    model = untrained()
    x = torch.from_numpy(digits[0][:12])
    run = bs.evaluate(model, x, model.logits(x).argmax(1), threat=threat)
    assert run.verdict.settled
    (columns,) = run.shards()
    lower, exact, norm = (columns[name].double() for name in ("lower", "exact", "norm"))
    assert (lower <= exact).all()
    assert ((norm - exact).abs() <= 1e-4 * exact).all()
    if threat != "l0":
        assert (lower < exact).all()


def test_the_exact_distance_is_that_of_the_closed_form(digits: Any) -> None:
    """Far from the box, margin over dual norm; in float64, from the weights alone."""
    model = bs.Model(untrained().net, bounds=(-100.0, 100.0))
    x = torch.from_numpy(digits[0][:8])
    layer = model.net[1]
    w, b = layer.weight.detach().double().numpy(), layer.bias.detach().double().numpy()
    for ball, dual in ((Linf, 1), (L2, 2), (L1, np.inf)):
        solver = solver_of(model, ball(None, -100.0, 100.0), (64,))
        assert solver is not None
        for row in x.numpy():
            s = w @ row.astype(np.float64) + b
            y = int(s.argmax())
            want = min((s[y] - s[j]) / np.linalg.norm(w[y] - w[j], dual) for j in range(10) if j != y)
            assert solver.nearest(row, y, np.inf, 1).smallest == pytest.approx(want, rel=1e-9)


def test_bounds_leave_room_for_sums_that_cancel() -> None:
    """Large weights that cancel in the next layer: float32 is off by far more than the size of the scores says."""
    torch.manual_seed(0)
    first, second = nn.Linear(40, 2), nn.Linear(2, 2)
    with torch.no_grad():
        first.weight.copy_(1e4 + torch.stack([torch.zeros(40), torch.randn(40)]))
        second.weight.copy_(torch.tensor([[-1.0, 1.0], [1.0, -1.0]]))
    model = bs.Model(nn.Sequential(first, second))
    scores = scores_of(model, (40,))
    assert scores is not None
    x = torch.rand(200, 40)
    off = np.abs(model.logits(x).detach().double().numpy() - np.stack([scores.of(row) for row in x.double().numpy()]))
    allowed = scores.stray(np.ones(40))
    assert (off <= allowed).all()
    size = 2 * 42 * 2.0**-24 * (np.abs(scores.weight).sum(1) + np.abs(scores.bias))
    assert off.max() > size.max()  # what a single layer of that size would allow


def test_inputs_are_scaled_in_float32_before_a_network_in_float64() -> None:
    torch.manual_seed(1)
    net = nn.Linear(5, 3).double()
    model = bs.Model(net, mean=0.1, std=1e-4)
    scores = scores_of(model, (5,))
    assert scores is not None
    x = torch.rand(100, 5)
    off = np.abs(model.logits(x).detach().double().numpy() - np.stack([scores.of(row) for row in x.double().numpy()]))
    rounded = 2.0**-24 * np.abs(model.logits(x).detach().double().numpy())  # the scores themselves
    assert (off <= scores.stray(np.ones(5)) + rounded).all()


class Doubled(nn.Linear):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) ** 2


def test_what_is_not_surely_linear_is_not_proved() -> None:
    hooked = nn.Linear(4, 3)
    hooked.register_forward_hook(lambda module, args, output: output.relu())
    lying = nn.Sequential(nn.Flatten(0), nn.Linear(4, 3))
    for net in (hooked, lying, Doubled(4, 3), nn.Linear(4, 3).to(torch.bfloat16), nn.Sequential(nn.Flatten())):
        assert scores_of(bs.Model(net), (4,)) is None
    assert scores_of(bs.Model(nn.Linear(4, 3)), (4, 4)) is None


@pytest.mark.parametrize(
    "estimator",
    [
        LinearSVC(), RidgeClassifier(), SGDClassifier(random_state=0), Perceptron(),
        make_pipeline(StandardScaler(), LogisticRegression(max_iter=200)),
        make_pipeline(MinMaxScaler(), OneVsRestClassifier(LogisticRegression())),
    ],
    ids=lambda e: type(e).__name__ if not hasattr(e, "steps") else type(e.steps[-1][1]).__name__,
)  # fmt: skip
def test_classifiers_of_many_classes_are_proved(estimator: Any, digits: Any) -> None:
    x, y = digits
    model = bs.from_estimator(estimator.fit(x[::2].astype(float), y[::2]))
    if isinstance(estimator[-1] if hasattr(estimator, "steps") else estimator, OneVsRestClassifier):
        assert solver_of(model, L2(), (64,)) is None  # its probabilities are divided by their sum: no lines
        return
    run = bs.evaluate(model, x[1:21:2], y[1:21:2], threat="l2")
    assert run.config.protocol == "exact"
    assert run.verdict.open == 0
    (columns,) = run.shards()
    won = columns["won"]
    assert (columns["norm"][won].double() / columns["exact"][won] - 1).abs().max() < 1e-5


def test_a_distance_that_is_too_long_or_too_short_is_found_out(
    monkeypatch: pytest.MonkeyPatch, digits: Any, tmp_path: Path
) -> None:
    honest, x = LinearSolver.nearest, torch.from_numpy(digits[0][:6])
    model = untrained()
    y = model.logits(x).argmax(1)
    for name, share in (("long", 1.0001), ("short", 0.9999)):

        def told(self: LinearSolver, *args: Any, share: float = share) -> Any:
            found = honest(self, *args)
            return replace(found, exact=found.smallest * share, lower=found.lower * min(share, 1.0))

        monkeypatch.setattr(LinearSolver, "nearest", told)
        bs.evaluate(model, x, y, threat="l2", out=tmp_path / name)
        monkeypatch.undo()
        assert not bs.verify(tmp_path / name, model).ok


# ------------------------------------------------------------------ tables


def table() -> Features:
    return Features.model_validate({
        "columns": {
            "age": {"type": "integer", "range": (18, 80), "change": "up", "cost": 2.0},
            "income": {"range": (0, 10), "cost": 1.5},
            "colour": {"type": "category", "values": ("red", "green", "blue"), "cost": 1.2},
            "term": {"type": "ordinal", "values": (36, 48, 60), "cost": 0.3},
            "height": {"range": (0, 1), "change": "never"},
        }
    })  # fmt: skip


def people(rows: int) -> tuple[list[list[Any]], np.ndarray]:
    rng = np.random.default_rng(0)
    cells = [
        [int(rng.integers(18, 80)), float(np.float32(rng.uniform(0, 10))), ("red", "green", "blue")[rng.integers(3)],
         int(rng.choice([36, 48, 60])), float(np.float32(rng.uniform()))]
        for _ in range(rows)
    ]  # fmt: skip
    coded = [[a, b, c == "red", c == "green", c == "blue", d, e] for a, b, c, d, e in cells]
    return cells, np.array(coded, np.float32)


@pytest.mark.parametrize(
    "threat", ["l1:3", "l0:1", "cost", *(pytest.param(t, marks=pytest.mark.slow) for t in ("linf:2", "l2"))]
)
def test_whole_numbers_directions_and_categories_are_proved(threat: str, tmp_path: Path) -> None:
    cells, x = people(8 if threat == "l2" else 20)
    net = nn.Linear(7, 2).double()
    with torch.no_grad():
        net.weight.copy_(torch.tensor([[0.0] * 7, [0.03, 0.3, 0.0, 0.5, 0.9, 0.02, 0.8]]))
        net.bias.copy_(torch.tensor([4.8, 0.0]))
    model = bs.Model(net, bounds=box_of(table()))
    y = model.logits(torch.from_numpy(x)).argmax(1)
    columns = {name: [row[k] for row in cells] for k, name in enumerate(table().columns)}
    data = TableData(columns, y.tolist(), features=table())
    run = bs.evaluate(model, data=data, threat=threat, protocol="exact", out=tmp_path / "run")
    assert run.verdict.open == 0
    assert run.verdict.minimal.hits >= 0.9 * run.verdict.minimal.rows > 0
    assert bs.verify(tmp_path / "run", model).ok


def test_relations_are_not_proved() -> None:
    told = table().model_dump() | {"relations": ({"holds": "age >= term / 2"},)}
    features = Features.model_validate(told)
    assert solver_of(bs.Model(nn.Linear(7, 2)), TableThreat(ball_of(L0(1), features), features), (7,)) is None
    assert Frame(ball_of(L0(1), table()), (7,), Rules(table())).step is not None


# ------------------------------------------------------------------ numbers


@pytest.mark.parametrize("goal", ["move:30", "error:80", "up:20", "down:20", "above:200", "below:120", "to:150,5"])
def test_goals_of_numbers_are_proved_of_linear_regressors(goal: str, tmp_path: Path) -> None:
    x, y = load_diabetes(return_X_y=True)
    x, y = ((x - x.min(0)) / np.ptp(x, 0)).astype(np.float32), y.astype(np.float32)
    fitted = Ridge().fit(x.astype(float), y)
    model, name = bs.from_estimator(fitted), goal.partition(":")[0]
    run = bs.evaluate(model, x[:8], y[:8], threat="l2", goal=goal, protocol="exact", radii=0, out=tmp_path / "run")
    assert run.verdict.open == 0
    assert bs.verify(tmp_path / "run", model).ok
    if name in ("move", "up", "down"):  # the tolerance over the length of the weights, and more where the box is near
        free = float(goal.partition(":")[2]) / np.linalg.norm(fitted.coef_)
        assert run.norms.min() == pytest.approx(free, rel=1e-5)
        assert (run.norms >= free * (1 - 1e-6)).all()
