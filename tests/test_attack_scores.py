import itertools
import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from blindspots.attacks import Attack
from blindspots.attacks.scores.autozoom import AutoZOOM
from blindspots.attacks.scores.bandits import Bandits, BanditsState
from blindspots.attacks.scores.estimate import EstimateState, Estimating, tiled
from blindspots.attacks.scores.evolution import Evolution
from blindspots.attacks.scores.genattack import GenAttack, GenAttackState
from blindspots.attacks.scores.nes import NES
from blindspots.attacks.scores.oars import OARS
from blindspots.attacks.scores.onepixel import OnePixel
from blindspots.attacks.scores.simba import SimBA
from blindspots.attacks.scores.spsa import SPSA
from blindspots.attacks.scores.square import Square, SquareState
from blindspots.attacks.scores.windows import Window
from blindspots.ball import BALLS, L1, L2, Linf
from blindspots.objective import Objective
from blindspots.problem import Job, Problem
from blindspots.random import keys
from blindspots.rows import col
from blindspots.testing.attack import Net, drive, jobs
from blindspots.threat import Threat
from closed_form import Linear, ball, optimum, plane
from searching import alternating, kinds, search, unbounded

ENOUGH = [
    (Square(200), 2.5),
    (NES(200, pairs=8), 1.5),
    (NES(200, pairs=8, cells=None), 1.5),
    (SPSA(200, pairs=8), 1.5),
    (OARS(200, pairs=8), 1.5),
    (Bandits(200), 1.5),
    (SimBA(200), 1.5),
    (SimBA(200, basis="pixel"), 1.5),
    (GenAttack(200), 1.5),
    (Evolution(400), 2.0),
    (OnePixel(600, pixels=8), 2.0),
]
CASES = [
    pytest.param(attack, threat, enough, id=f"{attack!r}-{threat.name}")
    for attack, enough in ENOUGH
    for threat in kinds(attack)
]


@pytest.mark.parametrize(("shape", "targeted"), [((24,), False), ((2, 3, 4), True)], ids=str)
@pytest.mark.parametrize(("attack", "threat", "enough"), CASES)
def test_a_ball_that_is_too_small_is_never_won_and_a_larger_one_always(
    attack: Attack, threat: Threat, enough: float, targeted: bool, shape: tuple[int, ...]
) -> None:
    known = plane(8, shape, gap=(1.0, 2.5) if threat.p == 0 else (0.05, 0.3))
    reach = alternating(0.95, enough, rows=8)
    ledger = search(
        attack, known, threat, reach * optimum(known, threat), Objective(targeted=targeted, loss=attack.loss)
    )
    assert torch.equal(ledger.won, reach > 1)
    assert (ledger.backwards == 0).all()


@pytest.mark.parametrize("shape", [(24,), (2, 3, 4)], ids=str)
def test_autozoom_comes_near_the_smallest_distance_and_never_below_it(shape: tuple[int, ...]) -> None:
    known = plane(8, shape, gap=(0.05, 0.3))
    ledger = search(AutoZOOM(600, pairs=5), known, L2(), unbounded(known))
    ratio = ledger.norm / optimum(known, L2())
    assert (ratio >= 1 - 3e-5).all()
    assert (ratio <= 1.1).all()
    assert (ledger.backwards == 0).all()


def test_autozoom_finds_a_curved_boundary_from_both_sides() -> None:
    known = ball(12, 8)
    ratio = search(AutoZOOM(1000), known, L2(), unbounded(known)).norm / optimum(known, L2())
    assert (ratio >= 1 - 3e-5).all()
    assert (ratio <= 1.1).all()


QUERIES = [
    (Square(7), 8),
    (NES(23, pairs=2), 23),
    (SPSA(23, pairs=2), 23),
    (Bandits(23), 23),
    (SimBA(23), 23),
    (GenAttack(23), 23),
    (Evolution(23), 23),
    (OnePixel(23), 23),
    (AutoZOOM(23, pairs=2), 23),
]


@pytest.mark.parametrize(("attack", "queries"), QUERIES, ids=str)
def test_a_row_costs_as_many_forwards_as_it_has_queries(attack: Attack, queries: int) -> None:
    known = plane(4, (2, 3, 4), gap=(2.0, 2.5))
    for threat in kinds(attack):
        ledger = search(attack, known, threat, torch.full((4,), 1.0 if threat.p == 0 else 1e-3))
        assert not ledger.won.any()
        assert ledger.forwards.tolist() == [1 + queries] * 4
        assert ledger.backwards.tolist() == [0] * 4


