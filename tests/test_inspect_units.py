"""Units against random directions: purity by other formulas, an exact level, and power where units are special."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, entropy, kstest
from torch import Tensor, nn
from torch.nn.functional import normalize

import blindspots as bs
from blindspots.experiments.inspect.config import USUAL, InspectConfig
from blindspots.experiments.inspect.experiment import Inspect, _unfit
from blindspots.experiments.inspect.layers import Layer, hidden, layers_of, named, outputs, pooled
from blindspots.experiments.inspect.units.bases import factors, latents, rotations, whitened
from blindspots.experiments.inspect.units.comparison import Basis, Sample, compared, entropy_by_lot, purity
from blindspots.experiments.inspect.units.conclude import _comparison, holm
from blindspots.experiments.inspect.units.statistics import Likeness, highest, label_entropy
from blindspots.experiments.inspect.verify_layers import by_unit
from blindspots.runs.world import World

ROWS, UNITS, CLASSES = 120, 6, 4


def drawn(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def sample_of(answers: Tensor, seed: int = 0) -> Sample:
    labels = torch.randint(CLASSES, (len(answers),), generator=torch.Generator().manual_seed(seed))
    return Sample(answers, labels, normalize(drawn(seed + 1, len(answers), 5), dim=1))


def seeded(make: Callable[[], nn.Module]) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return make().eval()


def p_of(made: dict[str, Tensor], statistic: str = "entropy", sign: int = -1) -> float:
    null, units = made[f"null_{statistic}"], made[statistic].mean()
    return (1 + int((sign * null >= sign * units).sum())) / (1 + len(null))


# ------------------------------------------------------------------ statistics


@given(st.integers(0, 50), st.integers(1, 9))
def test_entropy_is_that_of_the_labels_of_the_top_rows(seed: int, top: int) -> None:
    values, y = drawn(seed, 30, 3), torch.arange(30) % CLASSES
    for j, found in enumerate(label_entropy(values, y, top)):
        best = np.argsort(-values[:, j].numpy())[:top]
        assert float(found) == pytest.approx(entropy(np.bincount(y[best]), base=2))


@pytest.mark.parametrize("repeated", [False, True])
def test_likeness_is_the_mean_cosine_over_pairs(repeated: bool) -> None:
    answers, e, q = drawn(0, 20, 4), normalize(drawn(1, 20, 3), dim=1), drawn(2, 4, 2)
    times = torch.randint(0, 3, (20,), generator=torch.Generator().manual_seed(3)) if repeated else torch.ones(20)
    values = answers @ q
    found = Likeness(answers, e, times if repeated else None).of(q, values.amin(0), values.amax(0))
    a = ((values - values.amin(0)) / (values.amax(0) - values.amin(0))).repeat_interleave(times.long(), 0)
    same = torch.repeat_interleave(e, times.long(), 0)
    for j in range(2):
        weight = a[:, j, None] * a[:, j]
        pairs = torch.ones_like(weight).triu(1)
        assert float(found[j]) == pytest.approx(
            float((weight * (same @ same.T) * pairs).sum() / (weight * pairs).sum()), abs=1e-5
        )


def test_alike_rows_have_likeness_one_and_rows_at_right_angles_none() -> None:
    a = torch.rand(8, 1)
    one = torch.ones(1, 1)
    assert float(Likeness(a, torch.tensor([[1.0, 0.0]]).repeat(8, 1)).of(one, a.amin(0), a.amax(0))) == pytest.approx(
        1, abs=1e-6
    )
    assert float(Likeness(a, torch.eye(8)).of(one, a.amin(0), a.amax(0))) == pytest.approx(0, abs=1e-6)


def test_entropy_by_lot_lies_between_none_and_that_of_all_classes() -> None:
    assert entropy_by_lot(torch.zeros(64, dtype=torch.int64), 8) == 0
    mixed = entropy_by_lot(torch.randint(4, (4000,), generator=torch.Generator().manual_seed(0)), 400)
    assert 1.95 < mixed <= 2


# ------------------------------------------------------------------ bases


def test_rotations_are_orthonormal_and_the_same_again() -> None:
    first, second = (list(rotations(3, 1, 4, 7, 5)) for _ in range(2))
    for q, again in zip(first, second, strict=True):
        assert torch.equal(q, again)
        assert torch.allclose(q.T @ q, torch.eye(5), atol=1e-5)
    assert not torch.allclose(first[0], first[1])


def test_a_coordinate_of_a_rotation_is_distributed_as_on_the_sphere() -> None:
    """In three dimensions uniform on [-1, 1], by Archimedes."""
    coordinates = [float(q[0, 0]) for q in rotations(0, 0, 400, 3, 3)]
    assert kstest(coordinates, "uniform", (-1, 2)).pvalue > 0.01


def test_whitened_answers_have_the_covariance_of_identity_and_keep_units_that_had_it() -> None:
    a = drawn(0, 500, 4) * torch.tensor([1.0, 5.0, 0.2, 3.0])
    white = whitened(a).double()
    assert torch.allclose(white.T @ white / 500, torch.eye(4, dtype=torch.float64), atol=1e-4)
    assert (torch.corrcoef(torch.cat([a.T.double(), white.T]))[:4, 4:].diagonal() > 0.99).all()


def test_dictionaries_find_parts_that_were_put_in() -> None:
    """Each row is one of four parts: a factor, and a latent, for each of them."""
    parts, which = torch.eye(4).repeat_interleave(2, 1), torch.arange(200) % 4
    a = parts[which] * (0.5 + torch.rand(200, 1, generator=torch.Generator().manual_seed(0)))
    for values in (factors(a[:100], a[100:], 4, 0), latents(a[:100], a[100:], 8, 0)):
        pairs = {(int(part), int(strongest)) for part, strongest in zip(which[100:], values.argmax(1), strict=True)}
        assert len({part for part, _ in pairs}) == 4
        assert len({strongest for _, strongest in pairs}) == len(pairs)  # none answers two parts


# ------------------------------------------------------------------ the test


def null_of(sample: Sample, space: str = "centred", seed: int = 0, count: int = 19) -> dict[str, Tensor]:
    return purity(Basis(sample, space, seed, 0, UNITS, 8), count)


@pytest.mark.parametrize("space", ["centred", "whitened"])
def test_rotated_twins_are_called_special_at_the_level_of_the_test(space: str) -> None:
    """The same function in another basis: p is uniform on 1/20, 2/20, ..., so 5 % of 200 networks are below 0.06."""
    base = sample_of(drawn(0, ROWS, UNITS).relu())
    twins = [Sample(base.answers @ q, base.labels, base.embedded) for q in rotations(99, 0, 200, UNITS, UNITS)]
    ps = [p_of(null_of(one, space, i)) for i, one in enumerate(twins)]
    below = sum(p <= 0.051 for p in ps)
    assert binomtest(below, 200, 0.05, alternative="greater").pvalue > 0.01, below
    assert kstest(ps, "uniform").statistic < 0.15


def test_untrained_networks_and_shuffled_labels_show_nothing() -> None:
    """Normal weights know no axis, and lots no class."""
    x = drawn(5, ROWS, 10)
    ps = [p_of(null_of(sample_of(x @ drawn(seed, 10, UNITS), seed), seed=seed)) for seed in range(60)]
    assert binomtest(sum(p <= 0.051 for p in ps), 60, 0.05, alternative="greater").pvalue > 0.01


@pytest.mark.parametrize(("statistic", "sign", "noise"), [("entropy", -1, 0.3), ("likeness", 1, 0.05)])
def test_units_that_each_know_a_class_are_found(statistic: str, sign: int, noise: float) -> None:
    """Among clear classes the top rows of any direction are pure, so what sees purity there is likeness."""
    base = sample_of(drawn(0, ROWS, CLASSES))
    detectors = torch.eye(CLASSES)[base.labels] + noise * drawn(1, ROWS, CLASSES)
    made = compared(Basis(Sample(detectors, base.labels, torch.eye(CLASSES)[base.labels]), "centred", 0, 0, 9, 8), 99)
    assert p_of(made, statistic, sign) == 0.01
    low, high = (sign * float(made[f"resampled_{statistic}"].quantile(q)) for q in (0.025, 0.975))
    assert min(low, high) > 0


def test_directions_that_know_classes_between_them_are_not_called_special() -> None:
    base = sample_of(drawn(0, ROWS, CLASSES))
    detectors = torch.eye(CLASSES)[base.labels] + 0.3 * drawn(1, ROWS, CLASSES)
    turned = detectors @ next(rotations(7, 0, 1, CLASSES, CLASSES))
    assert p_of(null_of(Sample(turned, base.labels, base.embedded), count=99)) > 0.05


def test_dead_units_are_left_out_and_a_dead_layer_is_said() -> None:
    made = null_of(sample_of(torch.cat([drawn(0, ROWS, 3), torch.zeros(ROWS, 2)], 1)))
    assert made["chosen"].tolist() == [0, 1, 2]
    assert int(made["live"]) == 3
    dead = Basis(sample_of(torch.zeros(ROWS, 5)), "centred", 0, 0, UNITS, 8)
    assert len(compared(dead, 19)["entropy"]) == 0


def test_holms_correction() -> None:
    """Of 0.01, 0.04, 0.03 the factors are 3, 1, 2, and none falls below one before it."""
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.6]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.integers(0, 50), st.integers(1, 40), st.integers(1, 40))
def test_the_highest_rows_are_those_of_a_full_sort(seed: int, rows: int, top: int) -> None:
    values = drawn(seed, rows, 3)
    assert torch.equal(highest(values, min(top, rows)), values.argsort(0, descending=True)[:top].T)


def test_a_unit_that_one_row_excites_has_no_rows_that_could_be_alike() -> None:
    answers = torch.zeros(30, 2)
    answers[7, 0], answers[[4, 9], 1] = 3.7, 0.3
    centred, e = answers - answers.mean(0), normalize(drawn(1, 30, 3), dim=1)
    found = Likeness(centred, e).of(torch.eye(2), centred.amin(0), centred.amax(0))
    assert found.tolist() == pytest.approx([0, float(e[4] @ e[9])], abs=1e-6)


def columns(units: list[float], null: list[float], resampled: list[float]) -> dict[str, Tensor]:
    named = {"entropy": units, "null_entropy": null, "resampled_entropy": resampled}
    return {name: torch.tensor(values, dtype=torch.float64) for name, values in named.items()}


def test_the_interval_is_around_the_effect_whatever_the_bases_that_samples_are_compared_with() -> None:
    """Samples that never deviate leave no doubt: the first eight bases are far from the others here."""
    null = [5.0] * 8 + [2.0, 3.0] * 20
    told = _comparison(columns([1.0, 2.0], null, [1.5 - 5.0] * 50), "entropy", -1)
    assert told.effect == pytest.approx((np.mean(null) - 1.5) / np.std(null, ddof=1))
    assert told.interval == pytest.approx((told.effect, told.effect))


def test_the_interval_holds_the_effect_of_a_run() -> None:
    y = torch.arange(ROWS) % CLASSES
    answers = drawn(3, ROWS, UNITS) + 2 * torch.nn.functional.one_hot(y, UNITS)
    sample = Sample(answers, y, normalize(drawn(4, ROWS, 5), dim=1))
    told = _comparison(compared(Basis(sample, "centred", 0, 0, UNITS, 8), 99), "likeness", 1)
    assert told.interval is not None
    assert told.interval[0] < told.effect < told.interval[1]


def test_bases_that_are_all_alike_have_no_effect_and_rounding_makes_none() -> None:
    told = _comparison(columns([0.3, 0.6, 0.1], [(0.6 + 0.1 + 0.3) / 3 + 1e-16] * 30, [0.0] * 9), "entropy", -1)
    assert (told.effect, told.interval, told.p) == (None, None, 1.0)


# ------------------------------------------------------------------ layers


class Shared(nn.Module):
    """A ReLU that runs twice has no output of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.relu, self.out = nn.Linear(4, 6), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Any:
        return self.out(self.relu(self.second(self.relu(self.first(x)))))


