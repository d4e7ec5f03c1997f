"""Smooth changes of series: the ball holds after smoothing, gradients go back through it, and roughness falls."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import blindspots as bs
from blindspots.attacks import APGD, DDN, PGD, Smooth, parse_attack
from blindspots.ball import L1, L2, Ball, Linf
from blindspots.errors import InputError
from closed_form import Linear


def roughness(d: Tensor) -> Tensor:
    """Mean square of second differences, in units of the mean square: (N,)."""
    bends = d[..., 2:] - 2 * d[..., 1:-1] + d[..., :-2]
    return bends.square().flatten(1).mean(1) / d.square().flatten(1).mean(1).clamp_min(1e-12)


@given(st.integers(1, 40), st.floats(0.2, 30), st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_no_norm_grows_and_smoothing_is_its_own_transpose(length: int, sigma: float, seed: int) -> None:
    smooth, g = Smooth(sigma=sigma), torch.Generator().manual_seed(seed)
    a, b = torch.randn(2, 1, 2, length, generator=g, dtype=torch.float64)
    for ball in (Linf(), L2(), L1()):
        assert (ball.norm(smooth._smoothed(a)) <= ball.norm(a) * (1 + 1e-9)).all()
    assert torch.allclose((smooth._smoothed(a) * b).sum(), (a * smooth._smoothed(b)).sum())
    kernel = smooth._kernel(1000)
    assert kernel[0] + 2 * sum(kernel[1:]) == pytest.approx(1)
    assert all(w >= 0 for w in kernel)


@pytest.mark.parametrize("ball", [Linf(0.1), L2(0.6), L1(2.5)])
def test_a_linear_model_falls_exactly_where_the_smoothed_gradient_reaches(ball: Ball) -> None:
    """max <w, S theta> over |theta|_p <= r is r |S w|_q: rows fall up to that margin and no further."""
    g = torch.Generator().manual_seed(0)
    weight, attack = torch.randn(60, generator=g), Smooth(PGD(10, stride=1.0, random_start=False), sigma=4.0)
    best = float(ball.radius or 0) * float(ball.dual(attack._smoothed(weight[None]))[0])
    rough = float(ball.radius or 0) * float(ball.dual(weight[None])[0])
    assert best < 0.8 * rough
    x = torch.rand(20, 60, generator=g)
    net = Linear(torch.stack([weight / 2, -weight / 2]), torch.zeros(2))
    margin = best * torch.linspace(0.5, 1.5, 20)
    x = x + ((margin - x @ weight) / weight.square().sum())[:, None] * weight
    run = bs.attack(
        bs.Model(net, bounds=(-9, 9)), x, torch.zeros(20, dtype=torch.int64), attack, threat=ball.within(-9, 9)
    )
    fell = margin < best * 0.999
    assert torch.equal(run.adversarial.ne(x).flatten(1).any(1), fell)


def test_changes_are_smooth_where_those_of_the_attack_alone_are_not() -> None:
    g = torch.Generator().manual_seed(1)
    net = Linear(torch.randn(2, 200, generator=g), torch.zeros(2))
    x = 0.3 + 0.4 * torch.rand(16, 200, generator=g)
    y = net(x).argmax(1)
    model = bs.Model(net)
    plain = bs.attack(model, x, y, PGD(20), threat="linf:0.2", to_the_end=True).adversarial - x
    moved = bs.attack(model, x, y, Smooth(PGD(20), sigma=8), threat="linf:0.2", to_the_end=True).adversarial - x
    fell = plain.ne(0).any(1) & moved.ne(0).any(1)
    assert fell.any()
    assert (roughness(moved[fell]) < 0.1 * roughness(plain[fell])).all()


def test_theta_may_leave_the_box_and_what_is_seen_may_not() -> None:
    """In l1 all of theta goes to one place, further than the box is wide; smoothed it is no more than a bump."""
    smooth, length, r = Smooth(PGD(10, stride=1.0, random_start=False), sigma=6.0), 80, 1.5
    weight = torch.randn(length, generator=torch.Generator().manual_seed(2))
    best = r * float(smooth._smoothed(weight[None]).abs().max())
    x = torch.full((2, length), 0.5) + torch.tensor([[0.98], [1.02]]) * best * weight / weight.square().sum()
    shift = float((torch.full((length,), 0.5) * weight).sum())
    net = Linear(torch.stack([weight / 2, -weight / 2]), torch.tensor([-shift / 2, shift / 2]))
    assert bool(((x > 0.2) & (x < 0.8)).all())
    run = bs.attack(bs.Model(net), x, torch.zeros(2, dtype=torch.int64), smooth, threat=L1(r))
    assert run.adversarial.ne(x).any(1).tolist() == [True, False]
    assert bool(((run.adversarial >= 0) & (run.adversarial <= 1)).all())


def test_in_words_and_what_is_refused() -> None:
    assert parse_attack("pgd:steps=7+smooth:sigma=3") == Smooth(PGD(7), 3.0)
    assert parse_attack("apgd+smooth") == Smooth(APGD())
    with pytest.raises(InputError, match="attack by gradients in a ball"):
        Smooth(DDN())
    with pytest.raises(InputError, match="sigma above 0"):
        Smooth(sigma=0.0)
    net = Linear(torch.ones(2, 5), torch.zeros(2))
    with pytest.raises(InputError, match=r"expected an attack for .*l0.*got Smooth"):
        bs.attack(bs.Model(net), torch.rand(2, 5), torch.zeros(2, dtype=torch.int64), Smooth(), threat="l0:2")
