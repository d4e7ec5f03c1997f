"""The side studies: what they compare, at which sizes, and that known networks come out as they must."""

import math

import pytest
import torch
from safetensors.torch import save
from torch import Tensor, nn

from blindspots.ball import L1, L2, Linf
from blindspots.data import ArrayData
from blindspots.experiments.harden.study import Pair, Watch, concluded, equal_volume, trials
from blindspots.experiments.harden.verdict import STUDY, Study
from blindspots.models.model import Model
from blindspots.runs.columns import check_columns
from blindspots.threat import Threat

SHAPE = (1, 6, 6)
ROWS = 8


def _linear(scale: float) -> Model:
    """Two halves of the image against each other: score difference `scale` times the difference of their means."""
    layer = nn.Linear(36, 2)
    with torch.no_grad():
        layer.weight.zero_()
        layer.weight[0, :18], layer.weight[0, 18:] = scale / 18, -scale / 18
        layer.weight[1] = -layer.weight[0]
        layer.bias.zero_()
    return Model(nn.Sequential(nn.Flatten(), layer))


def _data(rows: int = ROWS) -> ArrayData:
    """One half 0.6, the other 0.4: in linf every row is 0.1 away from an error."""
    y = torch.arange(rows) % 2
    x = torch.full((rows, 36), 0.4)
    x[y == 0, :18], x[y == 1, 18:] = 0.6, 0.6
    return ArrayData(x.view(-1, *SHAPE), y)


def study(
    before: Model, after: Model, data: ArrayData, threat: Threat, rows: int = ROWS, watch: Watch = lambda text: None
) -> tuple[Study, dict[str, Tensor]]:
    x, y = data.rows(0, min(rows, len(data)))
    columns = Pair(before, after, x, y, threat.within(0.0, 1.0), watch=watch).columns()
    check_columns(columns, STUDY, "study")
    return concluded(columns, threat), columns


@pytest.fixture(scope="module")
def found() -> tuple[Study, dict[str, Tensor]]:
    return study(_linear(1.0), _linear(5.0), _data(), Linf(0.15))


def _volume(p: float, r: float, d: int) -> float:
    """Of the ball, the known forms."""
    if p == math.inf:
        return (2 * r) ** d
    if p == 1:
        return (2 * r) ** d / math.factorial(d)
    return math.pi ** (d / 2) / math.gamma(d / 2 + 1) * r**d


@pytest.mark.parametrize("threat", [Linf(0.3), L2(0.7), L1(2.0)])
@pytest.mark.parametrize("p", [1.0, 2.0, math.inf])
@pytest.mark.parametrize("d", [1, 2, 7])
def test_balls_of_equal_volume_have_equal_volumes(threat: Threat, p: float, d: int) -> None:
    assert threat.radius is not None
    radius = equal_volume(threat, p, d)
    assert _volume(p, radius, d) == pytest.approx(_volume(threat.p, threat.radius, d))


def test_other_norms_are_those_that_were_not_trained_for() -> None:
    names = {t.threat.name for t in trials(L2(0.5), SHAPE, 10) if t.kind == "norm"}
    assert names == {"linf", "l1"}


def test_half_the_radius_of_equal_volume_is_near_what_is_usual_on_small_colour_images() -> None:
    (l2, l1) = (t.threat.radius for t in trials(Linf(8 / 255), (3, 32, 32), 10) if t.kind == "norm")
    assert l2 == pytest.approx(0.42, abs=0.01)
    assert l1 == pytest.approx(17.7, abs=0.2)


def test_tables_get_no_changes_of_pictures() -> None:
    names = [t.name for t in trials(Linf(0.1), (12,), 3)]
    assert "noise" in names
    assert not {"blur", "contrast", "spatial", "salt and pepper"} & set(names)


@pytest.mark.parametrize("threat", [Linf(0.1), L2(0.5), L1(2.0)])
def test_every_trial_fits_its_threat(threat: Threat) -> None:
    made = list(trials(threat, SHAPE, 2))
    assert all(t.threat.name in t.attack.threats for t in made)
    assert len({t.name for t in made}) == len(made)
    assert {t.kind for t in made} == {"norm", "unseen attack", "corruption"}


def test_inside_the_known_distance_rows_stand_and_beyond_it_they_fall(found: tuple[Study, dict[str, Tensor]]) -> None:
    inside, _ = study(_linear(1.0), _linear(1.0), _data(2), Linf(0.08))
    for said, standing in ((inside, 2), (found[0], 0)):
        by_gradient = next(c for c in said.compared if c.name.startswith("apgd"))
        assert (by_gradient.before.hits, by_gradient.after.hits) == (standing, standing)


def test_the_curve_falls_at_the_known_distance(found: tuple[Study, dict[str, Tensor]]) -> None:
    said, tensors = found
    assert torch.allclose(tensors["distance_before"], torch.full((ROWS,), 0.1), atol=2e-3)
    for shares in (said.curve.before, said.curve.after):
        assert all(a == 1 for r, a in zip(said.curve.radii, shares, strict=True) if r < 0.098)
        assert all(a == 0 for r, a in zip(said.curve.radii, shares, strict=True) if r > 0.103)


def test_two_networks_of_one_direction_fool_each_other_alike(found: tuple[Study, dict[str, Tensor]]) -> None:
    made_for = {c.name: c for c in found[0].compared if c.kind == "transfer"}
    assert set(made_for) == {"made for before", "made for after"}
    assert all(c.before.hits == c.after.hits == 0 for c in made_for.values())


def test_gradients_and_their_alignment_are_those_of_the_weights(found: tuple[Study, dict[str, Tensor]]) -> None:
    said, tensors = found
    own = torch.cat([torch.full((18,), 2 / 18), torch.full((18,), -2 / 18)]).view(SHAPE)
    for g, y in zip(tensors["gradient_before"], tensors["y"], strict=True):
        torch.testing.assert_close(g, own if y == 0 else -own)
    torch.testing.assert_close(tensors["gradient_after"], 5 * tensors["gradient_before"])
    cosine = (0.6 - 0.4) / math.sqrt(2 * (0.6**2 + 0.4**2))
    assert said.alignment.before == pytest.approx(cosine, rel=1e-5)
    assert said.alignment.after == pytest.approx(cosine, rel=1e-5)


def test_a_network_that_is_always_wrong_has_no_rows_to_lose() -> None:
    data = _data()
    x, y = data.rows(0, ROWS)
    said, tensors = study(_linear(1.0), _linear(1.0), ArrayData(x, 1 - y), Linf(0.15))
    assert all(c.before.hits == 0 for c in said.compared if c.kind != "transfer")
    assert not tensors["distance_before"].any()


def test_the_same_seed_gives_the_same_study_and_leaves_the_networks_as_they_were(
    found: tuple[Study, dict[str, Tensor]],
) -> None:
    before = _linear(1.0)
    before.net.train()
    said, tensors = study(before, _linear(5.0), _data(), Linf(0.15))
    assert said == found[0]
    assert save(tensors) == save(found[1])
    assert before.digest == _linear(1.0).digest
    assert all(module.training for module in before.net.modules())
    assert all(p.requires_grad for p in before.net.parameters())


def test_rows_limit_what_is_looked_at_and_each_comparison_is_told() -> None:
    told: list[str] = []
    said, tensors = study(_linear(1.0), _linear(2.0), _data(), Linf(0.1), rows=3, watch=told.append)
    assert said.rows == 3
    assert {c.before.rows for c in said.compared} == {3}
    assert len(tensors["distance_after"]) == 3
    assert told == [*(c.name for c in said.compared), "accuracy against radius", "input gradients"]
