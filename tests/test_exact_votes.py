"""k nearest neighbours, k > 1: proved distances against all choices of k examples."""

from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.optimize import linprog
from sklearn.datasets import load_iris
from sklearn.neighbors import KNeighborsClassifier

import blindspots as bs
from blindspots.ball import L1, L2, Linf
from blindspots.exact.bracket import Bracket
from blindspots.exact.neighbours import NeighbourSolver
from blindspots.exact.region import Frame, Region

Array = np.ndarray


def nearest_of(region: Region, sides: Array, most: Array) -> float:
    """Of a polytope in the plane: by a linear program, or the nearest of its corners and the feet of its sides."""
    d = len(region.x)
    if region.p != 2:
        extra = np.ones((d, 1)) if region.p == np.inf else np.eye(d)
        spread = np.diag(region.unit) @ extra
        system = np.block(
            [[sides, np.zeros((len(sides), extra.shape[1]))], [np.eye(d), -spread], [-np.eye(d), -spread]]
        )
        bounds = [*zip(region.lo - region.x, region.hi - region.x, strict=True), *[(0, None)] * extra.shape[1]]
        cost = np.r_[np.zeros(d), np.ones(extra.shape[1])]
        found = linprog(cost, A_ub=system, b_ub=np.r_[most, np.zeros(2 * d)], bounds=bounds)
        return float(found.fun) if found.status == 0 else np.inf
    w = np.concatenate([sides, np.eye(d), -np.eye(d)]) * region.unit
    b = np.r_[most, region.hi - region.x, region.x - region.lo]
    feet = [g * c / (g @ g) for g, c in zip(w, b, strict=True) if g @ g > 0]
    pairs = (((w[[i, j]]), b[[i, j]]) for i, j in combinations(range(len(w)), 2))
    corners = [np.linalg.solve(g, c) for g, c in pairs if abs(np.linalg.det(g)) > 1e-12]
    inside = [float(np.linalg.norm(p)) for p in (np.zeros(d), *feet, *corners) if (w @ p <= b + 1e-12).all()]
    return min(inside, default=np.inf)


def chosen(region: Region, examples: Array, classes: Array, k: int, y: int) -> float:
    """Over all sets of k examples that outvote y."""
    best, away = np.inf, examples - region.x
    size = np.square(away).sum(1)
    for voting in combinations(range(len(examples)), k):
        counts = np.bincount(classes[list(voting)], minlength=3)
        if np.delete(counts, y).max() > counts[y]:
            pairs = [(a, b) for a in voting for b in range(len(examples)) if b not in voting]
            sides = np.array([2 * (away[b] - away[a]) for a, b in pairs])
            best = min(best, nearest_of(region, sides, np.array([size[b] - size[a] for a, b in pairs])))
    return best


def votes_agree(cases: int) -> None:
    rng = np.random.default_rng(1)
    for case in range(cases):
        k, ball = (2, 3, 3, 4, 5)[case % 5], (Linf, L1, L2)[case % 3]
        frame = Frame(ball(unit=rng.uniform(0.5, 2, 2).astype(np.float32)), (2,))
        counts = np.ones(3, np.int64)
        while (counts == counts.max()).sum() > 1:
            examples = rng.random((8, 2)).astype(np.float32).astype(float)
            classes = rng.integers(0, 2 + case % 2, 8)
            x = rng.random(2).astype(np.float32)
            counts = np.bincount(classes[np.argsort(np.square(examples - x).sum(1))[:k]], minlength=3)
        y = int(counts.argmax())
        found = NeighbourSolver(examples, classes, k, frame).nearest(x, y, np.inf, 20_000)
        best = chosen(frame.around(x), examples, classes, k, y)
        assert found.lower <= best + 1e-9
        assert found.smallest == pytest.approx(best, rel=1e-9, abs=5e-6)  # as well as HiGHS proves it
        assert found.upper == pytest.approx(best, rel=1e-9, abs=2e-6)


def test_votes_agree_with_all_choices() -> None:
    votes_agree(3)


@pytest.mark.slow
def test_votes_agree_with_all_choices_on_1000_cases() -> None:
    votes_agree(1000)


@pytest.fixture(scope="module")
def iris() -> tuple[bs.Model, Array, Array]:
    x, y = load_iris(return_X_y=True)
    x = ((x - x.min(0)) / np.ptp(x, 0)).astype(np.float32)
    return bs.from_estimator(KNeighborsClassifier(3).fit(x[::5].astype(float), y[::5])), x[1::50], y[1::50]


@pytest.mark.parametrize("threat", ["linf:0.1", pytest.param("l1", marks=pytest.mark.slow)])
def test_majorities_are_proved_and_verified(threat: str, iris: Any, tmp_path: Path) -> None:
    model, x, y = iris
    run = bs.evaluate(model, x, y, threat=threat, out=tmp_path / "run")
    assert run.config.protocol == "exact"
    assert run.verdict.settled
    assert bs.verify(tmp_path / "run", model).ok


def test_a_majority_that_holds_too_long_is_found_out(
    iris: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    model, x, y = iris
    honest = NeighbourSolver.nearest
    monkeypatch.setattr(NeighbourSolver, "nearest", lambda *args: Bracket(honest(*args).upper * 1.1))
    bs.evaluate(model, x, y, threat="linf", out=tmp_path / "run")
    monkeypatch.undo()
    assert not bs.verify(tmp_path / "run", model).ok
