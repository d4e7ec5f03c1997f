"""Concentric spheres: exact rates and distances, against other formulas, brute force, draws, splitting and attacks."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.optimize import minimize
from scipy.stats import beta, chi2

from blindspots.attacks import DDN, FAB
from blindspots.errors import InputError
from blindspots.experiments.inspect.frequency.evidence import gather
from blindspots.experiments.inspect.frequency.laws import Sphere
from blindspots.experiments.inspect.frequency.nearest import excess
from blindspots.experiments.inspect.frequency.quadratic import positive
from blindspots.experiments.inspect.frequency.rates import rate
from blindspots.experiments.inspect.frequency.scoring import error_score
from blindspots.experiments.inspect.frequency.spheres import (
    Quadratic,
    Spheres,
    boundary_distance,
    trained,
    two_blocks,
)
from blindspots.experiments.inspect.frequency.splitting import Splitting
from blindspots.models.model import Model
from blindspots.oracle import Oracle
from blindspots.random import keys

Array = np.ndarray[Any, np.dtype[np.float64]]
SOME = Splitting(particles=4, replicates=6)


def blocks(dim: int, first: int, a: float, b: float) -> Array:
    return np.repeat([a, b], [first, dim - first])


def imhof(w: Array) -> float:
    """P(sum w g^2 > 0) along the imaginary axis (Imhof 1961, eq. 3.2)."""

    def share(u: float) -> float:
        return math.sin(0.5 * np.arctan(w * u).sum()) / u * math.exp(-0.25 * np.log1p((w * u) ** 2).sum())

    return 0.5 + sum(quad(share, a, b, limit=500)[0] for a, b in ((0, 1), (1, 10), (10, 1000))) / math.pi


# ------------------------------------------------------------------ rates


@pytest.mark.parametrize(
    ("first", "a", "b", "p"),
    [(50, 1.5, 0.9, 1.085e-3), (100, 1.4, 0.85, 3.525e-3), (10, 3, 0.9, 7.336e-3), (50, 1.2, 0.9, 1.777e-18)],
)
def test_rates_of_two_blocks_are_those_of_the_beta_law(first: int, a: float, b: float, p: float) -> None:
    inner, outer = Spheres().error_rates(blocks(500, first, a, b))
    assert inner == pytest.approx(p, rel=1e-3)
    assert inner == pytest.approx(two_blocks(500, first, a, b), rel=1e-11)
    assert outer == 0.0


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 60), st.integers(1, 60), st.floats(0.01, 5), st.floats(0.01, 5))
def test_quadratic_forms_of_two_blocks_follow_the_beta_law(first: int, second: int, up: float, down: float) -> None:
    w = np.repeat([up, -down], [first, second])
    expected = float(beta.sf(down / (up + down), first / 2, second / 2))
    assert positive(w) == pytest.approx(expected, rel=1e-8)
    assert positive(w) + positive(-w) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("seed", range(6))
def test_quadratic_forms_in_general_are_those_of_imhof(seed: int) -> None:
    w = np.random.default_rng(seed).normal(size=12) + 0.3 * (seed - 3)
    assert positive(w) == pytest.approx(imhof(w), abs=1e-7)


def test_quadratic_forms_of_one_sign_are_certain() -> None:
    assert positive(np.array([0.0, -1.0])) == 0.0
    assert positive(np.array([0.0, 1.0])) == 1.0
    assert positive(np.array([1.0, -1.0])) == pytest.approx(0.5)
    with pytest.raises(InputError, match="finite numbers"):
        positive(np.array([1.0, math.nan]))
    with pytest.raises(InputError, match="finite numbers"):
        positive(np.array([]))


def test_two_blocks_need_one_above_and_one_below_1() -> None:
    for first, a, b in ((0, 1.5, 0.9), (500, 1.5, 0.9), (50, 0.95, 0.9), (50, 1.5, 1.0)):
        with pytest.raises(InputError, match="b < 1 < a"):
            two_blocks(500, first, a, b)


def test_networks_are_perfect_between_the_two_radii() -> None:
    spheres = Spheres(6)
    right, off = np.linspace(1 / 1.69 + 1e-9, 1, 6), np.linspace(0.5, 1, 6)
    assert spheres.perfect(right)
    assert spheres.error_rates(right) == (0.0, 0.0)
    assert not spheres.perfect(off)
    assert spheres.error_rates(off)[1] > 0


def test_splitting_finds_the_rate_of_the_spheres() -> None:
    a = blocks(60, 6, 1.2, 0.7)
    p, outer = Spheres(60).error_rates(a)
    assert p == pytest.approx(2.761e-9, rel=1e-3)
    assert outer == 0.0
    oracle = Oracle(Model(Quadratic(torch.tensor(a).float()), bounds=(-2.0, 2.0)), chunk=128)
    with oracle.session():
        score = error_score(oracle, torch.zeros(2, dtype=torch.int64))
        found = gather(score, torch.zeros(2, 60), Sphere(1.0), keys(0, torch.arange(2)), draws=100, splitting=SOME)
    for low, high in (rate(e).interval for e in found):
        assert low <= p <= high


# ------------------------------------------------------------------ data and training


def test_data_lie_on_two_spheres_in_all_directions_and_can_be_drawn_again() -> None:
    spheres = Spheres(8)
    x, y = spheres.batch(3, 5, 2000)
    assert x.norm(dim=1).numpy() == pytest.approx(np.where(y.numpy(), 1.3, 1.0), rel=1e-5)
    assert float(y.float().mean()) == pytest.approx(0.5, abs=0.05)
    directions = x / x.norm(dim=1, keepdim=True)
    assert float(chi2.sf(float(2000 * 8 * directions.mean(0).square().sum()), 8)) > 0.01
    assert torch.equal(spheres.batch(3, 5, 2000)[0], x)
    assert not torch.equal(spheres.batch(3, 6, 2000)[0], x)


def test_training_comes_near_to_a_network_whose_rates_are_those_that_it_has() -> None:
    spheres = Spheres(20)
    net, again = (trained(spheres, 400, steps=60, rate=0.05) for _ in range(2))
    assert torch.equal(net.a, again.a)
    x, y = spheres.batch(9, 0, 20_000)
    wrong = net(x).argmax(1) != y
    for label, p in enumerate(spheres.error_rates(net.coefficients)):
        rows = int((y == label).sum())
        assert int(wrong[y == label].sum()) / rows == pytest.approx(p, abs=4 * math.sqrt(p / rows) + 1e-3)
    assert float(wrong.float().mean()) < 0.05


@pytest.mark.parametrize("given_", [{"dimension": 1}, {"radii": (1.0, 1.0)}, {"radii": (0.0, 1.0)}])
def test_spheres_have_dimensions_and_radii(given_: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="at least 2 dimensions and radii"):
        Spheres(**given_)
    with pytest.raises(InputError, match="at least 2 rows and 1 step"):
        trained(Spheres(), 1)


# ------------------------------------------------------------------ distances


def brute(a: Array, x: Array, seed: int) -> float:
    """By SLSQP from several starts."""
    rng, best = np.random.default_rng(seed), math.inf
    limit = {"type": "eq", "fun": lambda y: float((a * y * y).sum() - 1)}
    for _ in range(8):
        start = x + 0.5 * rng.normal(size=len(x))
        end = minimize(lambda y: float(((y - x) ** 2).sum()), start, constraints=limit, options={"ftol": 1e-14})
        if end.success and abs(float((a * end.x**2).sum()) - 1) < 1e-8:
            best = min(best, math.sqrt(end.fun))
    return best


@pytest.mark.parametrize("seed", range(12))
def test_distances_to_the_boundary_are_those_of_brute_force(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a = rng.uniform(-1, 2, 4) if seed % 2 else rng.uniform(0.3, 2, 4)
    a[0] = abs(a[0]) + 0.1
    x = rng.normal(size=4) * (0.3 if seed < 6 else 1.5)
    assert boundary_distance(a, x) == pytest.approx(brute(a, x, seed), rel=1e-6)


def test_distances_where_the_way_out_is_an_axis_of_its_own() -> None:
    a = np.array([2.0, 1.0, 1.0])
    assert boundary_distance(a, np.zeros(3)) == pytest.approx(math.sqrt(0.5), rel=1e-7)
    x = np.array([0.0, 0.1, 0.0])
    assert boundary_distance(a, x) == pytest.approx(brute(a, x, 0), rel=1e-6)
    saddle = np.array([1.0, -1.0])
    assert boundary_distance(saddle, np.array([5.0, 0.0])) == pytest.approx(brute(saddle, np.array([5.0, 0.0]), 0))


def test_distances_at_the_boundary_and_without_one() -> None:
    assert boundary_distance(np.array([1.0, 1.0]), np.array([1.0, 0.0])) == 0.0
    assert boundary_distance(np.array([-1.0, 0.0]), np.array([1.0, 0.0])) == math.inf
    assert boundary_distance(np.full(5, 1.0), np.full(5, 1.0)) == pytest.approx(math.sqrt(5) - 1)


def test_a_minimal_attack_ends_within_a_thousandth_of_the_exact_distance_in_500_dimensions() -> None:
    spheres = Spheres()
    net = Quadratic(torch.tensor(blocks(500, 50, 1.2, 0.9)).float())
    x, y = spheres.batch(0, 0, 8)
    found = excess(FAB(), net, x, y)
    assert found.max() < 1e-3
    assert found.min() > -1e-6


def test_an_attack_that_found_nothing_has_no_excess() -> None:
    x, y = Spheres(5).batch(0, 0, 2)
    found = excess(DDN(), Quadratic(torch.full((5,), -1.0)), x, torch.zeros_like(y))
    assert bool(np.isinf(found).all())
