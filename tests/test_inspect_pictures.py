"""Pictures of what a network sees: each formula beside its closed form, each refusal in a sentence."""

import sys
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import blindspots as bs
from blindspots.errors import InputError
from blindspots.experiments.inspect.layers import Layer, layers_of
from blindspots.experiments.inspect.pictures.ascent import Ascent, Job, Recipe, levels, pixels
from blindspots.experiments.inspect.pictures.classes import numbers_of
from blindspots.experiments.inspect.pictures.cppn import HIDDEN, Genomes
from blindspots.experiments.inspect.pictures.evolution import Archive, evolved
from blindspots.experiments.inspect.pictures.objectives import Group, answered, central, likeness, odds
from blindspots.experiments.inspect.pictures.parametrisations import (
    Fourier,
    Maco,
    Pixels,
    Plain,
    coloured,
    decorrelated,
    magnitudes,
)
from blindspots.experiments.inspect.pictures.reading import matched
from blindspots.experiments.inspect.pictures.transformations import UNSEEN, Disturbance
from blindspots.experiments.inspect.pictures.verify import checks
from blindspots.models import Model
from blindspots.random import keys, uniform
from blindspots.runs.store import Parts
from blindspots.runs.world import World

KEYS = keys(0, torch.arange(4))
T0 = torch.zeros(4, dtype=torch.int64)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


# ------------------------------------------------------------------ what stands for a picture


