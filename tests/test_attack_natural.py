import math

import pytest
import torch
from scipy.ndimage import gaussian_filter, map_coordinates
from torch import Tensor, nn

from blindspots.attacks import Attack
from blindspots.attacks.natural.corruptions import AdditiveNoise, Blur, Contrast, SaltAndPepper
from blindspots.attacks.natural.line import LineSearch
from blindspots.attacks.natural.rotate import RotateTranslate, RotateTranslatePGD, moved
from blindspots.attacks.natural.stadv import StAdv, carried, roughness
from blindspots.ball import L0, L1, L2, Linf
from blindspots.objective import Objective
from blindspots.problem import Job, Problem
from blindspots.random import keys
from blindspots.threat import Threat
from closed_form import Known, Linear, optimum, plane
from searching import kinds, search, unbounded

BOX = L2(None, -1.0, 2.0)
PROBLEM = Problem(Objective(), BOX)


def pictures(rows: int, *shape: int) -> Tensor:
    return BOX.lo + (BOX.hi - BOX.lo) * torch.rand(rows, *shape, generator=torch.Generator().manual_seed(0))


def job_of(x: Tensor) -> Job:
    none = torch.zeros(len(x), dtype=torch.int64)
    return Job(x, torch.full((len(x),), math.inf), x, none, none, keys(0, none), torch.zeros(len(x), 2))


def corrupted(attack: LineSearch, x: Tensor, amount: float, draw: int = 0) -> Tensor:
    job = job_of(x)
    return attack.at(Problem(Objective(), BOX), job, torch.full((len(x),), amount), torch.full_like(job.y, draw))


# ------------------------------------------------------------------ corruptions


def faded() -> Known:
    """Rows that are classified as class 0 with a margin of their own, and the other way round on grey."""
    known = plane(16, (3, 4, 4), gap=(0.05, 0.3))
    x = known.x[known.y == 0]
    bias = known.net.bias.detach().clone()
    weight = known.net.weight.detach()
    grey = torch.full_like(x[:1], 0.5).flatten(1) @ weight.T + bias
    bias[1] += (grey[0, 0] - grey[0, 1]) + 0.05  # grey is class 1, by a little
    net = Linear(weight, bias)
    with torch.no_grad():
        x = x[net(x).argmax(1) == 0]
    return Known(net, x, torch.zeros(len(x), dtype=torch.int64))


def where_contrast_fails(known: Known) -> Tensor:
    """The share of the way to grey at which the margin, linear on the way, is zero: (B,)."""
    with torch.no_grad():
        here, there = (
            Objective().margin(known.net(x), known.y, known.y) for x in (known.x, torch.full_like(known.x, 0.5))
        )
    return here / (here - there)


@pytest.mark.parametrize("threat", kinds(Contrast()), ids=lambda threat: threat.name)
def test_contrast_ends_where_the_line_to_grey_crosses_the_boundary(threat: Threat) -> None:
    known, attack = faded(), Contrast()
    assert len(known.y) >= 3
    share, ledger = where_contrast_fails(known), search(attack, known, threat, unbounded(known))
    whole = threat.norm(known.x - 0.5)
    assert ledger.won.all()
    assert (ledger.norm >= share * whole * (1 - 1e-4)).all()
    assert (ledger.norm <= (share + 2 / (attack.steps * 2**attack.halvings)) * whole).all()
    climbed = (share * attack.steps).ceil()
    assert (ledger.forwards == 1 + climbed + attack.halvings).all()
    assert (ledger.backwards == 0).all()


def test_a_ball_that_is_just_too_small_wins_nothing() -> None:
    known = faded()
    nearest = where_contrast_fails(known) * L2().norm(known.x - 0.5)
    assert not search(Contrast(), known, L2(), 0.98 * nearest).won.any()
    assert search(Contrast(), known, L2(), 1.02 * nearest).won.all()


NOISES = [AdditiveNoise(draws=5), AdditiveNoise("uniform", draws=5), SaltAndPepper(draws=5)]


