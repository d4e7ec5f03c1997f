"""The parts of a search for universal perturbations: what is shared, views, losses, rows, what is measured."""

from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import blindspots as bs
from blindspots.attacks.views.views import View
from blindspots.data import splits
from blindspots.data.splits import Rows, divide, shuffled
from blindspots.errors import InputError
from blindspots.experiments.universal.controls import controls
from blindspots.experiments.universal.losses import Clamped, Cosine, Sum, clamped
from blindspots.experiments.universal.measure import (
    fooled,
    predictions,
    random_direction,
    random_signs,
    scaled,
    share,
)
from blindspots.experiments.universal.methods import METHODS, SGA, SGD, UAP, parse_method
from blindspots.experiments.universal.methods.datafree import Activations
from blindspots.experiments.universal.methods.method import Method
from blindspots.experiments.universal.parametrisation import Additive, Parametrisation
from blindspots.experiments.universal.search import SearchState, run
from blindspots.experiments.universal.stream import Proxies
from blindspots.experiments.universal.task import Task
from blindspots.experiments.universal.transformations import Crop, Flip, parse_transformations
from blindspots.models.model import Model
from blindspots.objective import Objective
from blindspots.oracle import Oracle
from blindspots.problem import Aim
from blindspots.random import keys
from blindspots.records import clopper_pearson
from blindspots.threat import Threat
from closed_form import Linear