def test_layers_are_those_that_run_once_in_their_order() -> None:
    found = layers_of(bs.Model(Shared()), torch.rand(2, 4))
    assert [(one.name, one.shape) for one in found] == [("first", (6,)), ("second", (5,)), ("out", (3,))]
    assert [one.name for one in hidden(found, 9)] == ["first", "second"]
    assert [one.name for one in hidden(found, 1)] == ["second"]
    with pytest.raises(bs.InputError, match=r"got 'secnd', did you mean 'second'|got 'secnd'.*second"):
        named(found, ["secnd"])


def test_pooling_averages_over_positions() -> None:
    conv = Layer("c", "Conv2d", (2, 3, 3), True, 0)
    out = torch.arange(18.0).view(1, 2, 3, 3) - 9
    assert pooled(conv, out).tolist() == [[-5.0, 4.0]]
    assert pooled(conv, out, rectified=True).tolist() == [[0.0, 4.0]]
    tokens = Layer("t", "Linear", (5, 2), True, 1)
    assert pooled(tokens, torch.ones(1, 5, 2)).shape == (1, 2)
    assert tokens.units == 2


class ChannelsLast(nn.Module):
    """As Swin and ConvNeXt: convolutions with channels first, then linear layers over the last axis of (H, W, C)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm, self.wide, self.act = nn.Conv2d(1, 5, 2, 2), nn.LayerNorm(5), nn.Linear(5, 7), nn.GELU()
        self.out = nn.Linear(7, 3)

    def forward(self, x: Tensor) -> Any:
        return self.out(self.act(self.wide(self.norm(self.stem(x).permute(0, 2, 3, 1)))).mean((1, 2)))


class Tokens(nn.Module):
    """As many tokens as units, and a recurrent layer, which also returns its state."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.rnn, self.act, self.out = (
            nn.Linear(3, 4),
            nn.GRU(4, 4, batch_first=True),
            nn.Tanh(),
            nn.Linear(4, 3),
        )

    def forward(self, x: Tensor) -> Any:
        return self.out(self.act(self.rnn(self.embed(x))[0]).mean(1))


