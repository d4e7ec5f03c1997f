"""The shape of decision regions, where it is known: planes, small networks on full grids, labels by lot."""

import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import label
from scipy.stats import kstest, pearsonr, spearmanr
from torch import Tensor, nn

import blindspots as bs
from blindspots.data import as_data
from blindspots.errors import InputError
from blindspots.experiments.inspect.geometry import axes, features, local, regions, slices
from blindspots.experiments.inspect.geometry.sight import Sight
from blindspots.experiments.inspect.geometry.statistics import (
    effective,
    energies,
    p_value,
    pearson,
    permuted,
    rank_interval,
    ranks,
)
from blindspots.experiments.inspect.geometry.verdict import GeometryVerdict
from blindspots.models.model import Model
from blindspots.report.experiment import html
from closed_form import Linear, optimum, plane, planes
from pages import Outline, text

QUICK: dict[str, Any] = {"relearn": False, "resolution": 32, "slices": 1, "permutations": 19}
Array = np.ndarray[Any, Any]


def network(seed: int, size: int = 2, width: int = 16, classes: int = 4, scale: float = 2.0) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = nn.Sequential(nn.Linear(size, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())
        net.append(nn.Linear(width, classes))
        for layer in net:
            if isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight, std=scale / math.sqrt(layer.in_features))
                nn.init.normal_(layer.bias, std=0.5)
        return net


# ------------------------------------------------------------------ the quad-tree


def asked_of(net: nn.Module, cells: int) -> tuple[regions.Ask, list[int]]:
    """Classes of a network over the square from -2 to 2, and how often it was asked."""
    calls: list[int] = []

    @torch.no_grad()
    def ask(at: Array) -> tuple[Array, Array]:
        calls.append(len(at))
        p = net(torch.from_numpy(at * (4 / cells) - 2).float()).softmax(1)
        return p.argmax(1).numpy(), p.amax(1).numpy()

    return ask, calls


def everywhere(cells: int) -> Array:
    return np.argwhere(np.ones((cells + 1, cells + 1), bool))


@pytest.mark.parametrize("seed", range(20))
def test_a_quad_tree_draws_what_the_full_grid_of_a_small_network_shows(seed: int) -> None:
    cells = 64
    ask, calls = asked_of(network(seed), cells)
    made = regions.drawn(ask, cells)
    asked = sum(calls)
    full, confidence = (values.reshape(cells + 1, -1) for values in ask(everywhere(cells)))
    assert (made.label == full).all()
    assert asked == made.asked.sum()
    assert asked < 0.35 * (cells + 1) ** 2
    assert np.allclose(made.confidence[made.asked], confidence[made.asked], atol=1e-6)


@pytest.mark.parametrize("seed", range(20))
def test_every_region_with_an_asked_point_is_exact_however_wild_the_network(seed: int) -> None:
    ask, _ = asked_of(network(seed, width=32, classes=8, scale=3.0), 64)
    made = regions.drawn(ask, 64)
    full = ask(everywhere(64))[0].reshape(65, 65)
    for k in range(8):
        found, count = label(full == k, np.ones((3, 3)))
        for i in range(1, count + 1):
            region = found == i
            assert not (made.asked & region).any() or (made.label[region] == k).all()
    assert (made.label[made.asked] == full[made.asked]).all()


@given(st.integers(0, 10_000), st.sampled_from([8, 16, 32]))
@settings(max_examples=25)
def test_lines_are_drawn_exactly(seed: int, cells: int) -> None:
    g = torch.Generator().manual_seed(seed)
    ask, _ = asked_of(Linear(torch.randn(2, 2, generator=g), 0.5 * torch.randn(2, generator=g)), cells)
    made = regions.drawn(ask, cells)
    assert (made.label == ask(everywhere(cells))[0].reshape(cells + 1, -1)).all()


def test_one_class_costs_the_first_cells_alone_and_confidence_is_bilinear() -> None:
    def ask(at: Array) -> tuple[Array, Array]:
        return np.zeros(len(at), np.int64), (0.25 + at @ [0.003, 0.005]).astype(np.float32)

    made = regions.drawn(ask, 64)
    assert made.asked.sum() == 17**2
    assert np.allclose(made.confidence.ravel(), ask(everywhere(64))[1], atol=1e-6)


