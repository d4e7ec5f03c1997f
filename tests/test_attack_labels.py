"""Attacks that see the predicted label alone."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from blindspots.attacks.attack import Attack
from blindspots.attacks.labels.blended_noise import BlendedNoise
from blindspots.attacks.labels.boundary import Boundary
from blindspots.attacks.labels.geoda import GeoDA
from blindspots.attacks.labels.hopskipjump import HopSkipJump
from blindspots.attacks.labels.oars_labels import OARSLabels
from blindspots.attacks.labels.poll import Labels, grain
from blindspots.attacks.labels.rays import RayS, _block, _places
from blindspots.attacks.labels.sign_opt import SignOPT
from blindspots.attacks.labels.start import LabelSearch, noise
from blindspots.ball import BALLS, L1, L2, Linf
from blindspots.engine.result import Result
from blindspots.objective import Objective
from blindspots.problem import Job, Problem
from blindspots.random import keys
from blindspots.testing.attack import Flat
from blindspots.threat import Threat
from closed_form import Ball, Known, ball, optimum, plane
from searching import search, unbounded

NEVER_BELOW = 1 - 3e-5
PLANES = [
    (HopSkipJump(400), L2(), 1.1, (24,)),
    (HopSkipJump(400), Linf(), 1.15, (2, 3, 4)),
    (OARSLabels(400), L2(), 1.15, (24,)),
    (OARSLabels(400), Linf(), 1.15, (2, 3, 4)),
    (GeoDA(400), L2(), 1.25, (2, 3, 4)),
    (GeoDA(400), Linf(), 1.15, (24,)),
    (GeoDA(400), L1(), 1.05, (2, 3, 4)),
    (SignOPT(400), L2(), 1.1, (2, 3, 4)),
    (Boundary(400), L2(), 1.1, (2, 3, 4)),
    (RayS(200), Linf(), 1.03, (2, 3, 4)),
    (RayS(200), Linf(), 1.03, (24,)),
]
STARTED = [HopSkipJump(60), GeoDA(60), SignOPT(60), Boundary(60), BlendedNoise(60)]


@pytest.mark.parametrize(("attack", "threat", "tolerance", "shape"), PLANES, ids=str)
def test_the_distance_to_a_plane_is_found_and_a_ball_just_too_small_wins_nothing(
    attack: Attack, threat: Threat, tolerance: float, shape: tuple[int, ...]
) -> None:
    known = plane(4, shape, gap=(0.05, 0.3))
    nearest = optimum(known, threat)
    ledger = search(attack, known, threat, nearest * torch.tensor([math.inf, 0.98, tolerance, math.inf]))
    assert ledger.won.tolist() == [True, False, True, True]
    ratio = (ledger.norm / nearest)[ledger.won]
    assert (ratio >= NEVER_BELOW).all()
    assert (ratio <= 1.0001 * tolerance).all()


def test_hopskipjump_comes_within_three_per_cent_in_1500_queries() -> None:
    known = plane(2, (24,), gap=(0.05, 0.3))
    ratio = search(HopSkipJump(1500), known, L2(), unbounded(known)).norm / optimum(known, L2())
    assert (ratio <= 1.03).all()


@pytest.mark.parametrize("attack", [HopSkipJump(300), SignOPT(300), Boundary(300), GeoDA(300)], ids=str)
def test_a_curved_boundary_is_found_from_both_sides(attack: Attack) -> None:
    known = ball(4, 6)
    ratio = search(attack, known, L2(), unbounded(known)).norm / optimum(known, L2())
    assert (ratio >= NEVER_BELOW).all()
    assert (ratio <= 1.1).all()


@pytest.mark.parametrize("attack", STARTED, ids=str)
def test_with_two_classes_a_target_changes_nothing(attack: Attack) -> None:
    known = plane(4, (24,), gap=(0.05, 0.3))
    aimed = search(attack, known, L2(), unbounded(known), Objective(targeted=True))
    assert aimed.won.all()
    assert torch.equal(aimed.norm, search(attack, known, L2(), unbounded(known)).norm)


@pytest.mark.parametrize("attack", STARTED, ids=str)
def test_a_model_that_never_changes_its_label_gives_no_start(attack: LabelSearch) -> None:
    known = Known(Flat(), torch.rand(3, 2, 5, generator=torch.Generator().manual_seed(0)), torch.zeros(3).long())
    ledger = search(replace(attack, tries=7), known, L2(), unbounded(known))
    assert ledger.result.tolist() == [Result.NO_START] * 3
    assert ledger.forwards.tolist() == [1 + 7] * 3
    assert not ledger.won.any()


def test_rays_needs_no_start() -> None:
    known = Known(Flat(), torch.rand(3, 2, 5, generator=torch.Generator().manual_seed(0)), torch.zeros(3).long())
    ledger = search(RayS(20), known, Linf(), unbounded(known))
    assert ledger.result.tolist() == [Result.STOOD] * 3


@pytest.mark.parametrize("attack", [*STARTED, RayS(60)], ids=str)
def test_every_query_counts_and_none_is_made_beyond_the_budget(attack: Attack) -> None:
    known = plane(4, (2, 3, 4), gap=(0.05, 0.3))
    ledger = search(attack, known, BALLS[attack.threats[0]](), unbounded(known))
    assert ledger.forwards.tolist() == [1 + 60] * 4
    assert ledger.backwards.tolist() == [0] * 4


@pytest.mark.parametrize("attack", STARTED, ids=str)
def test_a_start_that_wins_is_never_lost(attack: LabelSearch) -> None:
    """Only images far on the other side win, no random image does: the given one is bisected."""
    few = replace(attack, tries=6)
    known = Known(Ball(torch.full((40,), 0.5), 3.1), torch.full((2, 40), 0.5), torch.zeros(2).long())
    start = torch.stack([torch.ones(40), torch.zeros(40)])
    assert search(few, known, L2(), unbounded(known)).result.tolist() == [Result.NO_START] * 2
    ledger = search(few, known, L2(), unbounded(known), start=start)
    assert ledger.won.all()
    assert (ledger.norm < 3.15).all()


def test_the_normal_of_a_plane_is_what_its_labels_say() -> None:
    g = torch.Generator().manual_seed(0)
    wanted, job = torch.randn(2, 6, generator=g), job_of(torch.zeros(2, 6))
    labels = Labels.none(job)
    for _ in range(2000):
        u = torch.randn(2, 6, generator=g)
        labels = labels.add(u, (u * wanted).sum(1) > 0.3)  # the point is a little off the plane
    assert (torch.cosine_similarity(labels.normal(), wanted) > 0.99).all()
    agreed = Labels.none(job).add(wanted, torch.tensor([True, False]))
    assert torch.equal(agreed.normal(), wanted * torch.tensor([[1.0], [-1.0]]))


def test_coarse_steps_are_smooth_and_half_of_them() -> None:
    job = job_of(torch.zeros(400, 1, 16, 16))
    drawn = grain(job, torch.zeros(400, dtype=torch.int64), 4, torch.full((400,), 0.5))
    rough = drawn.diff(dim=3).square().mean((1, 2, 3)) / drawn.square().mean((1, 2, 3))
    assert 0.4 < (rough < 0.5).float().mean() < 0.6
    assert ((rough < 0.5) | (rough > 1.5)).all()


def test_random_images_fill_the_box_and_every_second_one_has_blocks() -> None:
    job, problem = job_of(torch.zeros(200, 3, 8, 8)), Problem(Objective(), L2(lo=-1.0, hi=3.0))
    pixels, blocks = (noise(problem, job, torch.full((200,), n)) for n in (0, 1))
    for drawn in (pixels, blocks):
        assert -1 <= drawn.min() < -0.9
        assert 2.9 < drawn.max() <= 3
        assert abs(drawn.mean() - 1) < 0.1
    assert all(len(image.unique()) > 0.99 * image.numel() for image in pixels)
    assert min(len(image.unique()) for image in blocks) == 3  # one block per channel


@pytest.mark.parametrize("shape", [(7,), (3, 8, 8), (2, 5, 6)], ids=str)
def test_rays_flips_every_component_once_on_every_level(shape: tuple[int, ...]) -> None:
    x = torch.zeros(1, *shape)
    size = x.numel()
    depth = math.ceil(math.log2(size))
    for level in range(depth + 1):
        parts = min(2**level, size)
        flips = [_block(job_of(x), torch.tensor([2**level - 1 + b])) for b in range(parts)]
        assert torch.stack(flips).sum(0).eq(1).all()
    assert torch.equal(_places(x).sort().values, torch.arange(size))


def test_blocks_of_rays_are_patches() -> None:
    quarter = _block(job_of(torch.zeros(1, 3, 8, 8)), torch.tensor([3 + 0]))[0]
    assert quarter[:, :4, :4].all()
    assert quarter.sum() == 3 * 16


def job_of(x: Tensor) -> Job:
    none, rows = torch.zeros(len(x), dtype=torch.int64), torch.arange(len(x))
    return Job(x, torch.full((len(x),), math.inf), x, none, none, keys(0, rows), torch.zeros(len(x), 2))
