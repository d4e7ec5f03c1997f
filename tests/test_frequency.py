"""How often errors occur, against closed forms down to 1e-24: laws, draws, splitting, proofs and the table of all."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.special import betainc
from scipy.stats import kstest, norm
from torch import Tensor, nn

from blindspots.errors import InputError
from blindspots.experiments.inspect.frequency.distance import flatness, half_space_rate, implied_distance
from blindspots.experiments.inspect.frequency.evidence import Evidence, gather
from blindspots.experiments.inspect.frequency.intervals import garwood
from blindspots.experiments.inspect.frequency.laws import Ball, Cube, Gaussian, Law, Sphere, covered
from blindspots.experiments.inspect.frequency.rates import rate
from blindspots.experiments.inspect.frequency.sampling import sample
from blindspots.experiments.inspect.frequency.scoring import error_score, wrong
from blindspots.experiments.inspect.frequency.splitting import Runs, Score, Splitting, split
from blindspots.experiments.inspect.frequency.table import Worst, table
from blindspots.experiments.inspect.frequency.verdict import Rate
from blindspots.models.model import Model
from blindspots.oracle import Oracle
from blindspots.random import keys
from closed_form import Linear

LAWS = [Ball(0.3), Cube(0.3), Gaussian(0.3), Sphere(0.3)]


def cap(height: float, dim: int) -> float:
    """The share of the unit ball beyond a plane at this height: 7.610e-9 at 0.2 and 2.137e-24 at 0.35 for 784."""
    return float(betainc((dim + 1) / 2, 0.5, 1 - height**2)) / 2


def irwin_hall(count: int, mean: float) -> float:
    """P(the mean of so many uniforms of (-1, 1) exceeds `mean`), in exact integers of a 1000th."""
    rest = round(1000 * count * (1 - mean) / 2)
    terms = [(-1) ** k * math.comb(count, k) * (rest - 1000 * k) ** count for k in range(rest // 1000 + 1)]
    return sum(terms) / (1000**count * math.factorial(count))


def beyond(height: float) -> Score:
    return lambda x, row: x[:, 0].double() - height


def mean_above(height: float) -> Score:
    return lambda x, row: x.double().mean(1) - height


def row_keys(rows: int, seed: int = 0) -> Tensor:
    return keys(seed, torch.arange(rows))


FEW = Splitting(particles=2, replicates=2)
SOME = Splitting(particles=4, replicates=6)


def at_origin(rows: int, dim: int) -> Tensor:
    return torch.zeros(rows, dim)


def covering(runs: Runs, p: float, particles: int = 10) -> float:
    """The share of single runs whose exact Poisson interval holds p."""
    ends = [garwood(int(k), particles) for k in runs.kills.flatten()]
    return float(np.mean([low <= p <= high for low, high in ends]))


def scatter(runs: Runs, p: float, particles: int = 10) -> tuple[float, float]:
    """Mean and variance of the kills, over the Poisson mean."""
    kills, mean = runs.kills.flatten().double(), -particles * math.log(p)
    return float(kills.mean()) / mean, float(kills.var()) / mean


# ------------------------------------------------------------------ laws


def drawn(law: Law, x0: Tensor, count: int = 4000) -> Tensor:
    z = torch.randn(count, law.latent(x0[None]), generator=torch.Generator().manual_seed(0))
    return law.point(z, x0.expand(count, *x0.shape))


def test_the_ball_is_uniform() -> None:
    x = drawn(Ball(2.0), torch.zeros(3))
    assert kstest((x.norm(dim=1) / 2).numpy() ** 3, "uniform").pvalue > 0.01
    assert kstest((x[:, 0] / x.norm(dim=1)).numpy(), "uniform", (-1, 2)).pvalue > 0.01  # Archimedes


def test_the_ball_is_reflected_at_its_box_and_uniform_in_a_corner() -> None:
    corner = drawn(Ball(0.5, (0.0, 1.0)), torch.zeros(2))
    assert kstest((corner.norm(dim=1) / 0.5).numpy() ** 2, "uniform").pvalue > 0.01
    assert kstest(torch.atan2(corner[:, 1], corner[:, 0]).numpy(), "uniform", (0, math.pi / 2)).pvalue > 0.01
    x0 = torch.tensor([0.1, 0.5, 1.0])
    wide = drawn(Ball(5.0, (0.0, 1.0)), x0)  # reflected more than once
    assert bool(((wide >= 0) & (wide <= 1)).all())


@pytest.mark.parametrize("x0", [[0.5], [0.1], [1.0]])
def test_the_cube_is_uniform_in_what_it_shares_with_its_box(x0: list[float]) -> None:
    low, high = max(0.0, x0[0] - 0.3), min(1.0, x0[0] + 0.3)
    x = drawn(Cube(0.3, (0.0, 1.0)), torch.tensor(x0))
    assert kstest(x[:, 0].numpy(), "uniform", (low, high - low)).pvalue > 0.01


def test_normal_noise_is_clipped_where_a_box_is_given() -> None:
    free, cut = drawn(Gaussian(0.3), torch.tensor([0.1])), drawn(Gaussian(0.3, (0.0, 1.0)), torch.tensor([0.1]))
    assert kstest(free[:, 0].numpy(), "norm", (0.1, 0.3)).pvalue > 0.01
    assert bool((cut == free.clamp(0, 1)).all())


def test_the_sphere_is_uniform_and_as_large_as_it_says() -> None:
    x = drawn(Sphere(1.3), torch.zeros(3))
    assert x.norm(dim=1).numpy() == pytest.approx(1.3, rel=1e-5)
    assert kstest(x[:, 0].numpy() / 1.3, "uniform", (-1, 2)).pvalue > 0.01


@pytest.mark.parametrize("law", LAWS)
def test_points_have_the_shape_of_inputs_and_lie_in_the_ball(law: Law) -> None:
    x0 = torch.rand(2, 3, 4)
    moved = drawn(law, x0, 50) - x0
    assert moved.shape == (50, 2, 3, 4)
    size = moved.flatten(1).norm(dim=1) if law.norm == "l2" else moved.flatten(1).abs().amax(1)
    assert law.norm is None or float(size.max()) <= 0.3 + 1e-5
    assert f"{law.size:g}" in law.words
    assert "bounds [0, 1]" in type(law)(0.3, (0.0, 1.0)).words


def test_certificates_cover_laws_within_their_ball() -> None:
    radii = torch.tensor([0.1, 0.3, math.inf])
    assert covered(Ball(0.3), radii).tolist() == [False, True, True]
    assert covered(Gaussian(0.3), radii).tolist() == [False, False, True]


@pytest.mark.parametrize(("size", "box"), [(0.0, None), (-1.0, None), (math.inf, None), (math.nan, None), (1, (1, 0))])
def test_a_law_has_a_size_and_a_box(size: float, box: tuple[float, float] | None) -> None:
    with pytest.raises(InputError, match=r"^expected a (size|box)"):
        Ball(size, box)


# ------------------------------------------------------------------ draws


def test_hits_and_means_are_those_of_the_closed_form() -> None:
    found = sample(beyond(0.3), at_origin(1, 10), Gaussian(0.2), row_keys(1), 20_000)
    p = float(norm.sf(1.5))
    assert int(found.hits[0]) / 20_000 == pytest.approx(p, abs=4 * math.sqrt(p / 20_000))
    assert float(found.mean[0]) == pytest.approx(-0.3, abs=4 * 0.2 / math.sqrt(20_000))
    assert float(found.deviation[0]) == pytest.approx(0.2, rel=0.05)


def test_scores_that_are_no_numbers_are_no_errors_and_are_counted() -> None:
    def broken(x: Tensor, row: Tensor) -> Tensor:
        return torch.where(x[:, 0] > 0, torch.nan, torch.where(x[:, 1] > 0, torch.inf, -1.0))

    found = sample(broken, at_origin(1, 5), Cube(1.0), row_keys(1), 2000)
    assert int(found.unreadable[0]) == pytest.approx(1000, abs=100)
    assert int(found.hits[0]) == pytest.approx(500, abs=100)
    assert float(found.mean[0]) == -1.0


def test_draws_agree_with_splitting_where_both_can_be_had() -> None:
    law, x, p = Ball(1.0), at_origin(1, 20), cap(0.5, 20)
    counted = gather(beyond(0.5), x, law, row_keys(1), draws=20_000)[0]
    walked = gather(beyond(0.5), x, law, row_keys(1), draws=2, splitting=SOME)[0]
    assert counted.rounds == ()
    assert len(walked.rounds[-1].kills) == 6
    for evidence in (counted, walked):
        low, high = rate(evidence).interval
        assert low <= p <= high


# ------------------------------------------------------------------ splitting


def corner(side: float) -> Score:
    return lambda x, row: x.double().amin(1) - (1 - side)


def opposite(near: float, far: float) -> Score:
    """Two half-spaces, on either side."""
    return lambda x, row: (x[:, 0].double() - near).maximum(-x[:, 0].double() - far)


KNOWN: list[tuple[Score, int, Law, float]] = [
    (beyond(0.8), 20, Ball(1.0), cap(0.8, 20)),
    (mean_above(0.5), 20, Cube(1.0), irwin_hall(20, 0.5)),
    (corner(0.02), 3, Cube(1.0), 0.01**3),
    (beyond(1.0), 5, Gaussian(0.2), float(norm.sf(5))),
    (beyond(0.9), 12, Sphere(1.0), float(betainc(5.5, 0.5, 1 - 0.81)) / 2),
    (opposite(3.7, 4.8), 10, Gaussian(1.0), float(norm.sf(3.7) + norm.sf(4.8))),  # the other side is 100 times rarer
]
SHAPES = ["cap", "cube", "corner", "half-space", "sphere", "union"]


def check_kills(score: Score, dim: int, law: Law, p: float, rows: int, particles: int) -> None:
    runs = split(score, at_origin(rows, dim), law, row_keys(rows), Splitting(particles, 2))
    assert bool(runs.arrived.all())
    mean, variance = scatter(runs, p, particles)
    assert mean == pytest.approx(1, abs=4 / math.sqrt(-2 * rows * particles * math.log(p)))
    assert variance < 1.05 + 4 * math.sqrt(2 / (2 * rows))  # four standard errors
    assert covering(runs, p, particles) >= 0.95 - 3.2 * math.sqrt(0.05 * 0.95 / (2 * rows))


@pytest.mark.parametrize(("score", "dim", "law", "p"), KNOWN, ids=SHAPES)
def test_kills_have_the_poisson_law_whatever_the_shape(score: Score, dim: int, law: Law, p: float) -> None:
    check_kills(score, dim, law, p, 25, 4)


@pytest.mark.slow
@pytest.mark.parametrize(("score", "dim", "law", "p"), KNOWN, ids=SHAPES)
def test_kills_of_many_runs_have_the_poisson_law(score: Score, dim: int, law: Law, p: float) -> None:
    check_kills(score, dim, law, p, 100, 10)


def test_irwin_hall_is_the_table_of_the_closed_forms() -> None:
    assert irwin_hall(20, 0.5) == pytest.approx(3.043e-5, rel=1e-3)
    assert irwin_hall(50, 0.7) == pytest.approx(1.790e-21, rel=1e-3)
    assert cap(0.2, 784) == pytest.approx(7.610e-9, rel=1e-3)
    assert cap(0.35, 784) == pytest.approx(2.137e-24, rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("score", "dim", "law", "p"),
    [
        (beyond(0.2), 784, Ball(1.0), cap(0.2, 784)),
        (beyond(0.35), 784, Ball(1.0), cap(0.35, 784)),
        (mean_above(0.7), 50, Cube(1.0), irwin_hall(50, 0.7)),
        (opposite(0.2, 0.25), 784, Ball(1.0), cap(0.2, 784) + cap(0.25, 784)),
    ],
    ids=["cap of 1e-8", "cap of 1e-24", "cube", "union"],
)
def test_single_runs_cover_rates_down_to_1e_24(score: Score, dim: int, law: Law, p: float) -> None:
    runs = split(score, at_origin(100, dim), law, row_keys(100), Splitting(replicates=2, floor=1e-40))
    assert bool(runs.arrived.all())
    assert covering(runs, p) >= 0.95 - 3 * math.sqrt(0.05 * 0.95 / 200)


def test_rates_of_1e_20_are_covered() -> None:
    p = float(norm.sf(9.262))
    assert p == pytest.approx(1e-20, rel=0.03)
    how = Splitting(particles=3)
    found = gather(beyond(9.262), at_origin(4, 2), Gaussian(1.0), row_keys(4), draws=2, splitting=how)
    rates = [rate(e) for e in found]
    assert sum(r.interval[0] <= p <= r.interval[1] for r in rates) >= 3
    assert all(r.interval[1] < 1e3 * r.interval[0] for r in rates if r.how == "poisson")
    assert all(e.forwards > 3 * 10 * 46 * 20 * 0.8 for e in found)  # N R ln(1/p) T, which is counted


def test_errors_that_splitting_missed_show_in_the_distance_of_an_attack() -> None:
    """Points first crowd on the side where errors end up 1,000 times rarer, and all replicates agree on it."""

    def hiding(x: Tensor, row: Tensor) -> Tensor:
        return (x[:, 0].double() - 6.5).maximum(2.5 * (-x[:, 0].double() - 5))

    missed = rate(gather(hiding, at_origin(1, 30), Gaussian(1.0), row_keys(2)[1:], draws=2, splitting=SOME)[0])
    assert missed.interval[0] <= norm.sf(6.5) <= missed.interval[1]
    highest = flatness(5.0, 1.0, missed).ratio_interval[1]
    assert highest is not None
    assert highest < 0.9


# ------------------------------------------------------------------ what it cannot do is said


@pytest.mark.parametrize("top", [0.0, -1.0])
def test_a_plateau_is_never_called_free_of_errors(top: float) -> None:
    """Nothing above a plateau: an upper bound, no smaller than what so many draws could have seen."""
    found = gather(lambda x, row: torch.full_like(x[:, 0], top), at_origin(1, 4), Cube(1.0), row_keys(1), draws=2)[0]
    known = rate(found)
    assert known.how == "at most"
    assert known.p is None
    assert known.interval[0] == 0
    assert known.interval[1] > 1 / found.forwards
    assert found.rounds[-1].stuck == 10
    assert found.level == top


def test_a_needle_in_a_plateau_is_no_rarer_than_what_is_said() -> None:
    p = 1e-6

    def needle(x: Tensor, row: Tensor) -> Tensor:
        return (x[:, 0] > 1 - 2 * p).double() - 0.5

    for evidence in gather(needle, at_origin(4, 4), Cube(1.0), row_keys(4), draws=2):
        assert rate(evidence).interval[1] >= p


def test_a_flat_top_below_the_errors_is_where_runs_stop() -> None:
    """The score rises to a needle-sharp top at -0.1, and nowhere higher."""

    def pointed(x: Tensor, row: Tensor) -> Tensor:
        return -0.1 - x.double().abs().amax(1)

    found = gather(pointed, at_origin(2, 6), Cube(1.0), row_keys(2), draws=2, splitting=Splitting(2, 4, floor=1e-9))
    for evidence in found:
        assert rate(evidence).how == "at most"
        assert not any(evidence.rounds[-1].arrived)
        assert evidence.level is not None
        assert -1.1 < evidence.level < -0.1
        assert rate(evidence).interval[1] < 0.1


def test_runs_are_given_up_at_the_floor() -> None:
    how = Splitting(5, 4, floor=1e-4)
    runs = split(beyond(9.0), at_origin(2, 3), Gaussian(1.0), row_keys(2), how)
    assert bool((runs.kills == how.most).all())
    assert not bool(runs.arrived.any() | runs.stuck.any())
    assert garwood(4 * how.most, 20)[1] <= 1e-4


def test_ties_on_levels_are_broken_fairly() -> None:
    """A score of a few values has the same law of kills as one without ties."""
    p, how = float(norm.sf(4)), Splitting(4, 2, steps=40)

    def stairs(x: Tensor, row: Tensor) -> Tensor:
        return torch.floor(2 * (x[:, 0].double() - 4)) + 0.5

    runs = split(stairs, at_origin(30, 2), Gaussian(1.0), row_keys(30), how)
    mean, variance = scatter(runs, p, 4)
    assert mean == pytest.approx(1, abs=0.08)
    assert variance < 1.8


# ------------------------------------------------------------------ rows


def several(rows: int) -> tuple[Score, Tensor]:
    heights = torch.linspace(0.3, 0.9, rows).double()
    return lambda x, row: x[:, 0].double() - heights[row], at_origin(rows, 6)


def test_a_row_depends_on_its_own_key_alone() -> None:
    score, x = several(5)
    key, law = row_keys(5, seed=3), Ball(1.0)
    among = gather(score, x, law, key, draws=100, splitting=FEW)
    order = torch.tensor([3, 0])

    def reordered(points: Tensor, row: Tensor) -> Tensor:
        return score(points, order[row])

    assert gather(reordered, x[order], law, key[order], draws=100, splitting=FEW) == [among[3], among[0]]
    assert gather(score, x, law, key, draws=100, splitting=FEW) == among
    assert gather(score, x, law, row_keys(5, seed=4), draws=100, splitting=FEW) != among


def test_rows_are_split_in_parts_where_they_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    score, x = several(3)
    together = split(score, x, Ball(1.0), row_keys(3), FEW)
    monkeypatch.setattr("blindspots.experiments.inspect.frequency.splitting._NUMBERS", 1)
    apart = split(score, x, Ball(1.0), row_keys(3), FEW)
    assert torch.equal(together.kills, apart.kills)
    assert torch.equal(together.level, apart.level)
    assert torch.equal(together.like.tau, apart.like.tau)


def test_forwards_are_those_that_were_asked() -> None:
    asked = 0

    def counting(x: Tensor, row: Tensor) -> Tensor:
        nonlocal asked
        asked += len(x)
        return x[:, 0].double() - 0.85

    found = gather(counting, at_origin(3, 10), Ball(1.0), row_keys(3), draws=50, splitting=FEW)
    assert sum(e.forwards for e in found) == asked


def test_what_is_proved_is_not_asked() -> None:
    score, x = several(3)
    found = gather(
        score, x - torch.tensor([[0.0], [0.0], [-2.0]]), Ball(0.1), row_keys(3), draws=2, certified=torch.ones(3)
    )
    assert [e.proved for e in found] == [0.0, 0.0, 1.0]
    assert [e.wrong for e in found] == [False, False, True]
    assert all(e.forwards == 1 for e in found)
    assert rate(found[0]) == Rate(p=0.0, interval=(0.0, 0.0), how="proved")


def test_a_row_that_is_wrong_has_the_rate_of_the_points_around_it() -> None:
    found = gather(beyond(-0.1), at_origin(1, 5), Gaussian(0.2), row_keys(1), draws=2000)[0]
    assert found.wrong
    low, high = rate(found).interval
    assert low <= norm.sf(-0.5) <= high


def test_no_rows_have_no_evidence() -> None:
    assert gather(beyond(1.0), at_origin(0, 5), Gaussian(0.2), row_keys(0)) == []


class Chosen(nn.Module):
    """So many scores, of which the last one is that of the first input."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.classes = classes

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x.new_zeros(len(x), self.classes - 1), x[:, :1] - 0.75], 1)


