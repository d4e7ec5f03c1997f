import math

import pytest
import torch
from torch import Tensor, nn

from blindspots.attacks import FMN, Attack
from blindspots.attacks.adam import Adam
from blindspots.attacks.distance.carlini_wagner import CarliniWagner
from blindspots.attacks.distance.ead import EAD
from blindspots.ball import L0, L1, L2, Linf
from blindspots.engine.ledger import Ledger
from blindspots.objective import Objective
from blindspots.threat import Threat
from closed_form import Known, ball, optimum, plane, planes
from searching import alternating, search, unbounded

PAPER = CarliniWagner(150, learning_rate=0.02, searches=4, initial_const=0.1)
MINIMAL = [
    (CarliniWagner(), L2(), 1.01),
    (CarliniWagner(), Linf(), 1.001),
    (CarliniWagner(), L0(), 1.0),
    (PAPER, L2(), 1.06),
    (EAD(), L1(), 1.03),
    (EAD(), L2(), 1.01),
]
CASES = pytest.mark.parametrize(("attack", "threat", "tolerance"), MINIMAL, ids=str)


def gap(threat: Threat) -> tuple[float, float]:
    return (1.0, 2.5) if threat.p == 0 else (0.05, 0.3)


def run(attack: Attack, known: Known, threat: Threat, r: Tensor | None = None, targeted: bool = False) -> Ledger:
    return search(attack, known, threat, unbounded(known) if r is None else r, Objective(targeted, loss=attack.loss))


@pytest.mark.parametrize("targeted", [False, True], ids=["untargeted", "targeted"])
@CASES
def test_the_smallest_distance_is_found_and_nothing_below_it(
    attack: Attack, threat: Threat, tolerance: float, targeted: bool
) -> None:
    known = plane(16, (2, 3, 4), gap(threat))
    ratio = run(attack, known, threat, targeted=targeted).norm / optimum(known, threat)
    assert (ratio >= 1 - 3e-5).all()
    assert (ratio <= tolerance).all()


@CASES
def test_a_radius_is_won_exactly_where_it_reaches_the_boundary(
    attack: Attack, threat: Threat, tolerance: float
) -> None:
    known = plane(16, (24,), gap(threat))
    reach = alternating(0.95, 1.001 * tolerance, rows=16)
    assert torch.equal(run(attack, known, threat, reach * optimum(known, threat)).won, reach > 1)


@pytest.mark.parametrize(("attack", "threat", "median"), [
    (CarliniWagner(), L2(), 1.01),
    (CarliniWagner(), Linf(), 1.001),
    (CarliniWagner(), L0(), 1.0),
    (EAD(), L1(), 1.02),
    (EAD(), L2(), 1.02),
], ids=str)  # fmt: skip
def test_the_nearest_of_several_classes_is_found_for_most_rows(attack: Attack, threat: Threat, median: float) -> None:
    known = planes(32, (3, 4, 4), classes=6)
    ratio = run(attack, known, threat).norm / optimum(known, threat)
    assert (ratio >= 1 - 3e-5).all()
    assert ratio.median() <= median


@pytest.mark.parametrize("attack", [CarliniWagner(), PAPER, EAD()], ids=str)
def test_a_curved_boundary_is_found_from_both_sides(attack: Attack) -> None:
    known = ball(12, 8)
    ratio = run(attack, known, L2()).norm / optimum(known, L2())
    assert (ratio >= 1 - 3e-5).all()
    assert (ratio <= 1.06).all()


@pytest.mark.parametrize(("attack", "threat"), [
    (CarliniWagner(), L2()),
    (CarliniWagner(), Linf()),
    (CarliniWagner(), L0()),
    (EAD(), L1()),
], ids=str)  # fmt: skip
def test_the_scale_of_the_scores_does_not_matter(attack: Attack, threat: Threat) -> None:
    known = plane(16, (24,), gap(threat))
    norm = run(attack, known, threat).norm
    for scale in (1e-6, 1e6):
        scaled = Known(nn.Sequential(known.net, Times(scale)), known.x, known.y)
        assert torch.allclose(run(attack, scaled, threat).norm, norm, rtol=0.02)


class Times(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, z: Tensor) -> Tensor:
        return self.factor * z


def test_inputs_on_the_border_of_the_box_are_no_harder() -> None:
    """Where tanh, the published change of variables, has no slope."""
    weight = torch.linspace(0.5, 1.0, 24)
    known = Known(Sum(weight), torch.zeros(6, 24), torch.zeros(6, dtype=torch.int64))
    nearest = torch.full((6,), Sum.THRESHOLD) / weight.norm()
    assert (run(CarliniWagner(), known, L2()).norm <= 1.01 * nearest).all()
    assert (run(CarliniWagner(150, learning_rate=0.01, searches=1), known, L2()).norm > 1.5 * nearest).all()


