"""Detectors: answers known in closed form, what all of them hold to, and the model that rejects."""

import math
from collections.abc import Callable
from functools import cache
from itertools import combinations

import numpy as np
import pytest
import torch
from scipy.ndimage import median_filter
from scipy.stats import kstest
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

import blindspots as bs
from blindspots.ball import Linf
from blindspots.data import digits_arrays
from blindspots.errors import InputError
from blindspots.experiments.detect.detectors.binary import Training, classifier, train
from blindspots.experiments.detect.detectors.catalogue import DETECTORS, parse_detector
from blindspots.experiments.detect.detectors.density import likeliest, log_density
from blindspots.experiments.detect.detectors.detector import Detector, Examples, Fitted, scores
from blindspots.experiments.detect.detectors.distances import distances
from blindspots.experiments.detect.detectors.dropout import Dropout
from blindspots.experiments.detect.detectors.features import HEAD, hidden, layers, look
from blindspots.experiments.detect.detectors.file import load, save
from blindspots.experiments.detect.detectors.lid import dimensionality
from blindspots.experiments.detect.detectors.mahalanobis import gaussians
from blindspots.experiments.detect.detectors.mmd import MMD, FittedMMD, discrepancies
from blindspots.experiments.detect.guarded import Guarded, guard, threshold_at
from blindspots.models import BlackBox, Model, load_model
from blindspots.models.batched import Batched
from blindspots.oracle import Oracle
from blindspots.random import uniform