def test_scores_of_a_network_are_counted_by_the_oracle_and_ties_are_no_errors() -> None:
    oracle = Oracle(Model(Chosen(3)))
    x, y = torch.tensor([[0.5, 0.5], [0.75, 0.5], [1.0, 0.5]]), torch.tensor([0, 2, 2])
    with oracle.session():
        score = error_score(oracle, y)
        assert score(x, torch.arange(3)).tolist() == [0.0, 0.0, -0.25]
        assert not bool(wrong(score, x).any())
        evidence = gather(
            error_score(oracle, torch.tensor([0, 0, 2])), x, Cube(0.25), row_keys(3), draws=200, splitting=None
        )
    assert evidence[0].hits == 0
    assert evidence[1].hits == pytest.approx(100, abs=30)
    assert oracle.forwards >= sum(e.forwards for e in evidence)


def test_a_network_agrees_with_its_closed_form_through_the_oracle() -> None:
    """Linear in 16 pixels: a half-space at a known distance, under noise that is not clipped."""
    weight = torch.full((16,), 0.25)
    oracle = Oracle(Model(Linear(torch.stack([-weight, weight]), torch.tensor([2.6, -2.6])), bounds=(-10.0, 10.0)))
    x = torch.full((1, 16), 0.5)
    with oracle.session():
        found = gather(
            error_score(oracle, torch.tensor([0])), x, Gaussian(0.1), row_keys(1), draws=100, splitting=SOME
        )[0]
    low, high = rate(found).interval
    assert low <= norm.sf(0.6 / 0.1) <= high


