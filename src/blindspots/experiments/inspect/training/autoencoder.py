"""An autoencoder, and the largest changes of its code and its reconstruction within a radius."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from blindspots.ball import Ball
from blindspots.models.training import alone
from blindspots.random import keys, normal
from blindspots.rows import Around, col

_HIDDEN, _CODE = 128, 16
_BATCH, _RATE = 128, 2e-3
_STEPS, _STRIDE = 40, 0.1  # of an attack; the length of each in radii


class Autoencoder(nn.Module):
    """Two layers down to a code, and two back up: inputs (B, *shape) in [0, 1]."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        size = torch.Size(shape).numel()
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(size, _HIDDEN), nn.ReLU(), nn.Linear(_HIDDEN, _CODE))
        self.decoder = nn.Sequential(
            nn.Linear(_CODE, _HIDDEN), nn.ReLU(), nn.Linear(_HIDDEN, size), nn.Sigmoid(), nn.Unflatten(1, shape)
        )

    def forward(self, x: Tensor) -> Tensor:
        rebuilt: Tensor = self.decoder(self.encoder(x))
        return rebuilt


def fit(x: Tensor, seed: int, steps: int) -> Autoencoder:
    """Trained on the squared error of x (N, *shape) by Adam; in evaluation mode, frozen."""
    with alone(seed):
        net = Autoencoder(tuple(x.shape[1:]))
        optimiser = torch.optim.Adam(net.parameters(), _RATE)
        for _ in range(steps):
            batch = x[torch.randint(len(x), (_BATCH,))]
            optimiser.zero_grad()
            torch.autograd.backward((net(batch) - batch).square().flatten(1).sum(1).mean())
            optimiser.step()
    return net.eval().requires_grad_(False)


def ascended(loss: Callable[[Tensor], Tensor], ball: Ball, x: Tensor, radius: float, seed: int) -> Tensor:
    """Where the losses (B,) of inputs are largest within the radius of x (B, ...), after steepest steps from noise.

    Each row keeps the best point that it saw. (PGD, Madry et al. 2018, 1706.06083, on whatever the loss measures.)
    """
    around = Around(x, torch.full((len(x),), radius))
    best, at = x.clone(), noisy(ball, x, radius, seed)
    highest = loss(x).detach()
    for _ in range(_STEPS):
        at = at.detach().requires_grad_()
        value = loss(at)
        (slope,) = torch.autograd.grad(value.sum(), at)
        better = value.detach() > highest
        best, highest = torch.where(col(better, x), at.detach(), best), torch.maximum(value.detach(), highest)
        at = ball.project(at.detach() + _STRIDE * radius * ball.steepest(slope), around)
    return torch.where(col(loss(at).detach() > highest, x), at, best)


def noisy(ball: Ball, x: Tensor, radius: float, seed: int) -> Tensor:
    """Random directions as long as the radius, in the box."""
    key = keys(seed, torch.arange(len(x)))
    drawn = normal(key, torch.zeros_like(key), 21, x.shape[1:])
    around = Around(x, torch.full((len(x),), radius))
    return ball.project(x + radius * drawn / col(ball.norm(drawn), x), around)
