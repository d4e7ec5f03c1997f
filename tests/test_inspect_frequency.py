"""How often errors occur, as a study: closed forms of planes and spheres, models known by answers, what is said."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import norm
from torch import Tensor, nn

import blindspots as bs
from blindspots.experiments.inspect.frequency.conclude import columns_of, evidence_of
from blindspots.experiments.inspect.frequency.evidence import Evidence, Round
from blindspots.experiments.inspect.frequency.experiment import Frequencies
from blindspots.experiments.inspect.frequency.laws import Ball, Cube, Gaussian, Law, Sphere
from blindspots.experiments.inspect.frequency.page import answer, outcome
from blindspots.experiments.inspect.frequency.planes import beyond, cap, uniform_sum
from blindspots.experiments.inspect.frequency.spheres import Quadratic, boundary_distance, two_blocks
from blindspots.experiments.inspect.frequency.verdict import Line, Rate
from blindspots.models.blackbox import BlackBox
from blindspots.models.model import Model
from closed_form import Linear

QUICK: dict[str, Any] = {"draws": 100, "particles": 3, "replicates": 6}


def line(done: Frequencies, row: int = 0, law: int = 0) -> Line:
    return done.verdict.tables[law].lines[row]


def plane(weight: Tensor, distance: float) -> tuple[nn.Module, Tensor, Tensor]:
    """Two classes, a row in the middle of [0, 1], and a boundary at this l2 distance."""
    unit, x = weight / weight.norm(), torch.full((1, len(weight)), 0.5)
    bias = float(x @ unit) + distance
    return Linear(torch.stack([-unit, unit]) / 2, torch.tensor([bias, -bias]) / 2), x, torch.tensor([0])


def holds(rate: Rate, p: float) -> bool:
    return rate.interval[0] <= p <= rate.interval[1]


# ------------------------------------------------------------------ closed forms


@pytest.mark.parametrize("distance", [0.1, 0.6])
def test_behind_a_plane_noise_has_the_rate_of_its_distance(distance: float) -> None:
    net, x, y = plane(torch.randn(16, generator=torch.Generator().manual_seed(0)), distance)
    found = line(bs.inspect.frequency(net, x, y, law="noise", noise=0.1, **QUICK))
    assert holds(found.rate, float(norm.sf(distance / 0.1)))
    assert found.distance == pytest.approx(distance, rel=1e-3)
    assert found.mean == pytest.approx(-distance, abs=0.05)
    assert found.split == (distance > 0.1)
    assert found.broken is None
    assert found.flat is not None
    assert found.flat.found == pytest.approx(distance / 0.1, rel=1e-3)
    assert found.flat.ratio == pytest.approx(1, abs=0.15)


def test_behind_a_plane_the_linf_ball_has_the_rate_of_irwin_and_hall() -> None:
    net, x, y = plane(torch.ones(20), 0.05 * math.sqrt(20))
    done = bs.inspect.frequency(net, x, y, threat="linf:0.1", **QUICK)
    found = line(done)
    assert holds(found.rate, 3.043e-5)
    assert found.distance == pytest.approx(0.05, rel=1e-3)
    assert found.broken is True
    assert found.flat is not None
    assert found.flat.found == pytest.approx(norm.isf(3.043e-5), rel=1e-3)
    assert found.flat.ratio == pytest.approx(1, abs=0.1)
    assert done.verdict.metrics()["ball.broken"].value == 1


def test_concentric_spheres_have_the_rate_and_the_distance_of_their_closed_forms() -> None:
    a = np.repeat([1.5, 0.9], [50, 450])
    net = Model(Quadratic(torch.tensor(a).float()), bounds=(-2.0, 2.0))
    x = torch.zeros(1, 500)
    found = line(bs.inspect.frequency(net, x, [0], threat="l2:1", law="sphere", draws=20_000))
    assert holds(found.rate, two_blocks(500, 50, 1.5, 0.9))
    assert found.rate.how == "counted"
    exact = boundary_distance(a, np.zeros(500))  # from the centre, where the gradient is 0
    assert found.distance is not None
    assert exact * (1 - 1e-5) <= found.distance <= 1.02 * exact


def test_a_row_that_is_wrong_is_broken_at_no_distance() -> None:
    net, x, _ = plane(torch.ones(4), 0.1)
    found = line(bs.inspect.frequency(net, x, [1], noise=0.1, **QUICK))
    assert (found.wrong, found.broken, found.distance, found.flat) == (True, True, 0.0, None)
    assert found.rate.interval[0] > 0.9


def test_errors_that_splitting_missed_are_a_finding() -> None:
    """Particles crowd on the side where scores rise first; the other one ends nearer."""

    class Hiding(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.stack([torch.zeros(len(x)), x[:, 0] - 6.5, 2.5 * (-x[:, 0] - 5)], 1)

    net = Model(Hiding(), bounds=(-20.0, 20.0), output="logits")
    x = torch.zeros(4, 30)
    done = bs.inspect.frequency(net, x, [0] * 4, law="noise", noise=1.0, draws=100, particles=4)
    said = [f for f in done.verdict.findings if f.code == "nearer-than-the-rate"]
    missed = [row for row in done.verdict.tables[0].lines if not holds(row.rate, float(norm.sf(6.5) + norm.sf(5)))]
    assert missed
    assert len(said) == 1
    assert all(row.distance == pytest.approx(5, rel=1e-3) for row in missed)
    assert f"in {len(missed)}\u00a0row" in said[0].saw


# ------------------------------------------------------------------ planes of laws


def irwin_hall(count: int, mean: float) -> float:
    rest = round(1000 * count * (1 - mean) / 2)
    terms = [(-1) ** k * math.comb(count, k) * (rest - 1000 * k) ** count for k in range(rest // 1000 + 1)]
    return sum(terms) / (1000**count * math.factorial(count))


@pytest.mark.parametrize(("count", "mean"), [(5, 0.3), (5, 0.98), (20, 0.5), (50, 0.7), (50, 0.97)])
def test_sums_of_uniforms_have_the_law_of_irwin_and_hall(count: int, mean: float) -> None:
    exact = irwin_hall(count, mean)
    assert uniform_sum(np.ones(count), count * mean) == pytest.approx(exact, rel=0.03)
    assert uniform_sum(np.full(count, 0.1), -0.1 * count * mean) == pytest.approx(1 - exact, rel=0.03)


def test_sums_of_uniforms_end_where_all_are_largest() -> None:
    assert uniform_sum(np.array([1.0, 0.5, 0.0]), 1.5) == 0.0
    assert uniform_sum(np.array([1.0, 0.5, 0.0]), 1.49) > 0
    assert uniform_sum(np.array([1.0, 2.0]), 0.0) == 0.5


def test_caps_are_those_of_two_and_three_dimensions() -> None:
    assert cap(0.3, 3) == pytest.approx((1 - 0.3) ** 2 * (2 + 0.3) / 4)
    assert cap(0.3, 2) == pytest.approx((math.acos(0.3) - 0.3 * math.sqrt(1 - 0.09)) / math.pi)
    assert cap(-0.3, 3) == pytest.approx(1 - cap(0.3, 3))
    assert cap(1.5, 3) == 0.0


@pytest.mark.parametrize(
    "law", [Gaussian(0.2), Cube(0.2), Cube(0.2, (0.0, 1.0)), Ball(0.8), Sphere(0.8), Ball(0.8, (0.0, 1.0))], ids=str
)
def test_rates_beyond_planes_are_those_of_draws(law: Law) -> None:
    g = torch.Generator().manual_seed(1)
    x, normal = torch.rand(12, generator=g), torch.randn(12, generator=g)
    normal = normal / normal.norm()
    z = torch.randn(40_000, law.latent(x[None]), generator=g)
    along = (law.point(z, x.expand(40_000, 12)) - x) @ normal
    for share in (0.5, 0.9, 0.99):
        reach = float(along.quantile(share))
        assert beyond(law, x, normal, reach, key=3) == pytest.approx(1 - share, rel=0.15, abs=0.01)


def test_clipped_noise_has_no_planes() -> None:
    with pytest.raises(TypeError, match="clipped"):
        beyond(Gaussian(0.1, (0.0, 1.0)), torch.zeros(2), torch.ones(2), 0.1)


# ------------------------------------------------------------------ what is known by answers alone


def test_scores_are_split_and_labels_are_drawn_from() -> None:
    net, x, y = plane(torch.ones(4), 0.4)
    scores = BlackBox(lambda a: net(torch.from_numpy(a)).detach().numpy(), "scores", classes=2)
    labels = BlackBox(lambda a: net(torch.from_numpy(a)).argmax(1).numpy(), "labels", classes=2)
    split = bs.inspect.frequency(scores, x, y, law="noise", noise=0.1, **QUICK)
    drawn = bs.inspect.frequency(labels, x, y, law="noise", noise=0.1, **QUICK)
    assert holds(line(split).rate, float(norm.sf(4)))
    assert line(split).split
    assert line(split).mean == pytest.approx(-0.4, abs=0.05)
    assert (line(drawn).split, line(drawn).mean, line(drawn).rate.how) == (False, None, "at most")
    assert "draws-alone" in [f.code for f in drawn.verdict.findings]
    for done in (split, drawn):
        near = line(done).distance
        assert near is not None
        assert 0.399 < near < 0.6
        assert done.verdict.backwards == 0


# ------------------------------------------------------------------ runs


def test_a_run_holds_and_says_what_it_saw(tmp_path: Path) -> None:
    done = bs.inspect.frequency(
        "digits", data="digits", rows=4, threat="linf:0.25", noise=0.3, floor=1e-3, **QUICK, out=tmp_path / "run"
    )
    assert [table.law for table in done.verdict.tables] == ["ball", "noise"]
    assert bs.verify(tmp_path / "run").ok
    html = bs.write_report(tmp_path / "run").read_text()
    assert "Rate by distance of the nearest error" in html
    assert "Errors most often" in html
    assert answer(done.verdict) in html


def test_l2_balls_and_spheres_hold_too(tmp_path: Path) -> None:
    bs.inspect.frequency(
        "digits",
        data="digits",
        rows=2,
        threat="l2:1.5",
        law=("ball", "sphere"),
        floor=1e-2,
        **QUICK,
        out=tmp_path / "r",
    )
    assert bs.verify(tmp_path / "r").ok


def test_rows_do_not_depend_on_how_many_there_are() -> None:
    few, more = (
        bs.inspect.frequency("digits", data="digits", rows=n, threat="linf:0.3", floor=1e-2, **QUICK) for n in (2, 9)
    )
    for name, columns in few.parts.joined("rates/ball").items():
        if name != "cost":
            assert torch.equal(columns.nan_to_num(), more.parts.joined("rates/ball")[name][:2].nan_to_num()), name


def test_what_a_verifier_proved_is_not_drawn_from(tmp_path: Path) -> None:
    """A third of the rows is certified beyond the ball, one of them wrong, and a third not as far."""
    radii = tmp_path / "radii.npy"
    np.save(radii, np.array([0.3, 0.1, 0.0] * 2))
    weight, x = torch.ones(4), torch.full((6, 4), 0.5)
    net, _, _ = plane(weight, 0.7)
    y = torch.tensor([1] + [0] * 5)
    settings = {"threat": "linf:0.2", "certified": str(radii), **QUICK, "replicates": 2}
    done = bs.inspect.frequency(net, x, y, out=tmp_path / "run", **settings)
    rates = [row.rate for row in done.verdict.tables[0].lines]
    assert [(r.p, r.how) for r in rates[::3]] == [(1.0, "proved"), (0.0, "proved")]
    assert all(r.how != "proved" for r in rates[1::3] + rates[2::3])
    assert bs.verify(tmp_path / "run", bs.Model(net), (x, y)).ok
    with pytest.raises(bs.InputError, match="expected 2 certified radii"):
        bs.inspect.frequency(net, x[:2], y[:2], **settings)
    with pytest.raises(bs.InputError, match="got an error inside of a ball that is proved"):
        bs.inspect.frequency(plane(weight, 0.5)[0], x, y, **{**settings, "threat": "linf:0.3"})


@pytest.mark.parametrize("content", [b"no array", b""])
def test_certificates_that_cannot_be_read_are_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "radii.npy").write_bytes(content)
    with pytest.raises(bs.InputError, match=r"expected an \.npy file of certified radii"):
        bs.inspect.frequency("digits", data="digits", rows=2, certified=str(tmp_path / "radii.npy"))
    np.save(tmp_path / "radii.npy", [0.1, np.nan])
    with pytest.raises(bs.InputError, match="of at least 0"):
        bs.inspect.frequency("digits", data="digits", rows=2, certified=str(tmp_path / "radii.npy"))


def test_rows_are_chosen_by_lot() -> None:
    net, _, _ = plane(torch.ones(4), 0.5)
    settings = {"frequency_rows": 3, "splitting": False, **QUICK}
    few, other = (
        bs.inspect.frequency(net, torch.full((40, 4), 0.5), torch.zeros(40).long(), seed=s, **settings) for s in (0, 1)
    )
    ids = [[row.id for row in done.verdict.tables[0].lines] for done in (few, other)]
    assert ids[0] == sorted(ids[0]) != ids[1]
    assert len(ids[0]) == 3


def test_columns_keep_evidence() -> None:
    found = [
        Evidence(wrong=False, proved=0.0, forwards=1),
        Evidence(wrong=True, hits=20, draws=100, mean=0.5, error=0.1, unreadable=2, forwards=101),
        Evidence(
            wrong=False, draws=100, mean=-1.0, error=0.1, level=-0.1, particles=3, steps=20, forwards=420,
            rounds=(
                Round(kills=(8, 8), arrived=(True, True), tau=0.25, chance=0.125),
                Round(kills=(7, 9), arrived=(True, False), stuck=1, tau=0.0, chance=0.125),
            ),
        ),
    ]  # fmt: skip
    assert evidence_of(columns_of(found, 2), 3, 20) == found


@pytest.mark.parametrize(
    ("rate", "stuck", "said"),
    [
        (Rate(p=0.0, interval=(0.0, 0.0), how="proved"), 0, "proof"),
        (Rate(p=0.1, interval=(0.05, 0.2), how="counted"), 0, "draws"),
        (Rate(p=1e-9, interval=(1e-10, 1e-8), how="poisson", dispersion=1.1), 0, "splitting, Poisson"),
        (Rate(p=1e-9, interval=(1e-11, 1e-7), how="replicates", dispersion=3.0), 0, "splitting, t (scatter ×3)"),
        (Rate(p=None, interval=(0.0, 1e-20), how="at most", dispersion=0.0), 0, "bound: given up"),
        (Rate(p=None, interval=(0.0, 0.1), how="at most", dispersion=0.0), 2, "bound: 2\u00a0runs stuck"),
    ],
)
def test_outcomes_are_said_in_words(rate: Rate, stuck: int, said: str) -> None:
    nothing = dict.fromkeys(("broken", "distance", "mean", "error", "flat"))
    ways = {"split": rate.dispersion is not None, "steps": 20, "remembering": False, "stuck": stuck}
    one = Line(id=0, wrong=False, rate=rate, **ways, **nothing)
    assert outcome(one) == said


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"law": "boll"}, "expected laws among ball, sphere, noise, got 'boll'"),
        ({"threat": "l1:3"}, "expected a threat of linf or l2 for points uniform in the ball"),
        ({"threat": "linf:0.1", "law": "sphere"}, "expected a threat of l2 for points uniform on the sphere"),
        ({"threat": "linf"}, "expected a threat with a radius"),
        ({"noise": 0}, "for noise"),
        ({"noise": 30.0}, "noise that does not drown inputs"),
        ({"particles": 1}, "for particles"),
    ],
)
def test_what_does_not_fit_is_a_sentence(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(bs.InputError, match=said):
        bs.inspect.frequency("digits", data="digits", rows=2, **settings)


def test_texts_and_labels_that_the_model_does_not_know_are_refused() -> None:
    with pytest.raises(bs.InputError, match="reads texts"):
        bs.inspect.frequency("reviews", data="reviews", rows=2)
    net, x, _ = plane(torch.ones(4), 0.1)
    with pytest.raises(bs.InputError, match="labels from 0 to 1"):
        bs.inspect.frequency(net, x, [2], **QUICK)