def test_a_model_of_one_class_is_refused() -> None:
    class One(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x[:, :1]

    oracle = Oracle(Model(One(), output="logits"))
    with oracle.session(), pytest.raises(InputError):
        gather(error_score(oracle, torch.tensor([0])), torch.rand(1, 2), Cube(0.1), row_keys(1))


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (lambda: Splitting(particles=1), "particles of at least 2, got 1"),
        (lambda: Splitting(replicates=1), "replicates of at least 2, got 1"),
        (lambda: Splitting(steps=0), "steps of at least 1, got 0"),
        (lambda: Splitting(floor=0.0), "floor between 0 and 1, got 0"),
        (
            lambda: gather(beyond(1.0), at_origin(2, 3), Cube(1.0), row_keys(2), draws=1),
            "at least 2 draws per row, got 1",
        ),
        (lambda: gather(beyond(1.0), at_origin(2, 3), Cube(1.0), row_keys(3)), r"one key per row, \(2,\), got \(3,\)"),
        (
            lambda: gather(beyond(1.0), at_origin(2, 3), Cube(1.0), row_keys(2), certified=torch.ones(1)),
            r"one certified radius per row, \(2,\), got \(1,\)",
        ),
    ],
)
def test_bad_input_is_refused_in_a_sentence(given: Callable[[], object], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        given()


# ------------------------------------------------------------------ distance


@pytest.mark.parametrize("distance", [0.1, 1.0, 5.0])
def test_a_flat_boundary_has_a_ratio_of_one_by_draws_or_by_splitting(distance: float) -> None:
    evidence = gather(beyond(distance), at_origin(1, 20), Gaussian(0.5), row_keys(1), draws=2000, splitting=SOME)[0]
    found = flatness(distance, 0.5, rate(evidence))
    assert found.ratio == pytest.approx(1, abs=0.3 if distance < 0.5 else 0.05)
    assert found.ratio_interval[0] <= 1
    assert found.ratio_interval[1] is None or found.ratio_interval[1] >= 1
    assert implied_distance(half_space_rate(distance, 0.5), 0.5) == pytest.approx(distance)


def test_errors_that_surround_a_row_are_curved_towards_it() -> None:
    """Outside of a ball of radius r around x, chi^2: nearer than a plane with the same rate."""
    evidence = gather(
        lambda x, row: x.double().norm(dim=1) - 2.6, at_origin(1, 2), Gaussian(1.0), row_keys(1), draws=4000
    )
    found = flatness(2.6, 1.0, rate(evidence[0]))
    lowest, highest = found.ratio_interval
    assert highest is not None
    assert 1 < lowest <= 2.6 / implied_distance(math.exp(-(2.6**2) / 2), 1.0) <= highest


def test_a_rate_that_is_not_known_implies_a_least_distance_only() -> None:
    found = flatness(1.0, 0.5, Rate(p=None, interval=(0.0, 1e-9), how="at most"))
    assert found.implied is None
    assert found.ratio is None
    assert found.ratio_interval == (0.0, pytest.approx(1 / (0.5 * norm.isf(1e-9))))
    half = flatness(1.0, 0.5, Rate(p=0.6, interval=(0.55, 0.65), how="counted"))
    assert half.ratio is None
    assert half.ratio_interval == (0.0, None)


@pytest.mark.parametrize(("found", "sd"), [(-1.0, 1.0), (math.nan, 1.0), (1.0, 0.0), (1.0, math.inf)])
def test_distances_and_noise_are_lengths(found: float, sd: float) -> None:
    with pytest.raises(InputError, match="distance of at least 0 and noise above 0"):
        flatness(found, sd, Rate(p=0.1, interval=(0.05, 0.2), how="counted"))


# ------------------------------------------------------------------ table


def test_worst_average_and_rate_stand_side_by_side() -> None:
    evidence = [
        Evidence(wrong=False, proved=0.0, forwards=1),
        Evidence(wrong=False, hits=20, draws=1000, mean=-0.5, error=0.01, forwards=1001),
        Evidence(wrong=True, hits=900, draws=1000, mean=0.5, error=0.01, forwards=1001),
        Evidence(wrong=False, draws=1000, mean=-3.0, error=0.1, forwards=1001),
    ]
    worst = [Worst(math.inf, math.nan), Worst(0.4, 0.03), Worst(0.0, math.nan), Worst(1.2, 0.0)]
    found = table(evidence, Ball(1.0), worst, ids=[3, 5, 6, 9])
    assert [line.id for line in found.lines] == [3, 5, 6, 9]
    assert [line.broken for line in found.lines] == [False, True, True, False]
    assert [line.distance for line in found.lines] == [None, 0.4, 0.0, 1.2]
    assert [line.flat is None for line in found.lines] == [True, False, True, True]
    flat = found.lines[1].flat
    assert flat is not None
    assert flat.ratio == pytest.approx(norm.isf(0.03) / norm.isf(0.02))
    assert found.broken is not None
    assert (found.broken.hits, found.broken.rows) == (2, 4)
    assert found.mean == pytest.approx(-1.0)
    assert found.totals.rows.p == pytest.approx(0.75 * 920 / 3000)
    assert found.standing is not None
    assert found.standing.rows.p == pytest.approx(2 / 3 * 20 / 2000)


def test_noise_without_bounds_breaks_no_ball() -> None:
    seen = Evidence(wrong=False, hits=20, draws=1000)
    assert table([seen], Gaussian(1.0)).lines[0].broken is None
    assert table([seen], Gaussian(1.0)).broken is None
    assert table([seen], Cube(1.0)).lines[0].broken is True
    wrong_row = table([seen.model_copy(update={"wrong": True})], Gaussian(1.0))
    assert wrong_row.lines[0].broken is None
    assert wrong_row.standing is None


def test_tables_refuse_false_certificates_and_lists_that_do_not_fit() -> None:
    proved = Evidence(wrong=False, proved=0.0)
    with pytest.raises(InputError, match="certificates that hold"):
        table([proved], Ball(1.0), [Worst(0.5, 0.1)])
    with pytest.raises(InputError, match="got 2 of 1 rows"):
        table([proved], Ball(1.0), [Worst(0.5, 0.1)] * 2)
    with pytest.raises(InputError, match="at least one"):
        table([], Ball(1.0))
