import itertools
import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.stats import kstest
from torch import Tensor

from blindspots.ball import BALLS, L0, L1, L2, Linf, parse_ball
from blindspots.errors import InputError
from blindspots.random import keys
from blindspots.rows import Around, col
from blindspots.threat import Threat

INF, NAN = math.inf, math.nan
KINDS = list(BALLS.values())
kinds = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
SHAPES = [(1,), (6,), (200,), (2, 3, 5), (3, 16, 16)]
BOXES = [(0.0, 1.0), (-1.0, 2.0), (0.1, 0.9), (-3.0, -2.5)]


@dataclass
class Case:
    """Points to project: the spread, the radii, and how many components sit at a bound differ from row to row."""

    lo: float
    hi: float
    x: Tensor
    x0: Tensor
    r: Tensor  # of each row, as a share of its distance
    key: Tensor

    def radii(self, threat: Threat) -> Tensor:
        size = threat.norm((self.x - self.x0).clamp(self.lo - self.hi, self.hi - self.lo))
        return torch.where(self.r.isinf(), INF, self.r.nan_to_num(posinf=0) * size)


@st.composite
def cases(draw, shapes=SHAPES, boxes=BOXES) -> Case:
    seed, rows = draw(st.integers(0, 2**32)), draw(st.integers(1, 6))
    shape, (lo, hi) = draw(st.sampled_from(shapes)), draw(st.sampled_from(boxes))
    grid = draw(st.sampled_from([0, 4, 64]))  # coarse values tie with each other and with the bounds
    spread = draw(st.lists(st.sampled_from([0.0, 1e-4, 0.05, 1.0, 1e4]), min_size=rows, max_size=rows))
    share = draw(st.lists(st.sampled_from([0.0, 1e-3, 0.1, 0.5, 0.9, 1.0, 2.0, INF]), min_size=rows, max_size=rows))
    generator = torch.Generator().manual_seed(seed)
    unit = (1.6 * torch.rand(rows, *shape, generator=generator) - 0.3).clamp(0, 1)
    step = torch.randn(rows, *shape, generator=generator)
    if grid:
        unit, step = (unit * grid).round() / grid, (step * grid).round() / grid
    x0 = (lo + (hi - lo) * unit).clamp(lo, hi)
    x = x0 + col(torch.tensor(spread), x0) * step
    return Case(lo, hi, x, x0, torch.tensor(share), keys(seed % 1000, torch.arange(rows)))


def threat_of(kind: type[Threat], case: Case) -> Threat:
    return kind().within(case.lo, case.hi)


def ulps(x: Tensor, count: float) -> float:
    return count * 2.0**-24 * float(x.abs().max().clamp_min(1))


# ------------------------------------------------------------------ projection


@kinds
@given(case=cases())
def test_a_projection_is_in_the_ball_and_in_the_box(kind, case):
    threat, r = threat_of(kind, case), case.radii(threat_of(kind, case))
    z = threat.project(case.x, Around(case.x0, r))
    assert z.shape == case.x.shape
    assert z.dtype == torch.float32
    assert threat.holds(z, Around(case.x0, r)).all()


@kinds
@given(case=cases())
def test_projecting_twice_is_projecting_once(kind, case):
    threat, r = threat_of(kind, case), case.radii(threat_of(kind, case))
    z = threat.project(case.x, Around(case.x0, r))
    assert torch.allclose(threat.project(z, Around(case.x0, r)), z, rtol=0, atol=ulps(z, 4))


@kinds
@given(case=cases())
def test_a_point_of_the_set_stays(kind, case):
    threat = threat_of(kind, case)
    x = case.x.clamp(case.lo, case.hi)
    z = threat.project(x, Around(case.x0, threat.norm(x - case.x0)))
    assert torch.allclose(z, x, rtol=0, atol=ulps(x, 4))


