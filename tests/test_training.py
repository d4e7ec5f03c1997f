import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from blindspots.data import ArrayData
from blindspots.data.splits import halves
from blindspots.errors import InputError
from blindspots.experiments.transfer.models import restored, split, weights_of
from blindspots.experiments.transfer.networks import Autoencoder, Custom, FullyConnected, parse_architecture
from blindspots.experiments.transfer.trained import train_on_half
from blindspots.experiments.transfer.training import Recipe, Sparsity, _divergence, error, train, weight_decay
from blindspots.models import Model

QUICK = 300  # steps
FACTORIES = """
import torch
from torch import nn

def net():
    return nn.Sequential(nn.Flatten(), nn.Linear(4, 3))

kept = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))

def blind():
    return nn.Flatten()

def narrow():
    return nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
"""


def corners(rows: int = 96, noise: float = 0.1, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Three classes around three corners of the cube, (N, 1, 2, 2), so far apart that lines separate them."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(rows) % 3
    spread = noise * torch.rand(rows, 4, generator=generator)
    return (0.8 * F.one_hot(y, 4) + spread).view(-1, 1, 2, 2), y


def weights(model: Model) -> Tensor:
    return torch.cat([p.detach().flatten() for p in model.net.parameters()])


@pytest.fixture
def factories(tmp_path: Path) -> str:
    (tmp_path / "mine.py").write_text(FACTORIES)
    return str(tmp_path / "mine.py")


# ------------------------------------------------------------------ training


@pytest.mark.parametrize("word", ["softmax:1e-4", "fc:16", "fc:8-8", "autoencoder:16"])
def test_separable_rows_are_learnt_to_the_last_one(word: str) -> None:
    x, y = corners()
    model = train(parse_architecture(word), x, y, classes=3, steps=600)
    assert error(model, x, y).hits == 0
    assert not model.net.training


def test_equal_rows_with_different_labels_stay_half_wrong() -> None:
    x, y = torch.full((8, 4), 0.5), torch.tensor([0, 1] * 4)
    assert error(train(parse_architecture("fc:8"), x, y, classes=2, steps=QUICK), x, y).share == 0.5


def test_the_seed_decides_the_bits_and_the_caller_keeps_its_generator() -> None:
    x, y = corners()
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first, again, other = (train(parse_architecture("fc:8"), x, y, classes=3, seed=s, steps=QUICK) for s in (0, 0, 1))
    assert first.digest == again.digest != other.digest
    assert torch.equal(torch.get_rng_state(), before)


def test_weight_decay_is_the_papers_sum_over_layers() -> None:
    first, last = nn.Linear(3, 2), nn.Linear(2, 5)
    net = nn.Sequential(nn.Flatten(), first, nn.Sigmoid(), last)
    with torch.no_grad():
        first.weight.fill_(2.0)
        first.bias.fill_(100.0)
        last.weight.fill_(3.0)
        both, only_last = weight_decay(net, (0.1, 0.01)), weight_decay(net, (0.0, 0.01))
    assert float(both) == pytest.approx(0.1 * (6 * 4) / 2 + 0.01 * (10 * 9) / 5)
    assert float(only_last) == pytest.approx(0.01 * (10 * 9) / 5)
    assert weight_decay(net, ()) == 0


def test_training_ends_where_the_pull_of_the_data_and_of_the_decay_cancel() -> None:
    x, y = corners()
    model = train(FullyConnected((), (1.0,)), x, y, classes=3, steps=3000)
    weight = model.net[1].weight  # type: ignore[index]
    (pull,) = torch.autograd.grad(F.cross_entropy(model.logits(x), y), weight)
    assert torch.allclose(pull, -2 * weight.detach() / 3, atol=1e-4)
    assert float(pull.abs().max()) > 0.01


def test_features_are_learnt_without_labels_and_left_alone_by_the_top() -> None:
    x, y = corners()
    right, shifted = (train(Autoencoder(6), x, labels, classes=3, steps=QUICK) for labels in (y, (y + 1) % 3))
    first, other = list(right.net.parameters()), list(shifted.net.parameters())
    assert torch.equal(first[0], other[0])
    assert torch.equal(first[1], other[1])
    assert not torch.equal(first[2], other[2])


def test_sparsity_costs_nothing_at_the_wanted_activity_and_more_on_both_sides() -> None:
    sparsity = Sparsity(activity=0.1)
    below, at, above, never = (float(_divergence(torch.full((5,), m), sparsity)) for m in (0.05, 0.1, 0.2, 0.0))
    assert at == pytest.approx(0, abs=1e-6)
    assert below > 0.05
    assert above > 0.05
    assert below < never < math.inf


@pytest.mark.parametrize("wrong", [{"steps": 9}, {"batch": 0}, {"learning_rate": 0.0}, {"learning_rate": math.nan}])
def test_recipes_that_cannot_be_followed_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError, match="expected at least 10 steps"):
        Recipe(**wrong)  # type: ignore[arg-type]


# ------------------------------------------------------------------ architectures