class Sum(nn.Module):
    """Class 1 where the weighted sum of the components exceeds a threshold."""

    THRESHOLD = 2.0

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, x: Tensor) -> Tensor:
        over = x @ self.weight - self.THRESHOLD
        return torch.stack([-over, over], 1)


def test_confidence_moves_the_search_behind_the_boundary() -> None:
    known = plane(16, (24,), gap(L2()))
    near = [run(CarliniWagner(confidence=kappa), known, L2()).margin for kappa in (0.0, 0.2)]
    assert (near[0] < 0).all()
    assert (near[1] < -0.2).all()


def test_the_binary_search_tries_as_many_constants_as_it_says() -> None:
    known = plane(8, (24,), gap(L2()))
    ledger = run(PAPER, known, L2())
    assert (ledger.forwards <= 1 + PAPER.looks).all()
    assert (ledger.forwards < 1 + PAPER.looks).any(), "a round of a row ends when its objective falls no more"


def test_a_binary_search_that_begins_far_too_low_gets_there() -> None:
    known = plane(8, (24,), gap=(0.2, 0.3))
    attack = CarliniWagner(100, learning_rate=0.02, searches=7, initial_const=1e-3)
    assert run(attack, known, L2()).won.all()
    assert not run(CarliniWagner(100, learning_rate=0.02, searches=1, initial_const=1e-3), known, L2()).won.any()


def test_in_l0_a_row_leaves_when_nothing_more_can_be_frozen() -> None:
    known = plane(16, (24,), gap(L0()))
    ledger = run(CarliniWagner(), known, L0())
    assert (ledger.forwards < 80).all()
    assert torch.equal(ledger.norm, optimum(known, L0()))


def test_fewer_components_change_under_more_weight_on_their_sum() -> None:
    known = planes(16, (48,), classes=3)
    changed = [
        ((run(EAD(beta=beta), known, L1()).best - known.x).abs() > 1e-4).sum(1).float().mean() for beta in (0.01, 100)
    ]
    assert changed[1] < 0.5 * changed[0]


@pytest.mark.parametrize("threat", [L2(), Linf()], ids=str)
def test_carlini_wagner_costs_a_gradient_per_step(threat: Threat) -> None:
    known = plane(4, (2, 3, 4), gap=(0.2, 0.3))
    ledger = run(CarliniWagner(7), known, threat)
    assert ledger.forwards.tolist() == [1 + 8] * 4
    assert ledger.backwards.tolist() == [7] * 4


@pytest.mark.parametrize("threat", [L1(), L2()], ids=str)
def test_ead_costs_a_gradient_per_step(threat: Threat) -> None:
    known = plane(4, (2, 3, 4), gap=(0.2, 0.3))
    ledger = run(EAD(7), known, threat)
    assert ledger.forwards.tolist() == [1 + 8] * 4
    assert ledger.backwards.tolist() == [7] * 4


def test_as_near_as_fmn_where_the_network_is_not_linear() -> None:
    known = curved(12)
    for attack, threat, slack in ((CarliniWagner(), L2(), 1.01), (CarliniWagner(), Linf(), 1.01), (EAD(), L1(), 1.05)):
        ours, other = run(attack, known, threat).norm, run(FMN(200), known, threat).norm
        assert ours.isfinite().all()
        assert ours.median() <= slack * other.median()


def curved(rows: int) -> Known:
    g = torch.Generator().manual_seed(3)
    net = nn.Sequential(nn.Flatten(), nn.Linear(36, 24), nn.Tanh(), nn.Linear(24, 4))
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(torch.randn(p.shape, generator=g) / math.sqrt(p.shape[-1]) * 2)
        x = torch.rand(rows, 1, 6, 6, generator=g)
        return Known(net, x, net(x).argmax(1))


def test_adam_for_rows_is_the_published_algorithm_and_a_row_can_forget() -> None:
    g = torch.randn(20, 3, 5, generator=torch.Generator().manual_seed(0))
    adam, mean, square = Adam.blank(g[0]), torch.zeros(3, 5), torch.zeros(3, 5)
    for t in range(20):
        adam = adam.take(g[t], 0.9, 0.99)
        mean, square = 0.9 * mean + 0.1 * g[t], 0.99 * square + 0.01 * g[t] ** 2
        expected = mean / (1 - 0.9 ** (t + 1)) / (square / (1 - 0.99 ** (t + 1))).sqrt()
        assert torch.allclose(adam.direction, expected, rtol=1e-4)
    forgot = adam.reset(torch.tensor([True, False, True]))
    assert (forgot.direction[0] == 0).all()
    assert torch.equal(forgot.direction[1], adam.direction[1])
