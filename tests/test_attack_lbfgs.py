"""L-BFGS: against closed forms, and row by row against scipy's L-BFGS-B."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.optimize import minimize
from torch import Tensor, nn

import blindspots as bs
from blindspots.attacks.distance.lbfgs import LBFGS, LBFGSState
from blindspots.ball import L2
from blindspots.objective import LossName, Objective
from blindspots.problem import Job, Problem
from blindspots.random import keys
from blindspots.testing.attack import drive
from closed_form import Known, Linear, ball, optimum, plane, planes
from searching import search, unbounded

BOTH = pytest.mark.parametrize("targeted", [False, True], ids=["untargeted", "targeted"])


@BOTH
@pytest.mark.parametrize("shape", [(24,), (2, 3, 4)], ids=str)
@pytest.mark.parametrize("loss", ["ce", "margin"])
def test_the_smallest_distance_is_found_and_nothing_below_it(
    loss: LossName, shape: tuple[int, ...], targeted: bool
) -> None:
    known = plane(16, shape, gap=(0.05, 0.3))
    ratio = search(LBFGS(), known, L2(), unbounded(known), Objective(targeted=targeted, loss=loss)).norm
    ratio = ratio / optimum(known, L2())
    assert (ratio >= 1 - 3e-5).all()
    assert (ratio <= 1.01).all()


@BOTH
def test_a_confident_row_has_a_penalty_that_leads_to_the_boundary(targeted: bool) -> None:
    known = plane(16, (24,), gap=(0.05, 0.3))
    assert isinstance(known.net, Linear)
    sharp = replace(known, net=Linear(50 * known.net.weight.detach(), 50 * known.net.bias.detach()))
    ratio = search(LBFGS(), sharp, L2(), unbounded(sharp), Objective(targeted=targeted, loss="ce")).norm
    ratio = ratio / optimum(sharp, L2())
    assert (ratio >= 1 - 3e-5).all()
    assert (ratio <= 1.01).all()


def test_a_radius_is_won_exactly_where_it_reaches_the_boundary() -> None:
    known = plane(16, (24,), gap=(0.05, 0.3))
    nearest = optimum(known, L2())
    assert not search(LBFGS(), known, L2(), 0.99 * nearest).won.any()
    assert search(LBFGS(), known, L2(), 1.01 * nearest).won.all()


def test_the_nearest_of_several_classes_is_found_for_most_rows() -> None:
    """With the margin: all classes pull at the cross-entropy of rows as unsure as these."""
    known = planes(32, (3, 4, 4), classes=6)
    ratio = search(LBFGS(), known, L2(), unbounded(known), Objective(loss="margin")).norm / optimum(known, L2())
    assert (ratio >= 1 - 3e-5).all()
    assert ratio.median() <= 1.005


def test_a_curved_boundary_is_found_from_both_sides() -> None:
    known = ball(12, 8)
    ratio = search(LBFGS(), known, L2(), unbounded(known)).norm / optimum(known, L2())
    assert (ratio >= 1 - 3e-5).all()
    assert (ratio <= 1.02).all()


def test_where_the_box_stops_coordinates_the_others_go_farther() -> None:
    g = torch.Generator().manual_seed(3)
    w, corner = torch.randn(30, generator=g), torch.rand(16, 30, generator=g) < 0.7
    x = torch.where(corner, 0.0, torch.rand(16, 30, generator=g))
    bias = -0.7 * w.clamp_min(0).sum()
    known = Known(Linear(torch.stack([-w, w]), torch.stack([-bias, bias])), x, torch.zeros(16, dtype=torch.int64))
    low, high = torch.zeros(16), torch.full((16,), 1e3)
    for _ in range(60):  # the nearest point is clip(x + t w) for the t that just reaches the plane
        t = (low + high) / 2
        short = ((x + t[:, None] * w).clamp(0, 1) * w).sum(1) + bias < 0
        low, high = torch.where(short, t, low), torch.where(short, high, t)
    nearest = ((x + high[:, None] * w).clamp(0, 1) - x).norm(dim=1)
    assert (nearest > 1.1 * optimum(known, L2())).all(), "the box must matter"
    ratio = search(LBFGS(), known, L2(), unbounded(known)).norm / nearest
    assert (ratio >= 1 - 1e-4).all()
    assert (ratio <= 1.01).all()


class Scipy:
    """The same objective for one row, in scipy's hands."""

    def __init__(self, known: Known, row: int, target: int | None) -> None:
        self.net, self.x, self.target = known.net, known.x[row], target
        self.k = int(known.y[row]) if target is None else target
        self.x0, self.evaluations = self.x.flatten().double().numpy(), 0

    def look(self, x: np.ndarray) -> tuple[float, np.ndarray, bool]:
        self.evaluations += 1
        probe = torch.tensor(x, dtype=torch.float32).view(1, *self.x.shape).requires_grad_()
        z = self.net(probe)[0]
        odds = z[self.k] - torch.cat([z[: self.k], z[self.k + 1 :]]).logsumexp(0)
        loss = F.softplus(odds if self.target is None else -odds)
        (grad,) = torch.autograd.grad(loss, probe)
        won = (int(z.argmax()) == self.k) == (self.target is not None)
        return float(loss.detach()), grad.flatten().double().numpy(), won

    def objective(self, x: np.ndarray, c: float) -> tuple[float, np.ndarray]:
        (loss, grad, _), r = self.look(x), x - self.x0
        return c * float(r @ r) + loss, grad + 2 * c * r

    def minimise(self, c: float) -> tuple[float, np.ndarray]:
        box = [(0, 1)] * len(self.x0)
        found = minimize(self.objective, self.x0, (c,), "L-BFGS-B", jac=True, bounds=box, options={"maxiter": 500})
        return float(found.fun), found.x

    def distance(self, tolerance: float) -> float:
        """Distance of the minimiser for the largest c that succeeds, every c from scratch."""
        low, high, c, distance = 0.0, np.inf, 1.0, np.inf
        while high > (1 + tolerance) * low:
            _, x = self.minimise(c)
            if self.look(x)[2]:
                low, distance = c, float(np.linalg.norm(x - self.x0))
            else:
                high = c
            c = np.sqrt(low * high) if low > 0 and high < np.inf else c * (10 if high == np.inf else 0.1)
        return distance