@pytest.mark.parametrize("attack", NOISES, ids=str)
def test_noise_finds_what_is_there_and_nothing_nearer_than_the_boundary(attack: Attack) -> None:
    for threat in kinds(attack):
        gap = (1.0, 2.5) if threat.p == 0 else (0.05, 0.3)
        known = plane(16, (3, 4, 4), gap)
        ledger, nearest = search(attack, known, threat, unbounded(known)), optimum(known, threat)
        assert ledger.won.float().mean() > 0.5
        assert (ledger.norm >= nearest * (1 - 1e-4)).all()
        assert not search(attack, known, threat, 0.95 * nearest).won.any()


@pytest.mark.parametrize("kind", [AdditiveNoise, SaltAndPepper])
def test_more_draws_find_smaller_distances_for_few_looks(kind: type[AdditiveNoise] | type[SaltAndPepper]) -> None:
    known = plane(16, (3, 4, 4), gap=(0.05, 0.3))
    few, many = (search(kind(draws=n), known, L2(), unbounded(known)) for n in (1, 40))
    assert (many.norm <= few.norm).all()
    assert many.won.all()
    both = few.won
    assert many.norm[both].mean() < 0.9 * few.norm[both].mean()
    assert many.forwards.double().mean() < 32 + 8 + 40 * 4


def test_draws_inside_of_a_ball_use_its_whole_radius() -> None:
    known = plane(16, (3, 4, 4), gap=(0.05, 0.3))
    alone = search(AdditiveNoise(draws=1), known, L2(), unbounded(known)).norm
    r = torch.where(alone.isfinite(), 0.9 * alone, 1.0)  # the first draw does not win inside
    assert not search(AdditiveNoise(draws=1), known, L2(), r).won.any()
    assert search(AdditiveNoise(draws=200), known, L2(), r).won.float().mean() > 0.5


@pytest.mark.parametrize("attack", [*NOISES, Blur(), Contrast()], ids=str)
def test_a_search_never_looks_more_often_than_it_says(attack: Attack) -> None:
    for gap in ((0.05, 0.3), (5.0, 6.0)):
        known = plane(8, (3, 4, 4), gap)
        ledger = search(attack, known, L2(), unbounded(known))
        assert (ledger.forwards <= 1 + attack.looks).all()
        assert ledger.forwards.max() > 8


def test_noise_has_the_size_that_it_says() -> None:
    x = torch.full((4, 3, 40, 40), 0.5)
    for attack in (AdditiveNoise(most=0.2), AdditiveNoise("uniform", most=0.2)):
        noise = corrupted(attack, x, 0.5) - x
        assert noise.std() == pytest.approx(0.2 * 3 * 0.25, rel=0.03)
        assert abs(noise.mean()) < 0.01
        assert not torch.equal(noise, corrupted(attack, x, 0.5, draw=1) - x)
    assert noise.abs().max() <= 0.2 * 3 * 0.25 * 3**0.5 + 1e-6


def test_salt_and_pepper_turns_whole_pixels_and_only_adds_to_them() -> None:
    x = torch.full((4, 3, 40, 40), 0.5)
    little, more = (corrupted(SaltAndPepper(), x, amount) for amount in (0.3, 0.6))
    changed = little != x
    assert (changed == changed[:, :1]).all()
    assert changed.float().mean() == pytest.approx(0.09, abs=0.02)
    assert (more != x).float().mean() == pytest.approx(0.36, abs=0.03)
    assert torch.equal(more[changed], little[changed])
    assert set(little[changed].tolist()) == {BOX.lo, BOX.hi}
    assert (little[changed] == BOX.hi).float().mean() == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("amount", [0.05, 0.3, 0.6, 1.0])
def test_blur_is_that_of_scipy(amount: float) -> None:
    x = pictures(3, 2, 9, 12)
    sigma = amount**2 * 12
    wanted = gaussian_filter(x.double().numpy(), (0, 0, sigma, sigma), mode="reflect", truncate=12)
    assert torch.allclose(corrupted(Blur(), x, amount), torch.from_numpy(wanted).float(), atol=2e-3)


class Sharp(nn.Module):
    """Class 0 as long as the middle pixel is brighter than the mean by more than 0.3."""

    def forward(self, x: Tensor) -> Tensor:
        margin = x[:, 0, 4, 4] - x.flatten(1).mean(1) - 0.3
        return torch.stack([margin, -margin], 1)


