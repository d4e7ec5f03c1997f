import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from blindspots.errors import InputError
from blindspots.models.model import Model
from blindspots.preflight import CHECKS, Preflight, examine
from blindspots.random import keys, uniform

ROWS, CLASSES, SHAPE = 32, 10, (1, 8, 8)
DOCS = Path(__file__).parents[1] / "docs" / "findings.md"

Case = tuple[Model, Tensor, Tensor]
Net = Callable[[Tensor], Tensor]


def images(rows: int = ROWS) -> Tensor:
    """8-bit images, exactly."""
    numbers = torch.arange(rows)
    return (255 * uniform(keys(0, numbers), numbers * 0, 0, SHAPE)).round() / 255


def seeded(make: Callable[[], nn.Module], seed: int = 0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return make().eval()


def cnn(classes: int = CLASSES) -> nn.Module:
    return seeded(
        lambda: nn.Sequential(
            nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(72, classes)
        )
    )


def without_bias() -> nn.Module:
    return seeded(
        lambda: nn.Sequential(
            nn.Conv2d(1, 8, 3, bias=False), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(72, CLASSES)
        )
    )


def mlp() -> nn.Module:
    return seeded(lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, CLASSES)))


def deep() -> nn.Module:
    def layer(width: int) -> nn.Module:
        linear = nn.Linear(64, width)
        nn.init.kaiming_normal_(linear.weight)
        return linear

    return seeded(
        lambda: nn.Sequential(nn.Flatten(), *(m for _ in range(12) for m in (layer(64), nn.ReLU())), layer(CLASSES))
    )


def attention() -> nn.Module:
    block = seeded(lambda: nn.TransformerEncoderLayer(8, 2, 16, activation="gelu", batch_first=True))
    return nn.Sequential(nn.Flatten(1, 2), block, nn.Flatten(), seeded(lambda: nn.Linear(64, CLASSES))).eval()


def labels(model: Model, x: Tensor) -> Tensor:
    with model.borrowed(), torch.no_grad():
        return model.logits(x).argmax(1)


def right(net: nn.Module | Net, x: Tensor | None = None) -> Case:
    """A model, some images, and the labels that the model gives them."""
    model, x = Model(net), images() if x is None else x
    return model, x, labels(model, x)


def labelled(change: Callable[[Tensor], Tensor]) -> Case:
    model, x, y = right(cnn())
    return model, x, change(y)


def scaled(change: Callable[[Tensor], Tensor], bounds: tuple[float, float] = (0, 1)) -> Case:
    """Healthy in all but what the inputs look like."""
    model, x, y = right(cnn())
    return Model(model.net, bounds=bounds), change(x), y


def after(change: Net) -> Case:
    net = cnn()
    return right(lambda x: change(net(x)))


def before(change: Net) -> Case:
    net = cnn()
    return right(lambda x: net(change(x)))


def codes(case: Case, seed: int = 0) -> set[str]:
    return {finding.code for finding in examine(*case, seed=seed).findings}


class StraightThrough(torch.autograd.Function):
    """Rounds to 8 levels and claims that it does not."""

    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        return (7 * x).round() / 7

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> Tensor:
        return gradient


class NoBackward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> Tensor:
        raise NotImplementedError("nobody wrote this backward")


