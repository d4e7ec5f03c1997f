"""Goals of numbers on trees: proved smallest changes against all cells, with links, ties and rounding."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_diabetes
from sklearn.ensemble import GradientBoostingRegressor, HistGradientBoostingRegressor, RandomForestRegressor
from test_exact import BALLS, NODES, cells, random_forest, threats

import blindspots as bs
from blindspots.ball import Ball, Linf
from blindspots.exact import Bracket, solver_of
from blindspots.exact.region import Frame
from blindspots.exact.trees import TreeSolver
from blindspots.goals.numbers import Regress
from blindspots.goals.words import parse_goal
from blindspots.models.trees.forest import Forest
from blindspots.models.trees.model import TreeModel

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
    return replace(trees, value=size * trees.value, base=base, link=str(link), precision=str(precision), divisor=divisor)


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


def enumeration_agrees(ball: type[Ball], kind: str, cases: int, outputs: int = 1) -> tuple[int, int]:
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
        if found.point is not None:
            assert reached(trees, goal, found.point[None], truth).all()
            assert region.cost(found.point - region.x) == pytest.approx(found.upper, rel=1e-12)
    return found_, none


@pytest.mark.parametrize("kind", GOALS)
@pytest.mark.parametrize("ball", BALLS)
def test_goals_of_trees_are_as_near_as_the_nearest_of_all_cells(ball: type[Ball], kind: str) -> None:
    enumeration_agrees(ball, kind, 40)


if __name__ == "__main__":
    import time
    for kind in GOALS:
        for ball in BALLS:
            t = time.process_time()
            print(kind, ball.__name__, enumeration_agrees(ball, kind, 40), round(time.process_time() - t, 2))
            print("   two", enumeration_agrees(ball, kind, 10, 2))