def test_a_region_between_the_first_points_is_missed_as_documented() -> None:
    def ask(at: Array) -> tuple[Array, Array]:
        inside = np.abs(at - 34).max(1) <= 1  # the step of the first points is 4
        return inside.astype(np.int64), np.ones(len(at), np.float32)

    assert not regions.drawn(ask, 64).label.any()


# ------------------------------------------------------------------ planes and slices


def test_a_plane_has_orthogonal_axes_of_one_length_and_finds_the_ends() -> None:
    g = torch.Generator().manual_seed(0)
    x, first, second = (torch.randn(3, 4, 4, generator=g) for _ in range(3))
    spare = torch.randn(2, 3, 4, 4, generator=g)
    at = slices.plane(x, first, second, spare)
    assert float((at.u * at.v).sum()) == pytest.approx(0, abs=1e-4)
    assert float(at.u.norm()) == pytest.approx(float(at.v.norm()), rel=1e-5)
    a, b = slices.coordinates(at, torch.stack([first, second])).T
    assert torch.allclose(at.points(a, b), torch.stack([first, second]), atol=1e-4)


@pytest.mark.parametrize("same", [True, False])
def test_ways_that_coincide_or_lead_nowhere_get_a_random_axis(same: bool) -> None:
    g = torch.Generator().manual_seed(0)
    x, first, spare = torch.randn(9, generator=g), torch.randn(9, generator=g), torch.randn(2, 9, generator=g)
    at = slices.plane(x, first if same else x, first if same else x, spare)
    assert float((at.u * at.v).sum()) == pytest.approx(0, abs=1e-4)
    assert float(at.v.norm()) == pytest.approx(float(at.u.norm()), rel=1e-4)


@pytest.mark.parametrize("threat", [bs.Linf(0.2), bs.L2(0.5)])
def test_slices_measure_the_ball_and_the_box(threat: bs.Linf | bs.L2) -> None:
    x, first, second = torch.tensor([0.1, 0.5, 0.9]), torch.tensor([0.1, 0.7, 0.9]), torch.tensor([0.2, 0.5, 0.9])
    at = slices.plane(x, first, second, torch.eye(3)[:2])
    made = slices.slice_through(Sight(Model(Linear(torch.eye(3), torch.zeros(3))), 8), threat, at, 8)
    ticks = np.linspace(-2, 2, 9)
    for i, a in enumerate(ticks):
        for j, b in enumerate(ticks):
            point = (x + a * at.u + b * at.v).numpy()
            assert bool(made["valid"][i, j]) == bool((point >= -1e-6).all() and (point <= 1 + 1e-6).all())
            change = np.linalg.norm(point - x.numpy(), ord=threat.p)
            assert float(made["size"][i, j]) == pytest.approx(change / (threat.radius or 1), abs=1e-5)
            assert int(made["label"][i, j]) == int(point.argmax()) or np.ptp(np.sort(point)[-2:]) < 1e-5


# ------------------------------------------------------------------ half-spaces: all is exact


def studied(net: nn.Module, x: Tensor, y: Tensor, **asked: Any) -> GeometryVerdict:
    return bs.inspect.geometry(net, x, y, **{**QUICK, **asked}).verdict


