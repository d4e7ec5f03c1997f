"""What robustness depends on in training: levels do what they say, trends are those of known numbers."""

from pathlib import Path
from typing import Any

import pytest
import torch
from scipy.stats import ttest_ind

import blindspots as bs
from blindspots.ball import L2, Linf
from blindspots.experiments.inspect.training.autoencoder import ascended, fit, noisy
from blindspots.experiments.inspect.training.conclude import _difference, _slope
from blindspots.experiments.inspect.training.config import TrainingConfig
from blindspots.experiments.inspect.training.levels import Level, levels, selected

ON: dict[str, Any] = {"model": "digits", "data": "digits"}
SMALL: dict[str, Any] = {"rows": 40, "judged": 12, "repeats": 2, "training_steps": 20}
X, Y = torch.rand(400, 1, 6, 6, generator=torch.Generator().manual_seed(0)), torch.arange(400) % 4


def level(**settings: Any) -> Level:
    return Level("some", "level", "fc:10", **settings)


# ------------------------------------------------------------------ levels


def test_a_share_of_rows_is_nested_and_a_half_leaves_the_other() -> None:
    (some, _), (more, _) = (selected(level(share=s), X, Y, 4, 0) for s in (0.25, 0.5))
    assert len(some) == 100
    assert {tuple(x.flatten().tolist()) for x in some} < {tuple(x.flatten().tolist()) for x in more}
    (first, _), (second, _) = (selected(level(half=h), X, Y, 4, 0) for h in (0, 1))
    assert len(first) + len(second) == 400
    assert not {tuple(x.flatten().tolist()) for x in first} & {tuple(x.flatten().tolist()) for x in second}


def test_wrong_labels_are_as_many_as_said_and_never_right_by_chance() -> None:
    x, y = selected(level(noise=0.4), X, Y, 4, 0)
    assert torch.equal(x, X)
    assert 0.32 < float((y != Y).float().mean()) < 0.48
    assert set((y[y != Y] - Y[y != Y]).remainder(4).tolist()) == {1, 2, 3}
    assert torch.equal(selected(level(), X, Y, 4, 0)[1], Y)


@pytest.mark.parametrize("how", ["noise", "shifts"])
def test_copies_come_behind_the_rows_with_their_labels(how: str) -> None:
    x, y = selected(level(copies=how), X, Y, 4, 0)
    assert len(x) == 1600
    assert torch.equal(x[:400], X)
    assert torch.equal(y, Y.repeat(4))
    assert not torch.equal(x[400:800], x[800:1200])
    assert 0 <= float(x.min()) <= float(x.max()) <= 1


def test_a_shifted_copy_is_the_row_moved_by_a_pixel_at_most() -> None:
    x, _ = selected(level(copies="shifts"), X[:20], Y[:20], 4, 0)
    for i in range(20):
        padded = torch.nn.functional.pad(X[i], (1, 1, 1, 1))
        moved = [padded[:, a : a + 6, b : b + 6] for a in range(3) for b in range(3)]
        assert any(torch.equal(x[20 + i], one) for one in moved)


def test_every_factor_has_levels_and_the_baseline_is_one_of_none() -> None:
    every = levels(TrainingConfig(**ON), (1, 8, 8))
    assert every[0].factor == "baseline"
    assert [one.network for one in every if one.factor == "width"] == ["fc:25", "fc:50", "fc:200"]
    assert len({one.key for one in every}) == len(every)
    assert not [one for one in levels(TrainingConfig(**ON), (7,)) if one.name == "shifts"]


# ------------------------------------------------------------------ trends


def test_the_slope_of_a_line_is_found_and_its_interval_shrinks_to_it() -> None:
    change, interval = _slope([(x, 3 * x + 1) for x in (0.0, 1.0, 2.0, 3.0)])
    assert change == pytest.approx(3)
    assert interval == pytest.approx((3, 3))
    assert _slope([(0.0, 1.0), (1.0, 2.0)]) == (0.0, "too few networks have one")


def test_a_difference_has_welchs_interval() -> None:
    first, second = [0.5, 0.6, 0.4], [0.1, 0.3, 0.2, 0.15]
    change, interval = _difference(first, second)
    oracle = ttest_ind(first, second, equal_var=False).confidence_interval(0.95)
    assert change == pytest.approx(0.5 - 0.1875)
    assert interval == pytest.approx((float(oracle.low), float(oracle.high)))
    assert _difference([1.0, 1.0], [0.5, 0.5]) == (0.5, (0.5, 0.5))


# ------------------------------------------------------------------ the autoencoder


@pytest.mark.parametrize("ball", [Linf(0.2), L2(0.5)])
def test_the_ascent_reaches_the_largest_value_of_a_linear_loss(ball: Any) -> None:
    """Within the box: half of the pixels can move the whole way, the others not at all."""
    x, w = torch.tensor([[0.5, 0.5, 1.0, 0.0]]), torch.tensor([1.0, -1.0, 1.0, -1.0])
    found = ascended(lambda at: at @ w, ball, x, ball.radius, 0)
    best = 0.4 if isinstance(ball, Linf) else 0.5 * 2**0.5
    assert float((found - x) @ w) == pytest.approx(best, abs=1e-3)
    assert float(ball.norm(noisy(ball, x, ball.radius, 0) - x)) <= ball.radius + 1e-5


def test_an_autoencoder_learns_to_rebuild_and_is_the_same_again() -> None:
    x = bs.load_data("digits").rows(0, 100)[0]
    short, long, again = (fit(x, 0, steps) for steps in (20, 400, 400))
    error = [float((net(x) - x).square().mean()) for net in (short, long)]
    assert error[1] < 0.6 * error[0]
    assert torch.equal(long(x), again(x))


# ------------------------------------------------------------------ runs


def test_a_run_holds_and_says_what_it_saw(tmp_path: Path) -> None:
    done = bs.inspect.training("digits", data="digits", factor=("size", "network"), out=tmp_path / "run", **SMALL)
    v = done.verdict
    assert len(v.networks) == 2 * (1 + 3 + 3)
    assert [n.rows for n in v.networks if n.factor == "size"] == [162, 162, 324, 324, 648, 648]
    assert {t.name for t in v.trends} == {"size", "network-softmax", "network-fc-100-100", "network-autoencoder-100"}
    assert all(n.attacked.hits <= n.clean.hits for n in v.networks)
    assert "size.attacked" in v.metrics()
    assert bs.verify(tmp_path / "run").ok
    assert "Kind of network" in bs.write_report(tmp_path / "run").read_text()


def test_other_data_are_divided_by_lot() -> None:
    x, y = bs.load_data("digits").rows(0, 60)
    done = bs.inspect.training("digits", x, y, factor=("subset",), judged=20, repeats=2, training_steps=20)
    assert done.verdict.networks[0].clean.rows == 20
    assert [n.rows for n in done.verdict.networks] == [30, 30, 15, 15, 15, 15]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"factor": ("widht",)}, "expected factors among .*width.* got 'widht'"),
        ({"factor": ("width",), "network": "softmax"}, "hidden layers whose width can be varied, got 'softmax'"),
        (
            {"factor": ("size",), "network": "nets.py:net"},
            "got 'nets.py:net': what is trained again and again is built",
        ),
        ({"threat": "linf"}, "expected a threat with a radius"),
        ({"training_data": bs.load_data("digits")}, "40 that are in both"),
    ],
)
def test_what_does_not_fit_is_a_sentence(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(bs.InputError, match=said):
        bs.inspect.training("digits", data="digits", **{**SMALL, **settings})
