"""Attacks that see the predicted label alone."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from blindspots.attacks.attack import Attack
from blindspots.attacks.labels.blended_noise import BlendedNoise
from blindspots.attacks.labels.boundary import Boundary
from blindspots.attacks.labels.geoda import GeoDA
from blindspots.attacks.labels.hopskipjump import HopSkipJump
from blindspots.attacks.labels.poll import Labels, grain
from blindspots.attacks.labels.rays import RayS, _block, _places
from blindspots.attacks.labels.sign_opt import SignOPT
from blindspots.attacks.labels.start import noise
from blindspots.engine.result import Result
from blindspots.goal import Goal
from blindspots.problem import Job, Problem
from blindspots.random import keys
from blindspots.threat import L1, L2, Linf, Threat
from closed_form import Known, ball, optimum, plane
from contract import Flat
from searching import search, unbounded

NEVER_BELOW = 1 - 3e-5
PLANES = [
    (HopSkipJump(2000), L2(), 1.03),
    (HopSkipJump(2000), Linf(), 1.06),
    (GeoDA(2000), L2(), 1.03),
    (GeoDA(2000), Linf(), 1.06),
    (GeoDA(2000), L1(), 1.1),
    (SignOPT(2000), L2(), 1.03),
    (Boundary(2000), L2(), 1.05),
    (RayS(1000), Linf(), 1.03),
]
STARTED = [
    (attack, threat)
    for attack, threat, _ in [*PLANES, (BlendedNoise(), L2(), 0), (BlendedNoise(), L1(), 0), (BlendedNoise(), Linf(), 0)]
    if not isinstance(attack, RayS)
]


@pytest.mark.parametrize("shape", [(24,), (2, 3, 4)], ids=str)
@pytest.mark.parametrize(("attack", "threat", "tolerance"), PLANES, ids=str)
def test_the_smallest_distance_to_a_plane_is_found_and_nothing_below_it(
    attack: Attack, threat: Threat, tolerance: float, shape: tuple[int, ...]
) -> None:
    known = plane(8, shape, gap=(0.05, 0.3))
    ratio = search(attack, known, threat, unbounded(known)).norm / optimum(known, threat)
    assert (ratio >= NEVER_BELOW).all()
    assert (ratio <= tolerance).all()


@pytest.mark.parametrize(("attack", "threat"), STARTED, ids=str)
def test_a_target_is_reached_where_it_is_the_only_other_class(attack: Attack, threat: Threat) -> None:
    known, few = plane(4, (24,), gap=(0.05, 0.3)), replace(attack, queries=100)
    there = search(few, known, threat, unbounded(known), Goal(targeted=True))
    assert there.won.all()
    assert torch.equal(there.norm, search(few, known, threat, unbounded(known)).norm)


@pytest.mark.parametrize(("attack", "threat", "tolerance"), PLANES, ids=str)
def test_a_ball_is_won_exactly_where_it_reaches_the_boundary(
    attack: Attack, threat: Threat, tolerance: float
) -> None:
    known = plane(8, (24,), gap=(0.05, 0.3))
    nearest = optimum(known, threat)
    assert not search(attack, known, threat, 0.98 * nearest).won.any()
    assert search(attack, known, threat, 1.01 * tolerance * nearest).won.all()


@pytest.mark.parametrize("attack", [HopSkipJump(2000), SignOPT(2000), Boundary(2000), GeoDA(2000)], ids=str)
def test_a_curved_boundary_is_found_from_both_sides(attack: Attack) -> None:
    known = ball(8, 6)
    ratio = search(attack, known, L2(), unbounded(known)).norm / optimum(known, L2())
    assert (ratio >= NEVER_BELOW).all()
    assert (ratio <= 1.1).all()
