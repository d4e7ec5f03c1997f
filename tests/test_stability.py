"""Stability of networks: what is walked, what it is bounded by, and how perturbations grow."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from math import inf, sqrt
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from blindspots.errors import InputError
from blindspots.experiments.inspect.stability.amplification import adversarial_at, amplification, median
from blindspots.experiments.inspect.stability.bounds import Layer, affordable, eclipse_fast, gains, layered, margins
from blindspots.experiments.inspect.stability.folding import folded
from blindspots.experiments.inspect.stability.gradients import Region, steep, steepest_found
from blindspots.experiments.inspect.stability.graph import Graph, trace
from blindspots.experiments.inspect.stability.local import Interval, steepest
from blindspots.experiments.inspect.stability.network import Slope, slope
from blindspots.experiments.inspect.stability.slopes import slopes, slopes_between
from blindspots.models.blackbox import BlackBox
from blindspots.models.model import Model
from blindspots.random import keys


def _seeded(make: Callable[[], nn.Module]) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return make()


def _rows(n: int, *shape: int) -> Tensor:
    return torch.rand(n, *shape, generator=torch.Generator().manual_seed(1))


def _walked(net: nn.Module, *shape: int, rows: int = 3, **settings: object) -> tuple[Graph, list[Layer]]:
    x = _rows(rows, *shape)
    graph = folded(trace(Model(net, **settings), x))  # type: ignore[arg-type]
    return graph, product(graph, x)


def product(graph: Graph, x: Tensor) -> list[Layer]:
    return layered(graph, gains(graph, x, range(1, len(graph.steps)), affordable(graph)))


@dataclass(frozen=True)
class Around:
    layers: list[Layer]
    eclipse_fast: float | None
    best: float
    slope: Slope

    @property
    def product(self) -> float:
        return self.layers[-1].upper

    @property
    def without_bound(self) -> list[str]:
        return [layer.name for layer in self.layers if inf in layer.gain.upper]


def around(net: nn.Module, x: Tensor, radius: float, p: float = inf) -> Around:
    model = Model(net)
    graph = folded(trace(model, x))
    layers, better = product(graph, x), eclipse_fast(graph)
    best = min(layers[-1].upper, better or inf)
    made = slope(graph, layers, x, model.box, radius, p, best, keys(0, torch.arange(len(x))))
    return Around(layers, better, best, made)


def in_order(found: Around) -> None:
    """Product >= ECLipsE-Fast >= local bound >= found in the ball >= at the rows, and the box has what the ball has."""
    at = found.slope
    assert bool((at.gradient <= at.found).all())
    assert bool((at.found <= at.local).all())
    assert bool((at.found <= at.found_in_box).all())
    assert float(at.found_in_box.max()) <= found.best <= found.product
    assert float(at.local.max()) <= found.best


def _jacobians(graph: Graph, x: Tensor) -> Tensor:
    made = torch.autograd.functional.jacobian(lambda v: graph.scores(v).sum(0), x.double())
    return made.transpose(0, 1).flatten(2)


def _mlp() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 9), nn.ReLU(), nn.Linear(9, 8), nn.Tanh(), nn.Linear(8, 4))


class Residual(nn.Module):
    """Batch norm, a sum, a concatenation, a strided shortcut, functional calls."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(2, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.conv2, self.short = nn.Conv2d(4, 6, 3, 2, 1), nn.Conv2d(4, 6, 1, 2)
        self.head = nn.Linear(12, 3)
        nn.init.uniform_(self.bn1.weight, 0.5, 2)
        self.bn1.running_var.uniform_(0.2, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.conv2(x) + self.short(x), inplace=True)
        return self.head(torch.cat([y, 2 * y], 1).mean((2, 3)))


# ------------------------------------------------------------------ the walk