SHAPES = [(6,), (5, 7), (1, 8, 8), (3, 5, 6)]
THREATS = [bs.Linf(0.1), bs.L2(0.5)]


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def normals(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def numbered(rows: int, shape: tuple[int, ...] = (1, 4, 4), classes: int = 2) -> bs.ArrayData:
    """Rows of 8-bit values, all different, with labels in turn."""
    x = torch.randint(0, 256, (rows, *shape), generator=torch.Generator().manual_seed(rows)).to(torch.uint8)
    return bs.ArrayData(x, torch.arange(rows) % classes, name="numbered")


# ------------------------------------------------------------------ what is shared


@pytest.mark.parametrize("clip", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("period", [None, 2, 3, 4])
def test_pulled_back_gradients_are_those_of_autograd(shape: tuple[int, ...], period: int | None, clip: bool) -> None:
    """Also of sides that the period does not divide, and where the box stops some rows; by hand, group by group."""
    period = period if len(shape) > 1 else None
    space = Additive(bs.Linf(0.4), shape, groups=2, period=period, clip=clip)
    x, slope, group = drawn(5, *shape), normals(5, *shape), torch.tensor([0, 1, 1, 0, 1])
    p = space.cut(0.3 * normals(2, *shape, seed=1))
    got = space.pull_back(p, x, group, slope)
    free = ((x + space.perturbation(p)[group] - 0.5).abs() <= 0.5) if clip else torch.ones_like(x, dtype=torch.bool)
    want = torch.zeros(2, *shape).index_add(0, group, slope * free)
    if period is not None:  # every repeat adds to the same number
        folded = torch.zeros_like(p)
        for i in range(shape[-2]):
            for j in range(shape[-1]):
                folded[..., i % period, j % period] += want[..., i, j]
        want = folded
    assert got.shape == p.shape
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES[1:])
@pytest.mark.parametrize("period", [2, 3, 4])
def test_a_periodic_perturbation_repeats_itself_in_both_directions(shape: tuple[int, ...], period: int) -> None:
    space = Additive(bs.Linf(0.4), shape, groups=2, period=period)
    v = space.perturbation(space.cut(normals(2, *shape)))
    assert v.shape == (2, *shape)
    assert float(v.std()) > 0.1
    torch.testing.assert_close(v[..., period:, :], v[..., :-period, :], rtol=0, atol=0)
    torch.testing.assert_close(v[..., period:], v[..., :-period], rtol=0, atol=0)


@pytest.mark.parametrize("threat", THREATS, ids=lambda t: t.name)
@settings(max_examples=25)
@given(st.sampled_from(SHAPES), st.sampled_from([None, 1, 2, 3, 4]), st.integers(0, 99), st.floats(1e-3, 30))
def test_steps_and_projections_stay_periodic_and_in_the_ball(
    threat: Threat, shape: tuple[int, ...], period: int | None, seed: int, size: float
) -> None:
    period = period if len(shape) > 1 else None
    space = Additive(threat, shape, groups=2, period=period)
    radius = float(threat.radius or 0)
    p = space.cut(size * normals(2, *shape, seed=seed))
    for q, norm in ((space.steepest(p), 1.0), (space.unit(p), 1.0), (space.project(p), radius)):
        assert q.shape == p.shape == space.blank().shape
        torch.testing.assert_close(space.cut(space.perturbation(q)), q, rtol=0, atol=0)
        assert bool((threat.norm(space.perturbation(q)) <= norm * (1 + 1e-5)).all())
    torch.testing.assert_close(threat.norm(space.perturbation(space.unit(p))), torch.ones(2))
    inside = space.project(p)
    torch.testing.assert_close(space.project(inside), inside)


def test_zero_has_no_direction() -> None:
    space = Additive(bs.L2(0.5), (1, 4, 4), groups=2, period=2)
    blank = space.blank()
    assert blank.shape == (2, 1, 2, 2)
    assert not blank.any()
    for same in (space.unit(blank), space.steepest(blank), space.project(blank)):
        assert torch.equal(same, blank)


def test_projection_knows_no_box_but_its_width() -> None:
    """v = radius is allowed for an input at the box's edge: clipping is paint's affair."""
    space = Additive(bs.Linf(0.25, lo=-1.0, hi=1.0), (3,))
    v = space.project_change(torch.tensor([[5.0, -5.0, 0.1]]))
    torch.testing.assert_close(v, torch.tensor([[0.25, -0.25, 0.1]]))
    wide = Additive(bs.Linf(9.0, lo=-1.0, hi=1.0), (3,)).project_change(torch.tensor([[5.0, -5.0, 0.1]]))
    torch.testing.assert_close(wide, torch.tensor([[2.0, -2.0, 0.1]]))


@pytest.mark.parametrize("clip", [True, False])
def test_paint_gives_every_row_its_groups_numbers_and_clips_if_asked(clip: bool) -> None:
    space = Additive(bs.Linf(0.4), (2,), groups=2, clip=clip)
    x = torch.tensor([[0.9, 0.1], [0.9, 0.1], [0.5, 0.5]])
    p = torch.tensor([[0.3, -0.3], [-0.2, 0.2]])
    painted = space.paint(p, x, torch.tensor([0, 1, 0]))
    beyond = [1.0, 0.0] if clip else [1.2, -0.2]
    torch.testing.assert_close(painted, torch.tensor([beyond, [0.7, 0.3], [0.8, 0.2]]))


# ------------------------------------------------------------------ transformations


@pytest.mark.parametrize("view", [Flip(), Crop(), Crop(least=0.9)], ids=repr)
@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 6, 9), (7, 5), (12,)], ids=str)
def test_views_are_the_rows_own_keyed_and_in_the_box(view: View, shape: tuple[int, ...]) -> None:
    threat = bs.Linf(0.1, lo=-1.0, hi=2.0)
    x, key = 3 * drawn(9, *shape) - 1, keys(3, torch.arange(9))
    number = torch.arange(9) % 4
    seen = view(x, key, number, threat)
    assert seen.shape == x.shape
    assert bool((seen >= threat.lo).all())
    assert bool((seen <= threat.hi).all())
    alone = torch.cat([view(x[i : i + 1], key[i : i + 1], number[i : i + 1], threat) for i in range(9)])
    assert torch.equal(seen, view(x, key, number, threat))
    torch.testing.assert_close(alone, seen, rtol=0, atol=1e-6)
    others = [view(x, keys(4, torch.arange(9)), number, threat), view(x, key, number + 1, threat)]
    assert all(not torch.equal(seen, other) for other in others)


