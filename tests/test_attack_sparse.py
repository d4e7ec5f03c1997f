"""Attacks for few or small changes: SigmaZero, JSMA and PDPGD."""

from dataclasses import replace
from itertools import combinations

import pytest
import torch
from torch import Tensor

from blindspots.attacks import Attack
from blindspots.attacks.distance.fmn import FMN
from blindspots.attacks.distance.jsma import JSMA, _best_pair
from blindspots.attacks.distance.pdpgd import PDPGD
from blindspots.attacks.distance.sigma_zero import SigmaZero
from blindspots.ball import L0, L1, L2, Linf
from blindspots.objective import Objective
from blindspots.threat import Threat
from closed_form import Known, Linear, optimum, plane, planes
from searching import search, unbounded

SMALLEST = [
    (SigmaZero(), L0(), 1.0),
    (PDPGD(), L0(), 1.3),
    (PDPGD(200), L1(), 1.25),
    (PDPGD(200), L2(), 1.25),
    (PDPGD(200), Linf(), 1.25),
]


@pytest.mark.parametrize("targeted", [False, True], ids=["untargeted", "targeted"])
@pytest.mark.parametrize(("attack", "threat", "tolerance"), SMALLEST, ids=str)
def test_the_distance_is_near_the_smallest_and_never_below_it(
    attack: Attack, threat: Threat, tolerance: float, targeted: bool
) -> None:
    known = plane(8, (2, 3, 4), (1.0, 2.5) if threat.p == 0 else (0.1, 0.3))
    nearest = optimum(known, threat)
    norm = search(attack, known, threat, unbounded(known), Objective(targeted=targeted, loss=attack.loss)).norm
    assert (norm >= nearest * (1 - 3e-5)).all()
    assert (norm <= nearest * tolerance).all()
    assert (norm / nearest).median() <= 1.06


@pytest.mark.parametrize(("attack", "threat"), [(a, t) for a, t, _ in SMALLEST if a.minimal], ids=str)
def test_what_lies_outside_of_the_radius_does_not_count(attack: Attack, threat: Threat) -> None:
    known = plane(6, (24,), (1.0, 2.5) if threat.p == 0 else (0.1, 0.3))
    nearest = optimum(known, threat)
    attack = replace(attack, steps=60)
    assert not search(attack, known, threat, nearest * 0.99).won.any()
    assert search(attack, known, threat, nearest * 3).won.all()


@pytest.mark.parametrize("attack", [SigmaZero(300), PDPGD(300)], ids=str)
def test_few_components_suffice_among_several_classes(attack: Attack) -> None:
    known = planes(24, (3, 4, 4), classes=5)
    ratio = search(attack, known, L0(), unbounded(known)).norm / optimum(known, L0())
    assert (ratio >= 1).all()
    assert ratio.median() == 1


def test_sigma_zero_needs_no_box_of_its_own() -> None:
    known, wide = plane(6, (24,), (1.0, 2.5)), L0().within(-3.0, 5.0)
    stretched = Known(
        Linear(known.net.weight / 8, known.net.bias + 3 / 8 * known.net.weight.sum(1)), 8 * known.x - 3, known.y
    )
    here = search(SigmaZero(40), known, L0(), unbounded(known)).norm
    assert (search(SigmaZero(40), stretched, wide, unbounded(known)).norm - here).abs().max() <= 1


def best_of_all(gain: Tensor, loss: Tensor) -> float:
    """The largest product over all pairs of different components, or of one alone."""
    places = range(gain.shape[1] // 2 * 2)
    half = gain.shape[1] // 2
    pairs = [(i, i) for i in places] + [(i, j) for i, j in combinations(places, 2) if i % half != j % half]
    sums = [[v[0, i] + (v[0, j] if i != j else 0) for v in (gain, loss)] for i, j in pairs]
    return max(float(a * b) for a, b in sums if a > 0 and b > 0)


def test_pairs_among_the_best_are_the_best_pairs() -> None:
    g, found = torch.Generator().manual_seed(0), 0
    for _ in range(30):
        up, hurt = torch.randn(2, 1, 40, generator=g)
        gain, loss = torch.cat([up, -up], 1), torch.cat([-hurt, hurt], 1)
        ((i, j),) = _best_pair(gain, loss, torch.ones(1, 80, dtype=torch.bool), 16).tolist()
        a, b = (float(v[0, i] + (v[0, j] if i != j else 0)) for v in (gain, loss))
        best = best_of_all(gain, loss)
        assert a * b >= 0.9 * best
        found += a * b >= best * (1 - 1e-5)
    assert found >= 27


def test_pairs_need_memory_for_the_input_not_for_its_square() -> None:
    large = torch.randn(1, 400_000, generator=torch.Generator().manual_seed(0))
    pair = _best_pair(large, large.flip(1), torch.ones(1, 400_000, dtype=torch.bool), 64)
    assert pair.shape == (1, 2)


@pytest.mark.parametrize("targeted", [False, True], ids=["untargeted", "targeted"])
def test_jsma_takes_the_fewest_pairs_on_a_plane(targeted: bool) -> None:
    known = plane(16, (2, 3, 4), (0.5, 2.5))
    nearest = optimum(known, L0())
    norm = search(JSMA(), known, L0(), unbounded(known), Objective(targeted=targeted)).norm
    assert (norm >= nearest).all()
    assert (norm <= nearest + nearest % 2).all()


def test_jsma_stops_with_its_success() -> None:
    known = plane(6, (24,), (0.5, 2.5))
    ledger = search(JSMA(), known, L0(), unbounded(known))
    looks = 1 + (ledger.norm / 2).ceil().long()  # the clean input, then two components at a time
    assert (ledger.forwards == 1 + looks).all()
    assert (ledger.backwards == 2 * looks).all()


def test_jsma_of_the_paper_only_raises_components() -> None:
    known = plane(6, (24,), (0.5, 1.5))
    ledger = search(JSMA(both=False, theta=0.25), known, L0(), unbounded(known))
    assert ledger.won.all()
    assert (ledger.best >= known.x).all()


@pytest.mark.parametrize(
    ("attack", "threat", "forwards", "backwards"),
    [(SigmaZero(7), L0(), 8, 7), (PDPGD(7), L2(), 8, 7), (FMN(7), L2(), 8, 7), (JSMA(3, theta=1e-6), L0(), 4, 6)],
    ids=str,
)
def test_the_cost_is_what_the_documentation_says(attack: Attack, threat: Threat, forwards: int, backwards: int) -> None:
    known = plane(4, (24,), (0.2, 0.3))
    ledger = search(attack, known, threat, unbounded(known))
    assert ledger.forwards.tolist() == [1 + forwards] * 4
    assert ledger.backwards.tolist() == [backwards] * 4


def test_fmn_grows_its_ball_where_the_box_is_in_the_way() -> None:
    """The steepest component is at the end of the box: the linearised boundary is reached along it, and never is."""
    weight = torch.full((16,), 0.1)
    weight[0] = 1.0
    net = Linear(torch.stack([-weight / 2, weight / 2]), torch.tensor([1.0, -1.0]))
    x = torch.full((1, 16), 0.5)
    x[0, 0] = 1.0
    known = Known(net, x, torch.tensor([0]))
    for threat, room in ((L2(), 4.0), (L1(), 16.0)):
        assert search(FMN(60), known, threat, torch.tensor([room])).won.all()
