from dataclasses import replace

import pytest
import torch
from scipy.optimize import linprog
from torch import Tensor

from blindspots.attacks.distance.fab import _FAB, FAB, FABT, FABState
from blindspots.attacks.distance.hyperplane import to_plane
from blindspots.ball import L1, L2, Linf
from blindspots.objective import Objective
from blindspots.problem import Problem
from blindspots.testing.attack import Net, drive, jobs
from blindspots.threat import Threat
from closed_form import Known, Linear, optimum, plane, planes
from searching import kinds, search, unbounded

THREATS = [Linf(), L2(), L1()]
NAMES = ["linf", "l2", "l1"]


def least_change(threat: Threat, x: Tensor, w: Tensor, value: Tensor) -> Tensor:
    """The same by means that are slow and simple, in float64: a linear program in l1, else bisection."""
    x, w, value = x.double(), w.double(), value.double()
    if threat.p == 1:
        return torch.tensor([_linear_program(threat, *row) for row in zip(x, w, value, strict=True)])
    room = torch.where(w * value[:, None] < 0, threat.hi - x, x - threat.lo)
    speed = w.abs() if threat.p == 2 else (w != 0).double()
    low, high = torch.zeros(len(x), 1), torch.full((len(x), 1), 1e6).double()
    for _ in range(100):
        middle = (low + high) / 2
        short = (w.abs() * (middle * speed).minimum(room)).sum(1, keepdim=True) < value.abs()[:, None]
        low, high = torch.where(short, middle, low), torch.where(short, high, middle)
    return threat.norm((high * speed).minimum(room))


def _linear_program(threat: Threat, x: Tensor, w: Tensor, value: Tensor) -> float:
    rise, fall = threat.hi - x, x - threat.lo
    bounds = [(0.0, float(b)) for b in torch.cat([rise, fall])]
    found = linprog([1.0] * len(bounds), A_eq=torch.cat([w, -w])[None].numpy(), b_eq=[-float(value)], bounds=bounds)
    assert found.fun is not None
    return float(found.fun)