class FloatHead(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return 1.1 * x.float()


class Cut(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.detach()


def only_full_batches(x: Tensor) -> Tensor:
    assert len(x) == ROWS
    return x


def noisy(x: Tensor) -> Tensor:
    return x + 0.1 * torch.randn_like(x)


def one_coin_per_batch(x: Tensor) -> Tensor:
    return x * (1 + torch.randint(2, ()))


def centred_on_the_batch(x: Tensor) -> Tensor:
    return x - x.mean(0)


def first_row_shines(x: Tensor) -> Tensor:
    return x + x[:1]


def sees_its_neighbour(x: Tensor) -> Tensor:
    return x + x.roll(1, dims=0)


def climbs(x: Tensor) -> Tensor:
    with torch.enable_grad():
        leaf = x.detach().requires_grad_()
        return x + 0.1 * torch.autograd.grad(leaf.square().sum(), leaf)[0]


def climbs_by_backward(x: Tensor) -> Tensor:
    with torch.enable_grad():
        leaf = x.detach().requires_grad_()
        leaf.square().sum().backward()
    return x + 0.1 * (2 * x if leaf.grad is None else leaf.grad)


def root_at_zero(x: Tensor) -> Tensor:
    return x + (x - x.detach()).abs().sqrt()


def half_detached(x: Tensor) -> Tensor:
    return torch.cat([x[..., :4], x[..., 4:].detach()], dim=-1)


def sharp(x: Tensor) -> Tensor:
    return 1e4 * x


def flat_below(share: float) -> Net:
    """No gradient for about that share of rows."""
    brightness = images().flatten(1).mean(1)
    limit = brightness.quantile(share)
    return lambda x: torch.where((x.mean((1, 2, 3)) < limit)[:, None, None, None], x.detach(), x)


def single(x: Tensor) -> Tensor:
    return 200 * (x.mean((1, 2, 3)) - 0.5)


def training_mode() -> Case:
    model, x, y = right(cnn())
    model.net.train()
    return model, x, y


FIRES: dict[str, Callable[[], Case]] = {
    "nonfinite-input": lambda: scaled(lambda x: x.index_fill(0, torch.tensor([3]), torch.nan)),
    "inputs-outside-bounds": lambda: scaled(lambda x: x + 0.01),
    "inputs-look-normalised": lambda: scaled(lambda x: (x - 0.5) / 0.5),
    "inputs-look-0-255": lambda: scaled(lambda x: (255 * x).round()),
    "inputs-nearly-constant": lambda: scaled(lambda x: x, bounds=(0, 255)),
    "labels-dtype": lambda: labelled(lambda y: y.float()),
    "labels-out-of-range": lambda: labelled(lambda y: y + CLASSES - y.min()),
    "one-class": lambda: labelled(lambda y: y * 0),
    "accuracy-at-chance": lambda: labelled(lambda y: (y + 1) % CLASSES),
    "nonfinite-output": lambda: after(torch.log),
    "outputs-look-like-probabilities": lambda: after(lambda z: z.softmax(1)),
    "output-looks-like-a-probability": lambda: right(lambda x: single(x).sigmoid()),
    "saturated-logits": lambda: after(sharp),
    "coarse-logits": lambda: after(lambda z: z + 1e7),
    "two-classes": lambda: right(cnn(2)),
    "three-classes": lambda: right(cnn(3)),
    "model-in-training-mode": training_mode,
    "rows-influence-each-other": lambda: before(centred_on_the_batch),
    "randomised-forward": lambda: before(noisy),
    "dynamic": lambda: before(climbs),
    "non-differentiable": lambda: before(torch.detach),
    "nonfinite-gradient": lambda: before(root_at_zero),
    "zero-gradient": lambda: before(lambda x: x.round() + 0 * x),
    "some-zero-gradients": lambda: before(flat_below(0.05)),
    "gradient-misleads": lambda: before(StraightThrough.apply),
}
HEALTHY: dict[str, Callable[[], Case]] = {
    "cnn": lambda: right(cnn()),
    "mlp": lambda: right(mlp()),
    "deep": lambda: right(deep()),
    "attention": lambda: right(attention()),
    "black background": lambda: right(without_bias(), images() * (torch.arange(8) < 3)),
    "inputs beyond [0, 1]": lambda: scaled(lambda x: 4 * x - 2, bounds=(-2, 2)),
    "clamped": lambda: before(lambda x: x.clamp(0, 1)),
    "half precision": lambda: right(mlp().bfloat16()),
    "half precision before the head": lambda: right(nn.Sequential(mlp().bfloat16(), FloatHead())),
    "half precision inside": lambda: after(lambda z: z.bfloat16() + 0),
    "large logits": lambda: after(lambda z: 100 * z),
    "log probabilities": lambda: after(lambda z: z.log_softmax(1)),
    "full batches only": lambda: before(only_full_batches),
    "one row": lambda: right(cnn(), images(1)),
    "two rows": lambda: right(cnn(), images(2)),
}


def test_every_finding_is_tested_and_documented() -> None:
    known = {check.code for check in CHECKS}
    documented = set(re.findall(r"^\| `([a-z0-9-]+)` \|", DOCS.read_text(encoding="utf-8"), re.MULTILINE))
    assert len(known) == len(CHECKS)
    assert known == set(FIRES)
    assert known <= documented


@pytest.mark.parametrize("code", FIRES)
def test_a_fault_is_found(code: str) -> None:
    assert code in codes(FIRES[code]())


@pytest.mark.parametrize("name", HEALTHY)
@pytest.mark.parametrize("seed", [0, 1])
def test_nothing_is_found_in_a_healthy_model(name: str, seed: int) -> None:
    assert codes(HEALTHY[name](), seed) <= {"one-class"}  # all that an untrained network may say


@pytest.mark.parametrize(
    ("case", "code"),
    [
        (lambda: before(one_coin_per_batch), "randomised-forward"),
        (lambda: before(first_row_shines), "rows-influence-each-other"),
        (lambda: before(climbs_by_backward), "dynamic"),
        (lambda: before(NoBackward.apply), "non-differentiable"),
        (lambda: before(lambda x: torch.from_numpy(x.numpy())), "non-differentiable"),
        (lambda: before(half_detached), "gradient-misleads"),
        (lambda: before(lambda x: 2 * x.detach() - x), "gradient-misleads"),
        (lambda: before(lambda x: x.detach() + 1e-6 * (x - x.detach())), "gradient-misleads"),
        (lambda: before(lambda x: x + ((255 * x).round() / 255 - x).detach()), "gradient-misleads"),
        (lambda: labelled(nn.functional.one_hot), "labels-dtype"),
        (lambda: labelled(lambda y: y - 1 - y.min()), "labels-out-of-range"),
    ],
)
def test_a_fault_is_found_in_its_other_forms(case: Callable[[], Case], code: str) -> None:
    assert code in codes(case())


@pytest.mark.parametrize(
    ("case", "code"),
    [
        (lambda: before(noisy), "randomised-forward"),
        (lambda: before(sees_its_neighbour), "rows-influence-each-other"),
        (lambda: before(torch.detach), "non-differentiable"),
        (lambda: before(StraightThrough.apply), "gradient-misleads"),
        (lambda: after(sharp), "saturated-logits"),
        (lambda: before(lambda x: x / (x[:, :, :1, :1] > 0.1)), "nonfinite-output"),
    ],
)
def test_one_fault_is_told_once(case: Callable[[], Case], code: str) -> None:
    assert codes(case()) == {code}


def test_probabilities_that_are_declared_are_no_finding() -> None:
    net = cnn()
    model = Model(lambda x: net(x).softmax(1), output="probabilities")
    assert codes((model, images(), labels(model, images()))) == set()


def test_a_declared_single_probability_leaves_only_the_note_on_two_classes() -> None:
    model = Model(lambda x: single(x).sigmoid(), output="probability")
    assert codes((model, images(), labels(model, images()))) == {"two-classes"}


def test_small_single_logits_are_not_taken_for_probabilities() -> None:
    assert codes(right(lambda x: x.mean((1, 2, 3)).square())) <= {"two-classes", "one-class"}


def test_a_single_logit_leaves_only_the_note_on_two_classes() -> None:
    assert codes(right(single)) == {"two-classes"}


@pytest.mark.parametrize(("rows", "hits", "alarm"), [(64, 8, True), (64, 16, False), (8, 1, False), (8, 0, False)])
def test_accuracy_at_chance_must_be_likely_and_a_useful_one_impossible(rows: int, hits: int, alarm: bool) -> None:
    model, x, y = right(cnn(), images(rows))
    some_wrong = torch.where(torch.arange(rows) < hits, y, (y + 1) % CLASSES)
    assert ("accuracy-at-chance" in codes((model, x, some_wrong))) == alarm


def test_few_equal_labels_of_two_classes_are_no_alarm() -> None:
    model, x, y = right(cnn(2), images(8))
    assert "one-class" not in codes((model, x, y * 0))


def test_training_mode_matters_only_to_modules_that_heed_it() -> None:
    model, x, y = right(mlp())
    model.net.train()
    assert codes((model, x, y)) == set()


def test_findings_come_errors_first_and_say_what_was_seen() -> None:
    model, x, y = scaled(lambda x: (255 * x).round())
    model.net.train()
    found = examine(model, x, y.float()).findings
    assert [f.severity for f in found] == sorted((f.severity for f in found), key=["error", "warning", "note"].index)
    assert "range from 0 to 255" in found[0].saw
    assert "'1'" in found[-1].saw


def test_the_cost_is_what_the_docstring_says() -> None:
    seen = 0

    def counted(_: nn.Module, inputs: tuple[Tensor]) -> None:
        nonlocal seen
        seen += len(inputs[0])

    model, x, y = right(cnn())
    model.net.register_forward_pre_hook(counted)
    result = examine(model, x, y)
    assert (result.forwards, result.backwards) == (12 * ROWS, 3 * ROWS)
    assert seen == result.forwards


def test_a_network_without_gradient_costs_no_backwards() -> None:
    result = examine(*right(nn.Sequential(Cut(), cnn())))
    assert (result.forwards, result.backwards) == (7 * ROWS, 0)


def test_the_same_seed_finds_the_same() -> None:
    first, second = (examine(*FIRES["randomised-forward"](), seed=3) for _ in range(2))
    assert first == second


def test_model_arguments_and_global_randomness_are_left_alone() -> None:
    model, x, y = training_mode()
    before_x, before_y, digest, state = x.clone(), y.clone(), model.digest, torch.get_rng_state()
    examine(model, x, y)
    assert torch.equal(x, before_x)
    assert torch.equal(y, before_y)
    assert not x.requires_grad
    assert model.digest == digest
    assert model.net.training
    assert all(p.requires_grad and p.grad is None for p in model.net.parameters())
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (images().flatten(), torch.zeros(ROWS).long(), r"got shape \(2048,\)"),
        (images()[:0], torch.zeros(0).long(), "at least one row"),
        (images(), torch.zeros(3).long(), "3 labels for 32 inputs"),
        (images(), torch.tensor(1), "1 labels for 32 inputs"),
        (images()[..., :5], torch.zeros(ROWS).long(), r"\(32, 1, 8, 5\).*mat1 and mat2"),
    ],
)
def test_what_cannot_be_looked_at_is_refused_with_a_sentence(x: Tensor, y: Tensor, message: str) -> None:
    with pytest.raises(InputError, match=message):
        examine(Model(cnn()), x, y)