def linear_job(shape: tuple[int, ...], rows: int, threat: Threat) -> tuple[Linear, Job]:
    """The same point of a linear model for all rows, each with a key of its own and far from box and sphere."""
    known = plane(1, shape, gap=(0.3, 0.3))
    assert isinstance(known.net, Linear)
    x, y = known.x.expand(rows, *shape), known.y.expand(rows)
    with torch.no_grad():
        scores = known.net(x)
    return known.net, Job(x, torch.full((rows,), 0.1), x, y, y, keys(0, torch.arange(rows)), scores)


def gradient_of_margin(net: Linear, job: Job) -> Tensor:
    return (net.weight[job.y[0]] - net.weight[1 - job.y[0]]).detach().view(job.x.shape[1:])


def estimates(attack: Estimating, problem: Problem, job: Job, net: Linear) -> Tensor:
    """What every row has added up over its first pairs, in units of the gradient."""
    turns = drive(attack, problem, job, net)
    state, seen = next(itertools.islice(turns, 2 * attack.pairs, None))
    assert isinstance(state, EstimateState)
    total = state.total + col(state.loss - seen.loss, job.x) * (state.ahead - state.probe)
    return total / (4 * attack.pairs * attack.apart(problem, job, state).square())


def differs(drawn: Tensor, truth: Tensor) -> Tensor:
    """By how many standard errors the mean over the rows is off at most."""
    return ((drawn.mean(0) - truth) / (drawn.std(0) / math.sqrt(len(drawn)))).abs().max()


@pytest.mark.parametrize("attack", [NES(99, pairs=4, sigma=0.1), SPSA(99, pairs=4, sigma=0.1)], ids=str)
@pytest.mark.parametrize("threat", [Linf(), L2()], ids=lambda threat: threat.name)
def test_an_estimate_is_right_on_average(attack: Estimating, threat: Threat) -> None:
    net, job = linear_job((2, 3, 4), 3000, threat)
    assert differs(estimates(attack, Problem(Objective(), threat), job, net), gradient_of_margin(net, job)) < 4.5


def test_on_tiles_an_estimate_is_the_gradient_of_the_tiles() -> None:
    net, job = linear_job((1, 4, 4), 3000, Linf())
    tile = gradient_of_margin(net, job).view(2, 2, 2, 2).sum((1, 3))
    tile = tile.repeat_interleave(2, 0).repeat_interleave(2, 1)[None]
    attack = NES(99, pairs=1, sigma=0.1, cells=2)
    assert differs(estimates(attack, Problem(Objective(), Linf()), job, net), tile) < 4.5


def test_a_pair_counts_what_the_box_leaves_of_it() -> None:
    """In a corner of the box both points of a pair move inwards only; the estimate keeps the gradient's signs."""
    net, job = linear_job((6,), 2000, Linf())
    corner = torch.zeros_like(job.x)
    drawn = estimates(NES(99, pairs=8), Problem(Objective(), Linf()), replace(job, x=corner, start=corner), net)
    assert (drawn.mean(0).sign() == gradient_of_margin(net, job).sign()).all()


def test_the_last_query_is_a_look_at_where_the_last_pairs_lead() -> None:
    net, job = linear_job((24,), 4, Linf())
    *_, (state, _) = drive(NES(20, pairs=8), Problem(Objective(), Linf()), job, net)
    assert isinstance(state, EstimateState)
    assert state.probe.equal(state.base)
    assert not state.base.equal(job.x)


def test_noise_is_constant_on_tiles_of_images_that_shrink_with_the_clock() -> None:
    job = jobs(NES(), Linf(), (2, 6, 9))
    clock = torch.tensor([0, 8, 9, 16, 25, 36, 81, 5000])
    counts = [len(set(row.flatten().tolist())) for row in tiled(job, clock, 3)]
    assert counts == [2 * n * m for n, m in ((3, 3), (3, 3), (3, 3), (4, 4), (5, 5), (6, 6), (6, 9), (6, 9))]
    noise = tiled(job, torch.zeros_like(job.y), 3).view(-1, 2, 3, 2, 3, 3)
    assert (noise == noise[:, :, :, :1, :, :1]).all()
    assert len(set(tiled(job, clock, None)[0].flatten().tolist())) == 108
    assert len(set(tiled(jobs(NES(), Linf(), (7,)), clock, 3)[0].tolist())) == 7


