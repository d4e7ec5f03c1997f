"""Naive Bayes: proved distances against a search along one feature, with the other one solved for."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_wine
from sklearn.naive_bayes import BernoulliNB, ComplementNB, GaussianNB, MultinomialNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import blindspots as bs
from blindspots.exact import Bracket
from blindspots.exact.region import Frame, Region
from blindspots.exact.separable import Curves, SeparableSolver
from test_exact import BALLS

Array = np.ndarray


def least(square: float, slope: float, needed: Array, low: float, high: float) -> Array:
    """The smallest |d| within bounds with -(square d^2 + slope d) >= needed: inf where there is none."""
    found = np.where(needed <= 0, 0.0, np.inf)
    with np.errstate(all="ignore"):
        for side in (1, -1):
            root = (-slope + side * np.sqrt(slope**2 - 4 * square * needed)) / (2 * square)
            inside = (root >= low - 1e-15) & (root <= high + 1e-15) & np.isfinite(root) & (needed > 0)
            found = np.where(inside, np.minimum(found, np.abs(root)), found)
    return found


def searched(region: Region, square: Array, slope: Array, lead: float) -> float:
    """Of two features: over all moves of the first one, ever finer around the best."""
    low, high = region.lo - region.x, region.hi - region.x

    def cost(first: Array) -> Array:
        needed = lead + square[0] * first**2 + slope[0] * first
        one, two = np.abs(first) / region.unit[0], least(square[1], slope[1], needed, low[1], high[1]) / region.unit[1]
        if region.p == 0:
            return np.where(np.isinf(two), np.inf, (one > 0) * 1.0 + (two > 0))
        return one + two if region.p == 1 else np.hypot(one, two) if region.p == 2 else np.maximum(one, two)

    grid = np.unique(np.r_[np.linspace(low[0], high[0], 4001), 0.0])
    costs = cost(grid)
    best = float(costs.min())
    for k in np.argsort(costs)[:8] if region.p else ():
        middle, width = grid[k], (high[0] - low[0]) / 2000
        while width > 1e-18:
            finer = np.unique(np.r_[np.clip(np.linspace(middle - width, middle + width, 201), low[0], high[0]), middle])
            middle, width = finer[cost(finer).argmin()], width / 20
            best = min(best, float(cost(finer).min()))
    return best


def curves_agree(cases: int) -> None:
    rng, none = np.random.default_rng(3), 0
    for case in range(cases):
        unit = rng.uniform(0.5, 2, 2).astype(np.float32)
        frame = Frame(BALLS[case % 4](unit=unit if case % 3 else None), (2,))
        curves = Curves(np.ones(2), np.zeros(2), rng.random((2, 2)), rng.uniform(0.8, 8, (2, 2)), rng.normal(size=2))
        x = rng.random(2).astype(np.float32)
        region = frame.around(x)
        scores, z, s = curves.of(region.x), curves.standard(region.x), curves.scale
        y = int(scores.argmax())
        square, slope = (s[1 - y] ** 2 - s[y] ** 2) / 2, s[1 - y] * z[1 - y] - s[y] * z[y]
        best = searched(region, square, slope, float(scores[y] - scores[1 - y]))
        found = SeparableSolver(curves, frame).nearest(x, y, np.inf, 2000)
        none += np.isinf(best)
        assert found.lower == pytest.approx(best, abs=1e-8)
        if found.point is not None:
            assert found.upper == pytest.approx(best, abs=1e-4)  # the surest of its points
            assert curves.of(found.point.astype(float)).argmax() != y
    assert 0 < none < cases / 2


def test_sums_of_curves_agree_with_a_search() -> None:
    curves_agree(12)


@pytest.mark.slow
def test_sums_of_curves_agree_with_a_search_on_1000_cases() -> None:
    curves_agree(1000)


def test_a_limit_of_nodes_leaves_a_bracket_of_curves() -> None:
    rng = np.random.default_rng(0)
    frame = Frame(BALLS[3](), (12,))
    curves = Curves(np.ones(12), np.zeros(12), rng.random((3, 12)), rng.uniform(0.8, 8, (3, 12)), np.zeros(3))
    x = rng.random(12).astype(np.float32)
    y = int(curves.of(x.astype(float)).argmax())
    whole, few = (SeparableSolver(curves, frame).nearest(x, y, np.inf, n) for n in (2000, 1))
    assert few.lower <= whole.lower <= whole.upper <= few.upper


@pytest.fixture(scope="module")
def wine() -> tuple[Array, Array]:
    x, y = load_wine(return_X_y=True)
    return ((x - x.min(0)) / np.ptp(x, 0)).astype(np.float32), y


@pytest.mark.parametrize(
    ("kind", "threat"),
    [
        (0, "l2"),
        (1, "l0"),
        *(pytest.param(k, t, marks=pytest.mark.slow) for k in (0, 1) for t in ("linf:0.2", "l1:0.3")),
    ],
)
def test_gaussian_naive_bayes_is_proved_and_verified(kind: int, threat: str, wine: Any, tmp_path: Path) -> None:
    x, y = wine
    estimator = (GaussianNB(), make_pipeline(StandardScaler(), GaussianNB()))[kind]
    model = bs.from_estimator(estimator.fit(x[::2].astype(float), y[::2]))
    run = bs.evaluate(model, x[1:40:16], y[1:40:16], threat=threat, out=tmp_path / "run")
    assert run.config.protocol == "exact"
    assert run.verdict.settled
    assert bs.verify(tmp_path / "run", model).ok


@pytest.mark.parametrize("estimator", [MultinomialNB(), ComplementNB(), BernoulliNB(binarize=None)])
def test_naive_bayes_that_is_linear_is_proved(estimator: Any, wine: Any) -> None:
    x, y = wine
    model = bs.from_estimator(estimator.fit(x[::2].astype(float), y[::2]))
    said = model.logits(torch.from_numpy(x[1::2])).argmax(1).numpy()
    assert (said == estimator.predict(x[1::2].astype(float))).all()
    assert bs.evaluate(model, x[1:40:2], y[1:40:2], threat="l2").verdict.settled


def test_a_bound_that_is_too_large_is_found_out(monkeypatch: pytest.MonkeyPatch, wine: Any, tmp_path: Path) -> None:
    x, y = wine
    model = bs.from_estimator(GaussianNB().fit(x[::2, :5].astype(float), y[::2]))
    honest = SeparableSolver.nearest
    monkeypatch.setattr(SeparableSolver, "nearest", lambda *args: Bracket(honest(*args).lower * 1.01))
    bs.evaluate(model, x[1:4:2, :5], y[1:4:2], threat="l1", out=tmp_path / "run")
    monkeypatch.undo()
    assert not bs.verify(tmp_path / "run", model).ok
