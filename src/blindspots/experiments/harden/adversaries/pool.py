"""Pools of adversarial examples, one for the inputs and one for every layer: how it began."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from blindspots.attacks.gradient.pgd import PGD
from blindspots.ball import L2, Ball
from blindspots.errors import InputError
from blindspots.experiments.harden.adversaries.adversary import Adversary, Networks, climb, radii
from blindspots.experiments.harden.batches import Batch
from blindspots.experiments.harden.layers import hidden_layers, outputs, replaced
from blindspots.experiments.harden.objectives import Net, losses, slope
from blindspots.experiments.harden.recipe import Pool, TrainingLoss
from blindspots.experiments.harden.rows import generator
from blindspots.rows import pick

_MOST_NUMBERS = 1 << 26  # in a pool: 256 MiB
_PLACE, _JOIN = range(104, 106)  # what a lot is for
_WIDER = 1e-6  # so that a box is never empty
_SHARES = (0.8, 0.6, 0.4, 0.2, 0.1)


class PoolAdversary(Adversary):
    """Szegedy et al. 2014 (arXiv 1312.6199), section 4.3, see `recipe.Pool`.

    An example is a row and the change of what a layer makes of it; `memory` has both, so that the layers below may go
    on learning without making old examples nonsense. Where the paper is silent: examples are made by a few steps of the
    steepest ascent, not by L-BFGS, and the changed output trains only the layers above it.
    """

    def __init__(self, objective: TrainingLoss, how: Pool, threat: Ball, seed: int) -> None:
        super().__init__(objective)
        self.how, self.threat, self.seed = how, threat, seed
        self._attack = PGD(steps=how.steps, stride=2.5 / how.steps, random_start=False)
        self._layers: list[nn.Module | None] | None = None  # None in the list: the inputs
        self._layer: nn.Module | None = None
        self._y = torch.zeros(0)

    def perturb(self, nets: Networks, batch: Batch, radius: float) -> list[Tensor]:
        """Rows (B, ...) as the pool whose turn it is has them at its layer, once some of them are new."""
        self._layer, name = self._turn(nets, batch)
        self._refresh(nets, batch, radius, name)
        examples, self._y = self._examples(nets, batch, name, self._joining(name, len(batch.y)))
        return [examples]

    def losses(self, nets: Networks, batch: Batch, forms: Sequence[Tensor]) -> Tensor:
        clean = losses(self.objective, nets.learning, batch.x, None, batch.y)
        scores = self._above(nets.learning, batch.x, forms[0])
        pooled = F.cross_entropy(scores, self._y, reduction="none", label_smoothing=self.objective.smoothing)
        return (1 - self.how.share) * clean + self.how.share * pooled

    def _turn(self, nets: Networks, batch: Batch) -> tuple[nn.Module | None, str]:
        """The layer whose turn it is, and the name of its pool in the memory."""
        turn = self.memory.setdefault("turn", torch.zeros((), dtype=torch.int64))
        if self._layers is None:
            self._layers = self._chosen(hidden_layers(nets.module, nets.looking, batch.x[:2]))
        at = int(turn) % len(self._layers)
        self.memory["turn"] = turn + 1
        return self._layers[at], f"pool.{at}"

    def _chosen(self, hidden: list[nn.Module]) -> list[nn.Module | None]:
        chosen: list[nn.Module | None] = [None] if self.how.layers != "hidden" else []
        chosen += hidden if self.how.layers != "inputs" else []
        if not chosen:
            raise InputError(
                "expected a network with layers that are modules, for pools of hidden activations, got none, as in an "
                'exported graph: use a file.py:factory, or a recipe with layers = "inputs"'
            )
        return chosen

    def _refresh(self, nets: Networks, batch: Batch, radius: float, name: str) -> None:
        """Make examples from some rows of the batch, and give them the places that need them least."""
        few = Batch(*(t[: self.how.refreshed] for t in (batch.x, batch.y, batch.key)))
        made = {"x": few.x, "change": self._changes(nets, few, radius), "y": few.y}
        for part, rows in made.items():
            self.memory.setdefault(f"{name}.{part}", self._blank(rows, made["change"]))
        at = self._places(nets, name, batch, len(few.y))
        for part, rows in made.items():
            self.memory[f"{name}.{part}"][at] = rows.cpu()

    def _blank(self, rows: Tensor, changes: Tensor) -> Tensor:
        """Empty places: their label is -1."""
        places = max(len(rows), min(self.how.size, _MOST_NUMBERS // changes[0].numel()))
        return torch.full((places, *rows.shape[1:]), -1, dtype=rows.dtype)

    def _changes(self, nets: Networks, batch: Batch, radius: float) -> Tensor:
        """What has to be added to the layer's output to raise the loss: (B, ...)."""
        rises = slope(self.objective, nets.looking, batch.x, batch.y)
        h = self._at_layer(nets, batch.x)
        if self._layer is None:
            ball, reach = self.threat, radii(self.threat, batch, radius * self.how.inputs)
        else:  # an activation stays among those that were seen
            ball = L2(None, float(h.min()), float(h.max()) + _WIDER)
            reach = radius * self.how.hidden * h.flatten(1).square().sum(1).sqrt()

        def net(at: Tensor) -> Tensor:
            return self._above(nets.looking, batch.x, at)

        moved = climb(self._attack, ball, Batch(h, batch.y, batch.key), reach, net, rises)
        return _just_enough(net, h, moved - h, batch.y)

    def _at_layer(self, nets: Networks, x: Tensor) -> Tensor:
        """What the layer makes of inputs (B, *shape)."""
        return x if self._layer is None else outputs(nets.looking, [self._layer], x)[0].float()

    def _above(self, net: Net, x: Tensor, h: Tensor) -> Tensor:
        """Scores (B, C) of rows that enter the network at the layer; x (B, *shape) feeds what is thrown away."""
        if self._layer is None:
            return net(h)
        with replaced(self._layer, h):
            return net(x)

    def _examples(self, nets: Networks, batch: Batch, name: str, at: Tensor) -> tuple[Tensor, Tensor]:
        """What the pool has at the places `at` (K,): outputs of the layer, changed, and labels."""
        x, change, y = (self.memory[f"{name}.{part}"][at].to(batch.x.device) for part in ("x", "change", "y"))
        return self._at_layer(nets, x) + change, y

    def _places(self, nets: Networks, name: str, batch: Batch, count: int) -> Tensor:
        """Empty places, else of twice as many by lot first those that fool the network no longer.

        Those that still do are replaced by lot, too: if the hardest stayed, rows that nobody can learn would fill the
        pool.
        """
        y = self.memory[f"{name}.y"]
        empty = (y < 0).nonzero()[:, 0]
        if len(empty) >= count:
            return empty[:count]
        filled = (y >= 0).nonzero()[:, 0]
        drawn = filled[torch.randperm(len(filled), generator=generator(self.seed, _PLACE, int(self.memory["turn"])))]
        drawn = drawn[: min(2 * count, len(batch.y))]
        with torch.no_grad():
            examples, labels = self._examples(nets, batch, name, drawn)
            fools = self._above(nets.looking, batch.x[: len(drawn)], examples).argmax(1) != labels
        return torch.cat([empty, drawn[fools.long().argsort(stable=True).cpu()]])[:count]

    def _joining(self, name: str, count: int) -> Tensor:
        """The places of as many examples, by lot."""
        filled = (self.memory[f"{name}.y"] >= 0).nonzero()[:, 0]
        lot = generator(self.seed, _JOIN, int(self.memory["turn"]))
        return filled[torch.randint(len(filled), (count,), generator=lot)]


@torch.no_grad()
def _just_enough(net: Net, h: Tensor, change: Tensor, y: Tensor) -> Tensor:
    """The least of some shares of every row's change that fools the network, all of it where none does: (B, ...).

    The paper's examples are the nearest ones: what lies far behind the boundary teaches little but fear.
    """
    shortest = change
    for share in _SHARES:
        fools = net(h + share * change).argmax(1) != y
        shortest = pick(fools, share * change, shortest)
    return shortest
