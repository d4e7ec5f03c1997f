"""Surrogates: small networks that learn the value of a design, plainly or conservatively."""

import math
from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from blindspots.models.training import alone
from blindspots.runs.experiment import Columns

WIDTH = 64
_RATE = 1e-3
_FIRST_ALPHA, _DUAL_RATE = 0.1, 0.01


@dataclass(frozen=True)
class Networks:
    """k networks of one form: two hidden layers of 64 rectified units, features (f,) to a value.

    Shapes: first (k, f, 64), second (k, 64, 64), third (k, 64, 1); their biases (k, 1, 64), (k, 1, 64), (k, 1, 1).
    """

    first: Tensor
    first_bias: Tensor
    second: Tensor
    second_bias: Tensor
    third: Tensor
    third_bias: Tensor

    @property
    def weights(self) -> Columns:
        return {f.name: getattr(self, f.name) for f in fields(self)}

    def hidden(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Both hidden layers (k, N, 64) of x, (N, f) or (k, N, f)."""
        a = torch.baddbmm(self.first_bias, x.expand(len(self.first), *x.shape[-2:]), self.first).relu()
        return a, torch.baddbmm(self.second_bias, a, self.second).relu()

    def each(self, x: Tensor) -> Tensor:
        """What every network predicts, in standard deviations of the data: (k, N)."""
        return torch.baddbmm(self.third_bias, self.hidden(x)[1], self.third)[..., 0]

    def slopes(self, x: Tensor) -> Tensor:
        """The gradient of every network's prediction: (k, N, f)."""
        a, b = self.hidden(x)
        back = (b > 0) * self.third.mT
        return ((back @ self.second.mT) * (a > 0)) @ self.first.mT

    def double(self) -> "Networks":
        return Networks(**{name: w.double() for name, w in self.weights.items()})


def least(nets: Networks, x: Tensor) -> Tensor:
    """The smallest prediction of any network: (N,)."""
    return nets.each(x).amin(0)


def slope(nets: Networks, x: Tensor) -> Tensor:
    """The gradient of `least`: (N, f)."""
    at = nets.each(x).argmin(0)
    found: Tensor = nets.slopes(x).gather(0, at[None, :, None].expand(1, *x.shape))[0]
    return found


def fresh(members: int, features: int) -> Networks:
    """Weights and biases uniform within 1 / sqrt(inputs), as torch draws them for linear layers."""
    sizes = ((features, WIDTH), (WIDTH, WIDTH), (WIDTH, 1))
    drawn = []
    for inputs, outputs in sizes:
        for shape in ((members, inputs, outputs), (members, 1, outputs)):
            drawn.append(((2 * torch.rand(shape) - 1) / math.sqrt(inputs)).requires_grad_())
    return Networks(*drawn)


def fit(x: Tensor, y: Tensor, members: int, seed: int, updates: int) -> Networks:
    """Networks that differ in their first weights, trained on the squared error of all rows x (N, f), y (N,) by Adam."""
    with alone(seed):
        nets = fresh(members, x.shape[-1])
        optimiser = torch.optim.Adam(nets.weights.values(), _RATE)
        for _ in range(updates):
            optimiser.zero_grad()
            torch.autograd.backward((nets.each(x) - y).square().mean(-1).sum())
            optimiser.step()
    return _frozen(nets)


def _frozen(nets: Networks) -> Networks:
    return Networks(**{name: w.detach() for name, w in nets.weights.items()})


Climb = Callable[[Networks, Tensor], Tensor]


def fit_conservatively(x: Tensor, y: Tensor, seed: int, updates: int, tau: float, climb: Climb, members=1, dual=_DUAL_RATE) -> tuple[Networks, Tensor]:
    with alone(seed):
        nets, told = fresh(members, x.shape[-1]), []
        alpha = torch.full((members,), _FIRST_ALPHA)
        optimiser = torch.optim.Adam(nets.weights.values(), _RATE)
        for _ in range(updates):
            with torch.no_grad():
                above = climb(nets, x)
            said = nets.each(x)
            over = (nets.each(above) - said).mean(-1)
            optimiser.zero_grad()
            torch.autograd.backward(((said - y).square().mean(-1) + alpha * over).sum())
            optimiser.step()
            told.append(torch.stack([over.detach(), alpha]))
            alpha = (alpha + dual * (over.detach() - tau)).clamp_min(0)
    return _frozen(nets), torch.stack(told)