@kinds
@given(case=cases())
def test_radius_zero_gives_the_clean_point_and_an_infinite_one_only_the_box(kind, case):
    threat, rows = threat_of(kind, case), len(case.x)
    assert torch.equal(threat.project(case.x, Around(case.x0, torch.zeros(rows))), case.x0)
    boxed = threat.project(case.x, Around(case.x0, torch.full((rows,), INF)))
    assert torch.allclose(boxed, case.x.clamp(case.lo, case.hi), rtol=0, atol=ulps(case.x0, 4))


@kinds
@given(case=cases())
def test_rows_are_projected_alone_bit_for_bit(kind, case):
    threat, r = threat_of(kind, case), case.radii(threat_of(kind, case))
    together = threat.project(case.x, Around(case.x0, r))
    order = torch.randperm(len(r), generator=torch.Generator().manual_seed(len(r)))
    assert torch.equal(threat.project(case.x[order], Around(case.x0[order], r[order])), together[order])
    for i in range(len(r)):
        assert torch.equal(threat.project(case.x[i : i + 1], Around(case.x0[i : i + 1], r[i : i + 1]))[0], together[i])


@kinds
@given(case=cases(), bad=st.sampled_from([NAN, INF, -INF]))
def test_a_bad_row_leaves_its_neighbours_alone(kind, case, bad):
    threat, r = threat_of(kind, case), case.radii(threat_of(kind, case))
    clean = threat.project(case.x, Around(case.x0, r))
    x = case.x.clone()
    x[0].view(-1)[0] = bad
    z = threat.project(x, Around(case.x0, r))
    assert torch.equal(z[1:], clean[1:])
    assert not math.isnan(bad) or z[0].isnan().any() or (r[0] == 0 and torch.equal(z[0], case.x0[0]))


def nearest_by_scaling(d: np.ndarray, room: np.ndarray, r: float) -> np.ndarray:
    """For L2, by bisection in float64: min(s |d|, room) with the largest s <= 1 whose norm is at most r."""
    below, above = 0.0, 1.0
    for _ in range(100):
        s = above if np.linalg.norm(np.minimum(above * d, room)) <= r else (below + above) / 2
        below, above = (s, above) if np.linalg.norm(np.minimum(s * d, room)) <= r else (below, s)
    return np.minimum(below * d, room)


def nearest_by_shrinking(d: np.ndarray, room: np.ndarray, r: float) -> np.ndarray:
    """For L1, by bisection in float64: clip(|d| - t, 0, room) with the smallest t >= 0 whose sum is at most r."""
    below, above = 0.0, float(d.max())
    for _ in range(100):
        t = below if np.clip(d - below, 0, room).sum() <= r else (below + above) / 2
        below, above = (below, t) if np.clip(d - t, 0, room).sum() <= r else (t, above)
    return np.clip(d - above, 0, room)


def nearest_by_truncation(d: np.ndarray, room: np.ndarray, r: float) -> np.ndarray:
    return np.minimum(np.minimum(d, room), r)


@pytest.mark.parametrize(
    ("kind", "reference"), [(L1, nearest_by_shrinking), (L2, nearest_by_scaling), (Linf, nearest_by_truncation)]
)
@given(case=cases())
def test_a_projection_agrees_with_bisection(kind, reference, case):
    threat, r = threat_of(kind, case), case.radii(threat_of(kind, case))
    got = (threat.project(case.x, Around(case.x0, r)) - case.x0).flatten(1).abs().double().numpy()
    lo, hi = torch.tensor([case.lo, case.hi])  # the bounds that float32 knows
    d = (case.x - case.x0).flatten(1).double()
    room = torch.where(d > 0, hi - case.x0.flatten(1).double(), case.x0.flatten(1).double() - lo)
    for i in range(len(r)):
        wanted = reference(d[i].abs().numpy(), room[i].numpy(), float(r[i]))
        # a single free component pays for the rounding of all the others' room
        assert np.allclose(got[i], wanted, rtol=2e-6, atol=ulps(case.x0, 3) + 1e-7 * wanted.sum())


