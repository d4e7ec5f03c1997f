"""Goals of numbers on trees: proved smallest changes against all cells, with links, ties and rounding."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_diabetes
from sklearn.ensemble import GradientBoostingRegressor, HistGradientBoostingRegressor, RandomForestRegressor

import blindspots as bs
from blindspots.ball import Ball, Linf
from blindspots.exact import Bracket, solver_of
from blindspots.exact.region import Frame
from blindspots.exact.trees import TreeSolver
from blindspots.experiments.evaluate.verify_convex import Ground
from blindspots.experiments.evaluate.verify_exact import _of_trees
from blindspots.experiments.evaluate.verify_values import Reader
from blindspots.goals.numbers import Regress
from blindspots.goals.words import parse_goal
from blindspots.models.trees.forest import Forest
from blindspots.models.trees.model import TreeModel
from test_exact import BALLS, NODES, cells, random_forest, threats

GOALS = ("above", "below", "up", "down", "move", "error", "to", "to two")


def random_regressor(rng: Any, outputs: int = 1) -> Forest:
    """Sums that are exact or not, in either precision, averaged or not, behind each link."""
    trees = random_forest(rng, 6, 3, 3, outputs)
    size = 10.0 ** rng.integers(-3, 3) if rng.random() < 0.5 else 0.25
    link = rng.choice(["identity", "exp", "sigmoid"])
    if link != "identity":
        size = min(size, 1.0)
    precision, divisor = rng.choice(["float32", "float64"]), float(rng.choice([1, 6]))
    base = size * rng.normal(size=outputs).round(2) + (100 * (rng.random() < 0.2) if link == "identity" else 0)
    return replace(
        trees, value=size * trees.value, base=base, link=str(link), precision=str(precision), divisor=divisor
    )


def drawn_goal(rng: Any, kind: str, clean: np.ndarray, seen: np.ndarray) -> tuple[Regress, np.ndarray] | None:
    """A goal whose limit is one of the values that cells have, or next to one; and what outputs are compared with."""
    limit = np.float32(rng.choice(seen.ravel()))
    if rng.random() < 0.4:
        limit = np.nextafter(limit, np.float32(rng.choice([-np.inf, np.inf])))
    value, change = float(limit), abs(float(limit) - float(clean[0])) or 0.1
    truth = clean if kind != "error" else clean + np.float32(change * rng.uniform(-0.9, 0.9))
    words = {"to": f"to:{value!r}", "to two": f"to:{value!r},{0.3 * change!r}"}
    words |= {name: f"{name}:{value!r}" for name in ("above", "below")}
    goal = parse_goal(words.get(kind, f"{kind}:{change!r}"))
    assert isinstance(goal, Regress)
    return goal, truth


def reached(trees: Forest, goal: Regress, points: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """By the model and the goal themselves."""
    output = TreeModel(trees).logits(torch.from_numpy(points.astype(np.float32)))
    compared = torch.from_numpy(truth).expand(len(points), -1)
    return (goal.margin(output, compared) < 0).numpy()


def enumeration_agrees(
    ball: type[Ball], kind: str, cases: int, outputs: int = 1, again: bool = False
) -> tuple[int, int]:
    """How many were found, and how many boxes hold none. `again`: programs of verify find nothing nearer, either."""
    rng = np.random.default_rng([GOALS.index(kind), BALLS.index(ball), outputs])
    found_, none = 0, 0
    for _ in range(cases):
        trees = random_regressor(rng, outputs)
        frame = Frame(threats(rng, ball, 3), (3,))
        x = rng.random(3).astype(np.float32)
        region = frame.around(x)
        points = cells(trees, region)
        model = TreeModel(trees)
        clean = model.logits(torch.from_numpy(x)[None]).numpy().reshape(-1)
        seen = model.logits(torch.from_numpy(points.astype(np.float32))).numpy().reshape(len(points), -1)
        goal, truth = drawn_goal(rng, kind, clean, seen)
        if reached(trees, goal, x[None], truth).any():
            continue
        good = points[reached(trees, goal, points, truth)]
        best = region.cost(good - region.x).min() if len(good) else np.inf
        y = truth if outputs > 1 else truth.item()
        found = TreeSolver(trees, frame, goal).nearest(x, y, np.inf, NODES)
        assert found.lower == found.upper == pytest.approx(best, rel=1e-12), (goal.spec, trees.link)
        none, found_ = none + np.isinf(best), found_ + np.isfinite(best)
        if again:
            ground = Ground(region.p, region.x, region.lo, region.hi, region.unit)
            assert _of_trees(trees, ground, Reader(goal.spec, None).sides(truth, clean), found.lower, 60.0) is False
        if found.point is not None:
            assert reached(trees, goal, found.point[None], truth).all()
            assert region.cost(found.point - region.x) == pytest.approx(found.upper, rel=1e-12)
    return found_, none


@pytest.mark.parametrize("ball", BALLS)
def test_goals_of_trees_are_as_near_as_the_nearest_of_all_cells(ball: type[Ball]) -> None:
    counted = [enumeration_agrees(ball, kind, 6) for kind in GOALS]
    counted += [enumeration_agrees(ball, kind, 2, outputs=2) for kind in GOALS]
    found, none = np.sum(counted, 0)
    assert found > 40
    assert none > 2  # of boxes that hold no example


@pytest.mark.slow
@pytest.mark.parametrize("kind", GOALS)
@pytest.mark.parametrize("ball", BALLS)
def test_goals_of_trees_agree_with_all_cells_on_many_cases(ball: type[Ball], kind: str) -> None:
    enumeration_agrees(ball, kind, 150, again=True)
    enumeration_agrees(ball, kind, 30, outputs=3, again=True)


def test_a_link_that_never_gets_there_leaves_no_example() -> None:
    rng = np.random.default_rng(0)
    x = rng.random(3).astype(np.float32)
    for link, spec in (("sigmoid", "above:1.5"), ("sigmoid", "below:-0.1"), ("exp", "below:-1"), ("exp", "above:1e30")):
        goal = parse_goal(spec)
        assert isinstance(goal, Regress)
        for ball in BALLS:
            solver = TreeSolver(replace(random_forest(rng, 5, 2, 3, 1), link=link), Frame(ball(), (3,)), goal)
            assert solver.nearest(x, 0.5, np.inf, NODES).lower == np.inf


def test_sums_that_overflow_are_not_proved() -> None:
    trees = random_forest(np.random.default_rng(0), 5, 2, 3, 1)
    goal = parse_goal("up:1")
    assert isinstance(goal, Regress)
    for link, size in (("exp", 40.0), ("identity", 1e38)):
        for factor, proved in ((1e-3, True), (10.0, False)):
            grown = replace(trees, link=link, value=factor * size * trees.value)
            assert (solver_of(TreeModel(grown), Linf(), (3,), goal) is not None) == proved


# ------------------------------------------------------------------ runs


@pytest.fixture(scope="module")
def table() -> tuple[np.ndarray, np.ndarray]:
    x, y = load_diabetes(return_X_y=True)
    return ((x - x.min(0)) / np.ptp(x, 0)).astype(np.float32), y.astype(np.float32)


@pytest.fixture(scope="module")
def models(table: tuple[np.ndarray, np.ndarray]) -> list[bs.Model]:
    x, y = table[0][::2].astype(float), table[1][::2]
    kinds = (
        GradientBoostingRegressor(n_estimators=15, max_depth=3, random_state=0),
        RandomForestRegressor(10, max_depth=4, random_state=0),
        HistGradientBoostingRegressor(loss="poisson", max_iter=15, max_depth=3),
    )
    found = [bs.from_estimator(kind.fit(x, y)) for kind in kinds]
    assert [model.forest.link for model in found if isinstance(model, TreeModel)] == ["identity", "identity", "exp"]
    return found


@pytest.mark.parametrize("goal", ["move:30", "error:80", "up:20", "down:20", "above:200", "below:120", "to:150,5"])
def test_goals_of_numbers_are_proved_of_trees_and_verified(
    goal: str, models: list[bs.Model], table: Any, tmp_path: Path
) -> None:
    x, y = table[0][1:13:2], table[1][1:13:2]
    for i, (model, threat) in enumerate(
        zip([*models, models[0]], ("linf:0.05", "l2:0.2", "l1:0.3", "l0:1"), strict=True)
    ):
        run = bs.evaluate(model, x, y, threat=threat, goal=goal, protocol="exact", radii=0, out=tmp_path / str(i))
        assert run.verdict.open == 0
        assert run.verdict.certified_accuracy == run.verdict.robust_accuracy
        assert run.verdict.minimal.hits == run.verdict.minimal.rows == run.success.sum()
        assert bs.verify(tmp_path / str(i), model).ok


@pytest.mark.parametrize("goal", ["move:30", "below:120", "to:150,5"])
def test_a_wrong_bound_of_a_number_is_found_out(
    goal: str, models: list[bs.Model], table: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    honest, x, y = TreeSolver.nearest, table[0][1:13:2], table[1][1:13:2]
    monkeypatch.setattr(TreeSolver, "nearest", lambda self, *args: Bracket(honest(self, *args).lower * 1.5))
    for i, model in enumerate(models):
        bs.evaluate(model, x, y, threat="l1:0.5", goal=goal, protocol="exact", radii=0, out=tmp_path / str(i))
    monkeypatch.undo()
    for i, model in enumerate(models):
        assert not bs.verify(tmp_path / str(i), model).ok