@pytest.mark.parametrize(
    ("word", "title", "parameters"),
    [
        ("softmax", "FC10(1e-4)", 785 * 10),
        ("softmax:1e-2", "FC10(1e-2)", 785 * 10),
        ("softmax:1", "FC10(1)", 785 * 10),
        ("softmax:0.25", "FC10(0.25)", 785 * 10),
        ("softmax:0", "FC10(0)", 785 * 10),
        ("softmax:0.123456789", "FC10(0.123456789)", 785 * 10),
        ("FC:100-100", "FC100-100-10", 785 * 100 + 101 * 100 + 101 * 10),
        ("fc:123-456", "FC123-456-10", 785 * 123 + 124 * 456 + 457 * 10),
        ("autoencoder:400", "AE400-10", 785 * 400 + 401 * 10),
    ],
)
def test_words_name_the_papers_networks(word: str, title: str, parameters: int) -> None:
    architecture = parse_architecture(word)
    assert architecture.title(10) == title
    model = architecture.build((1, 28, 28), 10)
    assert model.parameters == parameters
    assert model.logits(torch.rand(2, 1, 28, 28)).shape == (2, 10)
    assert parse_architecture(architecture.spec) == architecture


@pytest.mark.parametrize("word", ["", "resnet", "fc", "fc:", "fc:0", "fc:10-", "fc:-5", "fc:1e3", "fc:99999999",
                                  "softmax:-1", "softmax:x", "softmax:nan", "softmax:inf", "autoencoder",
                                  "autoencoder:4-4"])  # fmt: skip
def test_other_words_are_refused(word: str) -> None:
    with pytest.raises(InputError, match=r"expected .*, got"):
        parse_architecture(word)


def test_a_factory_is_called_anew_and_its_own_network_is_not_touched(factories: str) -> None:
    x, y = corners()
    architecture = parse_architecture(f"{factories}:kept")
    assert isinstance(architecture, Custom)
    before = weights(architecture.build((1, 2, 2), 3))
    trained = train(architecture, x, y, classes=3, steps=QUICK)
    assert error(trained, x, y).hits == 0
    assert not torch.equal(weights(trained), before)
    one, two = (train(parse_architecture(f"{factories}:net"), x, y, classes=3, seed=s, steps=QUICK) for s in (0, 0))
    assert one.digest == two.digest
    assert one.net is not two.net


@pytest.mark.parametrize(("name", "sentence"), [("blind", "parameters to train"), ("narrow", "expected scores for 3")])
def test_factories_that_cannot_learn_the_classes_are_refused(factories: str, name: str, sentence: str) -> None:
    x, y = corners()
    with pytest.raises(InputError, match=sentence):
        train(parse_architecture(f"{factories}:{name}"), x, y, classes=3, steps=QUICK)


# ------------------------------------------------------------------ disjoint halves


def test_halves_share_no_row_and_miss_none() -> None:
    x, _ = corners(rows=97)
    first, second = halves(x, seed=3)
    assert sorted([*first.tolist(), *second.tolist()]) == list(range(97))
    assert abs(len(first) - len(second)) == 1
    assert halves(x, seed=4)[0].tolist() != first.tolist() == halves(x, seed=3)[0].tolist()


def test_repeated_inputs_stay_in_one_half() -> None:
    x = torch.rand(20, 4, generator=torch.Generator().manual_seed(0)).repeat(3, 1)
    first, second = (set(map(tuple, x[at].tolist())) for at in halves(x))
    assert not first & second
    assert len(first) == len(second) == 10


def test_each_model_learns_its_own_half_alone() -> None:
    x, y = corners(rows=60)
    words, data = ["fc:8", "softmax:1e-4"], ArrayData(x, y)
    named = [(network.spec, half) for network, half in split(words)]
    assert named == [("fc:8", "P1"), ("softmax:1e-4", "P1"), ("fc:8", "P2"), ("softmax:1e-4", "P2")]
    one, two = (train_on_half(words, i, data, 5, QUICK, lambda text: None) for i in (0, 2))
    first, second = halves(x, 5)
    alone = train(parse_architecture("fc:8"), x[first], y[first], classes=3, seed=5, steps=QUICK)
    other = train(parse_architecture("fc:8"), x[second], y[second], classes=3, seed=7, steps=QUICK)
    assert one.digest == alone.digest
    assert two.digest == other.digest
    again = restored(parse_architecture("fc:8"), (1, 2, 2), 3, weights_of(one))
    assert again.digest == one.digest


@pytest.mark.parametrize(
    ("x", "y", "sentence"),
    [
        (torch.ones(6, 4), torch.tensor([0, 1, 0, 1, 0, 1]), "two different rows"),
        (torch.rand(6, 4), torch.ones(6, dtype=torch.long), "at least two classes"),
        (torch.rand(6, 4), torch.tensor([-1, 0, 1, 0, 1, 0]), "at least two classes"),
    ],
)
def test_data_that_cannot_be_split_or_learnt_are_refused(x: Tensor, y: Tensor, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        train_on_half(["softmax"], 0, ArrayData(x, y), 0, QUICK, lambda text: None)