@pytest.mark.parametrize("attack", [SimBA(), SimBA(basis="pixel")], ids=str)
@pytest.mark.parametrize("shape", [(2, 4, 6), (9,)], ids=str)
def test_the_directions_of_simba_are_an_orthonormal_basis(attack: SimBA, shape: tuple[int, ...]) -> None:
    size = math.prod(shape)
    job = jobs(attack, L2(), shape, rows=size)
    basis = attack._direction(job, torch.arange(size)).flatten(1)
    assert torch.allclose(basis @ basis.T, torch.eye(size), atol=1e-5)


def test_simba_takes_every_direction_once_and_low_frequencies_first() -> None:
    order = SimBA()._order(jobs(SimBA(), L2(), (3, 8, 8)))
    assert order.sort(dim=1).values.equal(torch.arange(192).expand_as(order))
    frequency = torch.maximum(order // 8 % 8, order % 8)
    assert (frequency[:, :12] <= 1).all()
    assert (frequency[:, -84:] >= 6).all()
    assert not order[0].equal(order[1])


@pytest.mark.parametrize("shape", [(2, 5, 4), (1, 7, 7), (11,)], ids=str)
def test_square_wastes_no_query_in_linf(shape: tuple[int, ...]) -> None:
    attack = Square(60)
    job = jobs(attack, Linf(), shape)
    turns = list(drive(attack, Problem(Objective(), Linf()), job, Net(shape)))
    for state, _ in turns[1:]:
        assert isinstance(state, SquareState)
        assert (state.probe != state.base).flatten(1).any(1).all()


def test_square_uses_the_whole_radius_although_the_box_stops_some_pixels() -> None:
    attack = Square(40)
    job = jobs(attack, L2(), (2, 10, 10))
    x = torch.where(job.x < 0.5, 0.0, job.x)
    job = replace(job, x=x, start=x)
    for state, _ in drive(attack, Problem(Objective(), L2()), job, Net((2, 10, 10))):
        assert (L2().norm(state.probe - x) >= 0.999 * job.r).all()


@pytest.mark.parametrize("p", [1.0, 2.0])
def test_a_bump_has_two_opposite_halves_and_norm_one(p: float) -> None:
    job = jobs(Square(), L1(), (1, 9, 9))
    side = torch.full((len(job.x),), 5.0)
    window = Window.draw(job, torch.zeros_like(job.y), side, job.x, stream=1)
    bump = window.bump(torch.ones(len(side), 1, dtype=torch.bool), p)
    assert torch.allclose(bump.abs().pow(p).flatten(1).sum(1), torch.ones(len(side)))
    assert ((bump != 0) == window.inside).all()
    for row in range(len(side)):
        lines = bump[row, 0][window.inside[row, 0]].view(5, 5)
        assert (lines[:2] > 0).all()
        assert (lines[2:] < 0).all()


@pytest.mark.parametrize(("pixels", "radius", "pixels_changed"), [(1, 3.0, 1), (4, 6.0, 2), (4, 99.0, 4), (2, 2.0, 1)])
def test_onepixel_changes_as_many_pixels_as_the_radius_pays_for(
    pixels: int, radius: float, pixels_changed: int
) -> None:
    attack, threat, shape = OnePixel(60, pixels=pixels), BALLS["l0"](), (3, 6, 6)
    job = replace(jobs(attack, threat, shape), r=torch.full((8,), radius))
    for state, _ in drive(attack, Problem(Objective(), threat), job, Net(shape)):
        changed = (state.probe != job.x).any(1).flatten(1).sum(1)
        assert (changed <= pixels_changed).all()
        assert (threat.distance(state.probe, job.x) <= radius).all()


def test_the_members_of_genattack_only_get_better() -> None:
    attack, threat = GenAttack(80), Linf()
    before = None
    for state, _ in drive(attack, Problem(Objective(), threat), jobs(attack, threat), Net((2, 5, 4))):
        assert isinstance(state, GenAttackState)
        worst = state.loss.sort(dim=1).values
        assert before is None or (worst <= before).all()
        before = worst


def test_rates_of_bandits_do_not_depend_on_the_scale_of_the_loss() -> None:
    net, job = linear_job((24,), 8, Linf())
    large = Linear(100 * net.weight.detach(), 100 * net.bias.detach())
    problem = Problem(Objective(), Linf())
    for (state, _), (scaled, _) in zip(
        drive(Bandits(60), problem, job, net), drive(Bandits(60), problem, job, large), strict=True
    ):
        assert isinstance(state, BanditsState)
        assert isinstance(scaled, BanditsState)
        assert torch.allclose(state.prior, scaled.prior, atol=0.02)