@pytest.mark.parametrize(("threat", "radius"), [("linf", 0.03), ("l2", 0.12)])
def test_of_a_half_space_shares_distances_dimensions_and_curvature_are_exact(threat: str, radius: float) -> None:
    known = plane(60, (24,), (0.05, 1.5))
    v = studied(known.net, known.x, known.y, threat=f"{threat}:{radius}", orthogonal=64)
    ball = bs.Linf(radius) if threat == "linf" else bs.L2(radius)
    assert isinstance(known.net, Linear)
    weight = (known.net.weight[1] - known.net.weight[0]).detach()
    gap = (known.net(known.x)[:, 1] - known.net(known.x)[:, 0]).detach().abs()
    by = {c.kind: c for c in v.crossings}
    within = optimum(known, ball) < radius
    assert 0 < int(within.sum()) < 60
    assert by["adversarial"].crossed.hits == int(within.sum())
    direction = axes.random_direction(ball, torch.arange(60), (24,), 0)
    drop = -((2 * known.y - 1) * radius * (direction @ weight))
    assert by["random"].crossed.hits == int((drop > gap).sum())
    firsts = [math.ceil(16 * float(d) / radius - 1e-9) / 16 for d in optimum(known, ball)[within]]
    assert by["adversarial"].first == pytest.approx(float(np.median(firsts)), abs=1 / 16)

    assert v.boundary
    assert v.boundary.found.hits == 60
    assert v.boundary.median == pytest.approx(float((gap / weight.norm()).quantile(0.5)), rel=1e-3)
    assert v.boundary.confidence.value == pytest.approx(1)

    for c in v.curvature:
        assert c.adversarial == pytest.approx(0, abs=1e-5)
        assert c.random == pytest.approx(0, abs=1e-5)

    length = radius * (24**0.5 if threat == "linf" else 1)
    expected = (length * weight.norm() / gap).square().clamp_max(24).floor().long()
    assert v.subspace
    assert v.subspace.median == float(expected.double().quantile(0.5))
    assert v.subspace.tried == int(expected.sum())
    assert v.subspace.whole.hits == v.subspace.whole.rows == int((expected > 0).sum())

    assert v.spectrum
    assert v.spectrum.effective == pytest.approx(1, abs=1e-3)  # all normals are one line
    assert v.spectrum.effective_random > 10


def test_more_orthogonal_directions_than_the_count_says_do_not_cross_a_plane() -> None:
    """The bound is tight: with one direction more, the rise of each is too small."""
    known = plane(20, (24,), (0.4, 0.75))
    sight, length = Sight(Model(known.net), 8), 0.6
    with sight.session():
        slope = sight.slopes(known.x, known.y, 1 - known.y)
        scores = sight.scores(known.x)
        gap = (scores[:, 1] - scores[:, 0]).abs()
        count = local.count_linear(slope.double().norm(dim=1), gap, length, 24)
        assert 1 < int(count.min()) < int(count.max()) < 24
        for i, k in enumerate(count.tolist()):
            for tried, all_cross in ((k, True), (k + 1, False)):
                made = local.orthogonal(slope[i], tried, i, 0)
                assert bool(local.crossed(sight, known.x[i], int(known.y[i]), made, length).any()) is all_cross
                assert bool(local.crossed(sight, known.x[i], int(known.y[i]), made, length).all()) is all_cross


@given(st.integers(1, 12), st.integers(0, 1000))
@settings(max_examples=30)
def test_orthogonal_directions_are_orthonormal_and_go_down_alike(k: int, seed: int) -> None:
    g = torch.randn(12, generator=torch.Generator().manual_seed(seed))
    made = local.orthogonal(g, k, 3, seed).double()
    assert torch.allclose(made @ made.T, torch.eye(k, dtype=torch.float64), atol=1e-5)
    assert torch.allclose(made @ g.double(), -g.double().norm() / math.sqrt(k) * torch.ones(k).double(), atol=1e-5)


def test_angles_and_transfer_between_planes_are_exact() -> None:
    known = planes(80, (30,), 3)
    g = torch.Generator().manual_seed(5)
    assert isinstance(known.net, Linear)
    weight = known.net.weight.detach() + 0.7 * torch.randn(3, 30, generator=g)
    other = Linear(weight, -(known.x @ weight.T).mean(0))
    v = studied(known.net, known.x, known.y, against=other, threat="l2:0.3")
    scores = known.net(known.x).detach()
    rival = scores.scatter(1, known.y[:, None], -torch.inf).argmax(1)
    own, theirs = (w[known.y] - w[rival] for w in (known.net.weight.detach().double(), weight.double()))
    cosine = (own * theirs).sum(1) / own.norm(dim=1) / theirs.norm(dim=1)
    assert v.angles
    assert v.angles.median == pytest.approx(float(cosine.quantile(0.5)), abs=1e-5)
    assert v.angles.random == pytest.approx(1 / math.sqrt(30), rel=0.3)
    assert v.angles.above.share > 0.9
    forth = v.angles.transfers[0]
    assert forth.source == "model"
    assert forth.transferred.rows <= 80
    by = {c.kind: c.crossed.share for c in v.crossings}
    assert by["adversarial"] > by["against"] > by["random"]