SHAPES = {"grey": (1, 8, 8), "colour": (3, 6, 9), "table": (7,)}
SMALL = {
    "network": "network:steps=30,width=4",
    "activations": "activations:steps=30,width=4",
    "lid": "lid:neighbours=5",
    "dropout": "dropout:passes=4",
    "squeezing": "squeezing:depth=3",
}
CLASSES = 3


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def network(shape: tuple[int, ...]) -> nn.Sequential:
    """Smooth, so that its slopes can be measured."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        if len(shape) == 1:
            body = [nn.Linear(shape[0], 12), nn.Tanh(), nn.Linear(12, 10), nn.Tanh(), nn.Linear(10, CLASSES)]
            return nn.Sequential(*body)
        inner = [nn.Conv2d(shape[0], 6, 3), nn.Tanh(), nn.Conv2d(6, 8, 3), nn.GELU()]
        return nn.Sequential(*inner, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, CLASSES))


def answers(model: Model, x: Tensor) -> Tensor:
    with model.borrowed(), torch.no_grad():
        return model.logits(x)


def examples(model: Model, shape: tuple[int, ...], rows: int = 120, seed: int = 0) -> tuple[Examples, Examples]:
    """Clean rows, and the same with strong noise in the place of adversarial ones."""
    x = 0.3 + 0.4 * torch.rand(rows, *shape, generator=seeded(seed))
    y = answers(model, x).argmax(1)
    noise = 0.3 * torch.randn(x.shape, generator=seeded(seed + 1))
    return Examples(x, y), Examples((x + noise).clamp(0, 1), y)


@cache
def fitted(name: str, shape: tuple[int, ...], seed: int = 0) -> tuple[Fitted, Tensor]:
    """A detector of the table, and rows it has not seen, of both kinds."""
    model = Model(network(shape).eval())
    clean, adversarial = examples(model, shape)
    new = examples(model, shape, 10, seed=7)
    return parse_detector(SMALL.get(name, name)).fit(model, clean, adversarial, seed), torch.cat([p.x for p in new])


def area(below: Tensor, above: Tensor) -> float:
    return float(roc_auc_score([0] * len(below) + [1] * len(above), torch.cat([below, above]).numpy()))


every = pytest.mark.parametrize("name", DETECTORS)
shaped = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)


# ------------------------------------------------------------------ what all of them hold to


@every
@shaped
def test_a_row_is_scored_by_itself(name: str, shape: tuple[int, ...]) -> None:
    detector, x = fitted(name, shape)
    everything = scores(detector, x)
    assert everything.shape == (len(x),)
    assert everything.dtype == torch.float32
    order = torch.randperm(len(x), generator=seeded())
    torch.testing.assert_close(scores(detector, x[order]), everything[order], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(scores(detector, x[3:4]), everything[3:4], rtol=1e-4, atol=1e-5)
    others = torch.cat([x[:5], 1 - x[5:]])  # as many rows in the call, so not even the last bit may change
    assert torch.equal(scores(detector, others)[:5], everything[:5])


@every
@shaped
def test_a_saved_detector_gives_the_same_bits(name: str, shape: tuple[int, ...]) -> None:
    detector, x = fitted(name, shape)
    content = save(detector)
    again = load(content, Model(network(shape).eval()))
    assert torch.equal(scores(again, x), scores(detector, x))
    assert str(again.detector) == str(detector.detector)
    assert torch.equal(again.scale, detector.scale)
    assert content == save(fitted.__wrapped__(name, shape)[0]), "the same seed gives the same bits"


@pytest.mark.parametrize("name", [n for n in DETECTORS if n != "squeezing"])  # which draws nothing but its scale's rows
def test_another_seed_gives_another_detector(name: str) -> None:
    one, x = fitted(name, SHAPES["table"])
    other, _ = fitted(name, SHAPES["table"], seed=1)
    assert not torch.equal(scores(one, x), scores(other, x))


@every
@shaped
def test_slopes_of_smooth_scores_are_those_of_the_score(name: str, shape: tuple[int, ...]) -> None:
    detector, x = fitted(name, shape)
    x = x.clone().requires_grad_()
    with detector.model.borrowed():
        (grad,) = torch.autograd.grad(detector(x).sum(), x)
        assert bool(grad.isfinite().all())
        assert bool(grad.flatten(1).any(1).all()), "every row has a slope"
        if not detector.detector.smooth:
            return
        unit = grad / grad.flatten(1).norm(dim=1).view(-1, *[1] * len(shape))
        with torch.no_grad():
            measured = (detector(x + 2e-3 * unit) - detector(x - 2e-3 * unit)) / 4e-3
    error = (measured / grad.flatten(1).norm(dim=1) - 1).abs()
    assert error.median() < 0.02, error


@every
def test_the_model_stays_as_it_was(name: str) -> None:
    shape = SHAPES["grey"]
    net = network(shape).train()
    model = Model(net)
    clean, adversarial = examples(model, shape)
    before = model.digest
    parse_detector(SMALL.get(name, name)).fit(model, clean, adversarial)
    assert model.digest == before
    assert net.training
    assert all(p.requires_grad for p in net.parameters())


@every
def test_the_callers_generator_and_threads_stay_as_they_were(name: str) -> None:
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    fitted.__wrapped__(name, SHAPES["table"])
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads


@every
def test_without_attacks_a_detector_does_without_or_says_that_it_needs_them(name: str) -> None:
    shape = SHAPES["grey"]
    model = Model(network(shape).eval())
    clean, adversarial = examples(model, shape)
    kind, detector = DETECTORS[name], parse_detector(SMALL.get(name, name))
    if kind.needs_attacks:
        assert kind.learns_from_attacks
        with pytest.raises(InputError, match="expected adversarial examples"):
            detector.fit(model, clean, None)
        return
    alone, helped = detector.fit(model, clean, None), detector.fit(model, clean, adversarial)
    assert bool(scores(alone, clean.x).isfinite().all())
    assert torch.equal(scores(alone, clean.x), scores(helped, clean.x)) == (not kind.learns_from_attacks)


@every
def test_words_and_settings_are_the_same(name: str) -> None:
    detector = parse_detector(name)
    assert parse_detector(str(detector)) == detector
    assert detector.title
    assert "arXiv" in detector.paper
    assert detector.cost
    assert detector.needs


@every
def test_scores_do_not_depend_on_the_scale_of_bounds_alone(name: str) -> None:
    """A model of inputs in [0, 255] that divides them is protected as well as one of inputs in [0, 1]."""
    shape = SHAPES["table"]
    unit, wide = Model(network(shape).eval()), Model(network(shape).eval(), bounds=(0, 255), std=255.0)
    clean, adversarial = examples(unit, shape)
    detector = parse_detector(SMALL.get(name, name))
    one = detector.fit(unit, clean, adversarial)
    other = detector.fit(wide, *(Examples(p.x * 255, p.y) for p in (clean, adversarial)))
    torch.testing.assert_close(scores(other, clean.x * 255), scores(one, clean.x), rtol=0.02, atol=0.02)


def test_inputs_of_another_shape_are_refused() -> None:
    detector, x = fitted("network", SHAPES["grey"])
    with pytest.raises(InputError, match=r"expected inputs of shape \(1, 8, 8\)"):
        scores(detector, x[:, :, :6])
    clean = Examples(x, torch.zeros(len(x), dtype=torch.int64))
    with pytest.raises(InputError, match="shape"):
        MMD().fit(detector.model, clean, Examples(x[:, :, :6], clean.y))


def test_a_handful_of_rows_is_too_little() -> None:
    model = Model(network((7,)))
    with pytest.raises(InputError, match="at least 10 clean rows"):
        MMD().fit(model, examples(model, (7,), 9)[0])
    with pytest.raises(InputError, match="at least 40 clean rows"):
        parse_detector("lid").fit(model, examples(model, (7,), 20)[0])
    with pytest.raises(InputError, match="one label per input"):
        Examples(torch.zeros(3, 7), torch.zeros(2))


@every
def test_the_smallest_data_fits(name: str) -> None:
    model = Model(network((7,)))
    clean, adversarial = examples(model, (7,), 10)
    detector = parse_detector("lid:neighbours=3" if name == "lid" else SMALL.get(name, name))
    assert bool(scores(detector.fit(model, clean, adversarial[:1]), clean.x).isfinite().all())


@pytest.mark.parametrize(
    "words",
    [
        "network:steps=0", "network:batch=1", "activations:width=0", "activations:learning_rate=-1",
        "density:bandwidth=0",
        "mahalanobis:ridge=-1", "mahalanobis:layers=0", "dropout:passes=1", "dropout:rate=1", "squeezing:depth=9",
        "squeezing:window=2", "squeezing:depth=none,window=none", "lid:neighbours=1", "lid:rows=5", "mmd:rows=1",
        "mmd:bandwidth=-1", "densities",
    ],
)  # fmt: skip
def test_settings_that_make_no_sense_are_refused(words: str) -> None:
    with pytest.raises(InputError, match=r"expected .*, got .*: "):
        parse_detector(words)


# ------------------------------------------------------------------ files


def test_a_detector_that_looks_inside_belongs_to_its_model() -> None:
    shape = SHAPES["table"]
    other = Model(nn.Sequential(nn.Linear(7, 12), nn.Tanh(), nn.Linear(12, CLASSES)))
    with pytest.raises(InputError, match="got another one"):
        load(save(fitted("density", shape)[0]), other)
    detector, x = fitted("network", shape)
    assert torch.equal(scores(load(save(detector), other), x), scores(detector, x))


@pytest.mark.parametrize("content", [b"", b"\x08\0\0\0\0\0\0\0{}      ", b"PK\x03\x04 something else entirely"])
def test_what_is_no_detector_is_refused(content: bytes) -> None:
    with pytest.raises(InputError, match="expected a detector's file"):
        load(content, Model(network((7,))))


@every
def test_a_damaged_file_is_refused(name: str) -> None:
    detector, _ = fitted(name, (7,))
    with pytest.raises(InputError, match="has learnt"):
        load(save(detector)[:-2], detector.model)


# ------------------------------------------------------------------ layers


class Reused(nn.Module):
    """One activation module for two layers, in place, and one layer that is no module."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.relu = nn.Linear(7, 6), nn.Linear(6, 5), nn.ReLU(inplace=True)
        self.weight = nn.Parameter(torch.randn(CLASSES, 5, generator=seeded()))

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.second(self.relu(self.first(x)))) @ self.weight.T


