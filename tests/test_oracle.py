from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from blindspots.ball import Linf
from blindspots.models.foreign import ModelError
from blindspots.models.model import Model
from blindspots.objective import Objective
from blindspots.oracle import Oracle
from blindspots.problem import Need, Problem, Question, Seen
from blindspots.rows import leaves
from closed_form import Linear

MARGIN = Problem(Objective(), Linf())


class Recording(nn.Module):
    """Logits W x, and what it was called with."""

    def __init__(self, classes: int = 4, dim: int = 12) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(classes, dim, generator=torch.Generator().manual_seed(0)))
        self.calls: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.calls.append(x.detach())
        return (x.flatten(1)[:, None] * self.weight).sum(2)


class Small(Recording):
    """A device on which only so many rows fit."""

    def __init__(self, room: int, error: Callable[[], Exception]) -> None:
        super().__init__()
        self.room, self.error = room, error

    def forward(self, x: Tensor) -> Tensor:
        if len(x) > self.room:
            raise self.error()
        return super().forward(x)


def rows(count: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    y = torch.randint(4, (count,), generator=g)
    return y, (y + 1) % 4, torch.rand(count, 3, 2, 2, generator=g)


def same(a: Seen, b: Seen) -> bool:
    return all(torch.equal(s, t) for (_, s), (_, t) in zip(leaves(a), leaves(b), strict=True))


@pytest.mark.parametrize("count", [1, 7, 8, 9, 21])
@pytest.mark.parametrize("need", [Need.VALUE, Need.GRAD, Need.LABEL])
def test_every_call_has_the_same_number_of_rows(need: Need, count: int) -> None:
    net = Recording()
    oracle = Oracle(Model(net), chunk=8)
    y, target, x = rows(count)
    seen = oracle.look(MARGIN, Question(y, target), x, need)
    assert {len(call) for call in net.calls} == {8}
    assert torch.equal(torch.cat(net.calls)[:count], x)
    assert [len(t) for _, t in leaves(seen)] == [count] * len(list(leaves(seen)))


@pytest.mark.parametrize("need", [Need.VALUE, Need.GRAD, Need.LABEL])
def test_what_is_seen_of_a_row_depends_on_no_other(need: Need) -> None:
    oracle = Oracle(Model(Recording()), chunk=8)
    y, target, x = rows(21)
    seen = oracle.look(MARGIN, Question(y, target), x, need)
    for i in (0, 9, 20):
        assert same(seen[i : i + 1], oracle.look(MARGIN, Question(y[i : i + 1], target[i : i + 1]), x[i : i + 1], need))


def test_what_is_computed_is_counted_padding_included() -> None:
    oracle = Oracle(Model(Recording()), chunk=8)
    y, target, x = rows(9)
    oracle.look(MARGIN, Question(y, target), x, Need.VALUE)
    assert (oracle.forwards, oracle.backwards) == (16, 0)
    oracle.look(MARGIN, Question(y, target), x, Need.GRAD)
    assert (oracle.forwards, oracle.backwards) == (32, 16)
    oracle.look(MARGIN, Question(y, target), x, Need.JACOBIAN, torch.zeros(9, 3, dtype=torch.int64))
    assert (oracle.forwards, oracle.backwards) == (48, 64)
    oracle.look(MARGIN, Question(y, target), x, Need.GRAD, backward=False)
    assert (oracle.forwards, oracle.backwards) == (64, 64)


@pytest.mark.parametrize(
    "objective",
    [Objective(), Objective(loss="ce"), Objective(directed=True), Objective(targeted=True, loss="ce")],
    ids=str,
)
def test_the_gradient_is_that_of_each_rows_own_loss(objective: Objective) -> None:
    net, (y, target, x) = Recording(), rows(5)
    seen = Oracle(Model(net), chunk=2).look(Problem(objective, Linf()), Question(y, target), x, Need.GRAD)
    assert seen.grad is not None
    for i in range(5):
        one = x[i : i + 1].clone().requires_grad_()
        logits = net(one)
        loss = objective.descend(logits, y[i : i + 1], target[i : i + 1])
        assert torch.allclose(seen.grad[i], torch.autograd.grad(loss.sum(), one)[0][0])
        assert torch.allclose(seen.loss[i], loss[0])
        assert torch.allclose(seen.logits[i], logits[0])
        assert seen.won[i] == (objective.margin(logits, y[i : i + 1], target[i : i + 1])[0] < 0)


def test_a_jacobian_holds_the_gradients_of_the_classes_asked_for() -> None:
    weight, (y, target, x) = torch.randn(4, 12), rows(5)
    classes = torch.tensor([[0, 3], [1, 1], [2, 0], [3, 2], [0, 1]])
    oracle = Oracle(Model(Linear(weight, torch.zeros(4))), chunk=2)
    seen = oracle.look(MARGIN, Question(y, target), x, Need.JACOBIAN, classes)
    assert seen.grad is not None
    assert torch.allclose(seen.grad.flatten(2), weight[classes])


def test_a_jacobian_without_classes_is_refused() -> None:
    y, target, x = rows(2)
    with pytest.raises(ValueError, match="needs the classes"):
        Oracle(Model(Recording())).look(MARGIN, Question(y, target), x, Need.JACOBIAN)


@pytest.mark.parametrize("need", [Need.GRAD, Need.JACOBIAN])
def test_without_a_backward_all_but_the_gradient_is_the_same_to_the_bit(need: Need) -> None:
    layer = nn.TransformerEncoderLayer(12, 2, 16, batch_first=True)  # has another path where gradients are off
    net = nn.Sequential(nn.Flatten(), nn.Unflatten(1, (1, 12)), layer, nn.Flatten()).eval()
    oracle, (y, target, x) = Oracle(Model(net), chunk=4), rows(4)
    classes = y[:, None] if need is Need.JACOBIAN else None
    with oracle.session():
        seen = oracle.look(MARGIN, Question(y, target), x, need, classes)
        short = oracle.look(MARGIN, Question(y, target), x, need, classes, backward=False)
    assert short.grad is None
    assert all(torch.equal(getattr(seen, k), getattr(short, k)) for k in ("logits", "loss", "margin", "won"))


def test_labels_hide_the_scores() -> None:
    oracle, (y, target, x) = Oracle(Model(Recording()), chunk=4), rows(30)
    seen, scores = (oracle.look(MARGIN, Question(y, target), x, need) for need in (Need.LABEL, Need.VALUE))
    assert torch.equal(seen.logits.argmax(1), scores.logits.argmax(1))
    assert torch.equal(seen.won, scores.won)
    assert set(seen.logits.unique().tolist()) == {0.0, 1.0}
    assert set(seen.margin.tolist()) == set(seen.loss.tolist()) == {-1.0, 1.0}


@pytest.mark.parametrize("need", [Need.VALUE, Need.LABEL])
def test_a_tie_is_no_win(need: Need) -> None:
    oracle = Oracle(Model(Linear(torch.zeros(4, 12), torch.zeros(4))), chunk=4)
    y, target, x = rows(8)
    assert not oracle.look(MARGIN, Question(y, target), x, need).won.any()


@pytest.mark.parametrize(
    "error",
    [
        lambda: torch.OutOfMemoryError("CUDA out of memory"),
        lambda: RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"),
    ],
    ids=["device", "cpu"],
)
def test_when_memory_runs_out_calls_get_smaller_and_it_is_said(error: Callable[[], Exception]) -> None:
    net, (y, target, x) = Small(3, error), rows(13)
    oracle, sparing = Oracle(Model(net), chunk=16), Oracle(Model(Recording()), chunk=2)
    seen = oracle.look(MARGIN, Question(y, target), x, Need.GRAD)
    assert (oracle.chunk, oracle.shrunk, sparing.shrunk) == (2, True, False)
    assert same(seen, sparing.look(MARGIN, Question(y, target), x, Need.GRAD))
    assert (oracle.forwards, oracle.backwards) == (14, 14)


def test_an_error_that_smaller_calls_cannot_help_is_passed_on() -> None:
    with pytest.raises(torch.OutOfMemoryError):
        Oracle(Model(Small(0, torch.OutOfMemoryError))).logits(rows(2)[2])
    with pytest.raises(ModelError, match="RuntimeError: broken"):
        Oracle(Model(Small(0, lambda: RuntimeError("broken")))).logits(rows(2)[2])


class Hasty(Recording):
    """Wrong about everything in low precision."""

    def forward(self, x: Tensor) -> Tensor:
        logits = super().forward(x)
        return -logits if torch.is_autocast_enabled("cpu") else logits


def test_low_precision_proposes_and_float32_decides() -> None:
    oracle, (_, target, x) = Oracle(Model(Hasty()), bf16=True, chunk=4), rows(10)
    y = oracle.logits(x).argmax(1)
    seen = oracle.look(MARGIN, Question(y, target), x, Need.GRAD)
    assert seen.won.all()
    sure = oracle.confirm(MARGIN, Question(y, target), x, seen)
    assert not sure.won.any()
    assert torch.equal(sure.margin, MARGIN.objective.margin(oracle.logits(x), y, target))


def test_low_precision_is_used_where_it_is_asked_for() -> None:
    weight, (y, target, x) = torch.randn(4, 12), rows(10)

    class Product(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x.flatten(1))

    net = Product(12, 4)
    net.weight.data = weight
    fast, exact = (
        Oracle(Model(net), bf16=bf16).look(MARGIN, Question(y, target), x, Need.GRAD) for bf16 in (True, False)
    )
    assert fast.logits.dtype is torch.float32
    assert not torch.equal(fast.logits, exact.logits)
    assert torch.allclose(fast.logits, exact.logits, atol=0.1)


def test_images_can_be_laid_out_channels_last() -> None:
    net, (y, target, x) = Recording(), rows(6)
    oracle = Oracle(Model(net), channels_last=True, chunk=4)
    seen = oracle.look(MARGIN, Question(y, target), x, Need.GRAD)
    assert all(call.is_contiguous(memory_format=torch.channels_last) for call in net.calls)
    plain = Oracle(Model(Recording()), chunk=4).look(MARGIN, Question(y, target), x, Need.GRAD)
    assert seen.grad is not None
    assert torch.allclose(seen.grad, plain.grad)
    oracle.look(MARGIN, Question(y, target), x.flatten(1), Need.VALUE)  # inputs of other dimensions stay as they are


def test_a_session_gives_the_model_back_as_it_was() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 4), nn.Dropout(0.5)).train()
    oracle = Oracle(Model(net))
    with oracle.session():
        assert not net.training
        assert not net[1].weight.requires_grad
        first, second = oracle.logits(rows(3)[2]), oracle.logits(rows(3)[2])
    assert torch.equal(first, second)
    assert net.training
    assert net[1].weight.requires_grad