def test_a_flip_exchanges_left_and_right_of_half_the_views() -> None:
    x, key = drawn(1, 3, 4, 5).expand(400, -1, -1, -1), keys(0, torch.arange(400))
    seen = Flip()(x, key, torch.zeros_like(key), bs.Linf(0.1))
    flipped = (seen == x.flip(-1)).flatten(1).all(1)
    assert bool((flipped | (seen == x).flatten(1).all(1)).all())
    assert 150 < int(flipped.sum()) < 250  # 5 standard deviations


def test_a_crop_enlarges_a_part_of_the_image() -> None:
    """Of a ramp along x every crop is a ramp whose slope is the part's side, between `least` and 1."""
    x = torch.linspace(0, 1, 32).expand(200, 1, 32, 32)
    key = keys(0, torch.arange(200))
    seen = Crop(least=0.5)(x, key, torch.zeros_like(key), bs.Linf(0.1))
    inner = seen[:, 0, 16, 4:-4]
    slope = (inner[:, -1] - inner[:, 0]) / (23 / 31)
    assert float(slope.min()) > 0.49
    assert float(slope.max()) < 1.01
    assert float(slope.std()) > 0.1
    torch.testing.assert_close(seen[:, 0, 0], seen[:, 0, -1], rtol=0, atol=1e-5)
    whole = Crop(least=1.0)(x, key, torch.zeros_like(key), bs.Linf(0.1))
    torch.testing.assert_close(whole, x, rtol=0, atol=1e-4)


def test_transformations_are_read_from_words() -> None:
    assert parse_transformations("none") == ()
    assert parse_transformations("flip+crop") == (Flip(), Crop())
    for text, word in (("flip+corp", "'corp' (did you mean 'crop'?)"), ("", "''"), ("flip+none", "'none'")):
        with pytest.raises(InputError, match=r"^expected transformations among flip, crop, joined by \+, or none") as e:
            parse_transformations(text)
        assert f"got {word}" in str(e.value)


# ------------------------------------------------------------------ losses


