"""Intervals of rates: exact coverage by summation, against simulation where kills scatter, and of means by betting."""

import math

import numpy as np
import pytest
from scipy.stats import binom, kstest, poisson

from blindspots.errors import InputError
from blindspots.experiments.inspect.frequency.evidence import ENOUGH, Evidence, Round
from blindspots.experiments.inspect.frequency.intervals import (
    betting,
    dispersion,
    estimated,
    garwood,
    kills_below,
)
from blindspots.experiments.inspect.frequency.rates import rate, totals, words
from blindspots.records import clopper_pearson


def coverage(p: float, particles: int) -> float:
    mean = -particles * math.log(p)
    kills = np.arange(int(mean + 12 * math.sqrt(mean) + 40))
    held = [low <= p <= high for low, high in (garwood(int(k), particles) for k in kills)]
    return float(poisson.pmf(kills, mean)[held].sum())


def spread(interval: tuple[float, float]) -> float:
    return math.log(interval[1] / interval[0])


@pytest.mark.parametrize(("particles", "expected"), [(2, (96.8, 95.5, 95.3)), (10, (96.1, 95.4, 95.2))])
def test_the_poisson_interval_covers_what_it_claims_by_exact_summation(
    particles: int, expected: tuple[float, ...]
) -> None:
    found = [100 * coverage(p, particles) for p in (1e-2, 1e-6, 1e-20)]
    assert found == pytest.approx(expected, abs=0.06)


@pytest.mark.parametrize("p", [0.999, 0.5, 1e-100])
def test_the_poisson_interval_holds_at_both_ends_of_the_scale(p: float) -> None:
    assert coverage(p, 10) >= 0.95
    assert garwood(0, 10)[1] == 1.0


@pytest.mark.parametrize(("floor", "particles"), [(0.5, 2), (1e-6, 10), (1e-25, 100)])
def test_the_fewest_kills_that_prove_a_floor(floor: float, particles: int) -> None:
    kills = kills_below(floor, particles)
    assert garwood(kills, particles)[1] <= floor < garwood(kills - 1, particles)[1]


def test_the_dispersion_test_is_exact_on_poisson_counts_and_finds_larger_scatter() -> None:
    rng = np.random.default_rng(0)
    alike = [dispersion(rng.poisson(400, 10))[1] for _ in range(2000)]
    assert kstest(alike, "uniform").pvalue > 0.01
    scattered = [dispersion(rng.negative_binomial(200, 1 / 3, 10)) for _ in range(200)]
    assert np.mean([index for index, _ in scattered]) == pytest.approx(3, abs=0.4)
    assert np.mean([p_value < 0.1 for _, p_value in scattered]) > 0.75
    assert dispersion(np.zeros(10, dtype=np.int64)) == (1.0, 1.0)


@pytest.mark.parametrize("p", [0.3, 1e-6, 1e-20])
def test_poisson_kills_are_covered_and_hardly_cost_width(p: float) -> None:
    rng = np.random.default_rng(1)
    kills = rng.poisson(-10 * math.log(p), (400, 10))
    found = [estimated(k, np.ones(10, bool), 10) for k in kills]
    assert np.mean([e.interval[0] <= p <= e.interval[1] for e in found]) >= 0.95
    assert np.mean([e.how == "poisson" for e in found]) == pytest.approx(0.9, abs=0.05)
    best = [garwood(int(k.sum()), 100) for k in kills]
    cost = [
        math.log(e.interval[1] / e.interval[0]) / math.log(high / low)
        for e, (low, high) in zip(found, best, strict=True)
    ]
    assert min(cost) >= 1 - 1e-12
    assert np.median(cost) < 1.2


@pytest.mark.parametrize("index", [3.0, 8.0])
def test_replicates_that_scatter_are_covered_where_the_poisson_interval_is_not(index: float) -> None:
    """Negative binomial kills whose (1 - 1/N)^M is unbiased, as it is for every kernel."""
    rng, particles, p = np.random.default_rng(2), 10, 1e-8
    theta, success = 1 - 1 / particles, 1 / index
    size = math.log(p) / math.log(success / (1 - (1 - success) * theta))
    kills = rng.negative_binomial(size, success, (400, 10))
    found = [estimated(k, np.ones(10, bool), particles).interval for k in kills]
    exact = [garwood(int(k.sum()), 100) for k in kills]
    assert np.mean([low <= p <= high for low, high in exact]) < 0.8
    assert np.mean([low <= p <= high for low, high in found]) > 0.85


def test_runs_that_did_not_arrive_bound_from_above_and_never_say_never() -> None:
    kills, nowhere = np.array([100] * 10), np.zeros(10, bool)
    none = estimated(kills, nowhere, 10)
    assert none.p is None
    assert none.how == "at most"
    assert none.interval == (0.0, garwood(1000, 100)[1])
    some = estimated(kills, np.arange(10) < 3, 10)
    assert some.p == pytest.approx(0.3 * 0.9**100)
    assert some.interval == (pytest.approx(0.025 * 0.3 * 0.9**100), garwood(1000, 100)[1])


def test_a_run_that_is_cut_short_still_bounds_from_above() -> None:
    rng, p = np.random.default_rng(3), 1e-9
    kills = rng.poisson(-10 * math.log(p), (500, 10))
    cut = np.minimum(kills, rng.integers(0, 250, (500, 10)))
    held = [estimated(k, c == k, 10).interval[1] >= p for k, c in zip(kills, cut, strict=True)]
    assert np.mean(held) >= 0.96  # 0.975, and three standard errors of 500 repetitions