def point(rows: int = 3) -> Known:
    x = torch.zeros(rows, 1, 9, 9)
    x[:, 0, 4, 4] = torch.linspace(0.6, 1.0, rows)
    return Known(Sharp(), x, torch.zeros(rows, dtype=torch.int64))


def test_blur_finds_the_least_that_hides_a_point() -> None:
    known, attack = point(), Blur()
    ledger = search(attack, known, L2(), unbounded(known))
    assert ledger.won.all()
    tried = [
        gaussian_filter(known.x.double().numpy(), (0, 0, s, s), mode="reflect")
        for s in torch.arange(0.1, 3, 0.01).tolist()
    ]
    for row in range(3):
        fools = (torch.from_numpy(t[row : row + 1]).float() for t in tried)
        first = next(t for t in fools if known.net(t).argmax() == 1)
        assert ledger.norm[row] == pytest.approx(float((first - known.x[row]).norm()), rel=0.02)


# ------------------------------------------------------------------ rotations and shifts


def turned(x: Tensor, move: list[float], degrees: float = 90.0, shift: float = 0.25) -> Tensor:
    return moved(PROBLEM, job_of(x), torch.tensor([move]).expand(len(x), 3), degrees, shift)


def test_a_quarter_turn_is_one() -> None:
    x = pictures(2, 3, 8, 8)
    assert torch.allclose(turned(x, [1, 0, 0]), x.rot90(-1, (2, 3)), atol=1e-4)
    assert torch.allclose(turned(x, [0, 0, 0]), x, atol=1e-6)


def test_a_shift_by_whole_pixels_is_one_and_leaves_the_lower_bound() -> None:
    x = pictures(2, 3, 8, 12)
    wanted = torch.full_like(x, BOX.lo)
    wanted[:, :, 2:, 3:] = x[:, :, :-2, :-3]
    assert torch.allclose(turned(x, [0, 1, 1]), wanted, atol=1e-4)


def test_an_angle_in_between_is_interpolated_as_scipy_does() -> None:
    x, angle = pictures(1, 1, 9, 9), math.radians(30)
    line, column = torch.meshgrid(torch.arange(9) - 4.0, torch.arange(9) - 4.0, indexing="ij")
    at = [math.cos(angle) * line - math.sin(angle) * column + 4, math.sin(angle) * line + math.cos(angle) * column + 4]
    wanted = map_coordinates(x[0, 0].numpy() - BOX.lo, [a.numpy() for a in at], order=1, mode="grid-constant") + BOX.lo
    assert torch.allclose(turned(x, [1, 0, 0], degrees=30)[0, 0], torch.from_numpy(wanted), atol=1e-4)


def test_the_grid_goes_from_small_moves_to_large_ones_and_leaves_out_none() -> None:
    attack = RotateTranslate()
    assert attack.looks == 31 * 5 * 5 - 1
    known = point()
    blind = Known(Linear(torch.zeros(2, 81), torch.tensor([1.0, 0.0])), known.x, known.y)
    assert search(attack, blind, L2(), unbounded(blind)).forwards.tolist() == [1 + attack.looks] * 3


def test_a_row_ends_with_the_smallest_move_that_wins() -> None:
    known = point()
    one_pixel = RotateTranslate(degrees=0.0, shift=1 / 9, rotations=1, shifts=3)
    ledger = search(one_pixel, known, L2(), unbounded(known))
    assert ledger.won.all()
    assert ledger.forwards.tolist() == [2] * 3
    assert torch.allclose(ledger.norm, known.x.amax((1, 2, 3)) * 2**0.5, rtol=1e-4)  # the point is elsewhere
    assert not search(RotateTranslate(degrees=90.0, shift=0.0), known, L2(), unbounded(known)).won.any()


def test_only_a_win_inside_of_the_ball_ends_a_row() -> None:
    known = point()
    attack = RotateTranslate(degrees=0.0, shift=1 / 9, rotations=1, shifts=3)
    ledger = search(attack, known, L2(), torch.full((3,), 1.0))
    assert ledger.won.tolist() == [True, False, False]  # sqrt(2) times 0.6, 0.8 and 1.0
    assert ledger.forwards.tolist() == [2, 9, 9]


