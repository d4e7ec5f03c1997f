"""Recurrent networks: gradients in evaluation mode, dropout off, and series of several lengths."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

import blindspots as bs
from blindspots.attacks import PGD
from blindspots.goals import Classify
from blindspots.objective import Objective
from blindspots.oracle import Oracle
from blindspots.problem import Need, Problem, Question

LENGTHS = torch.tensor([12, 7, 3, 12, 9, 5, 1, 10])


class Reader(nn.Module):
    """Reads series (N, T) or (N, C, T), the last step of each by its own length, which it finds in the zeros."""

    def __init__(self, kind: type[nn.RNNBase], channels: int, packed: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.cells = kind(channels, 8, num_layers=2, dropout=0.5, batch_first=True)  # type: ignore[call-arg]
        self.out, self.packed = nn.Linear(8, 2), packed
        self.modes: set[bool] = set()

    def forward(self, x: Tensor) -> Tensor:
        self.modes.add(self.training)
        steps = x[:, :, None] if x.ndim == 2 else x.transpose(1, 2)
        length = (steps != 0).any(2).sum(1).clamp_min(1)
        if self.packed:
            hidden = self.cells(pack_padded_sequence(steps, length, batch_first=True, enforce_sorted=False))[1]
            hidden = hidden[0] if isinstance(hidden, tuple) else hidden
            return 30 * self.out(hidden[-1])
        read = self.cells(steps)[0]
        return 30 * self.out(read[torch.arange(len(x)), length - 1])


def series(channels: int) -> Tensor:
    """Never 0 before the padding, nor within 0.1 of it."""
    g = torch.Generator().manual_seed(1)
    x = 0.2 + 0.6 * torch.rand(len(LENGTHS), *([channels] if channels > 1 else []), 12, generator=g)
    inside = torch.arange(12) < LENGTHS[:, None]
    return x * (inside if channels == 1 else inside[:, None])


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("packed", [False, True])
def test_gradients_are_those_of_the_network_in_evaluation_mode(
    kind: type[nn.RNNBase], channels: int, packed: bool
) -> None:
    net, x = Reader(kind, channels, packed), series(channels)
    net.train()  # as somebody may have left it
    model, y = bs.Model(net), torch.zeros(len(x), dtype=torch.int64)
    problem = Problem(Objective(loss="margin"), bs.Linf(0.1))
    with Oracle(model, chunk=4).session() as oracle:
        looks = [oracle.look(problem, Question(y, y), x, Need.GRAD) for _ in range(2)]
    assert net.modes == {False}
    assert net.training  # given back as it was
    net.eval()
    x.requires_grad_()
    margin = Classify().margin(net(x), y)
    grad = torch.autograd.grad(margin.sum(), x)[0]
    assert torch.equal(looks[0].grad, looks[1].grad)  # type: ignore[arg-type]
    assert torch.allclose(looks[0].grad, grad, atol=1e-6)  # type: ignore[arg-type]
    assert torch.allclose(looks[0].margin, margin.detach(), atol=1e-5)
    assert (grad.abs().flatten(1).sum(1) > 0).all()


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_a_network_of_packed_series_falls_and_padding_stays(kind: type[nn.RNNBase]) -> None:
    net, x = Reader(kind, 3, packed=True).eval(), series(3)
    with torch.no_grad():
        middle = net(x).mean(0)
        net.out.bias -= middle / 30
        y = net(x).argmax(1)
    run = bs.attack(bs.Model(net), x, y, PGD(20), threat=bs.Linf(0.1, padding=0.0))
    assert 0 <= run.verdict.robust_accuracy < 1
    for row, clean, length in zip(run.adversarial, x, LENGTHS.tolist(), strict=True):
        assert torch.equal(row[:, length:], clean[:, length:])
    with torch.no_grad():
        assert (net(run.adversarial).argmax(1) != y).sum() == round(8 * (1 - run.verdict.robust_accuracy))