def hyperplanes(threat: Threat, rows: int, dim: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Points, many of whose components are at the end of the box, and planes from near to hardly in reach."""
    g = torch.Generator().manual_seed(seed)
    x = torch.rand(rows, dim, generator=g)
    x = torch.where(torch.rand(rows, dim, generator=g) < 0.4, x.round(), x) * (threat.hi - threat.lo) + threat.lo
    w = torch.randn(rows, dim, generator=g) * (torch.rand(rows, dim, generator=g) < 0.9)
    side = torch.randn(rows, generator=g).sign()
    room = torch.where(w * side[:, None] < 0, threat.hi - x, x - threat.lo)
    return x, w, side * (w.abs() * room).sum(1) * torch.linspace(0.01, 0.99, rows)


@pytest.mark.parametrize("threat", [*THREATS, *(t.within(-3.0, 2.0) for t in THREATS)], ids=str)
@pytest.mark.parametrize("dim", [1, 3, 40])
def test_the_nearest_point_of_plane_and_box_is_that_of_a_slow_search(threat: Threat, dim: int) -> None:
    x, w, value = hyperplanes(threat, 24, dim)
    d = to_plane(threat, x, w, value)
    assert (x + d >= threat.lo - 1e-6).all()
    assert (x + d <= threat.hi + 1e-6).all()
    assert torch.allclose((w * d).sum(1), -value, rtol=1e-5, atol=1e-5)
    assert torch.allclose(threat.norm(d), least_change(threat, x, w, value).float(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("threat", THREATS, ids=NAMES)
def test_a_plane_out_of_reach_is_approached_as_far_as_the_box_lets(threat: Threat) -> None:
    x, w, value = hyperplanes(threat, 8, 12)
    d = to_plane(threat, x, w, 200 * value)
    corner = torch.where(w * value[:, None] < 0, 1.0, 0.0)
    assert torch.allclose(x + d, torch.where(w == 0, x, corner), atol=1e-6)


@pytest.mark.parametrize("threat", THREATS, ids=NAMES)
def test_no_direction_and_no_distance_mean_no_change(threat: Threat) -> None:
    x, w, value = hyperplanes(threat, 8, 12)
    assert not to_plane(threat, x, 0 * w, value).any()
    assert not to_plane(threat, x, w, 0 * value).any()
    tiny = to_plane(threat, x, 1e-30 * w, 1e-30 * value)  # whose squares float32 does not hold
    assert torch.allclose(tiny, to_plane(threat, x, w, value), atol=1e-5)


def corners(rows: int, dim: int) -> Known:
    """Linear in two classes, and half of the components at an end of the box."""
    x, w, _ = hyperplanes(L2(), rows, dim)
    w = w[0] / w[0].abs().max()
    net = Linear(torch.stack([-w / 2, w / 2]), torch.zeros(2))
    gap = x @ w
    room = (w.abs() * torch.where(w * gap[:, None] < 0, 1 - x, x)).sum(1)
    near = gap.abs() < 0.7 * room
    return Known(net, x[near], (gap[near] > 0).long())


@pytest.mark.parametrize("attack", [FAB(30), FABT(30)], ids=["FAB", "FABT"])
@pytest.mark.parametrize("threat", THREATS, ids=NAMES)
@pytest.mark.parametrize("targeted", [False, True], ids=["untargeted", "targeted"])
def test_the_smallest_distance_on_planes_is_found_to_a_per_mille(attack: _FAB, threat: Threat, targeted: bool) -> None:
    known = plane(16, (2, 3, 4), gap=(0.05, 0.3))
    nearest, objective = optimum(known, threat), Objective(targeted=targeted)
    ratio = search(attack, known, threat, unbounded(known), objective).norm / nearest
    assert (ratio >= 1 - 3e-5).all()
    assert (ratio <= 1.001).all()


@pytest.mark.parametrize("attack", [FAB(40), FABT(40)], ids=["FAB", "FABT"])
@pytest.mark.parametrize("threat", THREATS, ids=NAMES)
def test_the_box_is_reckoned_with(attack: _FAB, threat: Threat) -> None:
    known = corners(60, 20)
    assert len(known.y) > 10
    assert isinstance(known.net, Linear)
    with torch.no_grad():
        w, gap = known.net.weight[1] - known.net.weight[0], known.net(known.x) @ torch.tensor([-1.0, 1.0])
    nearest = threat.norm(to_plane(threat, known.x, w.expand_as(known.x), gap))
    ratio = search(attack, known, threat, unbounded(known)).norm / nearest
    assert (ratio >= 1 - 3e-5).all()
    assert (ratio <= 1.005).all()


@pytest.mark.parametrize("threat", THREATS, ids=NAMES)
def test_the_nearest_of_several_classes_is_found(threat: Threat) -> None:
    known = planes(24, (3, 4, 4), classes=6)
    ratio = search(FAB(30), known, threat, unbounded(known)).norm / optimum(known, threat)
    assert (ratio >= 1 - 3e-5).all()
    assert (ratio <= 1.001).all()


@pytest.mark.parametrize("attack", [FAB(20), FABT(20)], ids=["FAB", "FABT"])
@pytest.mark.parametrize("threat", THREATS, ids=NAMES)
def test_a_radius_is_won_exactly_where_it_reaches_the_boundary(attack: _FAB, threat: Threat) -> None:
    known = plane(16, (24,), gap=(0.05, 0.3))
    nearest = optimum(known, threat)
    assert not search(attack, known, threat, 0.99 * nearest).won.any()
    assert search(attack, known, threat, 1.01 * nearest).won.all()


@pytest.mark.parametrize("attack", [FAB(5, restarts=3), FABT(5, restarts=3)], ids=["FAB", "FABT"])
@pytest.mark.parametrize("threat", THREATS, ids=NAMES)
def test_restarts_begin_half_as_far_as_the_nearest_success_or_the_radius(attack: _FAB, threat: Threat) -> None:
    problem, job = Problem(Objective(), threat), jobs(attack, threat)
    starts = 0
    for r in (job.r, torch.full_like(job.r, torch.inf)):
        for state, _ in drive(attack, problem, replace(job, r=r), Net((2, 5, 4))):
            assert isinstance(state, FABState)
            within = r.minimum(state.nearest.norm)
            if int(state.t[0]) in (5, 10) and within.isfinite().all():
                starts += 1
                assert (threat.distance(state.probe, job.x) <= within / 2 * (1 + 1e-5)).all()
                assert (state.probe != job.x).flatten(1).any(1).all()
    assert starts >= 2


def test_a_random_start_is_random_and_the_first_run_has_none() -> None:
    for threat in kinds(FABT()):
        problem, job = Problem(Objective(), threat), jobs(FABT(), threat)
        assert torch.equal(FABT().init(problem, job).probe, job.start)
        start = FABT(random_start=True).init(problem, job).probe
        other = FABT(random_start=True).init(problem, replace(job, key=job.key + 1)).probe
        assert (threat.distance(start, job.x) <= job.r / 2 * (1 + 1e-5)).all()
        assert (start != other).flatten(1).any(1).all()


@pytest.mark.parametrize(
    ("attack", "forwards", "backwards"), [(FABT(7), 8, 7), (FABT(7, restarts=2), 15, 14), (FAB(7), 8, 14)], ids=str
)
def test_it_costs_what_its_documentation_says(attack: _FAB, forwards: int, backwards: int) -> None:
    known = plane(4, (2, 3, 4), gap=(0.2, 0.3))
    ledger = search(attack, known, L2(), torch.full((4,), 1e-3))
    assert ledger.forwards.tolist() == [1 + forwards] * 4
    assert ledger.backwards.tolist() == [backwards] * 4