class Sequences(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.act, self.pool, self.flat = nn.Conv1d(2, 6, 3), nn.ReLU(), nn.MaxPool1d(2), nn.Flatten()
        self.out = nn.Linear(18, 3)

    def forward(self, x: Tensor) -> Any:
        return self.out(self.flat(self.pool(self.act(self.conv(x)))))


@pytest.mark.parametrize(
    ("net", "shape", "units"),
    [
        (ChannelsLast, (1, 8, 6), {"stem": 5, "norm": 5, "wide": 7, "act": 7, "out": 3}),
        (Tokens, (4, 3), {"embed": 4, "rnn": 4, "act": 4, "out": 3}),
        (Sequences, (2, 8), {"conv": 6, "act": 6, "pool": 6, "flat": 18, "out": 3}),
    ],
)
def test_units_lie_where_a_layer_has_them(net: type[nn.Module], shape: tuple[int, ...], units: dict[str, int]) -> None:
    model, x = bs.Model(net()), torch.rand(2, *shape)
    found = layers_of(model, x)
    assert {one.name: one.units for one in found} == units
    for one, out in zip(found, outputs(model, found, x), strict=True):
        by_other_code = by_unit(model, one.name, x)
        assert np.allclose(pooled(one, out).detach(), by_other_code.reshape(2, one.units, -1).mean(2), atol=1e-6)


def test_a_norm_over_channels_in_front_follows_the_convolution_before_it() -> None:
    class InFront(nn.LayerNorm):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x.movedim(1, -1)).movedim(-1, 1)

    net = nn.Sequential(nn.Conv2d(1, 4, 3), InFront(4), nn.Identity(), nn.Flatten(), nn.Linear(16, 2))
    assert [one.axis for one in layers_of(bs.Model(net), torch.rand(2, 1, 4, 4))] == [0, 0, 0, 0, 0]


