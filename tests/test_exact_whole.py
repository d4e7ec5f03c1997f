"""Linear models of whole numbers and categories: proofs against enumerations."""

from itertools import product
from typing import Any

import numpy as np
import pytest

from blindspots.exact import whole
from blindspots.exact.region import Region
from test_exact import BALLS, cheapest


def case_of(rng: Any, p: float) -> tuple[Region, np.ndarray, float]:
    """Two real numbers, two whole ones (one of them in steps of 2) and a category of three values."""
    x = np.r_[rng.random(2).astype(np.float32), rng.integers(0, 4), 2 * rng.integers(0, 3), np.eye(3)[rng.integers(3)]]
    unit = rng.uniform(0.3, 3, 7)
    unit[4:] = unit[4]
    lo, hi = np.zeros(7), np.array([1, 1, 3, 4, 1, 1, 1.0])
    if rng.random() < 0.3:
        f = rng.integers(4)
        hi[f] = x[f]
    region = Region(p, x, lo, hi, unit, np.array([0, 0, 1, 2, 0, 0, 0.0]), (slice(4, 7),))
    return region, rng.normal(size=7) * (rng.random(7) < 0.9), float(rng.uniform(0.05, 3))


def enumerated(region: Region, slope: np.ndarray, margin: float) -> float:
    """Over all values of what is whole, the cheapest moves of the real numbers."""
    real = Region(region.p, region.x[:2], region.lo[:2], region.hi[:2], region.unit[:2])
    best = np.inf
    for a, b, c in product(range(4), range(0, 5, 2), range(3)):
        point = np.r_[region.x[:2], a, b, np.eye(3)[c]]
        if (point < region.lo).any() or (point > region.hi).any():
            continue
        left = margin + slope @ (point - region.x)
        rest = 0.0 if left <= 0 else cheapest(real, slope[:2], left)
        moved = np.abs(point - region.x) / region.unit
        if region.p == 0:
            cost = (moved[2:4] > 0).sum() + (moved[4:] > 0).any() + rest
        elif region.p == np.inf:
            cost = max(moved.max(), rest)
        else:
            cost = ((moved**region.p).sum() + rest**region.p) ** (1 / region.p)
        best = min(best, float(cost))
    return best


def whole_numbers_agree(cases: int) -> None:
    rng, none = np.random.default_rng(11), 0
    for case in range(cases):
        region, slope, margin = case_of(rng, BALLS[case % 4].p)
        found, best = whole.moved(region, slope, margin), enumerated(region, slope, margin)
        none += np.isinf(best)
        assert (found is None) == np.isinf(best)
        if found is not None:
            assert found[0] == pytest.approx(best, abs=1e-8), (region, slope, margin)
            assert region.cost(found[1] - region.x) == pytest.approx(best, abs=1e-8)
            assert slope @ (region.x - found[1]) >= margin - 1e-9
    assert 0.02 * cases < none < cases / 2


def test_whole_numbers_and_categories_agree_with_enumeration() -> None:
    whole_numbers_agree(80)


@pytest.mark.slow
def test_whole_numbers_and_categories_agree_with_enumeration_on_1000_cases() -> None:
    whole_numbers_agree(1000)
