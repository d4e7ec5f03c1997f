"""Geometry of boundaries that are known: planes and spheres."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from blindspots.errors import InputError
from blindspots.experiments.universal import geometry as module
from blindspots.experiments.universal.geometry import _gram, _spectrum, geometry_of, random_gram
from blindspots.experiments.universal.verdict import Geometry
from blindspots.models.model import Model
from closed_form import Ball, Linear


def _rows(n: int, shape: tuple[int, ...], seed: int = 0) -> Tensor:
    return 0.35 + 0.3 * torch.rand(n, *shape, generator=torch.Generator().manual_seed(seed))


def geometry(*args: Any, **settings: Any) -> Geometry:
    """What is measured, counted."""
    return geometry_of(module.geometry(*args, **settings))


def _plane(size: int) -> Linear:
    weight = torch.randn(size, generator=torch.Generator().manual_seed(3))
    half = weight.sum() / 4
    return Linear(torch.stack([-weight / 2, weight / 2]), torch.stack([half, -half]))


def test_one_plane_has_one_singular_value_and_no_curvature() -> None:
    net, x = _plane(12), _rows(40, (12,))
    g = geometry(Model(net), x, x, norm=0.2, universal=torch.ones(12))
    assert (g.rows, g.dimensions, g.span) == (40, 12, 1)
    assert g.energy["1"][0] == pytest.approx(1, abs=1e-6)
    assert g.energy["1"][1] < 0.3
    assert g.singular_values[0] == pytest.approx(40**0.5, rel=1e-5)
    assert g.singular_values[1] < 1e-3
    assert set(g.curvature) == {"universal", "random"}  # the one singular vector is the normal: it is nowhere tangent
    assert all(value < 1e-4 for value in g.curvature.values())
    assert set(g.energy) == {"1", "10"}  # there are no 100 dimensions
    assert len(g.singular_values) == 12


def test_several_planes_have_no_curvature_along_singular_vectors() -> None:
    g = torch.Generator().manual_seed(1)
    weight = torch.randn(5, 12, generator=g)
    net = Linear(weight, -weight.sum(1) / 2)  # all planes meet amid the rows
    found = geometry(Model(net), _rows(40, (12,)), _rows(5, (12,), 1), norm=0.1, universal=torch.ones(12), span=9)
    assert 1 < found.span <= 9
    assert set(found.curvature) == {"singular", "universal", "random"}
    assert all(value < 1e-4 for value in found.curvature.values())


@pytest.mark.parametrize("radius", [0.15, 0.4])
def test_a_sphere_has_the_curvature_of_its_radius_in_every_direction(radius: float) -> None:
    net = Ball(torch.full((8,), 0.5), radius)
    found = geometry(Model(net), _rows(30, (8,)), _rows(5, (8,), 1), norm=0.1, universal=torch.eye(8)[0], span=100)
    assert found.span == 8
    for value in found.curvature.values():
        assert value == pytest.approx(1 / radius, rel=0.01)


def test_fooling_rates_of_the_span_are_those_of_the_plane_from_both_sides() -> None:
    """In the span of one normal, a vector crosses the plane if it is long enough and points the right way."""
    size = 400
    net, x = _plane(size), _rows(60, (size,))
    held = 0.5 + (_rows(200, (size,), 9) - 0.5) / 4
    weight = net.weight[1] - net.weight[0]
    distance = (net(held)[:, 1] - net(held)[:, 0]).abs().detach() / weight.norm().detach()
    short, long = 0.9 * float(distance.min()), 1.1 * float(distance.max())
    none = geometry(Model(net), x, held, norm=short, universal=torch.ones(size), curved_rows=0)
    assert none.fooled_in_span.hits == 0
    half = geometry(Model(net), x, held, norm=long, universal=torch.ones(size), curved_rows=0)
    low, high = half.fooled_in_span.interval
    assert low <= 0.5 <= high  # half of the vectors point away
    assert half.fooled_random.share < 0.2  # in 400 dimensions, a random vector hardly moves along the normal
    assert half.curvature == {}


def test_singular_values_are_those_of_the_matrix() -> None:
    a = torch.randn(20, 9000, generator=torch.Generator().manual_seed(0))
    a = a / a.norm(dim=1, keepdim=True)
    values, left = _spectrum(_gram(a))
    expected = torch.linalg.svdvals(a.double())
    torch.testing.assert_close(values, expected, rtol=1e-6, atol=1e-9)
    right = (left / values).T.float() @ a
    torch.testing.assert_close(right @ right.T, torch.eye(20), rtol=0, atol=1e-5)


def test_random_unit_vectors_are_unit_and_nearly_orthogonal() -> None:
    gram = random_gram(10, 20_000, 0)
    torch.testing.assert_close(gram.diagonal(), torch.ones(10, dtype=torch.float64))
    assert float((gram - torch.eye(10)).abs().max()) < 5 / 20_000**0.5
    assert not torch.equal(gram, random_gram(10, 20_000, 1))


class _Smooth(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        g = torch.Generator().manual_seed(0)
        self.a, self.b = nn.Parameter(torch.randn(16, 8, generator=g)), nn.Parameter(torch.randn(3, 16, generator=g))

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh((x - 0.5).flatten(1) @ self.a.T) @ self.b.T


def test_the_same_seed_gives_the_same_bits_and_the_callers_state_is_left_alone() -> None:
    x, held, net = _rows(70, (8,)), _rows(20, (8,), 1), _Smooth().train()
    before = torch.random.get_rng_state()
    first, second = (
        geometry(Model(net), x, held, norm=0.2, universal=torch.ones(8), seed=5, chunk=16) for _ in range(2)
    )
    assert first == second
    assert torch.equal(before, torch.random.get_rng_state())
    assert net.training
    assert net.a.requires_grad
    assert first != geometry(Model(net), x, held, norm=0.2, universal=torch.ones(8), seed=6, chunk=16)


def test_only_so_many_rows_are_used_and_inputs_of_any_shape_fit() -> None:
    net = nn.Sequential(nn.Flatten(), _Smooth())
    x = _rows(30, (2, 2, 2))
    found = geometry(Model(net), x, x[:4], norm=0.2, universal=torch.ones(2, 2, 2), rows=12, span=3, curved_rows=4)
    assert found.rows == 12
    assert found.span == 3
    assert found == geometry(Model(net), x[:12], x[:4], norm=0.2, universal=torch.ones(2, 2, 2), span=3, curved_rows=4)


def test_the_norm_left_out_is_the_one_at_which_random_vectors_fool_a_tenth() -> None:
    g = torch.Generator().manual_seed(1)
    weight = torch.randn(3, 50, generator=g)
    net, x = Linear(weight, -weight.sum(1) / 2), _rows(1000, (50,))
    found = geometry(Model(net), x[:100], x, universal=torch.ones(50), curved_rows=0)
    low, high = found.fooled_random.interval
    assert low - 0.06 < 0.1 < high + 0.06  # it was found on 100 rows, judged on 1,000
    assert found.fooled_in_span.share > 2 * found.fooled_random.share
    assert found == geometry(Model(net), x[:100], x, universal=torch.ones(50), norm=found.norm, curved_rows=0)


def test_a_model_with_one_answer_is_refused() -> None:
    net = Linear(torch.zeros(2, 4), torch.tensor([0.0, 1.0]))
    with pytest.raises(InputError, match="at least 2 inputs with a change"):
        geometry(Model(net), _rows(5, (4,)), _rows(2, (4,)), norm=0.1, universal=torch.ones(4))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of the loader of models
def test_on_real_pictures_the_span_of_normals_fools_more_than_chance(zoo: Path) -> None:
    """The paper's finding, on a network for CIFAR-10."""

    sys.path.insert(0, str(zoo))
    import zoo as shared

    x, _ = shared.images("cifar10", "test", 400)
    found = geometry(
        Model(shared.load("cifar10_resnet20")), x[:200], x[200:], norm=1.2, universal=torch.ones(3, 32, 32)
    )
    assert found.energy["10"][0] > 1.3 * found.energy["10"][1]
    assert found.fooled_in_span.interval[0] > found.fooled_random.interval[1]