@pytest.mark.parametrize(("net", "shape"), [(ChannelsLast, (1, 8, 6)), (Tokens, (4, 3))])
def test_runs_with_units_along_the_last_axis_hold(net: type[nn.Module], shape: tuple[int, ...], tmp_path: Path) -> None:
    model, data = bs.Model(seeded(net)), bs.ArrayData(drawn(5, 24, *shape).sigmoid(), torch.arange(24) % 3)
    done = bs.inspect.units(model, data=data, dictionary=False, out=tmp_path / "run", **SMALL)
    assert done.verdict.views[0].units == (7 if net is ChannelsLast else 4)
    assert bs.verify(tmp_path / "run", model, data).ok


# ------------------------------------------------------------------ runs

SMALL: dict[str, Any] = {"rotations": 19, "top": 4, "most_layers": 1}


def test_a_run_holds_and_says_what_it_saw(tmp_path: Path) -> None:
    done = bs.inspect.units("digits", data="digits", rows=60, out=tmp_path / "run", **SMALL)
    (pre, post) = done.verdict.views
    assert (pre.layer, pre.answers, post.answers) == ("6", "pre", "post")
    assert pre.units == 128
    assert 0 < pre.comparisons["centred/entropy"].p <= 1
    assert next(d.name for d in post.dictionaries) == "NMF"
    assert bs.verify(tmp_path / "run").ok
    page = bs.write_report(tmp_path / "run").read_text()
    assert "Random directions" in page
    assert done.verdict.metrics()["effect@6.pre"].value == pre.comparisons["centred/entropy"].effect