def test_layers_are_found_whatever_they_are_written_as() -> None:
    found = layers(Model(Reused()), torch.rand(4, 7))
    kinds = [layer.kind for layer in found]
    assert kinds == ["linear", "relu", "linear", "relu", "matmul"]
    assert [layer.shape for layer in found] == [(6,), (6,), (5,), (5,), (3,)]
    assert hidden(Model(Reused()), torch.rand(1, 7)) == (1, 3)


def test_what_a_layer_puts_out_is_kept_before_it_is_changed_in_place() -> None:
    net = Reused()
    x = torch.randn(4, 7, generator=seeded())
    with torch.no_grad():
        seen = look(Model(net), x, (0, 1, HEAD)).seen
        assert torch.equal(seen[0], net.first(x))
        assert torch.equal(seen[1], net.first(x).relu())
        assert torch.equal(seen[2], net.second(seen[1]).relu())


def test_maps_become_means_over_space() -> None:
    net = network((1, 8, 8))
    x = torch.rand(2, 1, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(look(Model(net), x, (0,)).seen[0], net[0](x).mean((2, 3)))
        assert torch.equal(look(Model(net), x, (0,), pooled=False).seen[0], net[0](x))


def test_a_linear_model_has_its_input_for_a_hidden_layer() -> None:
    x = torch.rand(5, 7)
    model = Model(nn.Linear(7, CLASSES))
    assert hidden(model, x) == (HEAD,)
    with torch.no_grad():
        assert torch.equal(look(model, x, (HEAD,)).seen[0], x)


def test_chosen_layers_are_evenly_spaced() -> None:
    parts = [part for _ in range(11) for part in (nn.Linear(7, 7), nn.Tanh())]
    assert hidden(Model(nn.Sequential(*parts, nn.Linear(7, 2))), torch.rand(1, 7), most=3) == (1, 11, 21)


def exported(net: nn.Module, x: Tensor, batch: int | None) -> nn.Module:
    if batch is not None:
        return Batched(torch.export.export(net, (x[:batch],)).module(), batch, batch)
    rows = torch.export.Dim("rows", min=1)
    return torch.export.export(net, (x,), dynamic_shapes=({0: rows},)).module()


@pytest.mark.parametrize("batch", [None, 1, 3])
@pytest.mark.parametrize("name", ["density", "mahalanobis", "dropout", "activations"])
def test_exported_programs_are_seen_as_the_network_is(name: str, batch: int | None) -> None:
    shape = SHAPES["grey"]
    net = network(shape).eval()
    clean, adversarial = examples(Model(net), shape, 40)
    detector = parse_detector(SMALL.get(name, name))
    one = detector.fit(Model(net), clean, adversarial)
    other = detector.fit(Model(exported(net, clean.x, batch)), clean, adversarial)
    torch.testing.assert_close(scores(other, clean.x), scores(one, clean.x), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", ["density", "mahalanobis", "lid", "dropout", "activations"])
def test_a_model_that_shows_no_layers_is_refused(name: str) -> None:
    model = BlackBox(lambda x: np.stack([x.sum(1), 2 - x.sum(1)], 1))
    x = torch.rand(60, 4, generator=seeded())
    clean = Examples(x, (x.sum(1) < 1).long())
    with pytest.raises(InputError, match="whose layers can be seen"):
        parse_detector(name).fit(model, clean, clean)


@pytest.mark.parametrize("name", ["network:steps=20", "squeezing", "mmd"])
def test_a_model_known_by_its_answers_has_detectors_too(name: str) -> None:
    model = BlackBox(lambda x: np.stack([x.sum(1), 2 - x.sum(1)], 1))
    x = torch.rand(60, 4, generator=seeded())
    clean = Examples(x, (x.sum(1) < 1).long())
    assert scores(parse_detector(name).fit(model, clean, clean), x).shape == (60,)


def test_a_layer_that_is_not_there_is_named_with_those_that_are() -> None:
    model = Model(network((1, 8, 8)))
    clean, adversarial = examples(model, (1, 8, 8), 20)
    with pytest.raises(InputError, match=r"got 9: choose one of 0 conv2d 6x6x6, 1 tanh 6x6x6"):
        parse_detector("activations:layer=9").fit(model, clean, adversarial)


# ------------------------------------------------------------------ answers in closed form


def test_a_second_network_separates_what_is_separable() -> None:
    x = torch.rand(200, 5, generator=seeded()) - 0.5
    shift = 0.3 * torch.tensor([1.0, -1, 0, 0, 0]) + torch.tensor([0.5, -0.5, 0, 0, 0])
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = classifier((5,), 4)
        train(net, lambda rows: rows, x[:100], x[:100] + shift, Training(200, 32, 1e-2))
    with torch.no_grad():
        assert area(net(x[100:])[:, 0], net(x[100:] + shift)[:, 0]) > 0.99
        torch.testing.assert_close(net[0](x[:100]).mean(0), torch.zeros(5), atol=1e-5, rtol=0)
        torch.testing.assert_close(net[0](x[:100]).std(0, correction=0), torch.ones(5))


def test_density_of_known_points() -> None:
    points = torch.tensor([[0.0, 0.0], [3.0, 4.0]])
    for width in (0.5, 2.0):
        by_hand = math.log((1 + math.exp(-25 / (2 * width**2))) / 2 / (2 * math.pi * width**2))
        got = log_density(distances(points[:1], points), torch.tensor([[True, True]]), torch.tensor(width), 2)
        assert float(got) == pytest.approx(by_hand, rel=1e-5)
    alone = log_density(distances(points[:1], points), torch.tensor([[False, True]]), torch.tensor(2.0), 2)
    assert float(alone) == pytest.approx(-25 / 8 - math.log(8 * math.pi), rel=1e-5)


def test_density_asks_the_predicted_class_alone() -> None:
    net = nn.Linear(2, 2)
    net.load_state_dict({"weight": torch.tensor([[-1.0, 0.0], [1.0, 0.0]]), "bias": torch.zeros(2)})
    model = Model(net, bounds=(-9, 9))
    x = torch.tensor([[-1.0, 0.0]] * 10 + [[1.0, 0.0]] * 10)
    detector = parse_detector("density:bandwidth=0.5").fit(model, Examples(x, (x[:, 0] > 0).long()))
    got = scores(detector, torch.tensor([[-1.0, 0.0], [0.5, 0.0]]))
    by_hand = [math.log(2 * math.pi * 0.25), math.log(2 * math.pi * 0.25) + 0.5]
    torch.testing.assert_close(got, torch.tensor(by_hand))
    only_left = parse_detector("density:bandwidth=0.5").fit(model, Examples(x[:10], torch.zeros(10).long()))
    torch.testing.assert_close(scores(only_left, x[-1:]), torch.tensor([by_hand[0] + 8]), msg="judged among all rows")


def test_the_likeliest_bandwidth_of_a_normal_sample_is_near_the_rule_for_it() -> None:
    points = torch.randn(500, 1, generator=seeded())
    ideal = 1.06 * 500**-0.2  # Silverman 1986
    assert ideal / 2 < float(likeliest(points, torch.zeros(500))) < ideal * 2


def test_equal_rows_have_no_bandwidth() -> None:
    with pytest.raises(InputError, match="that differ"):
        likeliest(torch.ones(5, 2), torch.zeros(5))


def test_mahalanobis_is_the_distance_worked_out_by_hand() -> None:
    f = torch.randn(60, 4, generator=seeded()) @ torch.randn(4, 4, generator=seeded(1))
    y = torch.arange(60) % 2
    whitening, means = gaussians(f, y, ridge=0)
    apart = np.concatenate([f[y == c].numpy() - f[y == c].numpy().mean(0) for c in (0, 1)])
    precision = np.linalg.inv(apart.T @ apart / 60)
    for c in (0, 1):
        off = f.numpy() - f[y == c].numpy().mean(0)
        by_hand = torch.from_numpy(np.einsum("ni,ij,nj->n", off, precision, off)).float()
        torch.testing.assert_close((f @ whitening - means[c]).square().sum(1), by_hand, rtol=1e-3, atol=1e-3)


def test_a_feature_that_never_changes_counts_nothing() -> None:
    f = torch.cat([torch.randn(50, 2, generator=seeded()), torch.full((50, 1), 3.0)], 1)
    whitening, _ = gaussians(f, torch.zeros(50), ridge=0)
    assert float((torch.tensor([0.0, 0.0, 1.0]) @ whitening).abs().max()) < 1e-3


def test_the_estimate_of_dimensionality_from_three_distances() -> None:
    by_hand = 1 / ((math.log(4) + math.log(2) + 0) / 3)
    got = dimensionality(torch.tensor([[4.0, 9.0, 1.0, 2.0]]), 3)
    assert float(got) == pytest.approx(by_hand, rel=1e-6)


@pytest.mark.parametrize("dimensions", [1, 2, 5])
def test_points_that_fill_a_space_have_its_dimensionality(dimensions: int) -> None:
    points = torch.rand(20_000, dimensions, generator=seeded())
    middle = 0.5 + 0.5 * (torch.rand(200, dimensions, generator=seeded(1)) - 0.5)
    embedded = torch.eye(dimensions, 9)  # in a space of nine dimensions it is the same
    got = dimensionality(distances(middle @ embedded, points @ embedded), 40)
    assert 1 / float((1 / got).mean()) == pytest.approx(dimensions, rel=0.1)


def test_neighbours_at_one_place_are_no_reason_for_infinities() -> None:
    assert bool(dimensionality(torch.zeros(1, 5), 3).isfinite().all())
    assert bool(dimensionality(torch.tensor([[0.0, 1.0, 2.0]]), 3).isfinite().all())


def test_what_squeezing_does_not_change_is_not_suspicious() -> None:
    model = Model(network((1, 16, 16)).eval())
    flat = (
        torch.linspace(0, 1, 8).repeat(2).view(16, 1, 1, 1).expand(16, 1, 16, 16).contiguous()
    )  # on the 8 levels of 3 bits
    detector = parse_detector("squeezing:depth=3,window=3").fit(model, Examples(flat, torch.zeros(16).long()))
    assert float(scores(detector, flat).max()) < 1e-6
    assert float(scores(detector, torch.rand(4, 1, 16, 16, generator=seeded())).min()) > 1e-4


def test_squeezing_is_the_largest_of_its_distances() -> None:
    model = Model(network((1, 16, 16)).eval())
    x = torch.rand(12, 1, 16, 16, generator=seeded())
    clean = Examples(x, torch.zeros(12).long())
    smoothed = torch.from_numpy(median_filter(x.numpy(), size=(1, 1, 3, 3), mode="reflect"))
    probabilities = [answers(model, v).softmax(1) for v in (x, (x * 15).round() / 15, smoothed)]
    by_hand = torch.stack([(probabilities[0] - p).abs().sum(1) for p in probabilities[1:]]).amax(0)
    torch.testing.assert_close(scores(parse_detector("squeezing").fit(model, clean), x), by_hand)


def test_small_images_and_tables_are_not_smoothed_unless_it_is_asked_for() -> None:
    model = Model(network((1, 8, 8)).eval())
    clean, _ = examples(model, (1, 8, 8), 20)
    plain, none, three = (
        scores(parse_detector(f"squeezing:window={window}").fit(model, clean), clean.x)
        for window in ("auto", "none", "3")
    )
    assert torch.equal(plain, none)
    assert not torch.equal(plain, three)
    with pytest.raises(InputError, match="expected images"):
        parse_detector("squeezing:window=3").fit(Model(network((7,))), examples(Model(network((7,))), (7,))[0])


def test_without_dropout_nothing_varies() -> None:
    model = Model(network((7,)).eval())
    clean, _ = examples(model, (7,))
    assert float(scores(Dropout(rate=0).fit(model, clean), clean.x).max()) < 1e-12
    assert float(scores(Dropout().fit(model, clean), clean.x).min()) > 1e-4


def uncertainty(probabilities: Tensor) -> Tensor:
    """Feinman et al.: mean of squares less square of means, (passes, B, C) to (B,)."""
    return probabilities.square().mean(0).sum(1) - probabilities.mean(0).square().sum(1)


@pytest.mark.parametrize("where", ["its own", "its last layer", "a layer whose output is changed"])
def test_dropout_uncertainty_worked_out_by_hand(where: str) -> None:
    head, own = nn.Linear(7, CLASSES), where == "its own"
    parts = [nn.Dropout(0.25), head] if own else [head, nn.LogSoftmax(1)] if "changed" in where else [head]
    model = Model(nn.Sequential(*parts).eval())
    clean, _ = examples(model, (7,), 20)
    detector = Dropout(passes=6, rate=0.5).fit(model, clean)
    rate, stream = (0.25, 1) if own else (0.5, 0)
    masks = uniform(detector.keys, torch.zeros(6).long(), stream, (7,)).ge(rate).float() / (1 - rate)
    assert 0 < float((masks == 0).float().mean()) < 1
    with torch.no_grad():
        by_hand = uncertainty(torch.stack([head(clean.x * mask).softmax(1) for mask in masks]))
        logits, got = detector.beside(clean.x)
    torch.testing.assert_close(got, by_hand, atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(logits, answers(model, clean.x), msg="the answer itself is given without dropout")


def test_layers_that_drop_channels_drop_whole_ones() -> None:
    net = nn.Sequential(nn.Dropout2d(0.5), nn.Flatten(), nn.Linear(162, CLASSES)).eval()
    clean, _ = examples(Model(net), SHAPES["colour"], 20)
    detector = Dropout(passes=6).fit(Model(net), clean)
    masks = 2 * uniform(detector.keys, torch.zeros(6).long(), 1, (3, 1, 1)).ge(0.5).float()
    with torch.no_grad():
        by_hand = uncertainty(torch.stack([net(clean.x * mask).softmax(1) for mask in masks]))
    torch.testing.assert_close(scores(detector, clean.x), by_hand, atol=1e-6, rtol=1e-4)


def gaussian_kernel(points: Tensor) -> Tensor:
    return (-0.5 * distances(points, points).square()).exp().double()


def test_the_discrepancy_of_two_pairs_worked_out_by_hand() -> None:
    kernel = gaussian_kernel(torch.tensor([[0.0], [1.0], [2.0], [4.0]]))
    k = kernel.tolist()
    by_hand = k[0][1] + k[2][3] - (k[0][2] + k[0][3] + k[1][2] + k[1][3]) / 2
    got = discrepancies(kernel, torch.tensor([[True, True, False, False]]))
    assert float(got) == pytest.approx(by_hand)


def test_the_discrepancy_is_unbiased_over_all_ways_to_part_the_rows() -> None:
    kernel = gaussian_kernel(torch.randn(8, 3, generator=seeded()))
    ways = torch.zeros(56, 8, dtype=torch.bool)
    for row, chosen in enumerate(combinations(range(8), 3)):
        ways[row, list(chosen)] = True
    assert abs(float(discrepancies(kernel, ways).mean())) < 1e-12


def of_two_samples(seed: int, shift: float) -> float:
    rows = torch.randn(40, 4, generator=seeded(seed))
    model = Model(nn.Linear(4, 2), bounds=(-9, 9))
    learnt = {"clean": rows[:20], "adversarial": rows[:0], "bandwidth": torch.tensor(2.0)}
    return FittedMMD(MMD(), model, (4,), learnt).p_value(rows[20:] + shift, seed, permutations=99)


def test_p_values_are_uniform_for_clean_batches_and_small_for_shifted_ones() -> None:
    clean = [of_two_samples(seed, 0) for seed in range(300)]
    assert kstest(clean, "uniform").pvalue > 0.01
    assert max(of_two_samples(seed, 1.5) for seed in range(10)) == 0.01


def test_a_batch_of_one_row_is_no_sample() -> None:
    detector, x = fitted("mmd", (7,))
    assert isinstance(detector, FittedMMD)
    with pytest.raises(InputError, match="at least 2 inputs"):
        detector.p_value(x[:1])


def test_the_witness_of_a_row_is_the_difference_of_mean_kernels() -> None:
    rows = torch.tensor([[0.0], [2.0]])
    learnt = {"clean": rows[:1], "adversarial": rows[1:], "bandwidth": torch.tensor(1.0)}
    detector = FittedMMD(MMD(), Model(nn.Linear(1, 2)), (1,), learnt)
    got = detector(torch.tensor([[0.0], [1.0], [2.0]]))
    torch.testing.assert_close(got, torch.tensor([math.exp(-2) - 1, 0, 1 - math.exp(-2)]))


# ------------------------------------------------------------------ the model that rejects


class Stated(Fitted):
    """A detector whose score is the first number of the input, exactly."""

    def forward(self, x: Tensor) -> Tensor:
        return x[:, 0]


def stated(logits: Callable[[Tensor], Tensor], threshold: float, scale: float = 1.0) -> Guarded:
    model = Model(logits, bounds=(-99, 99))
    return Guarded(model, Stated(MMD(), model, (2,)), threshold, scale)


@pytest.mark.parametrize("offset", [-50.0, 0.0, 50.0])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e9])
def test_reject_is_largest_exactly_where_the_score_is_above_the_threshold(offset: float, scale: float) -> None:
    guarded = stated(lambda x: torch.stack([x[:, 1] + offset, offset - x[:, 1]], 1), 0.5, scale)
    near = torch.tensor([0.5]).nextafter(torch.tensor([1.0]))
    score = torch.cat([torch.linspace(-3, 3, 41), torch.tensor([0.5]), near])
    x = torch.stack([score, torch.linspace(-2, 2, len(score))], 1)
    logits = guarded.logits(x)
    best = logits[:, :2].amax(1)
    assert torch.equal(logits[:, 2] > best, score > 0.5)
    assert torch.equal(logits[:, 2] < best, score <= 0.5)
    assert torch.equal(logits[:, :2], guarded.model.logits(x))


def test_the_slope_of_reject_is_that_of_the_score_and_of_the_largest_logit() -> None:
    guarded = stated(lambda x: torch.stack([3 * x[:, 1], -x[:, 1]], 1), 0.5, scale=4.0)
    x = torch.tensor([[0.0, 1.0], [0.5, 1.0], [2.0, -1.0]]).requires_grad_()
    (grad,) = torch.autograd.grad(guarded.logits(x)[:, 2].sum(), x)
    torch.testing.assert_close(grad, torch.tensor([[0.25, 3.0], [0.25, 3.0], [0.25, -1.0]]))


@every
def test_a_guarded_model_rejects_what_its_detector_finds(name: str) -> None:
    detector, x = fitted(name, SHAPES["grey"])
    guarded = guard(detector.model, detector, x[:10], fpr=0.2)
    assert guarded.rejects
    assert guarded.bounds == detector.model.bounds
    chunk = len(x)  # of one size, so that scores have the same bits
    with Oracle(guarded, chunk=chunk).session() as oracle:
        got = oracle.logits(x).argmax(1) == CLASSES
    assert torch.equal(got, scores(detector, x) > guarded.threshold)
    assert int((scores(detector, x[:10]) > guarded.threshold).sum()) <= 2


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # torch's compiler imports what torch deprecates
@pytest.mark.parametrize("name", ["dropout", "mahalanobis"])
def test_a_compiled_pair_gives_the_same_answers(name: str) -> None:
    detector, x = fitted(name, SHAPES["grey"])
    guarded = guard(detector.model, detector, x[:10], fpr=0.2)
    with Oracle(guarded, chunk=20).session() as plain, Oracle(guarded, chunk=20, compile=True).session() as compiled:
        torch.testing.assert_close(compiled.logits(x), plain.logits(x), rtol=1e-3, atol=1e-3)


def test_a_guarded_model_is_both_networks() -> None:
    detector, _ = fitted("network", SHAPES["grey"])
    model = detector.model
    guarded = Guarded(model, detector, 0.5)
    assert guarded.parameters == model.parameters + detector.numbers
    assert guarded.name == "Sequential guarded by network"
    assert guarded.scale == float(detector.scale)
    assert guarded.digest == Guarded(model, load(save(detector), model), 0.5).digest
    others = [Guarded(model, detector, 0.6), Guarded(model, detector, 0.5, scale=2), model]
    other = load(save(fitted("network", SHAPES["grey"], seed=1)[0]), model)
    others += [Guarded(model, other, 0.5)]
    assert guarded.digest not in [other.digest for other in others]
    model.net.train()
    with guarded.borrowed():
        assert not any(m.training for m in guarded.net.modules())
        assert not any(p.requires_grad for p in guarded.net.parameters())
    assert model.net.training


def test_a_detector_of_another_model_guards_nothing() -> None:
    detector, _ = fitted("density", (7,))
    with pytest.raises(InputError, match="got one of another model"):
        Guarded(Model(network((7,))), detector, 0.5)
    with pytest.raises(InputError, match=r"finite threshold|threshold of Guarded to be a number"):
        Guarded(detector.model, detector, math.nan)


@pytest.mark.parametrize(("fpr", "threshold"), [(0, 5), (0.19, 5), (0.2, 3), (0.4, 3), (0.6, 3), (0.8, 2), (0.99, 2)])
def test_thresholds_let_no_more_clean_rows_be_rejected_than_allowed(fpr: float, threshold: float) -> None:
    clean = torch.tensor([3.0, 2, 5, 3, 3])
    clean = torch.tensor([2.0, 3, 3, 3, 5])[torch.randperm(5, generator=seeded())] if fpr else clean
    got = threshold_at(clean, fpr)
    assert got == threshold
    assert int((clean > got).sum()) <= fpr * 5
    lower = clean[clean < got]
    assert not len(lower) or int((clean > lower.max()).sum()) > fpr * 5, "no lower threshold would do"


def test_shares_that_are_no_exact_fractions_count_as_they_are_written() -> None:
    assert int((torch.arange(100.0) > threshold_at(torch.arange(100.0), 0.29)).sum()) == 29


@pytest.mark.parametrize(("clean", "fpr"), [([1.0], 1.0), ([1.0], -0.1), ([], 0.1), ([math.nan], 0.1)])
def test_thresholds_of_nothing_are_refused(clean: list[float], fpr: float) -> None:
    with pytest.raises(InputError, match="expected"):
        threshold_at(torch.tensor(clean), fpr)


# ------------------------------------------------------------------ on the embedded digits


@pytest.fixture(scope="module")
def attacked() -> dict[str, Examples]:
    """The first rows of both parts of the digits, and what PGD made of them."""
    model, made = load_model("digits"), {}
    for part, rows in (("train", 600), ("test", 200)):
        x, y = (t[:rows] for t in digits_arrays(part))  # type: ignore[arg-type]
        result = bs.attack(model, x, y, bs.attacks.PGD(steps=20), threat=Linf(0.15))
        made[f"clean {part}"], made[part] = Examples(x, y), Examples(result.adversarial, y)[result.success]
    return made


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("network", 0.99), ("activations", 0.99), ("density", 0.92), ("mahalanobis", 0.97), ("dropout", 0.9),
        ("squeezing", 0.95), ("lid", 0.85), ("mmd", 0.8),
    ],
)  # fmt: skip
def test_examples_that_pgd_made_of_digits_are_found(name: str, least: float, attacked: dict[str, Examples]) -> None:
    model = load_model("digits")
    detector = parse_detector(name).fit(model, attacked["clean train"], attacked["train"])
    assert area(scores(detector, attacked["clean test"].x), scores(detector, attacked["test"].x)) > least


def test_all_detectors_of_the_table_are_measured_on_digits() -> None:
    (marked,) = (m for m in test_examples_that_pgd_made_of_digits_are_found.pytestmark if m.name == "parametrize")
    assert [name for name, _ in marked.args[1]] == list(DETECTORS)
    assert all(issubclass(kind, Detector) for kind in DETECTORS.values())
