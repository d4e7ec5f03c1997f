"""Boxes, units and masks that differ between features, against closed forms of linear models."""

import copy
import math
from dataclasses import replace

import pytest
import torch

from blindspots.attacks import FAB, FMN, PGD, Attack, Lattice, RayS, Square
from blindspots.attacks.distance.hyperplane import to_plane
from blindspots.ball import BALLS, L0, L1, L2, Ball, Linf
from blindspots.errors import InputError
from blindspots.fit import check_fit
from blindspots.objective import Objective
from blindspots.problem import Need
from blindspots.random import keys
from blindspots.rows import Around
from blindspots.threat import Threat
from closed_form import Known, Linear, nearest_in_box, plane
from searching import search, unbounded
from test_attacks import TABLE

KINDS = list(BALLS.values())
FEATURES = 12


def case(kind: type[Threat], seed: int, rows: int = 100) -> tuple[Known, Threat]:
    """Rows of a plane in a box, units and a mask of its own; about a third of the rows have no example in the box."""
    g = torch.Generator().manual_seed(seed)
    drawn = torch.rand(5, FEATURES, generator=g)
    lo, hi = -3 * drawn[0], 0.5 - 3 * drawn[0] + 4 * drawn[1]
    threat = kind(None, lo, hi, 0.2 + 2 * drawn[2], (drawn[3] < 0.75) & (torch.arange(FEATURES) > 0))
    weight = torch.randn(FEATURES, generator=g)
    x = lo + (hi - lo) * (0.02 + 0.96 * torch.rand(rows, FEATURES, generator=g))
    assert threat.where is not None
    reach = (weight.abs() * torch.where(weight > 0, x - lo, hi - x) * threat.where).sum(1)
    bias = float((0.9 * reach - x @ weight).median())
    net = Linear(torch.stack([-weight / 2, weight / 2]), torch.tensor([-bias / 2, bias / 2]))
    with torch.no_grad():
        return Known(net, x, net(x).argmax(1)), threat