def test_an_independent_network_says_what_is_alike() -> None:
    done = bs.inspect.units("digits", data="digits", against="digits-robust", rows=60, dictionary=False, **SMALL)
    assert done.verdict.independent == "digits-robust"
    assert not [f for f in done.findings if f.code == "likeness-by-pixels"]


def test_all_parts_on_one_page(tmp_path: Path) -> None:
    done = bs.inspect(
        "digits", data="digits", rows=60, part=("units",), dictionary=False, out=tmp_path / "run", **SMALL
    )
    assert done.of("units").verdict.rows == 60
    assert "units/effect@6.pre" in done.verdict.metrics()
    assert bs.verify(tmp_path / "run").ok


# ------------------------------------------------------------------ what cannot be


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"layer": ("conv9",)}, r"expected a layer among 0 \(Conv2d, 32 × 8 × 8\).* got 'conv9'"),
        ({"rows": 20, "top": 16}, "expected at least 32 rows to judge directions by their top 16, got 10"),
        ({"part": ("unit",)}, "expected settings among"),
    ],
)
def test_what_does_not_fit_is_a_sentence(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(bs.InputError, match=said):
        bs.inspect.units("digits", data="digits", **{"rows": 60, **settings})


def test_a_layer_that_answers_all_rows_alike_is_said_and_holds(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 5), nn.Linear(5, 10))
    nn.init.zeros_(net[1].weight)
    x, y = bs.load_data("digits").rows(0, 40)
    model, data = bs.Model(net), bs.ArrayData(x, y)
    done = bs.inspect.units(model, data=data, out=tmp_path / "run", **SMALL)
    assert [(v.live, v.comparisons) for v in done.verdict.views] == [(0, {}), (0, {})]
    assert [f.code for f in done.findings].count("dead-layer") == 2
    assert bs.verify(tmp_path / "run", model=model, data=data).ok
    assert "nothing can be compared" in bs.write_report(tmp_path / "run").read_text()


def test_rows_that_repeat_are_shown_without_an_effect(tmp_path: Path) -> None:
    """Every direction's top rows are copies of one row, so that no basis is purer than another."""
    x, y = drawn(5, 3, 6).sigmoid().repeat(12, 1), torch.arange(3).repeat(12)
    model = bs.Model(seeded(lambda: nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 3))))
    data = bs.ArrayData(x, y)
    done = bs.inspect.units(model, data=data, dictionary=False, out=tmp_path / "run", **SMALL)
    c = done.verdict.views[0].comparisons["centred/entropy"]
    assert (c.units, c.effect, c.interval, c.p) == (0, None, None, 1)
    assert not [name for name in done.verdict.metrics() if name.startswith("effect")]
    assert bs.verify(tmp_path / "run", model, data).ok
    assert "In no layer were units found to be purer" in bs.write_report(tmp_path / "run").read_text()


def test_few_rows_fill_no_sheet_and_few_rotations_are_said() -> None:
    few = {"rows": 6, "top": 2, "most_layers": 1, "dictionary": False}
    done = bs.inspect.units("digits", data="digits", rotations=19, **few)
    assert done.parts["sheets/0"]["unit_rows"].shape[1] == 6
    (told,) = (f for f in done.findings if f.code == "few-rotations")
    assert told.saw.startswith("With 19 random bases no p is below 0.05, so that none of 2 tests can come out below")
    assert told.do == "Give at least --rotations 39, or fewer layers."
    enough = bs.inspect.units("digits", data="digits", rotations=39, **few)
    assert "few-rotations" not in {f.code for f in enough.findings}