def test_a_network_that_is_its_own_twin_agrees_with_itself_wholly() -> None:
    known = planes(40, (10,), 4)
    v = studied(known.net, known.x, known.y, against=known.net, threat="l2:0.2")
    assert v.angles
    assert v.angles.median == pytest.approx(1)
    assert all(t.transferred.share == 1 for t in v.angles.transfers)
    assert all(t.correlation.value == 0 and t.correlation.p == 1 for t in v.angles.transfers)  # nothing varies
    by = {c.kind: c.crossed for c in v.crossings}
    assert by["adversarial"] == by["against"]


def test_gradients_of_a_sphere_turn_as_they_do() -> None:
    """g is 4 (x - c), up to its sign: everywhere ||g(x + hz) - g(x)|| / h = 4."""

    class Sphere(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            out = (x - 0.5).flatten(1).square().sum(1) - 0.09
            return torch.stack([-out, out], 1)

    x = torch.rand(20, 6, generator=torch.Generator().manual_seed(0))
    sight = Sight(Model(Sphere()), 8)
    z = local.turned(torch.arange(20), (6,), 0)
    with sight.session():
        y = sight.labels(x)
        made = local.secants(sight, x, y, 1 - y, z, [0.01, 0.1, 1.0])
    assert torch.allclose(made, torch.full_like(made, 4), rtol=1e-3)
    still = local.secants(sight, x, y, 1 - y, torch.zeros_like(x), [0.1])
    assert still.isnan().all()


# ------------------------------------------------------------------ ways


@pytest.mark.parametrize("threat", [bs.Linf(0.1), bs.L2(0.7), bs.L1(2.0)])
def test_every_way_ends_inside_the_threat_and_random_ones_at_its_edge(threat: bs.Linf) -> None:
    x = torch.rand(30, 1, 5, 5, generator=torch.Generator().manual_seed(0)).round(decimals=1)
    r = axes.full(threat, x)
    ends = axes.towards(threat, x, axes.random_direction(threat, torch.arange(30), x.shape[1:], 0))
    others = axes.to_rows(threat, x, x.flip(0))
    for made in (ends, others):
        assert bool((threat.norm(made - x) <= r * (1 + 1e-5)).all())
        assert bool(((made >= 0) & (made <= 1)).all())
    assert not torch.equal(ends, x)


def test_a_row_is_judged_by_a_direction_that_it_did_not_help_to_make() -> None:
    x, half = torch.zeros(6, 3), torch.tensor([0, 1, 0, 1, 0, 1])
    ways = torch.where(half[:, None] == 0, torch.tensor([1.0, 0, 0]), torch.tensor([0, 0, 2.0]))
    made = axes.universal(bs.L2(1.0), x, ways, half)
    assert torch.allclose(made, torch.tensor([[0, 0, 1.0], [1.0, 0, 0]]))


def test_the_nearest_row_of_another_class_is_found_if_there_is_one() -> None:
    x = torch.tensor([[0.0], [0.2], [0.5], [0.9]])
    assert axes.nearest_other(x, torch.tensor([0, 0, 1, 0])).tolist() == [2, 2, 1, 2]
    assert axes.nearest_other(x, torch.tensor([1, 1, 1, 1])).tolist() == [-1] * 4


# ------------------------------------------------------------------ statistics


@given(st.integers(0, 1000), st.integers(3, 40))
@settings(max_examples=30)
def test_correlations_are_those_of_scipy(seed: int, n: int) -> None:
    g = torch.Generator().manual_seed(seed)
    a, b = torch.randn(n, generator=g), torch.randint(4, (n,), generator=g)
    if len(set(b.tolist())) > 1:
        assert pearson(a, b) == pytest.approx(pearsonr(a, b).statistic, abs=1e-6)
        assert pearson(ranks(a), ranks(b)) == pytest.approx(spearmanr(a, b).statistic, abs=1e-9)


def test_p_values_of_independent_pairs_are_uniform() -> None:
    g = torch.Generator().manual_seed(0)
    found = []
    for i in range(200):
        a, b = torch.randn(20, generator=g), torch.randn(20, generator=g)
        found.append(p_value(pearson(a, b), permuted(a, b, 99, i)))
    assert kstest(found, "uniform").pvalue > 0.01
    assert np.mean(np.array(found) <= 0.05) <= 0.09


def test_intervals_of_rank_correlations_cover() -> None:
    """Normal pairs with correlation r have Spearman's 6 asin(r / 2) / pi."""
    g, r, hits = torch.Generator().manual_seed(1), 0.6, 0
    truth = 6 * math.asin(r / 2) / math.pi
    for _ in range(300):
        a = torch.randn(60, generator=g)
        b = r * a + math.sqrt(1 - r**2) * torch.randn(60, generator=g)
        interval = rank_interval(pearson(ranks(a), ranks(b)), 60)
        assert interval
        hits += interval[0] <= truth <= interval[1]
    assert 0.92 <= hits / 300 <= 0.985
    assert rank_interval(0.3, 4) is None
    assert rank_interval(1.0, 100) is None


def test_energy_spreads_over_as_many_dimensions_as_there_are() -> None:
    frame = torch.linalg.qr(torch.randn(30, 30, generator=torch.Generator().manual_seed(0))).Q.double()
    for k in (1, 5, 30):
        rows = frame[:k].repeat(30 // k, 1)
        assert effective(energies(rows @ rows.T)) == pytest.approx(k, rel=1e-6)


# ------------------------------------------------------------------ features


def test_random_labels_are_independent_of_true_ones_and_shifted_ones_are_not() -> None:
    y = torch.arange(5000) % 10
    by_lot = features.labels_for(features.RANDOM, y, 10, 0)
    assert torch.equal(by_lot, features.labels_for(features.CONTROL, y, 10, 0))
    assert torch.equal(by_lot, features.labels_for(features.RANDOM, y.flip(0), 10, 0))  # rows are not looked at
    assert abs(float((by_lot == y).float().mean()) - 0.1) < 0.02
    assert torch.bincount(by_lot, minlength=10).min() > 400
    assert torch.equal(features.labels_for(features.SHIFTED, y, 10, 0), (y + 1) % 10)


def blobs(rows: int, seed: int) -> tuple[Tensor, Tensor]:
    """Classes that differ in the mean of 40 numbers, none of which says much."""
    g = torch.Generator().manual_seed(seed)
    means = 0.06 * torch.randn(4, 40, generator=torch.Generator().manual_seed(9))
    y = torch.arange(rows) % 4
    return (0.5 + means[y] + 0.08 * torch.randn(rows, 40, generator=g)).clamp(0, 1), y


def test_a_network_learns_from_wrongly_labelled_examples_and_not_from_labels_alone() -> None:
    (x, y), (held, truth) = blobs(800, 0), blobs(400, 1)
    means = torch.stack([x[y == k].mean(0) for k in range(4)])
    net = nn.Sequential(nn.Linear(40, 4))
    with torch.no_grad():
        net[0].weight.copy_(100 * means)
        net[0].bias.copy_(-50 * means.square().sum(1))
    run = bs.inspect.geometry(
        net, held, truth, training_data=as_data((x, y)), threat="linf:0.08", learning_steps=200, geometry_rows=20,
        **{k: v for k, v in QUICK.items() if k != "relearn"},
    )  # fmt: skip
    by = {f.kind: f for f in run.verdict.features}
    assert set(by) == {"random", "shifted", "control"}
    assert by["random"].believed.share > 0.95
    assert by["random"].accuracy.interval[0] > 0.6
    assert by["control"].accuracy.interval[0] < 0.45
    assert by["random"].dependence > 0.001
    assert by["shifted"].dependence < 1e-9
    assert by["random"].steps == 200
    page = text(html(run))
    assert "Features, not bugs" in page


def test_fresh_weights_are_new_and_the_model_keeps_its_own() -> None:
    model = Model(network(0))
    before = [p.clone() for p in model.net.parameters()]
    with torch.random.fork_rng():
        torch.manual_seed(1)
        made = features.learner_of(None, model).build((2,), 4)
    assert all(torch.equal(a, b) for a, b in zip(before, model.net.parameters(), strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(before, made.net.parameters(), strict=True))


# ------------------------------------------------------------------ what is refused, and what runs without gradients


def test_a_model_of_labels_shows_random_slices_and_says_what_was_left_out() -> None:
    known = plane(30, (6,), (0.05, 0.4))

    def asked(x: Array) -> Array:
        assert x.min() >= 0
        assert x.max() <= 1  # nobody may ask about anything else
        with torch.no_grad():
            return known.net(torch.from_numpy(x)).argmax(1).numpy()

    run = bs.inspect.geometry(bs.BlackBox(asked, "labels", classes=2), known.x, known.y, threat="l2:0.3", **QUICK)
    v = run.verdict
    assert [c.kind for c in v.crossings] == ["random", "rows"]
    assert v.boundary is v.spectrum is v.subspace is v.angles is None
    assert not v.curvature
    assert [s.second for s in v.slices] == ["random"]
    assert "no-gradients" in {f.code for f in v.findings}
    direction = axes.random_direction(bs.L2(0.3), torch.arange(30), (6,), 0)
    ends = axes.towards(bs.L2(0.3), known.x, direction)
    assert v.crossings[0].crossed.hits == int((known.net(ends).argmax(1) != known.y).sum())
    Outline(html(run))


def test_one_class_has_no_ways_towards_others() -> None:
    net = Linear(torch.tensor([[1.0, 1.0], [0.0, 0.0]]), torch.tensor([1.0, 0.0]))
    v = studied(net, torch.rand(8, 2), torch.zeros(8, dtype=torch.int64), threat="linf:0.1")
    by = {c.kind: c.crossed for c in v.crossings}
    assert by["rows"].rows == 0
    assert by["adversarial"].hits == 0
    assert v.boundary
    assert v.boundary.found.hits == 0
    assert v.spectrum is None
    assert {"one-class", "nothing-crossed", "no-boundary"} <= {f.code for f in v.findings}


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"threat": "l0:2"}, "expected a threat in linf, l2, l1"),
        ({"threat": "linf"}, "expected a threat with a radius"),
        ({"threat": "words:0.1"}, "expected a threat with a radius"),
        ({"resolution": 50}, "expected a power of two for resolution"),
        ({"curvature_scales": "0,1"}, "expected positive curvature_scales"),
        ({"against": network(1, 24, 8, 5)}, "expected two models of the same classes"),
        ({"against": bs.BlackBox(lambda x: x[:, :2], "scores")}, "expected another model with gradients"),
    ],
)
def test_what_cannot_be_done_is_refused_in_a_sentence(asked: dict[str, Any], sentence: str) -> None:
    known = plane(12, (24,), (0.05, 1.5))
    with pytest.raises(InputError, match=sentence):
        studied(known.net, known.x, known.y, **asked)


