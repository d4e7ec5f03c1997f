"""Norms of single maps, against dense singular values and closed forms."""

from math import prod

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from blindspots.experiments.inspect.stability.convolutions import Convolution, convolution_upper
from blindspots.experiments.inspect.stability.definite import Bands, convolution_norm
from blindspots.experiments.inspect.stability.norms import (
    Map,
    Norm,
    diagonal_norm,
    gram_upper,
    lower,
    matrix_norm,
    positive_norm,
)


def _normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def _dense(map: Map, shape: tuple[int, ...]) -> float:
    every = torch.eye(prod(shape), dtype=torch.float64).view(-1, *shape)
    return float(torch.linalg.matrix_norm(map(every).flatten(1), 2))


def _zero_padded(
    w: Tensor, size: tuple[int, ...], stride: int, padding: int, dilation: int, groups: int
) -> Convolution:
    axes = len(size)
    reach = [dilation * (k - 1) for k in w.shape[2:]]
    out = [(n + 2 * padding - r - 1) // stride + 1 for n, r in zip(size, reach, strict=True)]
    return Convolution(w, size, out, [stride] * axes, [padding] * axes, [dilation] * axes, groups)


@settings(max_examples=40)
@given(
    st.integers(0, 999), st.sampled_from([1, 2, 4]), st.integers(0, 3), st.integers(1, 2), st.integers(1, 2),
    st.tuples(st.integers(1, 4), st.integers(1, 3)), st.tuples(st.integers(7, 10), st.integers(7, 9)),
)  # fmt: skip
def test_upper_is_above_dense_is_above_lower(
    seed: int, stride: int, padding: int, dilation: int, groups: int, kernel: tuple[int, int], size: tuple[int, int]
) -> None:
    w = _normal(2 * groups, 2, *kernel, seed=seed)
    conv = _zero_padded(w, size, stride, padding, dilation, groups)
    dense, found = _dense(conv.apply, conv.shape), convolution_norm(conv)
    x = _normal(1, *conv.shape)
    assert torch.allclose(conv.apply(x), F.conv2d(x, w, None, stride, padding, dilation, groups))
    assert found.lower <= dense * (1 + 1e-12)
    assert dense <= found.upper
    assert found.gap <= 1e-3


def test_no_violation_over_400_kernels_where_the_usual_grid_has_some() -> None:
    """A circular norm on the grid of the image itself is the trap; a norm on N + k - 1 is a bound."""
    usual, ours = 0, 0
    for seed in range(400):
        n = 3 + seed % 4
        w = _normal(1 + seed % 3, 1 + seed // 3 % 3, 3, 3, seed=seed)
        conv = _zero_padded(w, (n, n), 1, 1, 1, 1)
        dense = _dense(conv.apply, conv.shape)
        ring = Convolution(w, (n, n), (n, n), [1, 1], [1, 1], [1, 1], circular=True)
        usual += convolution_upper(ring) < dense * (1 - 1e-9)
        ours += convolution_upper(conv) < dense
    assert ours == 0
    assert usual >= 1


@pytest.mark.parametrize("stride", [1, 2, 4])
def test_on_its_own_grid_a_circular_norm_is_exact(stride: int) -> None:
    w = _normal(3, 2, 3, 3)
    ring = Convolution(w, (8, 8), (8 // stride,) * 2, [stride] * 2, [1, 1], [1, 1], circular=True)
    found = convolution_norm(ring)
    assert found.upper == pytest.approx(_dense(ring.apply, ring.shape), rel=2e-4)
    assert found.gap <= 1e-3


@pytest.mark.parametrize("size", [(9,), (5, 4, 6)])
def test_one_and_three_axes(size: tuple[int, ...]) -> None:
    conv = _zero_padded(_normal(3, 2, *[3] * len(size)), size, 2, 1, 1, 1)
    found, dense = convolution_norm(conv), _dense(conv.apply, conv.shape)
    assert found.lower <= dense * (1 + 1e-12) <= found.upper * (1 + 1e-12)
    assert found.gap <= 1e-3


@pytest.mark.parametrize(("channels", "size"), [((1, 6), (6, 6)), ((5, 1), (6, 7))])
def test_a_proof_succeeds_above_the_norm_and_fails_below_it(channels: tuple[int, int], size: tuple[int, int]) -> None:
    conv = _zero_padded(_normal(*channels[::-1], 3, 3), size, 1, 1, 1, 1)
    bands, dense = Bands(conv), _dense(conv.apply, conv.shape)
    assert bands.of_inputs == (channels[0] < channels[1])
    assert bands.below(dense * (1 + 1e-6))
    assert not bands.below(dense * (1 - 1e-6))


def test_frequencies_in_batches_give_the_same_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    conv = _zero_padded(_normal(3, 2, 3, 3), (8, 8), 1, 1, 1, 1)
    whole = convolution_upper(conv)
    monkeypatch.setattr("blindspots.experiments.inspect.stability.convolutions._NUMBERS", 7 * 6)
    assert convolution_upper(conv) == pytest.approx(whole, rel=1e-4)
    assert convolution_upper(conv) >= _dense(conv.apply, conv.shape)


@pytest.mark.parametrize("shape", [(7, 3), (3, 7), (600, 540)])
def test_a_matrix(shape: tuple[int, int]) -> None:
    a = _normal(*shape)
    found, dense = matrix_norm(a), float(torch.linalg.matrix_norm(a, 2))
    assert found.lower <= dense * (1 + 1e-14) <= found.upper * (1 + 1e-14)
    assert found.gap <= 1e-3


def test_gram_iteration_of_an_orthogonal_matrix_of_zeros_and_of_huge_numbers() -> None:
    q = torch.linalg.qr(_normal(40, 40)).Q
    assert 1 <= gram_upper(q[None]) * (1 + 1e-14) <= 1 + 2e-4
    assert gram_upper(torch.zeros(2, 3, 4, dtype=torch.float64)) == 0
    assert gram_upper(1e30 * q[None]) == pytest.approx(1e30, rel=2e-4)
    assert matrix_norm(torch.zeros(2, 3)) == Norm(0, 0)


def test_means_and_copies_in_closed_form() -> None:
    pool = positive_norm(lambda v: F.avg_pool2d(v, 2), (3, 6, 6))
    assert (pool.upper, pool.lower) == pytest.approx((0.5, 0.5))
    everywhere = positive_norm(lambda v: v.mean((2, 3)), (2, 4, 4))
    assert everywhere.upper == pytest.approx(0.25)
    assert diagonal_norm(lambda v: v.repeat(1, 3), (5,)).upper == pytest.approx(3**0.5)
    assert diagonal_norm(lambda v: v * torch.tensor([1.0, -4.0, 2.0]), (3,)).upper == pytest.approx(4)


def test_overlapping_means_from_both_sides() -> None:
    def pool(v: Tensor) -> Tensor:
        return F.avg_pool2d(v, 3, 2, 1)

    found, dense = positive_norm(pool, (1, 9, 9)), _dense(pool, (1, 9, 9))
    assert found.lower * (1 - 1e-12) <= dense <= found.upper * (1 + 1e-12)
    assert found.gap <= 1e-2


@pytest.mark.parametrize("count", [1, 2, 30])
def test_the_lower_bound_of_few_inputs(count: int) -> None:
    a = _normal(4, count)
    assert lower(lambda v: v @ a.T, (count,)) == pytest.approx(float(torch.linalg.matrix_norm(a, 2)), rel=1e-6)