def test_answers_that_are_not_finite_and_networks_without_hidden_layers_are_refused() -> None:
    class Broken(nn.Module):
        def forward(self, x: Tensor) -> Any:
            return torch.where(x[:, :1] > 0.5, torch.nan, x)

    net = nn.Sequential(nn.Linear(4, 4), Broken(), nn.Linear(4, 3))
    x, y = torch.rand(24, 4), torch.arange(24) % 3
    net[0].weight.data, net[0].bias.data = torch.eye(4), torch.zeros(4)
    last = nn.Sequential(net, type("Finite", (nn.Module,), {"forward": lambda self, z: z.nan_to_num()})())
    with pytest.raises(bs.InputError, match=r"expected finite answers of 0\.1, got NaN or infinity at row"):
        bs.inspect.units(last, x, y, layer="0.1", **SMALL)
    alone = nn.Sequential(nn.Linear(4, 3))
    with pytest.raises(bs.InputError, match="expected a network with layers before its scores, got Sequential"):
        bs.inspect.units(alone, x, y, **SMALL)
    with pytest.raises(bs.InputError, match="expected an independent network with layers before its scores"):
        bs.inspect.units(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 3)), x, y, against=alone, **SMALL)


@pytest.mark.parametrize(
    ("net", "shape", "left_out"),
    [
        (nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 3)), (4,), {"pictures": "inputs are no pictures"}),
        (
            nn.Linear(4, 3),
            (4,),
            {"pictures": "inputs are no pictures", "units": "no layer before the scores has a name"},
        ),
        (nn.Sequential(nn.Flatten(), nn.Linear(16, 4), nn.Linear(4, 3)), (1, 4, 4), {}),
    ],
)
def test_by_itself_a_look_takes_the_parts_that_model_and_data_can_have(
    net: nn.Module, shape: tuple[int, ...], left_out: dict[str, str]
) -> None:
    data = bs.ArrayData(torch.rand(12, *shape), torch.arange(12) % 3)
    config = InspectConfig(model="given", data="given")
    world = World(config, {"model": bs.Model(net), "data": data})
    assert _unfit(world) == left_out
    assert Inspect().fitted(config, world).part == tuple(name for name in USUAL if name not in left_out)


def test_texts_have_nothing_to_look_into() -> None:
    with pytest.raises(bs.InputError, match="model of numbers to look into, got reviews, which reads texts"):
        bs.inspect("reviews", data="reviews")


def test_models_without_layers_get_the_other_parts() -> None:
    """What was left out is said."""
    net = bs.load_model("digits")
    x, y = bs.load_data("digits").rows(0, 12)
    few = {"generations": 2, "draws": 20, "replicates": 2, "walk": 1, "frequency_rows": 1, "floor": 1e-3, "slices": 0}
    done = bs.inspect(bs.Model(lambda x: net.logits(x).detach()), x, y, **few)
    assert done.config.part == ("pictures", "geometry", "frequency")
    assert "parts-left-out" in {f.code for f in done.findings}


def test_an_unknown_part_offers_those_that_are_near() -> None:
    with pytest.raises(bs.InputError, match=r"expected parts among .*units.* got 'unit'"):
        bs.inspect("digits", data="digits", part=("unit",))


def test_one_class_answers_alone_and_graphs_without_names_are_refused() -> None:
    x, y = torch.rand(40, 1, 8, 8), torch.zeros(40, dtype=torch.int64)
    with pytest.raises(bs.InputError, match="at least two classes"):
        bs.inspect.units("digits", x, y, top=4)
    with pytest.raises(bs.InputError, match="which is known by its answers alone"):
        bs.inspect.units(bs.BlackBox(lambda x: torch.zeros(len(x), 10), classes=10), x, torch.arange(40) % 10, top=4)
    plain = bs.Model(lambda x: x.flatten(1)[:, :10])
    with pytest.raises(bs.InputError, match="network of modules with names"):
        bs.inspect.units(plain, x, torch.arange(40) % 10, top=4)