@pytest.mark.parametrize("kind", [Linf, L2, L1])
def test_the_way_to_a_plane_is_the_closed_form(kind: type[Threat]) -> None:
    """1,000 cases in float64: distances within 1e-6, and no point on the plane where the box has none."""
    for seed in range(10):
        known, threat = case(kind, seed)
        inner, unit, net = threat.plain, threat.unit, copy.deepcopy(known.net).double()
        weight, x = net.weight.detach(), known.x.double()
        assert unit is not None
        normal = inner._changing((weight[known.y] - weight[1 - known.y]) * unit)
        logits = net(x).detach()
        value = logits.gather(1, known.y[:, None])[:, 0] - logits.gather(1, 1 - known.y[:, None])[:, 0]
        d = to_plane(inner, x / unit, normal, value)
        there = value + (normal * d).sum(1)
        best = nearest_in_box(known, threat)
        has = best.isfinite()
        assert (there[has].abs() < 1e-5).all()
        assert (there[~has] > 0).all()
        assert torch.allclose(inner.norm(d)[has].double(), best[has], atol=1e-6, rtol=2e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_a_search_ends_at_the_closed_form_from_above(kind: type[Threat]) -> None:
    attack: Attack = FMN(200) if kind is L0 else FAB(60, eta=1.0001, beta=0.99, search=20)
    gaps, found, possible, nowhere = [], 0, 0, 0
    for seed in range(4):
        known, threat = case(kind, seed)
        best, ledger = nearest_in_box(known, threat), search(attack, known, threat, unbounded(known))
        has = best.isfinite()
        assert not ledger.won[~has].any()
        found += int(ledger.won.sum())
        possible, nowhere = possible + int(has.sum()), nowhere + int((~has).sum())
        has &= ledger.won
        assert torch.equal(ledger.best[:, ~threat.where], known.x[:, ~threat.where])  # type: ignore[operator]
        gaps.append(ledger.norm[has] - best[has])
    gap = torch.cat(gaps)
    assert found >= 0.98 * possible
    assert nowhere > 50
    assert gap.min() > -5e-6  # float32 holds inputs of up to 4 to 2e-7, and units are down to 0.2
    assert gap.quantile(0.5) < (5e-6 if kind is not L0 else 0.5)
    assert gap.quantile(0.9) < (1e-4 if kind is not L0 else 1.5)


@pytest.mark.parametrize("kind", [Linf, L2, L1])
def test_a_ball_is_won_exactly_where_it_reaches_the_boundary(kind: type[Threat]) -> None:
    known, threat = case(kind, 0)
    best = nearest_in_box(known, threat)
    has = best.isfinite()
    attack = PGD(150, 0.5) if kind is not L1 else FMN(200)
    for factor, wins in ((0.95, False), (1.05, True)):
        r = torch.where(has, factor * best, 100.0).float()
        ledger = search(attack, known, threat, r)
        found = ledger.norm <= r * (1 + 1e-5)
        assert not found[~has].any()
        assert (found[has] == wins).all()


def weighted(attack: Attack, name: str) -> Threat:
    size = torch.linspace(0.3, 1.7, 24).view(2, 3, 4)
    return BALLS[name](unit=None if attack.even else size)


def masked(attack: Attack, name: str) -> Threat:
    return BALLS[name](where=torch.arange(24).view(2, 3, 4) % 4 > 0)


@pytest.mark.parametrize("form", [weighted, masked])
@pytest.mark.parametrize(
    "attack", [a for a in TABLE if a.alone and a.requires is Ball and a.begins != "proved"], ids=str
)
def test_every_attack_keeps_to_units_and_masks(attack: Attack, form: type) -> None:
    """What the engine counts lies in the threat, and every search looks away from the clean input."""
    known = plane(6, (2, 3, 4), gap=(0.01, 0.05))
    for name in attack.threats:
        threat = form(attack, name)
        r = torch.full((6,), {"linf": 0.5, "l2": 1.5, "l1": 4.0, "l0": 12.0}[name])
        objective = Objective(loss="margin" if attack.loss == "dlr" else attack.loss)  # of two classes
        ledger = search(attack, known, threat, r, objective)
        won = ledger.won
        assert threat.holds(ledger.best, Around(known.x, r)).all()
        assert (ledger.moved | won).any()
        if threat.where is not None:
            assert torch.equal(ledger.best[:, ~threat.where], known.x[:, ~threat.where])
            assert torch.equal(ledger.near[:, ~threat.where], known.x[:, ~threat.where])


@pytest.mark.parametrize("kind", KINDS)
def test_a_mask_of_everything_and_units_of_one_change_no_bit(kind: type[Threat]) -> None:
    known = plane(8, (2, 3, 4), gap=(0.05, 0.3))
    one = torch.ones(2, 3, 4)
    plain = search(FMN(20), known, kind(), unbounded(known))
    for threat in (kind(unit=one), kind(where=one > 0), kind(lo=0 * one, hi=one)):
        ledger = search(FMN(20), known, threat, unbounded(known))
        assert torch.equal(ledger.best, plain.best)
        assert torch.equal(ledger.norm, plain.norm)


@pytest.mark.parametrize("kind", KINDS)
def test_projections_and_samples_lie_in_the_threat(kind: type[Threat]) -> None:
    known, threat = case(kind, 3, rows=200)
    g = torch.Generator().manual_seed(5)
    r = (torch.rand(200, generator=g) * 3 + 0.1).ceil() if kind is L0 else torch.rand(200, generator=g) + 0.05
    around, key = Around(known.x, r), keys(0, torch.arange(200))
    far = known.x + 3 * torch.randn(known.x.shape, generator=g)
    for z in (threat.project(far, around), threat.sample(around, key)):
        assert threat.holds(z, around).all()
        assert torch.equal(z[:, ~threat.where], known.x[:, ~threat.where])  # type: ignore[operator]
    assert not threat.holds(far, around).any()


def test_a_projection_is_the_nearest_point_in_units() -> None:
    known, threat = case(L2, 4, rows=50)
    around = Around(known.x, torch.full((50,), 0.5))
    g = torch.Generator().manual_seed(1)
    far = known.x + torch.randn(known.x.shape, generator=g)
    nearest = threat.project(far, around)
    for seed in range(20):
        other = threat.sample(around, keys(seed, torch.arange(50)))
        assert (threat.norm(far - nearest) <= threat.norm(far - other) + 1e-5).all()


def test_norm_dual_and_steepest_belong_together() -> None:
    g = torch.randn(20, FEATURES, generator=torch.Generator().manual_seed(0))
    for kind in KINDS:
        _, threat = case(kind, 2)
        u = threat.steepest(g)
        assert torch.allclose((g * u).sum(1), threat.dual(g), rtol=1e-5)
        assert torch.allclose(threat.norm(u), torch.ones(20), rtol=1e-5)


def test_a_radius_for_every_feature_is_a_radius_of_one_in_units_of_it() -> None:
    each = torch.tensor([0.1, 0.0, 0.3])
    threat = Linf(each)
    assert threat == Linf(1.0, unit=each)
    assert threat.radius == 1
    assert hash(threat) == hash(Linf(each.numpy()))
    assert threat != Linf(1.0)
    x = torch.full((1, 3), 0.5)
    around = Around(x, torch.ones(1))
    assert torch.allclose(threat.project(torch.ones(1, 3), around), torch.tensor([[0.6, 0.5, 0.8]]))
    assert threat.distance(x + 0.1, x).tolist() == [math.inf]
    assert threat.distance(torch.tensor([[0.55, 0.5, 0.5]]), x).item() == pytest.approx(0.5, rel=1e-5)


def test_an_engine_of_units_is_the_plain_engine_on_scaled_inputs() -> None:
    """A search in units finds what a plain search finds on a model whose inputs were divided by them."""
    known = plane(8, (6,), gap=(0.05, 0.3))
    unit = torch.tensor([0.5, 1.0, 2.0, 4.0, 0.25, 1.0])  # powers of 2 divide without rounding
    net = known.net
    assert isinstance(net, Linear)
    scaled = Known(Linear(net.weight.detach() * unit, net.bias.detach()), known.x / unit, known.y)
    plain = search(FMN(30), scaled, L2(None, torch.zeros(6), 1 / unit), unbounded(known))
    ours = search(FMN(30), known, L2(unit=unit), unbounded(known))
    assert torch.allclose(plain.norm, ours.norm, rtol=1e-4)


WRONG = [
    (lambda: Linf(-torch.ones(3)), "at least 0"),
    (lambda: Linf(torch.zeros(3)), "may change"),
    (lambda: Linf(0.1, where=torch.zeros(3, dtype=torch.bool)), "may change"),
    (lambda: Linf(0.1, where=torch.ones(3)), "mask of True and False"),
    (lambda: Linf(0.1, lo=torch.tensor([0.0, 2.0]), hi=1.0), "lo < hi"),
    (lambda: Linf(0.1, lo=torch.zeros(2), hi=torch.ones(3)), "shapes"),
    (lambda: L2(0.1, unit=torch.tensor([1.0, math.nan])), "finite"),
    (lambda: Linf(0.1, where=torch.ones(3) > 0.5).check((4,)), "shape"),
]


@pytest.mark.parametrize(("make", "said"), WRONG[:-1])
def test_what_makes_no_sense_is_refused(make: object, said: str) -> None:
    with pytest.raises(InputError, match=said):
        make()  # type: ignore[operator]


def test_a_shape_that_does_not_fit_is_refused() -> None:
    mask = torch.tensor([True, False, True])
    Linf(0.1, where=mask).check((4, 3))
    for shape in ((4,), (3, 4)):
        with pytest.raises(InputError, match="where of a threat to broadcast"):
            Linf(0.1, where=mask).check(shape)


def test_an_attack_that_needs_one_box_is_refused_elsewhere() -> None:
    threat = Linf(0.1, unit=torch.tensor([1.0, 2.0]))
    with pytest.raises(InputError, match="one box and one unit") as caught:
        check_fit(Lattice(), threat, Need.GRAD, Objective())
    assert "PGD" in str(caught.value)
    check_fit(Square(), threat, Need.GRAD, Objective())
    check_fit(RayS(), replace(threat, radius=None), Need.GRAD, Objective())