def test_colours_are_mixed_and_unmixed_and_grey_stays_grey() -> None:
    x = random(2, 3, 5, 4)
    assert torch.allclose(decorrelated(coloured(x)), x, atol=1e-5)
    assert not torch.allclose(coloured(x), x)
    assert torch.equal(coloured(x[:, :1]), x[:, :1])


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 7, 9), (3, 28, 28)])
def test_a_spectrum_is_that_of_the_logits_divided_by_its_frequency(shape: tuple[int, int, int]) -> None:
    made = Fourier(shape[1:])
    numbers = made.start(KEYS, shape)
    found = torch.fft.rfft2(decorrelated(made.image(numbers).double().logit().float()), norm="ortho") * 4
    y, x = np.meshgrid(np.fft.fftfreq(shape[1]), np.fft.rfftfreq(shape[2]), indexing="ij")
    divided = numbers.numpy()[..., 0] / np.maximum(np.hypot(x, y), 1 / max(shape[1:]))
    inner = np.s_[..., 1 : (shape[2] - 1) // 2]  # columns without a mirrored twin in the same spectrum
    assert np.allclose(found.numpy().real[inner], divided[inner], atol=2e-4)


def test_phases_keep_the_magnitudes_of_the_data_whatever_they_are() -> None:
    x = random(6, 1, 8, 8)
    mean = magnitudes(x) / len(x)
    made = Maco((8, 8), mean)
    spectrum = torch.fft.rfft2(made.image(made.start(KEYS, (1, 8, 8))).double().logit(), norm="ortho")
    assert torch.allclose(spectrum[..., 1:4].abs().float(), mean[..., 1:4].expand(4, -1, -1, -1), atol=1e-4)
    assert torch.allclose(spectrum[..., 0, 0].real.float(), mean[:, 0, 0].expand(4, 1), atol=1e-4)
    logits = x.clamp(0.02, 0.98).logit()
    assert torch.allclose(mean[0, 0, 0], logits.mean() * 8, atol=1e-4)


@pytest.mark.parametrize("made", [Pixels(), Plain(), Fourier((6, 6)), Maco((6, 6), random(3, 6, 4))])
def test_a_start_is_that_of_its_key_alone(made: Any) -> None:
    whole = made.start(KEYS, (3, 6, 6))
    assert torch.equal(whole[2:3], made.start(KEYS[2:3], (3, 6, 6)))
    image = made.image(whole)
    assert image.shape == (4, 3, 6, 6)
    assert bool(((image >= 0) & (image <= 1)).all())


# ------------------------------------------------------------------ transformations


def test_a_disturbance_without_size_changes_nothing() -> None:
    x = random(4, 3, 8, 8)
    still = Disturbance(shift=0, zoom=(1, 1), turn=0)
    assert torch.allclose(still(x, KEYS, T0), x, atol=1e-6)


def test_shifts_move_whole_pictures_and_grey_comes_in() -> None:
    x = torch.ones(4, 1, 8, 8)
    moved = Disturbance(shift=0.25, zoom=(1, 1), turn=0)(x, KEYS, T0)
    drawn = uniform(KEYS, T0, 0, (4,))[:, 2:]
    by = (0.25 * 8 * (2 * drawn - 1)).abs()  # pixels across and down
    left_in = (1 - by[:, 0] / 8) * (1 - by[:, 1] / 8)
    assert torch.allclose(moved.mean((1, 2, 3)), 0.5 + 0.5 * left_in, atol=1e-5)


def test_turns_are_turns_also_of_pictures_that_are_no_squares() -> None:
    y, x = torch.meshgrid(torch.arange(20.0) - 9.5, torch.arange(40.0) - 19.5, indexing="ij")
    disc = ((x.square() + y.square()).sqrt() < 6).float().expand(4, 1, 20, 40)
    turned = Disturbance(shift=0, zoom=(1, 1), turn=90)(disc, KEYS, T0)
    inside = (x.square() + y.square()).sqrt() < 4
    assert bool((turned[:, 0, inside] > 0.99).all())
    beyond = (x.square() + y.square()).sqrt()
    assert bool((turned[:, 0, (beyond > 7.5) & (beyond < 9)] < 0.01).all())


def test_a_row_is_disturbed_by_its_key_and_clock_alone() -> None:
    x, disturbed = random(4, 3, 8, 8), Disturbance(noise=0.1)
    whole = disturbed(x, KEYS, T0)
    assert torch.allclose(whole[1:2], disturbed(x[1:2], KEYS[1:2], T0[:1]), atol=1e-6)
    assert not torch.allclose(whole, disturbed(x, KEYS, T0 + 1))


@pytest.mark.parametrize("name", UNSEEN)
def test_what_no_picture_was_made_with_changes_pictures_and_keeps_them_in_range(name: str) -> None:
    x = random(4, 3, 8, 8)
    y = UNSEEN[name](x, KEYS)
    assert y.shape == x.shape
    assert not torch.allclose(y, x, atol=1e-3)
    assert bool(((y >= 0) & (y <= 1)).all())


# ------------------------------------------------------------------ objectives


def test_log_odds_are_exact_and_rise_where_probabilities_are_1() -> None:
    p = torch.tensor([[0.9, 0.08, 0.02]])
    assert torch.allclose(odds(p.log()), (p / (1 - p)).log().double(), atol=1e-6)
    sure = odds(torch.tensor([[20.0, 0.0], [30.0, 0.0]]))[:, 0]
    assert sure[1] > sure[0] + 9
    assert bool(odds(torch.tensor([[900.0, 0.0]])).isfinite().all())


def test_the_centre_and_the_mean_of_a_channel_are_read_where_they_are() -> None:
    out = random(2, 3, 4, 6)
    layer = Layer("a", "Conv2d", (3, 4, 6), True, 0)
    assert torch.equal(central(layer, out), out[:, :, 2, 3])
    assert torch.equal(Group("unit", layer, torch.tensor([2])).values(out), out[:, 2:, 2, 3])
    assert torch.allclose(Group("channel", layer, torch.tensor([1])).values(out), out[:, 1:2].mean((2, 3)))
    tokens = Layer("b", "Linear", (5, 7), True, 1)
    assert torch.equal(central(tokens, random(2, 5, 7)), random(2, 5, 7)[:, 2])


def test_projections_are_weighted_by_the_square_of_their_cosine_and_never_by_less_than_a_hundredth() -> None:
    layer = Layer("a", "Linear", (2,), True, 0)
    group = Group("direction", layer, torch.tensor([[1.0, 0.0]]))
    out = torch.tensor([[3.0, 4.0], [0.01, 1.0], [2.0, 0.0]])
    which = torch.zeros(3, dtype=torch.int64)
    assert torch.allclose(group.climbed(out, which), torch.tensor([3 * 0.36, 0.01 * 0.01, 2.0]), atol=1e-6)
    assert torch.allclose(group.values(out)[:, 0], out[:, 0])


def test_likeness_is_1_of_equal_textures_wherever_they_are_and_0_of_others() -> None:
    one = torch.zeros(1, 2, 4, 4)
    one[0, 0, 0, 0] = 1
    moved, other = one.roll(2, 2), one.flip(1)
    assert torch.allclose(likeness(torch.cat([one, moved]), 2), torch.tensor([1.0]))
    assert torch.allclose(likeness(torch.cat([one, other]), 2), torch.tensor([0.0]))
    assert torch.allclose(likeness(torch.cat([one, moved, other]), 3), torch.tensor([1 / 3]))


# ------------------------------------------------------------------ ascents


def linear(units: int = 4, seed: int = 1) -> nn.Sequential:
    net = nn.Sequential(nn.Flatten(), nn.Linear(36, units), nn.ReLU(), nn.Linear(units, 3))
    with torch.no_grad():
        net[1].weight.copy_(torch.randn(units, 36, generator=torch.Generator().manual_seed(seed)))
        net[1].bias.zero_()
    return net


def climbed(
    net: nn.Module, kind: str, recipe: Recipe, steps: int, each: int = 1, alike: float = 0.0, **kept: Any
) -> Any:
    model = Model(net)
    layer = layers_of(model, torch.zeros(2, 1, 6, 6))[1]
    group = Group(kind, layer, torch.arange(4))
    which = torch.arange(4).repeat_interleave(each)
    job = Job(keys(0, torch.arange(4 * each)), which, each, alike)
    going, states = Ascent(model, group, recipe, (1, 6, 6), 4).run(job, steps, **{"kept": None, **kept}), []
    while True:
        try:
            states.append(next(going)[1])
        except StopIteration as end:
            return end.value, states


PLAIN = Recipe(Plain(), 6 / 400, None, adam=False)


def test_a_plain_ascent_goes_along_the_gradient_by_steps_of_one_length() -> None:
    net = linear()
    w = net[1].weight.detach()
    start = Plain().start(keys(0, torch.arange(4)), (1, 6, 6)).flatten(1)
    end = (start + 40 * 6 / 400 * w / w.norm(dim=1, keepdim=True)).clamp(0, 1)
    made = climbed(net, "channel", PLAIN, 40)[0]["numbers"].flatten(1)
    assert torch.allclose(made, end, atol=0.02)


@pytest.mark.parametrize("recipe", [Recipe(Pixels(), 0.1), Recipe(Fourier((6, 6)), 0.1)])
def test_an_ascent_comes_to_the_corner_of_the_box_that_is_known(recipe: Recipe) -> None:
    """Of a linear unit no picture reaches more than the sum of its positive weights."""
    net = linear()
    best = net[1].weight.clamp_min(0).sum(1)
    value = climbed(net, "channel", recipe, 400)[0]["value"]
    assert bool((value <= best + 1e-3).all())
    assert bool((value >= 0.95 * best).all())


def test_a_unit_that_no_row_excites_still_has_a_picture_before_its_activation() -> None:
    net = linear()
    with torch.no_grad():
        net[1].bias.fill_(-100.0)
    dead = Model(net)
    x = random(50, 6, 6)
    before = bs.inspect.pictures(dead, x, torch.arange(50) % 3, layer="1", ascent_steps=160, pictures_by="plain",
                                 fooling=False)  # fmt: skip
    assert before.verdict.metrics()["above_the_data"].value == 1
    after = bs.inspect.pictures(dead, x, torch.arange(50) % 3, layer="2", ascent_steps=30, fooling=False)
    assert after.verdict.pictures[0].reach is None
    assert {f.code for f in after.findings} >= {"dead-objectives"}


def test_an_ascent_goes_on_from_every_state_to_the_same_bits() -> None:
    recipe = Recipe(Fourier((6, 6)), 0.05, Disturbance())
    whole, states = climbed(linear(), "channel", recipe, 40)
    for state in states:
        again = climbed(linear(), "channel", recipe, 40, kept=state)[0]
        assert all(torch.equal(again[name], whole[name]) for name in whole)


def test_pictures_of_one_objective_are_unlike_each_other_where_likeness_costs() -> None:
    def spread(alike: float) -> float:
        made = climbed(linear(), "channel", Recipe(Pixels(), 0.05), 60, each=3, alike=alike)[0]["best"]
        return float(made.double().view(4, 3, -1).std(1).mean())

    assert spread(30.0) > 1.5 * spread(0.0)


def test_levels_hold_what_an_8_bit_file_holds() -> None:
    box = Model(nn.Flatten(), (-1.0, 3.0)).box
    image = torch.tensor([0.0, 0.5, 1.0])
    assert torch.allclose(pixels(levels(image), box), torch.tensor([-1.0, 1.0, 3.0]), atol=4 / 255)
    assert pixels(levels(image), box)[[0, 2]].tolist() == [-1.0, 3.0]


# ------------------------------------------------------------------ from nothing


def test_networks_read_only_what_comes_before_and_children_stay_such_networks() -> None:
    genomes = Genomes.drawn(keys(0, torch.arange(50)), 3)
    for t in range(30):
        genomes = genomes.mutated(keys(1, torch.arange(50)), torch.full((50,), t))
    reads = genomes.used[:, :, 4:]
    assert not bool(reads.triu().any())
    assert not bool(reads[:, :, HIDDEN:].any())
    assert bool(reads.any())
    assert len(genomes.kind.unique()) == 5


def test_a_network_that_reads_one_coordinate_draws_its_slope() -> None:
    genome = Genomes.drawn(keys(0, torch.arange(1)), 1)
    weights, used = torch.zeros_like(genome.weights), torch.zeros_like(genome.used)
    weights[0, HIDDEN, 0], used[0, HIDDEN, 0] = 2.0, True
    image = Genomes(weights, used, torch.zeros_like(genome.kind)).images(3, 5)[0, 0]
    expected = 0.5 + 0.5 * torch.linspace(-2, 2, 5).tanh()
    assert torch.allclose(image, expected.expand(3, 5), atol=1e-6)


def test_an_archive_takes_only_what_is_better() -> None:
    genomes = Genomes.drawn(keys(0, torch.arange(2)), 1)
    archive = Archive(genomes, torch.tensor([0.5, -torch.inf], dtype=torch.float64))
    children = genomes.mutated(keys(1, torch.arange(2)), torch.zeros(2, dtype=torch.int64))
    found = torch.tensor([[0.4, -3.0], [0.1, -2.0]], dtype=torch.float64)
    after = archive.challenged(children, found)
    assert after.odds.tolist() == [0.5, -2.0]
    assert torch.equal(after.elites.weights[0], genomes.weights[0])
    assert torch.equal(after.elites.weights[1], children.weights[1])


def run_through(generator: Any) -> tuple[Tensor, list[Any]]:
    states = []
    while True:
        try:
            states.append(next(generator)[1])
        except StopIteration as end:
            return end.value, states


def test_evolution_goes_on_from_every_state_and_never_loses_an_elite() -> None:
    model = Model(linear())
    whole, states = run_through(evolved(model, (1, 6, 6), 3, 40, 0, None))
    assert bool((torch.stack([s["odds"] for s in states]).diff(dim=0) >= 0).all())
    again, _ = run_through(evolved(model, (1, 6, 6), 3, 40, 0, states[2]))
    assert torch.equal(whole, again)


# ------------------------------------------------------------------ units that answer alike


def test_the_unit_that_answers_alike_is_found_where_it_was_put() -> None:
    own = linear()
    other = nn.Sequential(nn.Flatten(), nn.Linear(36, 6), nn.ReLU(), nn.Linear(6, 3))
    with torch.no_grad():
        other[1].weight[5], other[1].bias[5] = 3 * own[1].weight[2], 7.0
    x = random(80, 1, 6, 6)
    data = bs.ArrayData(x.numpy(), np.arange(80) % 3)
    with torch.no_grad():
        found = own[1](x.flatten(1))[:, [2, 0]]
    shown = matched(Model(other), found, random(2, 3, 1, 6, 6, seed=2), data, 7, lambda done: None)
    assert (int(shown["layer"][0]), int(shown["unit"][0])) == (0, 5)
    assert float(shown["correlation"][0]) == pytest.approx(1)
    with torch.no_grad():
        every = torch.cat([other[1](x.flatten(1)), other(x)], 1)
    brute = np.corrcoef(torch.cat([found, every], 1).T.numpy())[1, 2:]
    assert float(shown["correlation"][1]) == pytest.approx(brute.max(), abs=1e-5)
    again = other[1](random(2, 3, 1, 6, 6, seed=2)[0].flatten(1))[:, 5]
    assert torch.allclose(shown["reached"][0], again, atol=1e-5)


# ------------------------------------------------------------------ classes


def test_classes_are_found_by_name_by_synonym_and_by_number() -> None:
    names = ["hen", "ostrich, Struthio camelus", "Great grey owl", "owl"]
    assert numbers_of(["ostrich", "great grey owl", "3"], names, 4) == (1, 2, 3)
    assert numbers_of(["2"], None, 4) == (2,)
    with pytest.raises(InputError, match="did you mean 'ostrich'"):
        numbers_of(["ostritch"], names, 4)
    with pytest.raises(InputError, match="from 0 to 3, got '4'"):
        numbers_of(["4"], None, 4)


# ------------------------------------------------------------------ the study

SMALL: dict[str, Any] = {"data": "digits", "rows": 60, "ascent_steps": 64, "generations": 20, "picture_units": 2}


@pytest.fixture(scope="module")
def done() -> Any:
    return bs.inspect.pictures("digits", **SMALL, class_=("3", "0"), picture=("channel", "class"), layer="2")


def test_pictures_stand_beside_the_data_and_are_files(done: Any) -> None:
    v = done.verdict
    assert [g.kind for g in v.groups] == ["channel", "class"]
    assert [p.target for p in v.groups[1].pictures] == [3, 0]
    assert all(p.quantile > 0.95 and p.says == p.target for p in v.groups[1].pictures)
    stored = done.parts["pictures/1"]["levels"][0, 0, 0].numpy()
    file = np.asarray(Image.open(BytesIO(done.files["pictures/1-class/3-1.png"])))
    assert np.array_equal(file, stored)
    with torch.no_grad():
        again = bs.load_model("digits").logits(torch.from_numpy(stored / np.float32(255))[None, None])
    assert float(again[0, 3]) == pytest.approx(v.groups[1].pictures[0].reached, rel=1e-4)


def test_images_from_nothing_fool_the_model_also_as_8_bits(done: Any) -> None:
    by_gradient, by_evolution = done.verdict.fooling
    assert all(image.confidence_8bit > 0.99 for image in by_gradient.images)
    assert by_evolution.typical > 0.5
    assert [image.label for image in by_evolution.images] == [3, 0]


def test_rows_alone_and_among_others_get_the_same_picture(done: Any) -> None:
    alone = bs.inspect.pictures("digits", **SMALL, class_="0", fooling=False)
    one = alone.parts["pictures/0"]["levels"][0].int()
    assert int((one - done.parts["pictures/1"]["levels"][1].int()).abs().max()) <= 3


@pytest.mark.parametrize("by", ["pixels", "maco", "plain"])
def test_every_way_to_draw_raises_what_it_is_for(by: str) -> None:
    made = bs.inspect.pictures("digits", **SMALL, class_="3", pictures_by=by, fooling=False, diverse=2)
    picture = made.verdict.pictures[0]
    assert picture.says == 3
    assert picture.quantile > 0.8


class Altered(Parts):
    """Parts of a run, one column of which was changed by somebody who sealed everything anew."""

    changed: tuple[str, str, Callable[[Tensor], Tensor]]

    def __getitem__(self, name: str) -> Any:
        columns = super().__getitem__(name)
        part, column, change = self.changed
        return {**columns, column: change(columns[column])} if name == part else columns


@pytest.mark.parametrize(
    ("part", "column", "says"),
    [
        ("pictures/0", "value", "reach"),
        ("pictures/0", "unseen", "keep under"),
        ("pictures/1", "top_unseen", "keep of rows"),
        ("pictures/1", "levels", "expected"),
        ("answers/1", "values", "row 0 answers"),
        ("fooling/gradient", "confidence_8bit", "confidences"),
        ("fooling/cppn", "confidence", "confidences"),
    ],
)
def test_verify_finds_what_was_changed_in_a_part(done: Any, part: str, column: str, says: str) -> None:
    p = done.parts
    altered = Altered(p.files, p.at, p.begun, p.names, p.digests)
    object.__setattr__(altered, "changed", (part, column, lambda t: 255 - t if t.dtype is torch.uint8 else t * 0.9))
    world = World(done.config)
    world.same = {"model": True, "data": True}
    problems = [text for check in checks(done.config, done.verdict, altered, world) for text in check.problems]
    assert any(says in text for text in problems), problems


def test_a_model_known_by_its_scores_has_images_evolved_for_it() -> None:
    net = bs.load_model("digits")
    box = bs.BlackBox(lambda x: net.logits(torch.from_numpy(x)).detach().numpy(), name="service")
    found = bs.inspect.pictures(box, data=bs.load_data("digits", 20), generations=10, class_="3")
    assert [f.way for f in found.verdict.fooling] == ["cppn"]
    assert found.verdict.groups == []
    assert "evolved-alone" in {f.code for f in found.findings}
    assert box.queries < 10 * 32 + 200
    with pytest.raises(InputError, match="known by its answers alone"):
        bs.inspect.pictures(box, data=bs.load_data("digits", 20), layer="2")


class Cut(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.detach()


class Around(nn.Module):
    """Scores have gradients, one of its layers has none."""

    def __init__(self) -> None:
        super().__init__()
        self.cut, self.inner, self.scores = Cut(), nn.Linear(36, 4), nn.Linear(36, 3)

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(1)
        return self.scores(flat) + 0 * self.inner(self.cut(flat)).sum()


def labels(x: Any) -> Any:
    return np.zeros(len(x), np.int64)


@pytest.mark.parametrize(
    ("model", "data", "settings", "says"),
    [
        ("digits", "digits", {"layer": "fc"}, "expected a layer among"),
        ("digits", "digits", {"class_": "12"}, "from 0 to 9, got '12'"),
        ("digits", "digits", {"unit": "99", "layer": "2"}, "channel of 2 from 0 to 63, got 99"),
        ("digits", "digits", {"unit": "one"}, "numbers of channels"),
        ("digits", "digits", {"picture": "chanel"}, "did you mean 'channel'"),
        ("reviews", "reviews", {}, "expected pictures of shape"),
    ],
)  # fmt: skip
def test_what_cannot_be_drawn_is_refused_in_a_sentence(model: str, data: str, settings: Any, says: str) -> None:
    with pytest.raises(InputError, match=says):
        bs.inspect.pictures(model, data=data, rows=20, **settings)


def test_inputs_without_pixels_answers_without_scores_and_layers_without_gradients_are_refused() -> None:
    table = bs.ArrayData(np.random.default_rng(0).random((20, 5), np.float32), np.arange(20) % 3)
    with pytest.raises(InputError, match="expected pictures of shape"):
        bs.inspect.pictures(nn.Linear(5, 3), data=table)
    says = bs.BlackBox(labels, "labels", classes=10)
    with pytest.raises(InputError, match="answers with scores"):
        bs.inspect.pictures(says, data=bs.load_data("digits", 20))
    x = random(20, 6, 6)
    with pytest.raises(InputError, match="cut off from the inputs"):
        bs.inspect.pictures(Around(), x, torch.arange(20) % 3, layer="inner")
    assert bs.inspect.pictures(
        Around(), x, torch.arange(20) % 3, class_="1", ascent_steps=20, fooling=False
    ).verdict.pictures


def test_a_function_without_layers_has_pictures_of_its_classes() -> None:
    w = torch.randn(36, 3, generator=torch.Generator().manual_seed(0))
    x = random(20, 6, 6)
    found = bs.inspect.pictures(
        Model(lambda x: x.flatten(1) @ w), x, torch.arange(20) % 3, ascent_steps=100, fooling=False
    )
    assert [g.kind for g in found.verdict.groups] == ["class"]
    assert all(p.rose for p in found.verdict.pictures)


def test_answers_that_are_no_numbers_are_refused() -> None:
    net = linear()
    with torch.no_grad():
        net[1].weight[0, 0] = torch.inf
    with pytest.raises(InputError, match=r"expected finite answers of 1 .*at row 0"):
        bs.inspect.pictures(net, random(20, 6, 6), torch.arange(20) % 3, layer="1")


def test_others_that_answer_another_question_are_refused() -> None:
    four = nn.Sequential(nn.Flatten(), nn.Linear(64, 4))
    with pytest.raises(InputError, match="same 10 classes as digits"):
        bs.inspect.pictures("digits", data="digits", rows=20, against=four)
    box = bs.BlackBox(lambda x: np.eye(10, dtype=np.float32)[np.zeros(len(x), int)], name="service")
    with pytest.raises(InputError, match="expected a network with gradients beside digits, got service"):
        bs.inspect.pictures("digits", data="digits", rows=20, beside=box, class_="1")


# ------------------------------------------------------------------ networks of others


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of the loader of models
def test_an_ostrich_is_drawn_by_its_name(zoo: Path) -> None:
    sys.path.insert(0, str(zoo))
    from zoo import images as photographs
    from zoo import load

    names = [f"thing {i}" for i in range(1000)]
    names[9] = "ostrich, Struthio camelus"
    model = Model(load("imagenet_mobilenet_v1_0.25_128"), class_names=names, name="mobilenet")
    x, y = photographs("imagenet", n=20, size=128)
    found = bs.inspect.pictures(model, x, y, class_="ostrich", ascent_steps=64, generations=8)
    (picture,) = found.verdict.pictures
    assert picture.target == picture.says == 9
    assert picture.rose
    with pytest.raises(InputError, match="did you mean 'ostrich'"):
        bs.inspect.pictures(model, x, y, class_="ostritch")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of the loader of models
@pytest.mark.parametrize(("by", "steps"), [("plain", 64), ("fourier", 64)])
def test_robust_networks_draw_classes_that_a_third_one_knows(zoo: Path, by: str, steps: int) -> None:
    """Without a regulariser a natural network of the same architecture does not; with one, both do."""
    sys.path.insert(0, str(zoo))
    from zoo import images as photographs
    from zoo import load

    names = ("rvb_cifar_cnn_small_NOR", "cifar10_kw_small_l2_36px", "cifar10_resnet2b_pgd")
    nets = [Model(load(name), name=name) for name in names]
    x, y = photographs("cifar10", "test", 60)
    found = bs.inspect.pictures(nets[0], x, y, beside=nets[1], against=nets[2], picture="class", ascent_steps=steps,
                                pictures_by=by, diverse=3, fooling=False)  # fmt: skip
    natural, robust = found.verdict.recognised
    assert robust.right.share >= 0.8
    assert natural.right.share < robust.right.share / 2 if by == "plain" else natural.right.share >= 0.8


def test_an_answer_is_read_before_a_relu_that_works_in_place() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(36, 4), nn.ReLU(inplace=True), nn.Linear(4, 3))
    x = random(30, 1, 6, 6) - 0.5
    model = Model(net, (-1.0, 1.0))
    layer = layers_of(model, x)[1]
    assert bool((answered(model, layer, x) < 0).any())
    assert torch.equal(answered(model, replace(layer), x), net[1](x.flatten(1)))


def test_a_function_that_fails_is_not_drawn_from() -> None:
    broken = bs.BlackBox(torch.relu, classes=2)
    with pytest.raises(bs.InputError, match=r"expected scores of .* for the first row, got NaN \(TypeError"):
        bs.inspect.pictures(broken, torch.rand(4, 1, 6, 6), torch.arange(4) % 2, generations=2)