def test_a_network_is_walked_with_its_preprocessing_and_its_names() -> None:
    _, layers = _walked(_seeded(Residual), 2, 6, 6, mean=0.5, std=(0.2, 0.5))
    names = {layer.name: layer.op for layer in layers}
    assert {
        "conv1": "conv2d",
        "conv2": "conv2d",
        "short": "conv2d",
        "head": "linear",
        "relu": "relu",
    }.items() <= names.items()
    assert names["sub"] == "sub"
    by = {layer.name: layer for layer in layers}
    assert by["div"].gain.upper == pytest.approx((5.0,))
    assert by["bn1"].gain.upper == (1.0,)  # inside conv1
    assert by["cat"].gain.joint
    assert by["cat"].upper == pytest.approx(sqrt(5) * by["relu.2"].upper)
    assert by["add"].upper == pytest.approx(by["conv2"].upper + by["short"].upper)


def test_folding_keeps_the_function() -> None:
    net, x = _seeded(Residual).eval(), _rows(3, 2, 6, 6)
    graph = folded(trace(Model(net), x))
    assert torch.allclose(graph.scores(x), net.double()(x.double()))


def test_circular_padding_is_part_of_its_convolution() -> None:
    net = _seeded(lambda: nn.Sequential(nn.Conv2d(2, 3, 3, padding=1, padding_mode="circular"), nn.Flatten()))
    graph, layers = _walked(net, 2, 6, 6)
    dense = float(torch.linalg.matrix_norm(_jacobians(graph, _rows(3, 2, 6, 6))[0], 2))
    assert layers[-1].upper == pytest.approx(dense, rel=1e-3)
    assert layers[-1].upper >= dense


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (lambda: nn.ConvTranspose2d(3, 4, 3, 2, 1, output_padding=1, dilation=1), (3, 5, 4)),
        (lambda: nn.Conv2d(4, 4, 3, 2, padding=1, groups=2, dilation=2), (4, 9, 8)),
        (lambda: nn.Conv2d(2, 4, (3, 5), padding="same"), (2, 6, 9)),
        (lambda: nn.Conv1d(2, 3, 5, 3, 2), (2, 13)),
        (lambda: nn.Sequential(nn.ReflectionPad2d(2), nn.Conv2d(2, 2, 3)), (2, 6, 6)),
        (lambda: nn.AvgPool2d(3, 2, 1), (2, 7, 7)),
        (lambda: nn.Upsample(scale_factor=2, mode="bilinear"), (1, 5, 4)),
        (lambda: nn.Upsample(scale_factor=3), (1, 3, 4)),
        (lambda: nn.AdaptiveAvgPool2d((2, 3)), (2, 5, 7)),
        (lambda: nn.PixelShuffle(2), (4, 3, 3)),
        (lambda: nn.BatchNorm2d(3), (3, 4, 4)),
    ],
)
def test_linear_layers_are_bounded_by_little_more_than_their_norm(
    layer: Callable[[], nn.Module], shape: tuple[int, ...]
) -> None:
    net = nn.Sequential(_seeded(layer), nn.Flatten())
    graph, layers = _walked(net, *shape)
    dense = float(torch.linalg.matrix_norm(_jacobians(graph, _rows(3, *shape))[0], 2))
    lower = 1.0
    for one in layers:
        lower *= one.gain.lower
    assert dense <= layers[-1].upper * (1 + 1e-12)
    assert len(layers) > 2 or layers[-1].upper <= dense * (1 + 2e-2)
    assert len(layers) > 2 or lower <= dense * (1 + 1e-12)


def test_overlapping_max_pooling_has_constant_two_and_reaches_it() -> None:
    net = nn.Sequential(nn.MaxPool2d(3, 2), nn.Flatten())
    _, layers = _walked(net, 1, 7, 7)
    assert layers[0].gain.upper == (2.0,)
    x = torch.zeros(1, 1, 7, 7)
    moved = x.clone()
    moved[0, 0, 2, 2] = 1  # in 2 x 2 windows
    assert float((net(moved) - net(x)).norm() / (moved - x).norm()) == 2