def test_rows_to_learn_from_that_also_judge_are_refused() -> None:
    known = plane(12, (24,), (0.05, 1.5))
    with pytest.raises(InputError, match="that nothing is trained on"):
        studied(known.net, known.x, known.y, relearn=True, training_data=as_data((known.x, known.y)))


def test_models_of_texts_are_refused() -> None:
    with pytest.raises(InputError, match="which reads texts"):
        bs.inspect.geometry("reviews", data="reviews", rows=8)


def test_a_layer_that_cannot_begin_anew_is_named() -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(2, 24))

        def forward(self, x: Tensor) -> Tensor:
            return x.flatten(1) @ self.weight.T

    known = plane(12, (24,), (0.05, 1.5))
    more = plane(12, (24,), (0.05, 1.4), seed=2)
    with pytest.raises(InputError, match="Own in Own, which cannot: name a network that learns with --learner"):
        studied(Own(), known.x, known.y, relearn=True, training_data=as_data((more.x, more.y)))


def test_by_default_what_cannot_learn_is_left_out_and_said(tmp_path: Path) -> None:
    """Digits bring rows to train on, but nobody asked for it: layers that cannot begin anew are no reason to fail."""

    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(10, 64, generator=torch.Generator().manual_seed(0)))

        def forward(self, x: Tensor) -> Tensor:
            return x.flatten(1) @ self.weight.T

    asked = {"data": "digits", "rows": 20, "slices": 0, "permutations": 19}
    run = bs.inspect.geometry(Own(), out=tmp_path / "run", **asked)
    assert not run.config.relearn
    assert "training_data" not in run.manifest.world
    assert "no-training" in {f.code for f in run.verdict.findings}
    assert bs.verify(tmp_path / "run", Own()).ok
    with pytest.raises(InputError, match="name a network that learns with --learner"):
        bs.inspect.geometry(Own(), training_data=as_data((torch.rand(30, 1, 8, 8), torch.arange(30) % 10)), **asked)


