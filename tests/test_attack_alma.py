"""ALMA: the distances of closed forms, its multiplier's rules, and what it costs."""

import pytest
import torch

from blindspots.attacks.distance.alma import ALMA, _slope
from blindspots.ball import L1, L2
from blindspots.objective import LossName, Objective
from blindspots.threat import Threat
from closed_form import Known, Linear, ball, optimum, plane, planes
from searching import kinds, search, unbounded


@pytest.mark.parametrize("targeted", [False, True], ids=["untargeted", "targeted"])
@pytest.mark.parametrize(("threat", "tolerance"), [(L2(), 1.05), (L1(), 1.15)], ids=str)
def test_the_distance_is_near_the_smallest_and_never_below_it(threat: Threat, tolerance: float, targeted: bool) -> None:
    known = plane(12, (2, 3, 4), gap=(0.05, 0.3))
    nearest = optimum(known, threat)
    norm = search(ALMA(200), known, threat, unbounded(known), Objective(targeted=targeted)).norm
    assert (norm >= nearest * (1 - 3e-5)).all()
    assert (norm <= nearest * tolerance).all()


def test_a_curved_boundary_is_found_from_both_sides() -> None:
    known = ball(8, 8)
    ratio = search(ALMA(200), known, L2(), unbounded(known), Objective()).norm / optimum(known, L2())
    assert (ratio >= 1 - 3e-5).all()
    assert ratio.median() <= 1.02


@pytest.mark.parametrize(("threat", "tolerance"), [(L2(), 1.01), (L1(), 1.2)], ids=str)
def test_the_nearest_of_several_classes_is_found_for_most_rows(threat: Threat, tolerance: float) -> None:
    known = planes(24, (3, 4, 4), classes=6)
    ratio = search(ALMA(200), known, threat, unbounded(known)).norm / optimum(known, threat)
    assert (ratio >= 1 - 3e-5).all()
    assert ratio.median() <= tolerance


@pytest.mark.parametrize("threat", kinds(ALMA()), ids=lambda threat: threat.name)
def test_what_lies_outside_of_the_radius_does_not_count(threat: Threat) -> None:
    known = plane(6, (24,), gap=(0.05, 0.3))
    nearest = optimum(known, threat)
    assert not search(ALMA(), known, threat, nearest * 0.99, Objective()).won.any()
    assert search(ALMA(), known, threat, nearest * 1.5, Objective()).won.all()


@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_scores_in_another_unit_change_next_to_nothing(scale: float) -> None:
    known = planes(8, (12,), classes=4)
    other = Known(Linear(known.net.weight * scale, known.net.bias * scale), known.x, known.y)
    here, there = (search(ALMA(), k, L2(), unbounded(k)).norm for k in (known, other))
    assert ((here - there).abs() <= 0.02 * here).all()


@pytest.mark.parametrize("loss", ["ce", "margin", "probability-margin"])
def test_other_losses_lead_there_too(loss: LossName) -> None:
    known = planes(8, (12,), classes=4)
    ledger = search(ALMA(), known, L2(), unbounded(known), Objective(loss=loss))
    assert (ledger.norm <= 2 * optimum(known, L2())).all()


def test_the_slope_is_the_derivative_of_the_penalty() -> None:
    def p2(y: torch.Tensor) -> torch.Tensor:
        above = mu * y + mu * rho * y**2 + rho**2 * y**3 / 6
        return torch.where(y >= 0, above, mu * y / (1 - rho * y.clamp_max(0)))

    y = torch.linspace(-2, 2, 41, dtype=torch.float64).requires_grad_()
    rho, mu = torch.full_like(y, 1.7), torch.full_like(y, 0.6)
    (slope,) = torch.autograd.grad(p2(y).sum(), y)
    torch.testing.assert_close(_slope(y.detach(), rho, mu), slope)


def test_the_cost_is_what_the_documentation_says() -> None:
    known = plane(4, (24,), gap=(0.2, 0.3))
    ledger = search(ALMA(7), known, L2(), torch.full((4,), 1e-3), Objective())
    assert ledger.forwards.tolist() == [9] * 4
    assert ledger.backwards.tolist() == [7] * 4
