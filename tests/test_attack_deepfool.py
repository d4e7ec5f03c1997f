import math

import pytest
import torch

from blindspots.attacks import Attack
from blindspots.attacks.distance.deepfool import DeepFool
from blindspots.attacks.distance.hyperplane import to_plane
from blindspots.attacks.distance.super_deepfool import SuperDeepFool
from blindspots.ball import L2, Linf
from blindspots.objective import Objective
from blindspots.testing.attack import Net, jobs
from blindspots.threat import Threat
from closed_form import Known, Linear, ball, optimum, plane, planes
from searching import search, unbounded

THREATS = [Linf(), L2()]
NAMES = ["linf", "l2"]
BEYOND = 1e-4  # what the authors' code adds to every step


@pytest.mark.parametrize("threat", THREATS, ids=NAMES)
@pytest.mark.parametrize("targeted", [False, True], ids=["untargeted", "targeted"])
@pytest.mark.parametrize("overshoot", [0.02, 0.1])
def test_deepfool_is_through_a_plane_in_one_step(threat: Threat, targeted: bool, overshoot: float) -> None:
    known = plane(16, (2, 3, 4), gap=(0.05, 0.3))
    attack, objective = DeepFool(overshoot=overshoot, refine=0), Objective(targeted=targeted)
    ledger = search(attack, known, threat, unbounded(known), objective)
    assert torch.allclose(ledger.norm, (1 + overshoot) * (optimum(known, threat) + BEYOND), rtol=1e-4)
    assert (ledger.forwards == 1 + 2).all()
    assert (ledger.backwards == 2 * 2).all()


@pytest.mark.parametrize("threat", THREATS, ids=NAMES)
def test_deepfool_goes_to_the_nearest_of_several_classes(threat: Threat) -> None:
    known = planes(32, (3, 4, 4), classes=6)
    ledger = search(DeepFool(classes=6, refine=0), known, threat, unbounded(known))
    assert torch.allclose(ledger.norm, 1.02 * (optimum(known, threat) + BEYOND), rtol=1e-4)
    assert (ledger.backwards == 2 * 6).all()


@pytest.mark.parametrize("threat", THREATS, ids=NAMES)
def test_classes_that_are_not_compared_cost_nothing_and_may_be_the_nearer_ones(threat: Threat) -> None:
    known = planes(32, (3, 4, 4), classes=6)
    few, all_ = (search(DeepFool(classes=k, refine=0), known, threat, unbounded(known)) for k in (2, 60))
    assert (few.won & all_.won).all()
    assert (few.norm >= all_.norm * (1 - 1e-4)).all()
    assert (few.norm > all_.norm * 1.01).any()
    assert (all_.backwards == 2 * 6).all()  # no more than the model has


@pytest.mark.parametrize("threat", THREATS, ids=NAMES)
@pytest.mark.parametrize("refine", [1, 2])
def test_the_overshoot_is_taken_back(threat: Threat, refine: int) -> None:
    known = plane(16, (24,), gap=(0.05, 0.3))
    ledger = search(DeepFool(refine=refine), known, threat, unbounded(known))
    ratio = ledger.norm / optimum(known, threat)
    assert (ratio >= 1 - 3e-5).all()
    assert (ratio <= 1.001).all()
    assert (ledger.forwards == 1 + 2 + refine).all()
    assert (ledger.backwards == 2 * (1 + refine)).all()  # two classes; the last look has no gradient


@pytest.mark.parametrize("attack", [DeepFool(), SuperDeepFool()], ids=["DeepFool", "SuperDeepFool"])
def test_a_radius_is_won_exactly_where_it_reaches_the_boundary(attack: Attack) -> None:
    known = plane(16, (24,), gap=(0.05, 0.3))
    nearest = optimum(known, L2())
    assert not search(attack, known, L2(), 0.99 * nearest).won.any()
    assert search(attack, known, L2(), 1.01 * nearest).won.all()


@pytest.mark.parametrize("threat", THREATS, ids=NAMES)
@pytest.mark.parametrize("seed", range(3))
def test_deepfool_gets_through_every_boundary(threat: Threat, seed: int) -> None:
    attack, shape = DeepFool(), (2, 5, 4)
    job = jobs(attack, threat, shape, rows=60, seed=seed)
    known = Known(Net(shape), job.x, job.y)
    assert search(attack, known, threat, unbounded(known)).won.all()


def test_where_the_box_stops_components_others_make_up_for_it() -> None:
    """Two thirds of the way would lead out of the box: cut off there, steps would go on for long."""
    weight = torch.ones(30)
    net = Linear(torch.stack([-weight, weight]), torch.tensor([1.0, -1.0]))
    x = torch.zeros(3, 30)
    x[:, :10] = torch.tensor([0.25, 0.5, 0.9])[:, None]
    known = Known(net, x, torch.ones(3, dtype=torch.int64))
    gap = x.sum(1) - 1
    for threat in THREATS:
        ledger = search(DeepFool(), known, threat, unbounded(known))
        nearest = threat.norm(to_plane(threat, x, weight.expand_as(x), gap))
        assert (ledger.norm >= nearest * (1 - 3e-5)).all()
        assert (ledger.norm <= nearest * 1.002).all()
        assert (ledger.forwards <= 1 + 10).all()


@pytest.mark.parametrize("pull", [0.5, 1.0])
@pytest.mark.parametrize("targeted", [False, True], ids=["untargeted", "targeted"])
def test_super_deepfool_finds_the_smallest_distance_on_planes(pull: float, targeted: bool) -> None:
    known = plane(16, (2, 3, 4), gap=(0.05, 0.3))
    ledger = search(SuperDeepFool(pull=pull), known, L2(), unbounded(known), Objective(targeted=targeted))
    ratio = ledger.norm / optimum(known, L2())
    assert (ratio >= 1 - 3e-5).all()
    assert (ratio <= 1.001).all()


def test_super_deepfool_follows_a_curved_boundary_to_its_nearest_point() -> None:
    """DeepFool reaches a sphere somewhere; from there the normals lead on."""
    known = ball(12, 8)
    g = torch.Generator().manual_seed(0)
    start = (known.x + 0.1 * torch.randn(known.x.shape, generator=g)).clamp(0, 1)
    nearest = optimum(known, L2())
    rough = search(DeepFool(), known, L2(), unbounded(known), start=start).norm / nearest
    fine = search(SuperDeepFool(), known, L2(), unbounded(known), start=start).norm / nearest
    assert (fine >= 1 - 3e-5).all()
    assert rough.max() > 1.3
    assert (fine <= 1.05).all()
    assert fine.median() <= 1.01


def test_super_deepfool_leaves_when_nothing_is_gained_any_more() -> None:
    known = plane(16, (24,), gap=(0.05, 0.3))
    ledger = search(SuperDeepFool(), known, L2(), unbounded(known))
    assert (ledger.forwards <= 1 + 4).all()
    assert (ledger.backwards == 2 * (ledger.forwards - 2)).all()


@pytest.mark.parametrize("attack", [DeepFool(5), SuperDeepFool(5)], ids=["DeepFool", "SuperDeepFool"])
def test_steps_bound_the_cost(attack: Attack) -> None:
    class Never(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            score = 1 + math.pi * x.flatten(1).mean(1).square()
            return torch.stack([score, torch.zeros_like(score), torch.zeros_like(score)], 1)

    known = Known(Never(), torch.rand(4, 6), torch.zeros(4, dtype=torch.int64))
    ledger = search(attack, known, L2(), unbounded(known))
    assert not ledger.won.any()
    assert (ledger.forwards == 1 + 6).all()
    assert (ledger.backwards == 5 * 3).all()