def slope_of(aim: Aim, logits: Tensor, objective: Objective, y: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    logits = logits.clone().requires_grad_()
    loss = aim.descend(objective, logits, y, target)
    return loss.detach(), torch.autograd.grad(loss.sum(), logits)[0]


@pytest.mark.parametrize("margin", [True, False])
def test_no_row_is_driven_beyond_its_bound(margin: bool) -> None:
    """Rows fooled by 20 have no slope, rows fooled by 1 and standing rows have that of the loss itself."""
    logits = torch.tensor([[0.0, 20.0], [0.0, 1.0], [2.0, 0.0]])
    y, most = torch.zeros(3, dtype=torch.int64), torch.full((3,), 9.0)
    aim = Clamped(most, torch.full((3,), margin))
    loss, slope = slope_of(aim, logits, Objective(loss="margin"), y, y)
    plain = logits[:, 0] - logits[:, 1] if margin else -F.cross_entropy(logits, y, reduction="none")
    torch.testing.assert_close(loss, plain.clamp_min(-9.0))
    assert not slope[0].any()
    assert bool((slope[1:].abs().sum(1) > 0.1).all())
    assert bool((slope[1:, 0] > 0).all())  # to be descended: the own class falls


@pytest.mark.parametrize("loss", ["ce", "margin"])
def test_towards_a_target_its_score_rises(loss: str) -> None:
    logits, y = torch.tensor([[3.0, 1.0, 0.0], [0.0, 0.0, 30.0]]), torch.tensor([0, 0])
    aim = clamped(loss, 9.0)(logits)  # type: ignore[arg-type]
    objective = Objective(targeted=True, loss="margin")
    value, slope = slope_of(aim, logits, objective, y, torch.tensor([2, 2]))
    assert float(slope[0, 2]) < 0 < float(slope[0, 0])
    if loss == "margin":  # of a target that leads by 30 there is nothing left to gain
        torch.testing.assert_close(value, torch.tensor([3.0, -9.0]))
        assert not slope[1].any()


def test_the_cosine_is_that_between_scores_with_and_without() -> None:
    clean, now, y = normals(4, 5), normals(4, 5, seed=1), torch.zeros(4, dtype=torch.int64)
    value, slope = slope_of(Cosine(clean), now, Objective(loss="margin"), y, y)
    torch.testing.assert_close(value, (clean * now).sum(1) / clean.norm(dim=1) / now.norm(dim=1))
    assert bool(((slope * now).sum(1).abs() < 1e-6).all())  # longer scores are no other scores
    assert type(clamped("cosine", 9.0)(clean)) is Cosine


def test_losses_of_rows_do_not_depend_on_their_neighbours() -> None:
    logits, y = normals(6, 4), torch.arange(6) % 4
    for loss in ("ce", "margin", "cosine"):
        whole = clamped(loss, 1.0)(logits + 1).descend(Objective(loss="margin"), logits, y, y)
        alone = [
            clamped(loss, 1.0)(logits[i : i + 1] + 1).descend(
                Objective(loss="margin"), *(t[i : i + 1] for t in (logits, y, y))
            )
            for i in range(6)
        ]
        assert torch.equal(whole, torch.cat(alone))


# ------------------------------------------------------------------ rows


def test_no_row_is_both_fitted_and_held_out_and_the_seed_says_which() -> None:
    data = numbered(40)
    d = divide(data, 25, None, seed=0)
    assert sorted([*d.fit.at.tolist(), *d.heldout.at.tolist()]) == list(range(40))
    assert len(d.fit) == 25
    assert d.findings == ()
    assert divide(data, 25, None, seed=0).fit.at.tolist() == d.fit.at.tolist() != list(range(25))
    assert divide(data, 25, None, seed=1).fit.at.tolist() != d.fit.at.tolist()
    fewer = divide(data, 25, 10, seed=0)
    assert fewer.fit.at.tolist() == d.fit.at.tolist()
    assert fewer.heldout.at.tolist() == d.heldout.at.tolist()[:10]
    assert set(divide(data, 10, None, seed=0).fit.at.tolist()) <= set(d.fit.at.tolist())


def test_repeats_of_fit_rows_are_not_held_out_and_it_is_said() -> None:
    x = numbered(10).rows(0, 10)[0]
    data = bs.ArrayData(torch.cat([x, x]), torch.arange(20) % 2)
    d = divide(data, 10, None, seed=0)
    fit = {bytes(t.numpy()) for t in d.fit.take(torch.arange(10))[0]}
    held = {bytes(t.numpy()) for t in d.heldout.take(torch.arange(len(d.heldout)))[0]}
    assert not fit & held
    assert fit | held == {bytes(t.numpy()) for t in x}
    few = divide(data, 10, 2, seed=0)  # so many of those that are left, not of those and their repeats
    assert few.heldout.at.tolist() == d.heldout.at.tolist()[:2]
    (said,) = d.findings
    assert said.saw.startswith(f"{10 - len(d.heldout)} held-out rows are the same inputs as fit rows")


def test_other_data_may_not_hold_a_fit_row() -> None:
    data = numbered(12)
    d = divide(data, 8, None, seed=0)
    x, y = d.fit.take(torch.tensor([3]))
    clean = numbered(5)
    assert len(divide(data, 8, clean, seed=0).heldout) == 5
    dirty = bs.ArrayData(torch.cat([clean.rows(0, 5)[0], x]), torch.zeros(6, dtype=torch.int64), name="others")
    with pytest.raises(InputError, match="does not see, got 1 fit rows among them") as e:
        divide(data, 8, dirty, seed=0)
    assert f"(row 5 of others is row {int(d.fit.at[3])} of numbered): remove them" in str(e.value)
    assert y.shape == (1,)


@pytest.mark.parametrize(
    ("fit", "heldout", "said"),
    [
        (0, None, r"expected 1 to 12 fit rows of numbered, got 0"),
        (-3, None, r"expected 1 to 12 fit rows of numbered, got -3"),
        (13, None, r"expected 1 to 12 fit rows of numbered, got 13"),
        (12, None, r"expected rows that the search does not see, got a fit set of all 12 rows"),
        (8, 0, r"expected 1 to 4 held-out rows, as many as are not fitted, got 0"),
        (8, -2, r"expected 1 to 4 held-out rows.* got -2"),
        (8, 5, r"expected 1 to 4 held-out rows.* got 5"),
    ],
)
def test_rows_that_are_not_there_cannot_be_divided(fit: int, heldout: int | None, said: str) -> None:
    with pytest.raises(InputError, match=said):
        divide(numbered(12), fit, heldout, seed=0)


def test_rows_that_all_repeat_cannot_judge() -> None:
    data = bs.ArrayData(torch.zeros(6, 1, 2, 2), torch.arange(6) % 2)
    with pytest.raises(InputError, match="got 3 that all repeat fit rows: use data with different inputs"):
        divide(data, 3, None, seed=0)


def test_held_out_data_of_another_shape_are_refused() -> None:
    with pytest.raises(InputError, match=r"expected held-out inputs of shape \(1, 4, 4\), got \(1, 5, 5\)"):
        divide(numbered(12), 8, numbered(12, (1, 5, 5)), seed=0)


@pytest.mark.parametrize("kind", ["8 bits", "floats"])
def test_rows_kept_in_memory_and_rows_read_again_are_the_same(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = numbered(20)
    if kind == "floats":
        data = bs.ArrayData(drawn(20, 1, 4, 4), torch.arange(20) % 3)
    at = shuffled(20, 5, 0)
    reads = _counting(data, monkeypatch)
    kept = Rows(data, at)
    first, second = kept.take(torch.arange(20)), kept.take(torch.arange(20))
    assert len(reads) == 20
    monkeypatch.setattr(splits, "_KEPT", 0)
    again = Rows(data, at)
    twice = [again.take(torch.arange(20)) for _ in range(2)]
    assert len(reads) == 60
    want = data.rows(0, 20)
    for x, y in (first, second, *twice):
        assert torch.equal(x, want[0][at])
        assert torch.equal(y, want[1][at])
    assert list(kept.digests()) == list(again.digests())
    assert len(set(kept.digests())) == 20


def _counting(data: bs.ArrayData, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    reads: list[int] = []
    plain = data.rows

    def rows(start: int, stop: int) -> tuple[Tensor, Tensor]:
        reads.extend(range(start, stop))
        return plain(start, stop)

    monkeypatch.setattr(data, "rows", rows)
    return reads


def test_rows_are_kept_where_they_fit_whatever_a_number_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bound is in bytes: floats take four times as many as levels of 8 bits."""
    data = bs.ArrayData(drawn(20, 1, 4, 4), torch.arange(20) % 3)
    monkeypatch.setattr(splits, "_KEPT", 20 * 16 * 2)
    rows = Rows(data, torch.arange(20))
    rows.take(torch.arange(20))
    held = sum(t.nbytes for t in rows._kept if t is not None)
    assert held <= splits._KEPT


def test_some_rows_alone_are_the_same_rows() -> None:
    rows = Rows(numbered(20), shuffled(20, 1, 0))
    x, y = rows.take(torch.tensor([7, 2]))
    some = rows.only([7, 2]).take(torch.tensor([0, 1]))
    assert torch.equal(some[0], x)
    assert torch.equal(some[1], y)
    assert torch.cat(rows.blocks()).tolist() == list(range(20))


def test_orders_are_permutations_that_seed_and_number_decide() -> None:
    orders = {(s, n): shuffled(50, s, n).tolist() for s in (0, 1) for n in (-1, 0, 1)}
    assert all(sorted(order) == list(range(50)) for order in orders.values())
    assert len({tuple(order) for order in orders.values()}) == 6
    assert shuffled(50, 1, 1).tolist() == orders[1, 1]


def test_proxies_are_random_images_of_the_range_and_read_no_data() -> None:
    class Closed(bs.ArrayData):
        def rows(self, start: int, stop: int) -> tuple[Tensor, Tensor]:
            raise AssertionError("data-free")

    data = Closed(torch.zeros(30, 1, 8, 8), torch.arange(30) % 2)
    proxies = Proxies(data, 30, (-1.0, 3.0), seed=2)
    x, _ = proxies.take(torch.arange(30))
    assert x.shape == (30, 1, 8, 8)
    assert float(x.min()) >= -1
    assert float(x.max()) <= 3
    assert abs(float(x.mean()) - 1) < 0.1
    assert 0.8 < float(x.std()) < 1.05
    assert torch.equal(proxies.take(torch.tensor([4, 9]))[0], x[[4, 9]])
    assert torch.equal(Proxies(data, 30, (-1.0, 3.0), seed=2).take(torch.arange(30))[0], x)
    assert not torch.equal(Proxies(data, 30, (-1.0, 3.0), seed=3).take(torch.arange(30))[0], x)


# ------------------------------------------------------------------ what is measured


class Thresholds(nn.Module):
    """Class 1 where the mean of the input is above 1/2, class 2 where it is above 3/4, else class 0."""

    def forward(self, x: Tensor) -> Tensor:
        mean = x.flatten(1).mean(1)
        return torch.stack([0.5 - mean, (mean - 0.5).minimum(0.5 * (0.75 - mean) + 0.25), mean - 0.75 + 0.25], 1)


def levels(*means: float, labels: list[int] | None = None) -> Rows:
    x = torch.tensor(means).view(-1, 1, 1, 1).expand(-1, 1, 2, 2).clone()
    return Rows(bs.ArrayData(x, torch.tensor(labels or [0] * len(means))), torch.arange(len(means)))


def test_a_row_is_fooled_when_its_prediction_moves_whatever_its_label_says() -> None:
    clean, now = torch.tensor([0, 0, 1, 2]), torch.tensor([1, 0, 0, 2])
    assert fooled(clean, now, None).tolist() == [True, False, True, False]
    found = share(clean, now, None)
    assert (found.hits, found.rows, found.interval) == (2, 4, clopper_pearson(2, 4))


def test_towards_a_target_only_rows_count_that_were_not_there_before() -> None:
    clean, now = torch.tensor([0, 0, 1, 2, 2]), torch.tensor([2, 1, 2, 2, 0])
    assert fooled(clean, now, 2).tolist() == [True, False, True, False, False]
    assert (share(clean, now, 2).hits, share(clean, now, 2).rows) == (2, 3)
    alone = share(torch.tensor([2, 2]), torch.tensor([2, 0]), 2)
    assert (alone.hits, alone.rows, alone.share) == (0, 0, 0.0)


def test_predictions_move_with_the_change_that_a_row_is_given() -> None:
    oracle = Oracle(Model(Thresholds()), chunk=4)
    rows = levels(*[0.1, 0.4, 0.6, 0.9, 0.9] * 20, labels=[0, 1, 1, 2, 2] * 20)  # blocks that are not alike
    with oracle.session():
        known = predictions(oracle, rows)
        now = predictions(oracle, rows, lambda x, clean: x + 0.2 * (clean == 0).view(-1, 1, 1, 1), known)
    assert known.tolist() == [0, 0, 1, 2, 2] * 20
    assert now.tolist() == [0, 1, 1, 2, 2] * 20


@pytest.mark.parametrize("threat", [bs.Linf(0.05), bs.L2(0.3), bs.Linf(0.2, lo=-1.0, hi=1.0)], ids=lambda t: t.spec)
def test_controls_have_the_norm_of_the_radius_and_are_not_each_other(threat: Threat) -> None:
    """The single image's perturbation points along the normal of a linear boundary, as DeepFool's does."""
    w = normals(16)
    net = Linear(torch.stack([-w / 2, w / 2]), torch.zeros(2))
    data = bs.ArrayData(threat.lo + (threat.hi - threat.lo) * drawn(20, 1, 4, 4), torch.arange(20) % 2)
    made = controls(Model(net, (threat.lo, threat.hi)), Rows(data, torch.arange(20)), threat, seed=0, chunk=8)
    assert len(made) == 5
    for v in made.values():
        assert v.shape == (1, 1, 4, 4)
        torch.testing.assert_close(float(threat.norm(v)), threat.radius, rtol=1e-5, atol=0)
    one = made["one image's perturbation"].flatten()
    assert abs(float(F.cosine_similarity(one, w, dim=0))) > 0.99
    mean = (data.rows(0, 20)[0] - (threat.lo + threat.hi) / 2).mean(0).flatten()
    assert float(F.cosine_similarity(made["mean image"].flatten(), mean, dim=0)) > 0.9999
    flat = torch.stack([v.flatten() for v in made.values()])
    assert len({tuple(row.tolist()) for row in flat}) == 5


def test_random_signs_and_directions_have_the_size_that_is_asked_for() -> None:
    for threat in THREATS:
        v = random_signs(Additive(threat, (3, 8, 8)), seed=1)
        assert float(v.abs().std()) < 1e-6
        assert abs(float(v.sign().mean())) < 0.3
        torch.testing.assert_close(float(threat.norm(v)), threat.radius, rtol=1e-5, atol=0)
        assert not torch.equal(v, random_signs(Additive(threat, (3, 8, 8)), seed=2))
        u = random_direction(threat, (3, 8, 8), 0.25, seed=1)
        torch.testing.assert_close(float(threat.norm(u)), 0.25, rtol=1e-5, atol=0)
        torch.testing.assert_close(scaled(u, threat, 0.5), 2 * u)
        assert not scaled(torch.zeros(1, 3), threat, 0.5).any()


# ------------------------------------------------------------------ methods


def test_activations_are_the_log_norms_of_the_layers_positive_parts() -> None:
    """By hand; the last layer, whose outputs are the scores, does not count."""
    torch.manual_seed(0)
    first, second, last = nn.Conv2d(1, 3, 3), nn.Linear(12, 5), nn.Linear(5, 2)
    net = nn.Sequential(first, nn.Tanh(), nn.Flatten(), second, nn.Sigmoid(), last)
    model = Model(net, mean=0.3, std=0.5)
    x = drawn(4, 1, 4, 4)
    with torch.no_grad():
        a = first((x - 0.3) / 0.5)
        b = second(a.tanh().flatten(1))
        want = torch.stack([t.relu().flatten(1).norm(dim=1).log() for t in (a, b)], 1)
        got = Activations(model)(x)
    torch.testing.assert_close(got, want)
    value = Sum(-torch.ones(4)).descend(Objective(loss="margin"), got, torch.zeros(4).long(), torch.zeros(4).long())
    torch.testing.assert_close(value, -want.sum(1))
    assert not any(m._forward_hooks for m in net.modules())


def test_only_groups_with_rows_in_the_batch_take_a_step() -> None:
    """Of the others neither the numbers nor what the optimiser remembers moves."""
    space = Additive(bs.Linf(0.1), (1, 4, 4), groups=3)
    oracle = Oracle(Model(Linear(normals(2, 16), torch.zeros(2))))
    task, method = Task(oracle, space, space.threat, None, True, 0), SGD()
    before = method.descend(task, method.begin(space, 0, 50), normals(3, 1, 4, 4), torch.tensor([0, 1, 2]))
    after = method.descend(task, before, normals(3, 1, 4, 4, seed=1), torch.tensor([2, 0, 2]))
    for name in ("p", "first", "second", "t"):
        old, new = getattr(before, name), getattr(after, name)
        assert [bool((old[i] != new[i]).any()) for i in range(3)] == [True, False, True]
    assert int(after.made) == 2


@dataclass(frozen=True)
class Corner(Parametrisation):
    """A patch of grey values in the lower right corner of every image (1, H, W); what changes nothing is grey 0.5."""

    side: int

    reach = 0.5

    def blank(self) -> Tensor:
        return torch.full((1, 1, self.side, self.side), 0.5)

    def paint(self, p: Tensor, x: Tensor, group: Tensor) -> Tensor:
        hung = F.pad(p[group], (x.shape[3] - self.side, 0, x.shape[2] - self.side, 0))
        there = F.pad(torch.ones_like(p[group]), (x.shape[3] - self.side, 0, x.shape[2] - self.side, 0))
        return torch.where(there > 0, hung, x)

    def project(self, p: Tensor) -> Tensor:
        return p.clamp(0, 1)

    def steepest(self, p: Tensor) -> Tensor:
        return p.sign()

    def unit(self, p: Tensor) -> Tensor:
        return p / p.abs().amax((1, 2, 3), keepdim=True).clamp_min(1e-12)


@pytest.mark.parametrize("method", [SGD(passes=4, batch=8), SGA(passes=4, batch=8, small=4)], ids=str)
def test_a_patch_is_one_more_class(method: Method) -> None:
    """On a linear model the best patch is black or white in every pixel, as the weights there say."""
    weights = normals(2, 64, seed=5)
    oracle = Oracle(Model(Linear(weights, torch.zeros(2))))
    task = Task(oracle, Corner(3), bs.Linf(0.5), 1, False, 0)
    rows = Rows(numbered(24, (1, 8, 8)), torch.arange(24))
    state = SearchState(method.begin(task.space, 0, 12))
    for _ in run(task, method, rows, state, method.passes, "patch", lambda stage: None):
        pass
    ahead = (weights[1] - weights[0]).view(1, 1, 8, 8)[..., 5:, 5:]
    assert torch.equal(state.state.p, (ahead > 0).float())


def test_what_is_no_sum_is_refused_where_steps_add_up() -> None:
    task = Task(Oracle(Model(Linear(normals(2, 64), torch.zeros(2)))), Corner(3), bs.Linf(0.5), None, False, 0)
    batch = task.batch(Rows(numbered(4, (1, 8, 8)), torch.arange(4)), torch.arange(4))
    with pytest.raises(InputError, match="expected perturbations that are added"):
        UAP().step(task, UAP().begin(task.space, 0, 1), batch)


@pytest.mark.parametrize("name", METHODS)
def test_methods_are_read_from_words(name: str) -> None:
    method = parse_method(name)
    assert method == METHODS[name]()
    assert vars(parse_method(f"{name}:passes=3")) == vars(method) | {"passes": 3}


def test_settings_of_methods_are_checked() -> None:
    assert parse_method("uap:delta=0.1,batch=1") == UAP(delta=0.1, batch=1)
    assert parse_method("sgd:loss=cosine,optimizer=adam,views=flip+crop") == SGD(
        loss="cosine", optimizer="adam", views="flip+crop"
    )
    for text, said in (
        ("sdg", r"expected a method among .*got 'sdg' \(did you mean 'sgd'\?\)"),
        ("sgd:steps=4", "expected settings among .*for sgd, got 'steps'"),
        ("sgd:loss=hinge", "for sgd:loss, got 'hinge'"),
        ("uap:delta=much", "for uap:delta, got 'much'"),
    ):
        with pytest.raises(InputError, match=said):
            parse_method(text)