@pytest.mark.parametrize(
    ("pool", "constant"),
    [
        (nn.MaxPool2d(2), 1),
        (nn.MaxPool2d(3, 1, 1), 3),
        (nn.MaxPool2d(2, 1, dilation=2), 2),
        (nn.MaxPool2d((3, 2), (2, 2)), sqrt(2)),
        (nn.AdaptiveMaxPool2d(4), 1),
        (nn.AdaptiveMaxPool2d(3), 2),
    ],
)
def test_constants_of_max_pooling(pool: nn.Module, constant: float) -> None:
    """Of 8 x 8 inputs; adaptive pooling to 3 has windows that share a line."""
    _, layers = _walked(nn.Sequential(pool, nn.Flatten()), 1, 8, 8)
    assert layers[0].gain.upper == pytest.approx((constant,))


def test_what_has_no_bound_is_named_and_makes_the_product_infinite() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.strange = nn.Linear(4, 4), nn.Hardshrink()

        def forward(self, x: Tensor) -> Tensor:
            return self.strange(self.first(x)).exp()

    _, layers = _walked(_seeded(Odd), 4)
    assert layers[-1].upper == inf
    assert [layer.gain.note for layer in layers if layer.gain.note] == [
        "strange (hardshrink) is unknown here: no bound",
        "exp (exp) is unknown here: no bound",
    ]


def test_normalisation_of_rows_and_attention_have_a_bound_at_rows_alone() -> None:
    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.mix = nn.LayerNorm(4), nn.MultiheadAttention(4, 2, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            x = self.norm(x)
            return self.mix(x, x, x, need_weights=False)[0].flatten(1)

    net, x = _seeded(Attention), _rows(3, 5, 4)
    graph = folded(trace(Model(net), x))
    layers = product(graph, x)
    assert layers[-1].upper == inf
    steepest_row = float(torch.linalg.matrix_norm(_jacobians(graph, x), 2).amax())
    assert steepest_row <= layers[-1].local < inf
    assert any(
        layer.name == "norm" and "no useful bound holds everywhere (316.2" in layer.gain.note for layer in layers
    )


def test_a_product_with_many_matrices_at_once_counts_its_copies() -> None:
    class Heads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(3, 4, 2))

        def forward(self, x: Tensor) -> Tensor:
            return (x[:, None, None] @ self.weight).flatten(1)

    graph, layers = _walked(_seeded(Heads), 4)
    dense = float(torch.linalg.matrix_norm(_jacobians(graph, _rows(3, 4))[0], 2))
    assert dense <= layers[-1].upper <= sqrt(3) * dense * (1 + 1e-9)