def nearest_by_programming(p: float, x: np.ndarray, x0: np.ndarray, r: float) -> np.ndarray:
    """The nearest point of ball and box [0, 1] by a general solver, from the definition alone."""
    signs = np.array(list(itertools.product([-1, 1], repeat=len(x))))
    budget = {
        1: lambda z: r - signs @ (z - x0),  # |d|_1 is the largest of these sums
        2: lambda z: [r**2 - (z - x0) @ (z - x0)],
        INF: lambda z: np.concatenate([r - (z - x0), r + (z - x0)]),
    }
    solution = minimize(
        lambda z: (z - x) @ (z - x),
        x0,
        jac=lambda z: 2 * (z - x),
        bounds=[(0, 1)] * len(x),
        constraints={"type": "ineq", "fun": budget[p]},
        method="SLSQP",
        options={"ftol": 1e-12, "maxiter": 1000},
    )
    assert solution.success
    return solution.x


@pytest.mark.parametrize("kind", [L1, L2, Linf])
@pytest.mark.parametrize("seed", range(10))
def test_a_projection_agrees_with_a_general_solver(kind, seed):
    generator = torch.Generator().manual_seed(seed)
    x0 = (1.6 * torch.rand(1, 5, generator=generator) - 0.3).clamp(0, 1)
    x = x0 + 0.7 * torch.randn(1, 5, generator=generator)
    r = 0.05 + 0.5 * torch.rand(1, generator=generator)
    got, wanted = kind().project(x, Around(x0, r))[0].double().numpy(), x[0].double().numpy()
    wanted = nearest_by_programming(kind.p, wanted, x0[0].double().numpy(), r.item())
    assert np.allclose(got, wanted, atol=1e-5)


@given(case=cases(shapes=[(1,), (4,), (2, 1, 3)]))
def test_an_l0_projection_is_the_best_of_all_supports(case):
    threat = L0().within(case.lo, case.hi)
    for k in range(4):
        z = threat.project(case.x, Around(case.x0, torch.full((len(case.x),), k + 0.5)))
        boxed, d = case.x.clamp(case.lo, case.hi).flatten(1).double(), case.x0[0].numel()
        flat, clean = case.x.flatten(1).double(), case.x0.flatten(1).double()
        best = torch.full((len(flat),), INF, dtype=torch.float64)
        for support in itertools.combinations(range(d), min(k, d)):
            chosen = torch.zeros(d, dtype=torch.bool)
            chosen[list(support)] = True
            best = best.minimum((torch.where(chosen, boxed, clean) - flat).square().sum(1))
        assert torch.allclose((z.flatten(1) - flat).square().sum(1), best, rtol=1e-5)


def test_l0_ties_go_to_the_lower_index():
    x0, x = torch.zeros(2, 4), torch.tensor([[0.5, 0.5, 0.5, 0.5], [0.2, 0.5, 0.9, 0.5]])
    z = L0().project(x, Around(x0, torch.tensor([2.0, 2.0])))
    assert z.tolist() == [[0.5, 0.5, 0, 0], [0, 0.5, x[1, 2].item(), 0]]


def test_what_the_box_takes_from_one_component_the_others_get():
    x0, x = torch.tensor([[0.0, 0.5, 0.5]]), torch.tensor([[-0.4, 0.8, 0.1]])
    shrunk_then_clipped = torch.tensor([0.0, 0.3, -0.4]) * 0.25 / 0.41**0.5
    z = L2().project(x, Around(x0, torch.tensor([0.25])))
    assert torch.allclose(z - x0, torch.tensor([[0.0, 0.15, -0.2]]))
    assert (z - x0).norm() > 1.2 * shrunk_then_clipped.norm()
    assert torch.allclose(L1().project(x, Around(x0, torch.tensor([0.3]))) - x0, torch.tensor([[0.0, 0.1, -0.2]]))


