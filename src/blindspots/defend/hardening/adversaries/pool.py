"""Pools of adversarial examples, one for the inputs and one for every layer: how it began."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from blindspots.attacks.gradient.pgd import PGD
from blindspots.defend.hardening.adversaries.adversary import Adversary, Networks, climb, radii
from blindspots.defend.hardening.batches import Batch, generator
from blindspots.defend.hardening.layers import hidden_layers, outputs, replaced
from blindspots.defend.hardening.objectives import Net, losses, slope
from blindspots.defend.hardening.recipe import Objective, Pool
from blindspots.errors import InputError
from blindspots.threat import L2, Threat

_MOST_NUMBERS = 1 << 26  # in a pool: 256 MiB
_PLACE, _JOIN = range(104, 106)  # what a lot is for


class PoolAdversary(Adversary):
    """Szegedy et al. 2014 (arXiv 1312.6199), section 4.3, see `recipe.Pool`.

    Where the paper is silent: examples are made by a few steps of the steepest ascent, not by L-BFGS; those of a layer
    are stored as the layer's output, so that they train only the layers above it.
    """

    def __init__(self, objective: Objective, how: Pool, threat: Threat, seed: int) -> None:
        super().__init__(objective)
        self.how, self.threat, self.seed = how, threat, seed
        self._attack = PGD(steps=how.steps, stride=2.5 / how.steps, random_start=False)
        self._layers: list[nn.Module | None] | None = None  # None in the list: the inputs
        self._layer: nn.Module | None = None
        self._y = torch.zeros(0)

    def perturb(self, nets: Networks, batch: Batch, radius: float) -> list[Tensor]:
        """Rows (B, ...) of the pool whose turn it is, once some of them are new."""
        layer, name = self._turn(nets, batch)
        self._refresh(nets, batch, radius, layer, name)
        examples, self._y = self._drawn(name, batch)
        self._layer = layer
        return [examples]

    def losses(self, nets: Networks, batch: Batch, forms: Sequence[Tensor]) -> Tensor:
        clean = losses(self.objective, nets.learning, batch.x, None, batch.y)
        scores = self._above(nets.learning, self._layer, batch.x, forms[0])
        pooled = F.cross_entropy(scores, self._y, reduction="none", label_smoothing=self.objective.smoothing)
        return (1 - self.how.share) * clean + self.how.share * pooled

    def _turn(self, nets: Networks, batch: Batch) -> tuple[nn.Module | None, str]:
        """The layer whose turn it is, and its name in the memory."""
        turn = self.memory.setdefault("turn", torch.zeros((), dtype=torch.int64))
        if self._layers is None:
            self._layers = self._chosen(hidden_layers(nets.module, nets.looking, batch.x[:2]))
        at = int(turn) % len(self._layers)
        self.memory["turn"] = turn + 1
        return self._layers[at], f"pool.{at}"

    def _chosen(self, hidden: list[nn.Module]) -> list[nn.Module | None]:
        chosen: list[nn.Module | None] = [*([None] if self.how.layers != "hidden" else [])]
        chosen += hidden if self.how.layers != "inputs" else []
        if not chosen:
            raise InputError(
                "expected a network with layers that are modules, for pools of hidden activations, got none, as in an "
                'exported graph: use a file.py:factory, or a recipe with layers = "inputs"'
            )
        return chosen

    def _refresh(self, nets: Networks, batch: Batch, radius: float, layer: nn.Module | None, name: str) -> None:
        """Make examples from some rows of the batch, and give them the places that need them least."""
        few = Batch(*(t[: self.how.refreshed] for t in (batch.x, batch.y, batch.key)))
        made = self._made(nets, few, radius, layer)
        if f"{name}.rows" not in self.memory:
            places = max(len(made), min(self.how.size, _MOST_NUMBERS // made[0].numel()))
            self.memory[f"{name}.rows"] = made.new_zeros(places, *made.shape[1:])
            self.memory[f"{name}.y"] = torch.full((places,), -1, dtype=torch.int64)
        at = self._places(nets, layer, name, batch, len(made))
        self.memory[f"{name}.rows"][at] = made.to(self.memory[f"{name}.rows"].device)
        self.memory[f"{name}.y"][at] = few.y.cpu()

    def _made(self, nets: Networks, batch: Batch, radius: float, layer: nn.Module | None) -> Tensor:
        rises = slope(self.objective, nets.looking, batch.x, batch.y)
        if layer is None:
            reach = radii(self.threat, batch, radius * self.how.inputs)
            return climb(self._attack, self.threat, batch, reach, nets.looking, rises)
        (h,) = outputs(nets.looking, [layer], batch.x)
        h = h.float()
        reach = radius * self.how.hidden * h.flatten(1).square().sum(1).sqrt()
        ball = L2(None, float(h.min()), float(h.max()) + 1e-6)  # an activation stays among those that were seen
        net = self._from(nets.looking, layer, batch.x)
        return climb(self._attack, ball, Batch(h, batch.y, batch.key), reach, net, rises)

    def _from(self, net: Net, layer: nn.Module, x: Tensor) -> Net:
        return lambda h: self._above(net, layer, x, h)

    def _above(self, net: Net, layer: nn.Module | None, x: Tensor, h: Tensor) -> Tensor:
        """Scores (B, C) of rows that enter the network at `layer`; x (B, *shape) feeds what is thrown away."""
        if layer is None:
            return net(h)
        with replaced(layer, h):
            return net(x)

    def _places(self, nets: Networks, layer: nn.Module | None, name: str, batch: Batch, count: int) -> Tensor:
        """Empty places, else of twice as many by lot those with the lowest loss: hard ones stay."""
        y = self.memory[f"{name}.y"]
        empty = (y < 0).nonzero()[:, 0]
        if len(empty) >= count:
            return empty[:count]
        drawn = torch.randperm(len(y), generator=generator(self.seed, _PLACE, int(self.memory["turn"])))
        drawn = drawn[: min(2 * count, len(batch.y))]
        with torch.no_grad():
            rows = self.memory[f"{name}.rows"][drawn].to(batch.x.device)
            scores = self._above(nets.looking, layer, batch.x[: len(drawn)], rows)
            pain = F.cross_entropy(scores, y[drawn].clamp_min(0).to(batch.x.device), reduction="none")
        return drawn[pain.argsort()[:count].cpu()]

    def _drawn(self, name: str, batch: Batch) -> tuple[Tensor, Tensor]:
        """As many examples as the batch has rows, by lot."""
        filled = (self.memory[f"{name}.y"] >= 0).nonzero()[:, 0]
        lot = generator(self.seed, _JOIN, int(self.memory["turn"]))
        at = filled[torch.randint(len(filled), (len(batch.y),), generator=lot)]
        rows, y = self.memory[f"{name}.rows"][at], self.memory[f"{name}.y"][at]
        return rows.to(batch.x.device), y.to(batch.x.device)