def linear(rows: int) -> Known:
    """Softmax regression: towards a target the objective is convex."""
    return planes(rows, (40,), classes=5, seed=1)


def tanh(rows: int) -> Known:
    """Two layers, not convex."""
    g = torch.Generator().manual_seed(0)
    first, last = nn.Linear(20, 24), nn.Linear(24, 4)
    for layer in (first, last):
        nn.init.normal_(layer.weight, std=0.7, generator=g)
        nn.init.normal_(layer.bias, std=0.5, generator=g)
    net, x = nn.Sequential(first, nn.Tanh(), last), torch.rand(rows, 20, generator=g)
    with torch.no_grad():
        return Known(net, x, net(x).argmax(1))


def digits(rows: int) -> Known:
    x, y = bs.load_data("digits").rows(0, rows)
    return Known(bs.load_model("digits-robust").net, x, y)


def runner_up(known: Known) -> Tensor:
    with torch.no_grad():
        logits: Tensor = known.net(known.x)
    return logits.topk(2).indices[:, 1]


@dataclass(frozen=True)
class Ran:
    end: Tensor  # (B, D) where the solver stood when the row ended
    norm: Tensor  # (B,) the shortest success on the way
    evaluations: Tensor  # (B,)


def run(attack: LBFGS, known: Known, targeted: bool) -> Ran:
    n, objective = len(known.y), Objective(targeted=targeted, loss="ce")
    with torch.no_grad():
        scores = known.net(known.x)
    none = torch.full((n,), torch.inf)
    job = Job(known.x, none, known.x, known.y, runner_up(known), keys(0, torch.arange(n)), scores)
    end, norm, evaluations, problem = known.x.flatten(1).clone(), none, torch.zeros(n), Problem(objective, L2())
    for state, seen in drive(attack, problem, job, known.net):
        assert isinstance(state, LBFGSState)
        after, live = attack.step(problem, job, state, seen), ~attack.exhausted(state)
        found = torch.where(live & seen.won, L2().norm(state.probe - job.x), torch.inf)
        norm, evaluations = norm.minimum(found), evaluations + live
        end = torch.where((live & attack.exhausted(after))[:, None], after.at.x, end)
    return Ran(end, norm, evaluations)


def peers(known: Known, targeted: bool) -> list[Scipy]:
    targets = runner_up(known).tolist()
    return [Scipy(known, row, target if targeted else None) for row, target in enumerate(targets)]


def excess(known: Known, end: Tensor, c: float, theirs: list[Scipy]) -> Tensor:
    """By what share each objective lies above scipy's minimum."""
    least = torch.tensor([peer.minimise(c)[0] for peer in theirs])
    ours = torch.tensor([peer.objective(x.double().numpy(), c)[0] for peer, x in zip(theirs, end, strict=True)])
    return (ours - least) / least


def billed(theirs: list[Scipy]) -> float:
    return sum(peer.evaluations for peer in theirs) / len(theirs)


@BOTH
@pytest.mark.parametrize("c", [0.3, 3.0])
@pytest.mark.parametrize(("case", "same"), [(linear, 1.0), (tanh, 0.8)])
def test_a_minimiser_for_one_penalty_is_as_low_as_scipys(
    case: Callable[[int], Known], same: float, c: float, targeted: bool
) -> None:
    """Where the objective is not convex, a few rows end in another minimum, lower or higher."""
    known = case(12)
    ran = run(LBFGS(300, c=c, tries=1, inner=300, accuracy=1e-7), known, targeted)
    above = excess(known, ran.end, c, peers(known, targeted))
    assert above.quantile(same) <= 1e-5
    assert above.max() <= 0.1


def test_kinks_do_not_stop_the_solver() -> None:
    known = digits(4)
    ran, theirs = run(LBFGS(c=1.0, tries=1, inner=100, accuracy=1e-5), known, False), peers(known, False)
    above = excess(known, ran.end, 1.0, theirs)
    assert above.median() <= 2e-3
    assert above.max() <= 0.02
    assert 2 * ran.evaluations.mean() < billed(theirs)


@BOTH
def test_the_search_for_c_ends_where_scipys_does_for_a_fifth_of_the_evaluations(targeted: bool) -> None:
    known, theirs = tanh(6), peers(tanh(6), targeted)
    ran = run(LBFGS(), known, targeted)
    ratio = ran.norm / torch.tensor([peer.distance(tolerance=0.05) for peer in theirs])
    assert ratio.median() <= 1.005
    assert ratio.max() <= 1.15
    assert 5 * ran.evaluations.mean() < billed(theirs)


def test_a_row_leaves_when_its_search_has_ended() -> None:
    known = plane(16, (24,), gap=(0.05, 0.3))
    ledger = search(LBFGS(), known, L2(), unbounded(known))
    assert (ledger.backwards <= 30).all()
    assert (ledger.forwards == 1 + ledger.backwards).all()


def test_the_last_look_takes_no_gradient() -> None:
    known = plane(16, (24,), gap=(0.05, 0.3))
    ledger = search(LBFGS(2), known, L2(), unbounded(known))
    assert (ledger.forwards == 1 + 3).all()
    assert (ledger.backwards == 2).all()