@pytest.mark.parametrize("law", ["ones", "rare", "beta", "constant"])
def test_betting_covers_means_of_whatever_law(law: str) -> None:
    rng = np.random.default_rng(4)
    draw = {
        "ones": lambda: rng.binomial(1, 0.2, 150).astype(float),
        "rare": lambda: rng.beta(0.02, 2, 150),
        "beta": lambda: rng.beta(2, 2, 150),
        "constant": lambda: np.full(150, 0.25),
    }[law]
    mean = {"ones": 0.2, "rare": 0.02 / 2.02, "beta": 0.5, "constant": 0.25}[law]
    found = [betting(draw()) for _ in range(100)]
    assert np.mean([low <= mean <= high for low, high in found]) >= 0.95
    assert all(0 <= low <= high <= 1 for low, high in found)


def test_betting_is_about_as_narrow_as_the_normal_interval() -> None:
    values = np.random.default_rng(5).beta(2, 8, 2000)
    low, high = betting(values)
    assert high - low < 1.4 * 2 * 1.96 * values.std() / math.sqrt(2000)
    assert betting(np.zeros(1000))[0] == 0.0
    assert 0.001 < betting(np.zeros(1000))[1] < 0.02


def test_the_choice_between_draws_and_splitting_keeps_the_coverage_of_both() -> None:
    """By exact summation over hits, with splitting's own coverage at its worst."""
    draws, hits = 1000, np.arange(1001)
    ends = np.array([clopper_pearson(int(k), draws) for k in hits])
    most = np.array(
        [clopper_pearson(int(k), draws, 1 - 0.025 / 4)[1] for k in hits]
    )  # of draws, where runs are but a bound
    for p in np.geomspace(1e-4, 0.1, 100):
        held = (ends[:, 0] <= p) & (p <= ends[:, 1])
        chance = binom.pmf(hits, draws, p)
        assert chance[(hits >= ENOUGH) & held].sum() + 0.975 * chance[hits < ENOUGH].sum() >= 0.95
        low = chance[(hits < ENOUGH) & (p > most)].sum()
        assert chance[(hits >= ENOUGH) & held].sum() + 0.975 * chance[hits < ENOUGH].sum() - low >= 0.95


def test_no_hits_are_an_upper_bound_in_numbers_and_words() -> None:
    found = rate(Evidence(wrong=False, draws=1000))
    assert found.p is None
    assert found.how == "at most"
    assert found.interval == (0.0, pytest.approx(1 - 0.025 ** (1 / 1000)))
    assert words(found) == "a probability of at most 0.00368: none was found"


def test_words_say_by_what_means_a_rate_is_known() -> None:

    def split(kills: tuple[int, ...], arrived: tuple[bool, ...] = (True,) * 10) -> Evidence:
        return Evidence(wrong=False, particles=10, rounds=(Round(kills=kills, arrived=arrived, tau=0.0, chance=0.01),))

    assert words(rate(Evidence(wrong=False, proved=0.0))) == "a probability of 0, which is proved"
    assert "counted among draws" in words(rate(Evidence(wrong=False, hits=20, draws=1000)))
    assert "(splitting)" in words(rate(split((140,) * 10)))
    assert "times as much as they should" in words(rate(split((100, 300) * 5)))
    assert words(rate(split((140,) * 10, (False, True) * 5))).endswith(
        "some replicates found none before they were stopped"
    )


def test_totals_over_rows_that_were_proved_drawn_and_split() -> None:
    proved, drawn = Evidence(wrong=False, proved=0.0), Evidence(wrong=False, hits=50, draws=1000)
    wrong, split = Evidence(wrong=True, proved=1.0), Evidence(
        wrong=False, draws=1000, particles=10,
        rounds=(Round(kills=(140,) * 10, arrived=(True,) * 10, tau=0.0, chance=0.01),),
    )  # fmt: skip
    counted = totals([proved, drawn, drawn, wrong])
    assert counted.rows.p == pytest.approx(0.25 + 0.5 * 0.05)
    low, high = clopper_pearson(100, 2000)
    assert counted.rows.interval == pytest.approx((0.25 + 0.5 * low, 0.25 + 0.5 * high))
    assert counted.population is not None
    assert counted.population.p == pytest.approx(0.275)
    rare = totals([proved, split, split])
    each = rate(split, 1 - 0.05 / 2)
    assert rare.rows.interval == pytest.approx(tuple(2 / 3 * end for end in each.interval))
    assert rare.rows.p == pytest.approx(2 / 3 * (1 - 1 / 100) ** 1400)
    assert rare.population is not None
    assert rare.population.p is None
    assert rare.population.interval[0] == 0
    assert totals([proved]).rows.interval == (0.0, 0.0)
    assert totals([split.model_copy(update={"draws": 0})]).population is None


def test_the_mean_over_different_rows_is_covered() -> None:
    rng, p = np.random.default_rng(6), np.array([0.0, 0.001, 0.02, 0.3])
    found = [
        totals([Evidence(wrong=False, hits=int(h), draws=200) for h in rng.binomial(200, p)]).rows.interval
        for _ in range(200)
    ]
    assert np.mean([low <= p.mean() <= high for low, high in found]) >= 0.95


@pytest.mark.parametrize("confidence", [0.0, 1.0, -1.0, math.nan])
def test_a_confidence_is_between_0_and_1(confidence: float) -> None:
    with pytest.raises(InputError, match="confidence between 0 and 1"):
        rate(Evidence(wrong=False, draws=10), confidence)