def test_rounding_has_no_bound() -> None:
    class Rounded(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.div(x, 2, rounding_mode="floor")

    graph, layers = _walked(Rounded(), 4)
    assert layers[-1].upper == inf
    assert eclipse_fast(graph) is None


def test_softmax_is_half_as_steep_as_its_input_at_most() -> None:
    graph, layers = _walked(nn.Sequential(nn.Softmax(1)), 2)
    assert layers[-1].upper == 0.5
    x = torch.zeros(3, 2)
    assert float(torch.linalg.matrix_norm(_jacobians(graph, x), 2).amax()) == pytest.approx(0.5)


@pytest.mark.parametrize(
    "act",
    [nn.ReLU(), nn.LeakyReLU(0.3), nn.ELU(1.5), nn.CELU(2), nn.SELU(), nn.GELU(), nn.GELU("tanh"), nn.SiLU(), nn.Mish(),
     nn.Sigmoid(), nn.Tanh(), nn.Softplus(3), nn.Hardswish(), nn.Hardsigmoid(), nn.Hardtanh(), nn.ReLU6(),
     nn.LogSigmoid(), nn.PReLU(init=-1.7), nn.Softshrink()],
)  # fmt: skip
def test_slopes_of_activations(act: nn.Module) -> None:
    """The constant is the largest slope on a fine grid, or a little more, and never less."""
    _, layers = _walked(nn.Sequential(act), 4)
    x = torch.linspace(-9, 9, 200_001, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(act.double()(x).sum(), x)
    largest = float(slope.abs().max())
    assert largest <= layers[-1].upper * (1 + 1e-7)
    assert layers[-1].upper <= largest * (1 + 1e-3)


@pytest.mark.parametrize("op", ["relu", "tanh", "sigmoid"])
def test_slopes_over_intervals_contain_those_inside(op: str) -> None:
    low = _rows(200) * 4 - 2
    high = low + _rows(200).flip(0)
    smallest, largest = slopes_between(op, {}, low.double(), high.double())
    for share in torch.linspace(0, 1, 11):
        x = (low + share * (high - low)).double().requires_grad_()
        (slope,) = torch.autograd.grad(getattr(torch, op)(x).sum(), x)
        assert bool(((slope >= smallest - 1e-12) & (slope <= largest + 1e-12)).all())
    assert slopes("exp", {}) is None


class Parted(nn.Module):
    """Several results of one operation, one of which is not read, and nothing beside something."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 6), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        a, b, _ = self.first(x).chunk(3, 1)
        c, d = x.split(2, 1)
        return self.second(torch.cat([a + c, b * 2, d[:, :0]], 1))


def test_several_results_are_taken_one_by_one() -> None:
    net, x = _seeded(Parted), _rows(3, 4)
    graph, layers = _walked(net, 4)
    assert torch.allclose(graph.scores(x).float(), net(x), atol=1e-6)
    assert all(step.shape and 0 not in step.shape for step in graph.steps)
    assert [layer.gain.upper for layer in layers if layer.op in ("split", "chunk")] == [(1.0,)] * 3
    in_order(around(net, x, 0.05))


# ------------------------------------------------------------------ whole networks


@pytest.mark.parametrize(("make", "shape"), [(_mlp, (12,)), (Residual, (2, 6, 6))])
def test_bounds_are_in_order(make: Callable[[], nn.Module], shape: tuple[int, ...]) -> None:
    """Product >= ECLipsE-Fast >= largest found >= at the rows; the local bound is between, at radius 0 exact."""
    net, x = _seeded(make), _rows(4, *shape)
    for p in (2, inf):
        found = around(net, x, 0.02, p)
        assert found.without_bound == []
        in_order(found)
    point = around(net, x, 0).slope
    assert torch.allclose(point.local, point.gradient, rtol=1e-6)
    assert torch.equal(point.found, point.gradient)
    assert (found.eclipse_fast is None) == (make is Residual)


@pytest.mark.parametrize("p", [2, inf])
def test_the_steepest_points_lie_where_they_may(p: float) -> None:
    net, x = _seeded(_mlp), _rows(4, 12)
    at = around(net, x, 0.05, p).slope
    moved = torch.linalg.vector_norm((at.point - x).double(), p, dim=1)
    assert bool((moved <= 0.05 * (1 + 1e-5)).all())
    for point, said in ((at.point, at.found), (at.point_in_box, at.found_in_box)):
        assert bool(((point >= 0) & (point <= 1)).all())
        again = torch.linalg.matrix_norm(_jacobians(folded(trace(Model(net), x)), point), 2)
        assert torch.allclose(again, said)


def test_proofs_are_made_where_they_are_cheapest() -> None:
    """Without them a bound is that of the grid, which is wider, and a layer says so."""
    graph = folded(trace(Model(_seeded(Residual)), _rows(2, 2, 6, 6)))
    x, every = _rows(2, 2, 6, 6), range(1, len(graph.steps))
    assert [graph.steps[i].name for i in sorted(affordable(graph))] == ["conv1", "conv2", "short"]
    wide, close = (list(gains(graph, x, every, proved)) for proved in ((), affordable(graph)))
    at = [step.name for step in graph.steps].index("conv2") - 1
    assert wide[at].upper[0] > close[at].upper[0] * (1 + 1e-3)
    assert "too long" in wide[at].note
    assert [g.lower for g in wide] == [g.lower for g in close]
    parts = [
        g for block in (range(1, 3), range(3, len(graph.steps))) for g in gains(graph, x, block, affordable(graph))
    ]
    assert parts == close


def test_eclipse_fast_of_one_layer_and_of_a_sigmoid() -> None:
    linear = _seeded(lambda: nn.Linear(6, 3))
    graph, layers = _walked(linear, 6)
    assert eclipse_fast(graph) == pytest.approx(layers[-1].upper, rel=1e-6)
    net = _seeded(lambda: nn.Sequential(nn.Linear(6, 5), nn.Sigmoid(), nn.Linear(5, 3)))
    graph, layers = _walked(net, 6)
    bound = eclipse_fast(graph)
    assert bound is not None
    assert steep(graph, 4 * _rows(3, 6) - 2).norm.max() <= bound <= layers[-1].upper


def test_margins_are_those_of_the_last_layer() -> None:
    net = _seeded(_mlp)
    graph, layers = _walked(net, 12)
    found = margins(graph, layers)
    weight = net[-1].weight.detach().double()  # type: ignore[index]
    assert float(found[0, 2]) == pytest.approx(
        min(float((weight[0] - weight[2]).norm()) * layers[-2].upper, sqrt(2) * layers[-1].upper), rel=1e-6
    )
    assert torch.equal(found, found.T)
    z = _jacobians(graph, _rows(3, 12))
    assert bool(((z[:, :, None] - z[:, None]).norm(dim=3) <= found + 1e-12).all())


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_no_point_of_a_ball_is_steeper_than_its_local_bound(norm: str) -> None:
    net, x, radius = _seeded(_mlp), _rows(3, 12).double(), 0.05
    graph = folded(trace(Model(net), x.float()))
    layers = product(graph, x)
    seeds = torch.eye(4, dtype=torch.float64)[:, None].expand(4, 3, 4)
    ball = Interval(x, torch.full_like(x, radius))
    bound = steepest(graph, layers, ball, seeds, radius if norm == "l2" else inf)
    for i in range(40):
        draw = torch.randn(3, 12, generator=torch.Generator().manual_seed(i)).double()
        step = draw.sign() if norm == "linf" else draw / draw.norm(dim=1, keepdim=True)
        jacobians = _jacobians(graph, x + radius * step)
        assert bool((torch.linalg.matrix_norm(jacobians, 2) <= bound.jacobian).all())
        assert bool((jacobians.norm(dim=2) <= bound.gradients).all())
    wide = steepest(graph, layers, Interval(x, torch.full_like(x, 2 * radius)), seeds)
    assert bool((wide.jacobian >= bound.jacobian).all())


def test_ascent_finds_the_steepest_point_of_a_known_function() -> None:
    """tanh(3 x) is steepest, 3, at 0, which is far from all rows."""

    class Bent(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.cat([torch.tanh(3 * x[:, :1]), 0.01 * x[:, 1:]], 1)

    x = torch.full((2, 2), 0.9)
    graph = trace(Model(Bent(), bounds=(-1.0, 1.0)), x)
    assert float(steep(graph, x).norm.max()) < 0.5
    wide = Region(-torch.ones(2, 2).double(), torch.ones(2, 2).double(), x.double())
    found, point = steepest_found(graph, x, wide, keys(0, torch.arange(2)))
    assert found.tolist() == pytest.approx([3, 3], rel=0.02)
    assert float(point[:, 0].abs().max()) < 0.1


def test_slopes_of_many_scores_are_found_from_below() -> None:
    graph, _ = _walked(_seeded(lambda: nn.Sequential(nn.Linear(5, 40))), 5)
    exact = float(torch.linalg.matrix_norm(_jacobians(graph, _rows(3, 5))[0], 2))
    found = float(steep(graph, _rows(3, 5)).norm[0])
    assert 0.8 * exact <= found <= exact * (1 + 1e-12)


# ------------------------------------------------------------------ amplification


def test_growth_of_a_linear_network_is_known() -> None:
    first, second = torch.diag(torch.tensor([4.0, 1.0])), torch.diag(torch.tensor([1.0, 3.0]))
    net = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
    net[0].weight.data, net[1].weight.data = first, second
    x = torch.tensor([[0.0, 0.5]]).repeat(5, 1)
    graph = trace(Model(net), x[:2])  # two rows per call: the last call is filled up
    along = x + torch.tensor([0.1, 0.0])
    grown = amplification(graph, x, along, keys(0, torch.arange(5)))
    assert [g.name for g in grown] == ["input", "0", "1"]
    assert [float(g.adversarial[4]) for g in grown] == pytest.approx([0.2, 0.8, 0.8 / 3])
    assert torch.allclose(grown[0].noise, grown[0].adversarial)  # of the same size at the input
    assert grown[1].noise.unique().numel() == 5
    alone = amplification(graph, x[3:4], along[3:4], keys(0, torch.tensor([3])))
    assert all(torch.allclose(a.noise, g.noise[3:4]) for a, g in zip(alone, grown, strict=True))


def test_perturbations_of_a_hidden_layer_go_up_from_there() -> None:
    net, x = _seeded(_mlp), _rows(4, 12)
    graph = trace(Model(net), x)
    at = [step.name for step in graph.steps].index("2")
    moved = adversarial_at(graph, x, at, 0.1)
    grown = amplification(graph, x, moved, keys(0, torch.arange(4)), at)
    assert [g.name for g in grown] == [step.name for step in graph.steps[at:]]
    assert torch.allclose(grown[0].adversarial, torch.full((4,), 0.1).double(), atol=1e-9)
    assert torch.allclose(grown[0].noise, grown[0].adversarial)
    assert median(grown[-1].adversarial).median > median(grown[-1].noise).median


def test_growth_along_a_shortcut_counts_both_ways() -> None:
    net, x = _seeded(Residual), _rows(2, 2, 6, 6)
    graph = trace(Model(net), x)
    grown = {g.name: g for g in amplification(graph, x, x + 0.01, keys(0, torch.arange(2)))}
    values = [dict(graph.run(rows, keep=True)) for rows in (x, x + 0.01)]
    at = [step.name for step in graph.steps].index("add")
    wanted = (values[1][at] - values[0][at]).flatten(1).norm(dim=1) / values[0][at].flatten(1).norm(dim=1)
    assert torch.allclose(grown["add"].adversarial, wanted)


def test_a_median_has_the_interval_of_order_statistics() -> None:
    found = median(torch.arange(1.0, 101.0))
    assert (found.median, found.interval, found.rows) == (50.5, (40, 61), 100)
    assert median(torch.tensor([1.0, torch.nan, 3.0])).interval is None
    draws = torch.rand(400, 25, generator=torch.Generator().manual_seed(2))
    covered = [low <= 0.5 <= high for low, high in (median(row).interval or (1, 0) for row in draws)]
    assert sum(covered) >= 0.93 * 400


# ------------------------------------------------------------------ bad input


class Branches(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.line = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.line(x) if x.sum() > 0 else self.line(-x)


class Counting(nn.Module):
    """Its operations depend on numbers that are read outside of torch."""

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :2] * float(x.detach().numpy().max())


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        (lambda: Model(Branches()), "operations"),
        (lambda: Model(Counting()), "operations"),
        (lambda: Model(nn.LazyLinear(2)), "layers with shapes"),
        (lambda: Model(nn.Linear(4, 2)), "shape"),
        (lambda: Model(lambda x: torch.ones(len(x), 2)), "depend"),
        (lambda: BlackBox(lambda x: x.argmax(1), classes=3), "gradients"),
    ],
)
def test_what_cannot_be_walked_is_refused_in_a_sentence(model: Callable[[], Model], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        trace(model(), _rows(2, 3))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_weights_of_any_precision_are_taken_as_they_are(dtype: torch.dtype) -> None:
    net = _seeded(lambda: nn.Linear(5, 3)).to(dtype)
    _, layers = _walked(net, 5)
    dense = float(torch.linalg.matrix_norm(net.weight.detach().double(), 2))  # type: ignore[union-attr, operator]
    assert layers[-1].upper == pytest.approx(dense, rel=1e-9)


# ------------------------------------------------------------------ real networks

# zoo.py leaves its manifest open.
_OPEN = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")


@_OPEN
@pytest.mark.parametrize(
    ("name", "whole", "eclipse"),
    [("rvb_NOR_MLP_B", 158.3, 112.0), ("rvb_ADV_MLP_B_01", 35.7, 19.4), ("rvb_mnist_MLP_9_100_ADV", 87_050, 9_879)],
)
def test_eclipse_fast_of_published_networks(zoo: Path, name: str, whole: float, eclipse: float) -> None:
    net, x = _of(zoo, name)
    graph = folded(trace(Model(net), x))
    assert product(graph, x)[-1].upper == pytest.approx(whole, rel=1e-3)
    assert eclipse_fast(graph) == pytest.approx(eclipse, rel=2e-3)


@_OPEN
def test_a_residual_network_is_walked(zoo: Path) -> None:
    net, x = _of(zoo, "cifar10_resnet2b_pgd")
    found = around(net, x, 0.0)
    assert found.without_bound == []
    in_order(found)
    assert found.product < 1e4
    assert all(a.gain.upper[0] / a.gain.lower <= 1.001 for a in found.layers if a.op == "conv2d")


@_OPEN
@pytest.mark.parametrize("name", ["rvb_NOR_MLP_B", "rvb_LPD_MLP_B_01", "cifar10_kw_small_8px", "cifar10_cnn_a_adv"])
def test_no_gradient_of_a_published_network_is_above_its_bounds(zoo: Path, name: str) -> None:
    net, x = _of(zoo, name)
    found = around(net, x, 0.001)
    in_order(found)
    assert float(found.slope.local.max()) < found.product


def _of(zoo: Path, name: str) -> tuple[nn.Module, Tensor]:
    sys.path.insert(0, str(zoo))
    try:
        module = __import__("zoo")
        task = module.manifest()[name]["task"]
        return module.load(name), module.images(task, "test", 4)[0]
    finally:
        sys.path.remove(str(zoo))


def test_bounds_grow_along_a_sequence() -> None:
    _, layers = _walked(_seeded(_mlp), 12)
    assert all(after.upper == pytest.approx(before.upper * after.gain.upper[0]) for before, after in pairwise(layers))


# ------------------------------------------------------------------ masks, rows that are not in front, NaN


class Masked(nn.Module):
    """A ReLU and a leaky one as people write them by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(5, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        return self.last(
            torch.where(h > 0, h, 0.1 * h) * (h < 2) + h.masked_fill(h < 0, 0.0) + torch.where(h > 1, 1.0, 0.0)
        )


def test_masks_have_no_bound_and_are_followed_without_being_shown() -> None:
    net, x = _seeded(Masked), _rows(3, 5)
    found = around(net, x, 0.1)
    assert found.product == inf
    assert bool((found.slope.local == inf).all())
    assert torch.allclose(
        found.slope.gradient, torch.linalg.matrix_norm(_jacobians(trace(Model(net), x), x), 2), rtol=1e-6
    )
    graph = trace(Model(net), x)
    told = [g.name for g in amplification(graph, x, x + 0.3, keys(0, torch.arange(3)))]
    assert {step.name for step in graph.steps} - set(told) == {s.name for s in graph.steps if s.op in ("gt", "lt")}


class Encoder(nn.Module):
    """Attention, inside of which the first axis is that of tokens, then of heads; as many tokens as rows."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Linear(2, 4), nn.Linear(4, 3)
        self.block = nn.TransformerEncoderLayer(4, 2, 6, batch_first=True, dropout=0.0)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.block(self.embed(x)).mean(1))


class TokensFirst(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.act, self.head = nn.Linear(2, 4), nn.ReLU(), nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.act(self.embed(x.transpose(0, 1))).transpose(0, 1).flatten(1))


@pytest.mark.parametrize("make", [Encoder, TokensFirst])
def test_rows_are_found_wherever_they_lie_in_a_result(make: Callable[[], nn.Module]) -> None:
    """Growth of every row as it is when the row goes through the network alone.

    Where rows take turns along an axis, as after attention, nothing is told.
    """
    net, x = _seeded(make).eval(), _rows(3, 3, 2)
    moved = x + 0.2 * torch.rand(3, 3, 2, generator=torch.Generator().manual_seed(2))
    graph = trace(Model(net), x)
    grown = amplification(graph, x, moved, keys(0, torch.arange(3)))
    without = [step.name for step in graph.steps if step.axis is None]
    assert without == (["block.self_attn.reshape", "block.self_attn.linear.2"] if make is Encoder else [])
    for i in range(3):
        alone = trace(Model(net), x[i : i + 1])
        values = [dict(alone.run(one, keep=True)) for one in (x[i : i + 1], moved[i : i + 1])]
        for k, step in enumerate(alone.steps):
            if step.name in without:
                continue
            clean, other = (v[k].flatten() for v in values)
            (found,) = (float(g.adversarial[i]) for g in grown if g.name == step.name)
            assert found == pytest.approx(float((other - clean).norm() / clean.norm()), rel=1e-9, abs=1e-12)


def test_where_rows_are_not_in_front_the_bound_in_a_ball_is_the_one_everywhere() -> None:
    net, x = _seeded(TokensFirst), _rows(3, 3, 2)
    found = around(net, x, 0.01)
    assert not trace(Model(net), x).in_front
    assert found.slope.local.tolist() == [found.best] * 3
    assert bool((found.slope.found <= found.best).all())


def test_the_slopes_of_an_encoder_are_those_of_its_own_gradients() -> None:
    """Fused attention has no second derivative, which the ascents need."""
    net, x = _seeded(Encoder).eval(), _rows(3, 3, 2)
    found = around(net, x, 0.3)
    for i in range(3):
        own = torch.autograd.functional.jacobian(lambda z: net(z[None])[0], x[i]).flatten(1)
        assert float(found.slope.gradient[i]) == pytest.approx(float(torch.linalg.matrix_norm(own, 2)), rel=1e-4)
    assert bool((found.slope.found > found.slope.gradient).all())
    (note,) = [layer.gain.note for layer in found.layers if "attention" in layer.op]
    assert note.count(" + ") == 2  # for queries, keys and values
    assert "attention has no bound that holds everywhere" in note


def test_weights_of_nan_have_no_bound_and_slopes_of_nan_are_refused() -> None:
    class Broken(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Linear(3, 3), nn.Linear(3, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(torch.nan_to_num(self.first(x) * torch.tensor([1.0, 1.0, torch.nan])))

    net, x = _seeded(Broken), _rows(3, 3)
    graph = trace(Model(net), x)
    assert product(graph, x)[1].gain.upper == (inf,)
    with pytest.raises(InputError, match="expected scores with finite slopes at all rows"):
        around(nn.Sequential(_seeded(lambda: nn.Linear(3, 3)), Root(), nn.Linear(3, 2)), torch.zeros(3, 3), 0.1)


class Root(nn.Module):
    """With an infinite slope where its input is 0."""

    def forward(self, x: Tensor) -> Tensor:
        return (x - x.detach()).abs().sqrt() + x


def test_results_of_a_single_number_for_every_row_are_bounded_too() -> None:
    class Summed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last = nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(x).relu() + x.mean(1)[:, None] * 2

    net, x = _seeded(Summed), _rows(3, 4)
    found = around(net, x, 0.05)
    in_order(found)
    assert bool((found.slope.local < found.best).all())
    grown = amplification(trace(Model(net), x), x, x + 0.1, keys(0, torch.arange(3)))
    (mean,) = (g for g in grown if g.name == "mean")
    assert mean.adversarial.tolist() == pytest.approx((0.1 / x.double().mean(1)).tolist())
