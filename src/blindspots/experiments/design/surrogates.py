"""Surrogates: small networks that learn the value of a design, those of all repeats at once."""

import math
from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from blindspots.models.training import alone
from blindspots.runs.experiment import Columns

_WIDTH = 64
_RATE = 1e-3
_FIRST_ALPHA, _DUAL_RATE = 0.1, 0.01

Climb = Callable[["Surrogates", Tensor], Tensor]


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

    def mapped(self, change: Callable[[Tensor], Tensor]) -> "Networks":
        return Networks(**{name: change(w) for name, w in self.weights.items()})

    def after(self, summed: Tensor) -> Tensor:
        """Predictions (k, N) from what the first layer comes to before it is rectified (k, N, 64)."""
        b = torch.baddbmm(self.second_bias, summed.relu(), self.second).relu()
        return torch.baddbmm(self.third_bias, b, self.third)[..., 0]

    def summed(self, x: Tensor) -> Tensor:
        return torch.baddbmm(self.first_bias, x, self.first)

    def each(self, x: Tensor) -> Tensor:
        """Predictions (k, N) for x (k, N, f), in standard deviations of the data."""
        return self.after(self.summed(x))

    def slopes(self, x: Tensor) -> Tensor:
        """Their gradients: (k, N, f)."""
        a = self.summed(x).relu()
        b = torch.baddbmm(self.second_bias, a, self.second)
        back = (b > 0) * self.third.mT
        return ((back @ self.second.mT) * (a > 0)) @ self.first.mT


@dataclass(frozen=True)
class Surrogates:
    """One surrogate for each of r repeats: the smallest prediction of its `members`, r * members networks in a row."""

    nets: Networks
    members: int = 1

    def _all(self, x: Tensor) -> Tensor:
        return x.repeat_interleave(self.members, 0)

    def _by_member(self, values: Tensor) -> Tensor:
        return values.view(-1, self.members, *values.shape[1:])

    def predicted(self, x: Tensor) -> Tensor:
        """(r, N) for x (r, N, f), in standard deviations of the repeat's data."""
        return self._by_member(self.nets.each(self._all(x))).amin(1)

    def after(self, summed: Tensor) -> Tensor:
        """The same from what first layers come to before they are rectified (r * members, N, 64)."""
        return self._by_member(self.nets.after(summed)).amin(1)

    def slopes(self, x: Tensor) -> Tensor:
        """Gradients: (r, N, f)."""
        every = self._all(x)
        lowest = self._by_member(self.nets.each(every)).argmin(1)[:, None, :, None]
        slopes = self._by_member(self.nets.slopes(every))
        return slopes.gather(1, lowest.expand(-1, 1, -1, x.shape[-1]))[:, 0]

    def exactly(self, x: Tensor) -> Tensor:
        """`predicted` in float64."""
        return Surrogates(self.nets.mapped(Tensor.double), self.members).predicted(x.double())


def fit(x: Tensor, y: Tensor, members: int, seed: int, updates: int) -> Networks:
    """Networks that differ in their first weights, trained on the squared error of all rows by Adam.

    Args: x (r, n, f); y (r, n), standardised. Returns: r * members networks, those of a repeat side by side.
    """
    with alone(seed):
        nets = _fresh(members, *x.shape[::2])
        x, y = x.repeat_interleave(members, 0), y.repeat_interleave(members, 0)
        optimiser = torch.optim.Adam(nets.weights.values(), _RATE)
        for _ in range(updates):
            _descend(optimiser, (nets.each(x) - y).square().mean(1))
    return nets.mapped(Tensor.detach)


def fit_conservatively(
    x: Tensor, y: Tensor, seed: int, updates: int, tau: float, climb: Climb, rounds: int
) -> tuple[Networks, Tensor, Tensor]:
    """Conservative objective models (Trabucco et al. 2021, arXiv 2107.06882): adversarial training of the regressor.

    A climb goes up from each of the data while the network learns, and starts over after some rounds; starts are spread
    over time, so that climbs of every length are seen at once. The loss is the mean over data of the squared error plus
    alpha * f(climbed): a Lagrangian of "no climb promises more than its ceiling", which is tau, or what its start is
    worth if that is more. Every alpha rises while its climb is above its ceiling, and falls below.

    In the paper one alpha holds the mean of f(climbed) - f(data) at tau, so that a climb that promises far too much is
    made up for by others that promise little, and climbs begin afresh at every update, which takes as many times longer
    as they have steps. As in the authors' code, the gradient does not run through the climb, the error is not halved,
    and alpha moves at a rate of 0.01. Other than there, alpha itself moves and not its logarithm, it begins at 0.1, and
    a batch is all data.

    Args: as of `fit`; `climb` takes surrogates and x to where the search for designs would go from there between two
        updates, and `rounds` is how often it does before it starts over.

    Returns: r networks; mean excess above the ceilings and mean alpha (updates, r), both before each update.
    """
    ceilings, many = y.clamp_min(tau), x.shape[1]
    late = torch.arange(many) * rounds // many  # by when a climb starts over
    with alone(seed):
        nets, told = _fresh(1, *x.shape[::2]), []
        alpha = torch.full_like(y, _FIRST_ALPHA)
        optimiser = torch.optim.Adam(nets.weights.values(), _RATE)
        climbed = x
        for update in range(updates):
            with torch.no_grad():
                anew = (update + late) % rounds == 0
                climbed = climb(Surrogates(nets), torch.where(anew[:, None], x, climbed))
            promised = nets.each(climbed)
            _descend(optimiser, ((nets.each(x) - y).square() + alpha * promised).mean(1))
            excess = promised.detach() - ceilings
            told.append((excess.clamp_min(0).mean(1), alpha.mean(1)))
            alpha = (alpha + _DUAL_RATE * excess).clamp_min(0)
    overs, alphas = (torch.stack(one) for one in zip(*told, strict=True))
    return nets.mapped(Tensor.detach), overs, alphas


def _fresh(members: int, repeats: int, features: int) -> Networks:
    """Weights and biases uniform within 1 / sqrt(inputs), as torch draws them for linear layers.

    The first member of a repeat is the same however many there are, and the same for every way to train.
    """
    drawn = [_drawn(repeats, features) for _ in range(members)]
    return Networks(*(torch.stack(w, 1).flatten(0, 1).requires_grad_() for w in zip(*drawn, strict=True)))


def _drawn(count: int, features: int) -> list[Tensor]:
    found: list[Tensor] = []
    for inputs, outputs in ((features, _WIDTH), (_WIDTH, _WIDTH), (_WIDTH, 1)):
        reach = 1 / math.sqrt(inputs)
        found += [reach * (2 * torch.rand(shape) - 1) for shape in ((count, inputs, outputs), (count, 1, outputs))]
    return found


def _descend(optimiser: torch.optim.Optimizer, losses: Tensor) -> None:
    """One step for every network on its own loss (k,)."""
    optimiser.zero_grad()
    torch.autograd.backward(losses.sum())
    optimiser.step()
