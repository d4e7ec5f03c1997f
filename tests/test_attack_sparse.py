"""Attacks for few or small changes: SigmaZero, JSMA and PDPGD."""

import math

import pytest
import torch

from blindspots.attacks import Attack
from blindspots.attacks.distance.fmn import FMN
from blindspots.attacks.distance.jsma import JSMA, _best_pair
from blindspots.attacks.distance.pdpgd import PDPGD
from blindspots.attacks.distance.sigma_zero import SigmaZero
from blindspots.goal import Goal
from blindspots.threat import L0, L1, L2, Linf, Threat
from closed_form import ball, optimum, plane, planes
from searching import search, unbounded

SMALLEST = [
    (SigmaZero(), L0(), 1.0),
    (PDPGD(), L0(), 1.5),
    (PDPGD(300), L1(), 1.05),
    (PDPGD(300), L2(), 1.05),
    (PDPGD(300), Linf(), 1.05),
    (JSMA(), L0(), 2.0),
]
ids = str


@pytest.mark.parametrize("shape", [(24,), (2, 3, 4)], ids=ids)
@pytest.mark.parametrize("targeted", [False, True], ids=["untargeted", "targeted"])
@pytest.mark.parametrize(("attack", "threat", "tolerance"), SMALLEST, ids=ids)
def test_the_distance_is_near_the_smallest_and_never_below_it(
    attack: Attack, threat: Threat, tolerance: float, targeted: bool, shape: tuple[int, ...]
) -> None:
    known = plane(16, shape, (1.0, 2.5) if threat.p == 0 else (0.05, 0.3))
    nearest = optimum(known, threat)
    norm = search(attack, known, threat, unbounded(known), Goal(targeted=targeted, loss=attack.loss)).norm
    print(attack, threat.name, (norm / nearest).max(), (norm / nearest).median())
    assert (norm >= nearest * (1 - 3e-5)).all()
    assert (norm <= nearest * tolerance + (threat.p == 0)).all()
