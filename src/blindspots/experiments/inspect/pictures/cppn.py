"""Images from nothing: small networks from coordinates to colours, evolved so that a model is sure of what it sees.

Nguyen, Yosinski and Clune 2015 (1412.1897) evolve compositional pattern-producing networks (Stanley 2007) by NEAT in
an archive of the best image of every class (MAP-Elites, Mouret and Clune 2015, 1504.04909). Here the topology is a
mask of connections between at most `HIDDEN` nodes in a fixed order, which grows from none; there are no species.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from blindspots.random import normal, randint, uniform
from blindspots.rows import Rows

HIDDEN = 10
_INPUTS = 4  # across, down, distance from the centre, 1
_SPREAD = 2.0  # standard deviation of first weights
_NUDGED, _NUDGE, _REDRAWN, _REPLACED = 0.3, 0.6, 0.03, 0.06  # chances of a weight and of a node, and how far it goes
_REWIRED = 2.0  # connections that a child gains or loses on average


@dataclass(frozen=True)
class Genomes(Rows):
    """Networks: nodes (B, N) read the inputs and nodes before them by weights (B, N, inputs + N) where `used`."""

    weights: Tensor  # float32
    used: Tensor  # bool
    kind: Tensor  # (B, N) int64 place among `_ACTIVATIONS`

    @classmethod
    def drawn(cls, key: Tensor, channels: int) -> Self:
        """First networks: colours that read the coordinates alone."""
        nodes, t = HIDDEN + channels, torch.zeros_like(key)
        allowed = _allowed(channels)
        used = torch.zeros(len(key), *allowed.shape, dtype=torch.bool)
        used[:, HIDDEN:, :_INPUTS] = uniform(key, t, 0, (channels, _INPUTS)) < 0.8
        weights = _SPREAD * normal(key, t, 1, tuple(allowed.shape))
        return cls(weights, used, randint(key, t, 3, len(_ACTIVATIONS), (nodes,)))

    def mutated(self, key: Tensor, t: Tensor) -> Self:
        """One child of each: weights move, connections come and go, nodes change what they compute."""
        shape, allowed = self.weights.shape[1:], _allowed(self.weights.shape[1] - HIDDEN)
        chance = uniform(key, t, 0, shape)
        nudged = self.weights + _NUDGE * normal(key, t, 1, shape) * (chance < _NUDGED)
        fresh = _SPREAD * normal(key, t, 3, shape)
        flipped = uniform(key, t, 5, shape) < _REWIRED / float(allowed.sum())
        replaced = uniform(key, t, 6, self.kind.shape[1:]) < _REPLACED
        return type(self)(
            torch.where(chance > 1 - _REDRAWN, fresh, nudged), (self.used ^ flipped) & allowed,
            torch.where(replaced, randint(key, t, 7, len(_ACTIVATIONS), self.kind.shape[1:]), self.kind),
        )  # fmt: skip

    def images(self, high: int, wide: int) -> Tensor:
        """(B, channels, high, wide) in [0, 1]."""
        given, nodes = _coordinates(high, wide), self.weights.shape[1]
        values = torch.zeros(len(self.weights), _INPUTS + nodes, given.shape[1])
        values[:, :_INPUTS] = given
        weights = self.weights * self.used
        for node in range(nodes):
            read = _INPUTS + min(node, HIDDEN)
            total = (weights[:, node : node + 1, :read] @ values[:, :read])[:, 0]
            values[:, _INPUTS + node] = _computed(total, self.kind[:, node])
        colours = values[:, _INPUTS + HIDDEN :].view(len(values), -1, high, wide)
        return 0.5 + 0.5 * colours.tanh()


def _allowed(channels: int) -> Tensor:
    """Which connections there can be: to nodes before, and not from one colour to another."""
    before = torch.ones(HIDDEN + channels, HIDDEN + channels, dtype=torch.bool).tril(-1)
    before[:, HIDDEN:] = False
    return torch.cat([torch.ones(len(before), _INPUTS, dtype=torch.bool), before], 1)


def _coordinates(high: int, wide: int) -> Tensor:
    """(inputs, high * wide): from -1 to 1, whatever the size."""
    down, across = torch.meshgrid(torch.linspace(-1, 1, high), torch.linspace(-1, 1, wide), indexing="ij")
    distance = (down.square() + across.square()).sqrt()
    return torch.stack([across, down, distance, torch.ones_like(down)]).flatten(1)


_ACTIVATIONS: tuple[Callable[[Tensor], Tensor], ...] = (
    lambda z: z,
    lambda z: (3 * z).sin(),
    lambda z: 2 * (-z.square()).exp() - 1,
    lambda z: (2 * z).tanh(),
    lambda z: z.abs() - 1,
)


def _computed(z: Tensor, kind: Tensor) -> Tensor:
    """Each row by its own activation."""
    found = torch.empty_like(z)
    for place, f in enumerate(_ACTIVATIONS):
        found[kind == place] = f(z[kind == place])
    return found