@pytest.mark.parametrize("kind", [L1, L2])
@pytest.mark.parametrize("bound", [0.1, 0.9])
def test_components_at_their_bound_take_nothing_from_the_others(kind, bound):
    x0 = torch.full((1, 5000), bound)  # not a number of float32: a bound read in float64 would leave them some room
    x0[0, 0] = 0.5
    z = kind().within(0.1, 0.9).project(x0 + (bound - 0.5) * 1e4, Around(x0, torch.tensor([0.2])))
    assert (z - x0)[0, 0].abs().item() == pytest.approx(0.2, rel=1e-6)
    assert torch.equal(z[:, 1:], x0[:, 1:])


@pytest.mark.parametrize("kind", [L1, L2])
def test_equal_components_far_away_do_not_leave_the_ball(kind):
    x0 = torch.full((1, 3, 64, 64), 0.25)  # an error of one ulp in a threshold would count 12,288 times
    z = kind().project(x0 + 0.5, Around(x0, torch.tensor([1.0])))
    assert kind().norm(z - x0).item() == pytest.approx(1, rel=1e-5 if kind is L2 else 3e-4)
    assert kind().holds(z, Around(x0, torch.tensor([1.0]))).all()


@given(size=st.sampled_from([1e-30, 1e15, 1e30]))
@kinds
def test_points_of_any_size_project(kind, size):
    x0, x = torch.full((1, 4), 0.5), 0.5 + size * torch.tensor([[1.0, -1.0, 0.5, 0.0]])
    for r in (0.25, INF):
        z = kind().project(x, Around(x0, torch.tensor([r])))
        assert kind().holds(z, Around(x0, torch.tensor([r])))
        assert size < 1 or kind is L0 or (kind is L1 and size > 1e15) or (z[0, 0] > 0.5 > z[0, 1])


@kinds
@pytest.mark.parametrize("size", [1e10, 1e12, 1e13, 1e14])
def test_points_so_far_that_no_float_is_the_threshold_still_end_inside(kind, size):
    x0, r = torch.full((500, 2), 0.5), torch.linspace(0.01, 1, 500)
    assert kind().holds(kind().project(x0 + size, Around(x0, r)), Around(x0, r)).all()


# ------------------------------------------------------------------ membership


@kinds
def test_membership_ends_at_the_radius(kind):
    threat, x0 = kind(), torch.full((2, 3, 8, 8), 0.5)
    u = threat.steepest(torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0)))
    x = x0 + 0.2 * u
    r = threat.norm(x - x0)
    assert threat.holds(x, Around(x0, r)).all()
    assert not threat.holds(x, Around(x0, r * (1 - 1e-4))).any()
    assert threat.holds(x, Around(x0, r * (1 - 5e-6))).all() == (kind is not L0)  # a count has no rounding
    assert threat.holds(x, Around(x0, torch.tensor([INF, 0.0]))).tolist() == [True, False]


@kinds
@pytest.mark.parametrize("outside", [NAN, INF, -INF, 1 + 2.0**-23, -1e-45])
def test_membership_ends_at_the_box(kind, outside):
    x0 = torch.rand(2, 3, 4, generator=torch.Generator().manual_seed(0))
    x = x0.clone()
    x[1, 2, 3] = outside
    assert kind().holds(x, Around(x0, torch.tensor([INF, INF]))).tolist() == [True, False]


def test_membership_allows_no_more_than_the_rounding_of_a_stored_point():
    x0, r = torch.full((1, 150_528), 0.7), torch.zeros(1)
    off = x0 + 2.0**-22  # four times what rounding explains
    assert not any(kind().holds(off, Around(x0, r)) for kind in KINDS)
    assert L0().holds(x0, Around(x0, r))


@pytest.mark.parametrize("kind", [Linf, L2, L1])
def test_a_norm_of_many_components_is_accurate(kind):
    d = torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(0)) * torch.tensor([0.1, 1e-3]).view(
        2, 1, 1, 1
    )
    wanted = d.flatten(1).double().norm(p=kind.p, dim=1)
    assert torch.allclose(kind().norm(d).double(), wanted, rtol=1e-6)


