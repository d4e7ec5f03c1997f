import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare, kstest

from blindspots import random
from blindspots.random import keys, normal, randint, sign, uniform

ROWS, WIDTH = 400, 64
SIGNIFICANT = 1e-3  # the draws are fixed, so a test that passes once passes always
KEY = keys(0, torch.arange(ROWS))
START = torch.zeros_like(KEY)
DRAWS = [uniform, normal, sign, lambda key, t, stream, shape: randint(key, t, stream, 10, shape)]
every_draw = pytest.mark.parametrize("draw", DRAWS, ids=["uniform", "normal", "sign", "randint"])


def correlation(one: torch.Tensor, other: torch.Tensor) -> float:
    return torch.corrcoef(torch.stack([one.double().flatten(), other.double().flatten()]))[0, 1].abs().item()


def test_the_generator_is_splitmix64():
    first = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]  # from seed 0, as published
    state = torch.arange(1, 4) * random._GOLDEN
    assert [z % 2**64 for z in random._mix(state).tolist()] == first


@every_draw
@given(seed=st.integers(-(2**62), 2**62), at=st.lists(st.integers(0, 9), min_size=1), t=st.integers(-1, 10**6))
def test_a_draw_depends_on_its_own_row_alone(draw, seed, at, t):
    key, clock, at = keys(seed, torch.arange(10)), torch.arange(10) + t, torch.tensor(at)
    assert torch.equal(draw(key[at], clock[at], 3, (2, 5)), draw(key, clock, 3, (2, 5))[at])


@every_draw
def test_a_draw_has_the_shape_asked_for(draw):
    assert draw(KEY, START, 0, (2, 3, 4)).shape == (ROWS, 2, 3, 4)
    assert draw(KEY, START, 0, ()).shape == (ROWS,)
    assert draw(KEY[:0], START[:0], 0, (2,)).shape == (0, 2)


@every_draw
def test_neighbours_clocks_streams_and_components_are_independent(draw):
    one, limit = draw(KEY, START, 0, (WIDTH,)), 4 / (ROWS * WIDTH) ** 0.5
    assert correlation(one, one.roll(1, 0)) < limit
    assert correlation(one, one.roll(1, 1)) < limit
    assert correlation(one, draw(KEY, START + 1, 0, (WIDTH,))) < limit
    assert correlation(one, draw(KEY, START - 1, 0, (WIDTH,))) < limit
    assert correlation(one, draw(KEY, START, 2, (WIDTH,))) < limit
    assert correlation(one, draw(keys(1, torch.arange(ROWS)), START, 0, (WIDTH,))) < limit


@pytest.mark.parametrize("along", [0, 1], ids=["one component of all rows", "all components of one row"])
def test_distributions(along):
    def values(draw, *more):
        return draw(KEY, START, 5, *more, (1,) if along == 0 else (1000,))[slice(None) if along == 0 else 0].flatten()

    assert kstest(values(uniform).numpy(), "uniform").pvalue > SIGNIFICANT
    assert kstest(values(normal).numpy(), "norm").pvalue > SIGNIFICANT
    assert chisquare(np.bincount(values(randint, 7).numpy(), minlength=7)).pvalue > SIGNIFICANT
    assert chisquare(np.unique(values(sign).numpy(), return_counts=True)[1]).pvalue > SIGNIFICANT


def test_uniform_draws_fill_the_half_open_interval():
    u = uniform(KEY, START, 0, (10_000,))
    assert u.dtype == torch.float32
    assert 0 <= u.min() < 1e-5
    assert 1 - 1e-5 < u.max() < 1


def test_normal_draws_are_finite_and_have_tails():
    z = normal(KEY, START, 0, (10_000,))
    assert z.isfinite().all()
    assert 4.5 < z.abs().max() < 6
    assert (z**4).mean().item() == pytest.approx(3, rel=0.02)


def test_signs_are_never_zero():
    assert sign(KEY, START, 0, (WIDTH,)).unique().tolist() == [-1, 1]


def test_integers_stay_below_a_limit_of_their_own():
    high = torch.arange(1, ROWS + 1)[:, None]
    drawn = randint(KEY, START, 0, high, (1000,))
    assert (drawn >= 0).all()
    assert (drawn < high).all()
    assert (drawn[:50].amax(1) == high[:50, 0] - 1).all()


def test_keys_differ_wherever_a_coordinate_does():
    sample, restart = torch.arange(1000).repeat_interleave(20), torch.arange(20).repeat(1000)
    all_keys = torch.cat([keys(seed, sample, restart, target) for seed in (0, 1) for target in (-1, 0, 9)])
    assert len(all_keys.unique()) == len(all_keys)


def test_keys_know_the_order_of_their_coordinates():
    one, two = torch.tensor([1]), torch.tensor([2])
    assert keys(0, one, two) != keys(0, two, one)
    assert keys(0, one, 2) == keys(0, one, two)