# ------------------------------------------------------------------ the page


def test_the_page_shows_slices_first_and_a_sentence_for_every_chart(tmp_path: Path) -> None:
    run = bs.inspect.geometry(
        "digits", data="digits", rows=40, against="digits-robust", threat="linf:0.1", out=tmp_path / "run", **QUICK
    )
    page = html(run)
    assert "geometry" in Outline(page).ids
    seen = text(page)
    assert seen.index("adversarial × random") < seen.index("Which ways cross a boundary")
    for heading in ("How far the boundary is", "How far gradients turn", "In how many dimensions", "What both models"):
        assert heading in seen
    assert "adversarial for digits-robust" in seen
    assert bs.verify(tmp_path / "run").ok


# ------------------------------------------------------------------ networks of others


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")  # the zoo's
@pytest.mark.parametrize("name", ["mnist_advertorch_lenet5_clean", "mnist_trades_smallcnn", "rvb_ADV_MLP_B_01"])
def test_slices_of_real_networks_are_those_of_the_full_grid(zoo: Path, name: str) -> None:
    sys.path.insert(0, str(zoo))
    from zoo import images, load

    (x, y), net = images("mnist", "test", 8), load(name)
    run = bs.inspect.geometry(net, x, y, threat="linf:0.15", **{**QUICK, "slices": 2, "resolution": 64})
    ticks = torch.linspace(-2, 2, 65)
    a, b = (t.flatten() for t in torch.meshgrid(ticks, ticks, indexing="ij"))
    for part in (p for p in run.parts if p.startswith("slices/")):
        c = run.parts[part]
        at = slices.Plane(c["x"], c["u"], c["v"])
        with torch.no_grad():
            scores = torch.cat([net(at.points(a[i : i + 512], b[i : i + 512])) for i in range(0, len(a), 512)])
        best = scores.topk(2, 1).values
        edge = (best[:, 0] - best[:, 1] < 1e-4 * scores.abs().amax(1)).view(65, 65)
        assert bool(((scores.argmax(1).view(65, 65) == c["label"]) | edge).all())
        assert int(c["forwards"]) < 0.25 * 65**2