# ------------------------------------------------------------------ steepest direction


@kinds
@given(case=cases(), scale=st.sampled_from([1e-40, 1e-30, 1e-3, 1.0, 1e30]))
@example(case=Case(0, 1, torch.zeros(1, 3), torch.zeros(1, 3), torch.zeros(1), torch.zeros(1).long()), scale=1.0)
def test_the_steepest_direction_attains_the_dual_norm(kind, case, scale):
    threat, g = kind(), (case.x - case.x0) / max(float((case.x - case.x0).abs().max()), 1) * scale
    u = threat.steepest(g)
    product = (g.double() * u.double()).flatten(1).sum(1)
    assert torch.allclose(product, threat.dual(g).double(), rtol=1e-5, atol=1e-44)
    assert (threat.norm(u) <= 1 + 1e-6).all()
    still = (g == 0).flatten(1).all(1)
    assert not u[still].any()
    assert torch.allclose(threat.norm(u)[~still], torch.ones(()), atol=1e-6)


@pytest.mark.parametrize("kind", [L1, L0])
def test_the_steepest_single_component_is_the_first_of_the_largest(kind):
    g = torch.tensor([[[1.0, -3.0], [3.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]]])
    assert kind().steepest(g).tolist() == [[[0, -1], [0, 0]], [[0, 0], [0, 0]]]


@kinds
@given(case=cases())
def test_rows_are_measured_and_drawn_alone_bit_for_bit(kind, case):
    threat, r = threat_of(kind, case), case.radii(threat_of(kind, case))
    for method in (threat.norm, threat.dual, threat.steepest):
        together = method(case.x)
        for i in range(len(r)):
            assert torch.equal(method(case.x[i : i + 1])[0], together[i])
    together = threat.sample(Around(case.x0, r), case.key)
    for i in range(len(r)):
        alone = threat.sample(Around(case.x0[i : i + 1], r[i : i + 1]), case.key[i : i + 1])
        assert torch.equal(alone[0], together[i])


# ------------------------------------------------------------------ random points

ROWS = 4000
SIGNIFICANT = 1e-3  # the draws are fixed, so a test that passes once passes always


def draws(threat: Threat, x0: Tensor, r: float) -> Tensor:
    """(ROWS, D) changes of the same point, from different keys."""
    points = threat.sample(Around(x0.expand(ROWS, -1), torch.full((ROWS,), r)), keys(0, torch.arange(ROWS)))
    return points - x0


@kinds
@given(case=cases())
def test_a_random_point_is_in_the_set(kind, case):
    threat, r = threat_of(kind, case), case.radii(threat_of(kind, case))
    x = threat.sample(Around(case.x0, r), case.key)
    assert x.shape == case.x0.shape
    assert threat.holds(x, Around(case.x0, r)).all()
    assert torch.equal(x[r == 0], case.x0[r == 0])


@kinds
def test_a_random_point_of_an_infinite_ball_is_uniform_in_the_box(kind):
    d = draws(kind().within(-1, 3), torch.tensor([[-1.0, 0.0, 3.0]]), INF) + torch.tensor([[-1.0, 0.0, 3.0]])
    for component in d.T:
        assert kstest(component.numpy(), "uniform", (-1, 4)).pvalue > SIGNIFICANT
    assert d.T.corrcoef().fill_diagonal_(0).abs().max() < 4 / ROWS**0.5


def test_a_random_point_of_linf_is_uniform_on_ball_and_box():
    x0 = torch.tensor([[0.0, 0.05, 0.5, 1.0]])
    x = x0 + draws(Linf(), x0, 0.1)
    for component, low, high in zip(x.T, (0, 0, 0.4, 0.9), (0.1, 0.15, 0.6, 1), strict=True):
        assert kstest(component.numpy(), "uniform", (low, high - low)).pvalue > SIGNIFICANT
    assert x.T.corrcoef().fill_diagonal_(0).abs().max() < 4 / ROWS**0.5


