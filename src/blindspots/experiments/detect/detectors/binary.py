"""Small networks that tell two kinds of rows apart, and their training."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from blindspots.batching import ANSWERS
from blindspots.errors import InputError

_SMALLEST = 4  # pixels of a side that is worth convolutions
_GRID = 4


@dataclass(frozen=True)
class Training:
    """Adam whose rate rises and falls once.

    Args:
        steps, batch, learning_rate: half of each step's batch is adversarial; the rate is the highest.
        width: channels of the first layer.
    """

    steps: int = 400
    batch: int = 64
    learning_rate: float = 3e-3
    width: int = 16

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch < 2 or not self.learning_rate > 0 or self.width < 1:
            raise InputError(
                f"expected at least one step of two rows, a positive rate and width, got {self}: change it"
            )


class Standardised(nn.Module):
    """Each channel (axis 1), or number of a table, less its mean, by its standard deviation."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("deviation", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        shape = (1, -1, *[1] * (x.ndim - 2))
        return (x - self.get_buffer("mean").view(shape)) / self.get_buffer("deviation").view(shape)


def classifier(shape: tuple[int, ...], width: int) -> nn.Sequential:
    """A network of rows (B, *shape) with one output (B, 1): convolutions for maps, else two hidden layers."""
    return nn.Sequential(Standardised(shape[0]), *(_convolutional if _is_map(shape) else _connected)(shape, width))


def restored(shape: tuple[int, ...], width: int, learnt: Mapping[str, Tensor]) -> nn.Sequential:
    """The network whose tensors are those in `learnt` named net.NAME."""
    net = classifier(shape, width)
    net.load_state_dict({name.removeprefix("net."): t for name, t in learnt.items() if name.startswith("net.")})
    return net


def train(
    net: nn.Sequential, rows: Callable[[Tensor], Tensor], clean: Tensor, adversarial: Tensor, how: Training
) -> None:
    """Teach `net` to give the rows made of `adversarial` (M, ...) a larger number than those of `clean` (N, ...).

    Args:
        rows: makes of some inputs what the network gets; called without gradients.
    """
    _standardise(net[0], rows, clean)
    optimizer = torch.optim.Adam(net.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, how.learning_rate, max(how.steps, 10))
    net.train()
    for good, bad in zip(_drawn(len(clean), how), _drawn(len(adversarial), how), strict=True):
        with torch.no_grad():
            x = rows(torch.cat([clean[good], adversarial[bad]]))
        y = torch.cat([torch.zeros(len(good)), torch.ones(len(bad))]).to(x.device)
        optimizer.zero_grad()
        torch.autograd.backward(F.binary_cross_entropy_with_logits(net(x)[:, 0], y))
        optimizer.step()
        schedule.step()
    net.eval()


def _is_map(shape: tuple[int, ...]) -> bool:
    return len(shape) == 3 and min(shape[1:]) >= _SMALLEST


def _convolutional(shape: tuple[int, ...], width: int) -> list[nn.Module]:
    pooled = min(_GRID, shape[1] // 2), min(_GRID, shape[2] // 2)
    return [
        nn.Conv2d(shape[0], width, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(width, 2 * width, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(pooled), nn.Flatten(),
        nn.Linear(2 * width * math.prod(pooled), 4 * width), nn.ReLU(), nn.Linear(4 * width, 1),
    ]  # fmt: skip


def _connected(shape: tuple[int, ...], width: int) -> list[nn.Module]:
    inner = [nn.Linear(math.prod(shape), 4 * width), nn.ReLU(), nn.Linear(4 * width, 4 * width), nn.ReLU()]
    return [nn.Flatten(), *inner, nn.Linear(4 * width, 1)]


def _standardise(layer: nn.Module, rows: Callable[[Tensor], Tensor], x: Tensor) -> None:
    """Set to mean and deviation of each channel; one that never changes is left at its own scale."""
    with torch.no_grad():
        moments = [_moments(rows(part)) for part in x.tensor_split(math.ceil(len(x) / ANSWERS))]  # of nearly one size
        mean, square = torch.stack(moments).mean(0)
    deviation = (square - mean.square()).clamp_min(0).sqrt()
    layer.get_buffer("mean").copy_(mean)
    layer.get_buffer("deviation").copy_(torch.where(deviation > 1e-6 * (1 + mean.abs()), deviation, 1.0))


def _moments(t: Tensor) -> Tensor:
    """Mean and mean square of each channel, in float64: (2, channels)."""
    by_channel = t.double().transpose(0, 1).flatten(1)
    return torch.stack([by_channel.mean(1), by_channel.square().mean(1)])


def _drawn(rows: int, how: Training) -> list[Tensor]:
    """Places of half a batch for every step: all rows in a new order, again and again."""
    half = how.batch // 2
    passes = math.ceil(how.steps * half / rows)
    order = torch.cat([torch.randperm(rows) for _ in range(passes)])
    return list(order[: how.steps * half].view(how.steps, half))