def test_the_models_own_sentence_is_passed_on() -> None:
    with pytest.raises(InputError, match=r"expected logits \(B, classes\)"):
        examine(Model(lambda x: x), images(), torch.zeros(ROWS).long())


def of_zoo(zoo: Path, name: str) -> Preflight:
    sys.path.insert(0, str(zoo))
    import zoo as real

    entry = real.manifest()[name]
    return examine(Model(real.load(name)), *real.images(entry["task"], "test", 64))


# zoo.py leaves its manifest open.
unclosed = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")


@unclosed
@pytest.mark.parametrize(
    "name",
    [
        "cifar10_resnet20",
        "cifar10_vit_pgd_2_3_16",
        "cifar10_cnn_a_adv4",
        "cifar10_mlperf_tiny_resnet8",
        "mnist_trades_smallcnn",
        "mnist_kw_small_0.3",
        "mnist_advertorch_lenet5_clean",
        "mnist_eran_9_100_nat",
        "rvb_LPD_MLP_B_01",
    ],
)
def test_nothing_is_found_in_networks_trained_by_others(zoo: Path, name: str) -> None:
    assert of_zoo(zoo, name).findings == []


@unclosed
def test_dead_rows_of_a_provably_trained_network_are_a_note(zoo: Path) -> None:
    assert [(f.code, f.severity) for f in of_zoo(zoo, "cifar10_kw_small_8px").findings] == [
        ("some-zero-gradients", "note")
    ]