@pytest.mark.parametrize("kind", [L1, L2])
def test_a_random_point_of_a_ball_is_uniform_in_it(kind):
    d = draws(kind(), torch.full((1, 5), 0.5), 0.2)
    assert kstest(((kind().norm(d) / 0.2) ** 5).numpy(), "uniform").pvalue > SIGNIFICANT
    assert d.T.corrcoef().fill_diagonal_(0).abs().max() < 4 / ROWS**0.5
    assert d.mean(0).abs().max() < 4 * d.std() / ROWS**0.5
    for i, j in itertools.pairwise(range(5)):
        assert kstest(d[:, i].numpy(), d[:, j].numpy()).pvalue > SIGNIFICANT


def test_a_random_direction_of_l1_is_uniform_on_its_sphere():
    d = draws(L1(), torch.full((1, 4), 0.5), 0.2)
    share = d.abs() / d.abs().sum(1, keepdim=True)  # uniform on the simplex: each is Beta(1, 3)
    for component in share.T:
        assert kstest(component.numpy(), "beta", (1, 3)).pvalue > SIGNIFICANT


def test_a_random_point_of_l0_changes_that_many_random_components():
    d = draws(L0(), torch.full((1, 8), 0.5), 3.7)
    assert (L0().norm(d) == 3).all()
    assert ((d != 0).float().mean(0) - 3 / 8).abs().max() < 4 * (3 / 8 * 5 / 8 / ROWS) ** 0.5
    assert kstest((d[d != 0] + 0.5).numpy(), "uniform").pvalue > SIGNIFICANT


# ------------------------------------------------------------------ text form


@pytest.mark.parametrize(
    ("text", "threat"),
    [
        ("linf:8/255", Linf(8 / 255)),
        ("l2:0.5", L2(0.5)),
        ("l1:12", L1(12)),
        ("L0:10", L0(10)),
        ("linf", Linf()),
        (" l2 ", L2()),
        ("l2:inf", L2(INF)),
        ("linf:1e-3", Linf(0.001)),
    ],
)
def test_threats_are_read_from_text(text, threat):
    assert parse_ball(text) == threat


@pytest.mark.parametrize(
    "text", ["", "l3:1", "linf:", "linf:x", "linf:1/0", "linf:1/2/3", "8/255", "linf=0.1", "l2:0,5"]
)
def test_a_text_that_is_no_threat_is_refused_with_the_accepted_forms(text):
    with pytest.raises(InputError, match=r"linf, l2, l1, l0.*linf:8/255.*got") as refused:
        parse_ball(text)
    assert repr(text) in str(refused.value)


@kinds
@pytest.mark.parametrize("radius", [-0.1, NAN, -INF])
def test_a_radius_below_zero_is_refused(kind, radius):
    with pytest.raises(InputError, match=r"expected (a radius of at least 0|radius of L.* to be a number.*), got"):
        kind(radius)
    with pytest.raises(InputError, match=r"expected (a radius of at least 0|radius of L.* to be a number.*), got"):
        parse_ball(f"{kind.name}:{radius}")


@kinds
@pytest.mark.parametrize(("lo", "hi"), [(1, 0), (0, 0), (0, INF), (NAN, 1)])
def test_a_box_without_room_or_end_is_refused(kind, lo, hi):
    with pytest.raises(InputError, match=r"finite bounds lo < hi|expected lo of L.* to be a number"):
        kind().within(lo, hi)


@kinds
@given(radius=st.none() | st.floats(min_value=0) | st.integers(0, 255))
def test_the_text_form_is_exact(kind, radius):
    threat = kind(radius)
    assert parse_ball(threat.spec) == threat
    assert parse_ball(threat.spec).within(-1, 2) == threat.within(-1, 2) != threat


def test_the_text_form_of_a_numpy_radius_is_that_of_its_number():
    assert L2(np.float64(0.5)).spec == "l2:0.5"