class Broken(nn.Module):
    """Two classes; half of the inputs have no scores."""

    def forward(self, x: Tensor) -> Tensor:
        scores = torch.stack([x[:, 0], x[:, 1]], 1)
        return torch.where((x[:, 3] > 0.5)[:, None], scores * torch.nan, scores)


def test_a_model_without_boundaries_is_studied_and_proved(tmp_path: Path) -> None:
    net, x = nn.Linear(6, 2), torch.rand(8, 6, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        net.weight.zero_(), net.bias.copy_(torch.tensor([1.0, 0.0]))
    y = torch.zeros(8, dtype=torch.int64)
    bs.inspect.geometry(net, x, y, geometry_rows=6, slices=1, relearn=False, out=tmp_path / "run")
    assert bs.verify(tmp_path / "run", bs.Model(net), (x, y)).problems == []


def test_rows_without_scores_or_too_few_of_them_are_refused() -> None:
    x = torch.rand(8, 6, generator=torch.Generator().manual_seed(0))
    odd = int((x[:, 3] > 0.5).sum())
    with pytest.raises(bs.InputError, match=rf"expected scores that are numbers, got others for {odd} of 8 rows"):
        bs.inspect.geometry(Broken(), x, torch.zeros(8).long(), relearn=False)
    with pytest.raises(bs.InputError, match=r"expected at least 4 rows, .* got 3: give more"):
        bs.inspect.geometry(nn.Linear(6, 2), x[:3], torch.zeros(3).long())