def test_random_moves_are_as_many_as_asked_for_and_keep_to_the_limits() -> None:
    known = point()
    assert (
        search(RotateTranslate(degrees=5.0, shift=0.02, tries=7), known, L2(), unbounded(known)).forwards[2].item() == 8
    )
    assert search(RotateTranslate(shift=0.3, tries=20), known, L2(), unbounded(known)).won.all()


class Left(nn.Module):
    """Class 0 as long as the left half is the brighter one. Smooth in every shift and turn."""

    def forward(self, x: Tensor) -> Tensor:
        slope = torch.linspace(-1, 1, x.shape[3])
        margin = -(x * slope).flatten(1).sum(1)
        return torch.stack([margin, -margin], 1)


def blob(rows: int = 4) -> Known:
    i = torch.arange(15.0)
    middle = torch.linspace(4.6, 6.0, rows)[:, None, None]
    x = torch.exp(-((i[:, None] - 7) ** 2 + (i - middle) ** 2) / 8)[:, None]
    return Known(Left(), x, torch.zeros(rows, dtype=torch.int64))


def test_descent_finds_the_shift_that_is_needed() -> None:
    known = blob()
    enough = RotateTranslatePGD(degrees=10.0, shift=3 / 15, random_start=False)
    ledger = search(enough, known, L2(), unbounded(known))
    assert ledger.won.all()
    assert (ledger.forwards < 1 + enough.looks).all()
    assert (ledger.backwards == ledger.forwards - 1).all()
    too_little = RotateTranslatePGD(degrees=0.0, shift=0.5 / 15, steps=10)
    ledger = search(too_little, known, L2(), unbounded(known))
    assert not ledger.won.any()
    assert ledger.forwards.tolist() == [12] * 4
    assert ledger.backwards.tolist() == [10] * 4


# ------------------------------------------------------------------ flows


def test_a_constant_flow_is_a_shift() -> None:
    x = pictures(2, 3, 6, 7)
    flow = torch.tensor([1.0, -2.0])[None, :, None, None].expand(2, 2, 6, 7)
    assert torch.allclose(carried(PROBLEM, job_of(x), flow)[:, :, :-1, 2:], x[:, :, 1:, :-2], atol=1e-5)
    assert torch.allclose(carried(PROBLEM, job_of(x), 0 * flow), x, atol=1e-6)


def test_roughness_counts_every_pair_of_neighbours_once() -> None:
    flow = torch.zeros(1, 2, 5, 5)
    assert roughness(flow).item() == pytest.approx(0, abs=0.01)
    flow[0, :, 2, 2] = torch.tensor([3.0, 4.0])
    assert roughness(flow).item() == pytest.approx(4 * 5, abs=0.01)


def test_a_flow_carries_a_blob_across_the_border() -> None:
    known, attack = blob(), StAdv()
    ledger = search(attack, known, L2(), unbounded(known))
    assert ledger.won.all()
    shifted = search(RotateTranslate(degrees=0.0, shift=4 / 15, rotations=1, shifts=41), known, L2(), unbounded(known))
    assert (ledger.norm < 1.2 * shifted.norm).all()
    assert ledger.forwards.tolist() == [2 + attack.steps] * 4
    assert ledger.backwards.tolist() == [attack.steps] * 4
    with torch.no_grad():
        assert (known.net(ledger.best).argmax(1) == 1).all()


def test_a_flow_keeps_to_its_limit() -> None:
    known = blob()
    assert not search(StAdv(30, most=0.1 / 15), known, L2(), unbounded(known)).won.any()


@pytest.mark.parametrize("scale", [0.01, 100.0])
def test_the_scale_of_the_scores_does_not_decide_where_a_flow_ends(scale: float) -> None:
    known = blob()

    class Scaled(Left):
        def forward(self, x: Tensor) -> Tensor:
            return scale * super().forward(x)

    usual = search(StAdv(), known, L2(), unbounded(known)).norm
    other = search(StAdv(), Known(Scaled(), known.x, known.y), L2(), unbounded(known))
    assert other.won.all()
    assert (other.norm <= 1.5 * usual).all()


def test_threats_that_can_be_measured() -> None:
    assert [t.name for t in kinds(SaltAndPepper())] == [Linf.name, L2.name, L1.name, L0.name]
