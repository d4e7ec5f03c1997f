"""What is looked at between epochs: clean and robust accuracy on held-out rows, and whether training went astray."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from blindspots.attacks import Attack
from blindspots.attacks.gradient.fgsm import FGSM
from blindspots.attacks.gradient.pgd import PGD
from blindspots.defend.hardening.adversaries.adversary import Mode, climb, radii
from blindspots.defend.hardening.batches import Batch, Material
from blindspots.defend.hardening.objectives import Net
from blindspots.goal import margin
from blindspots.random import keys
from blindspots.threat import Threat
from blindspots.verdict import Share

STEPS = 10
_CHUNK = 256
_CHECK = 200  # what a key is for
# Catastrophic overfitting (Wong et al. 2020): within an epoch, accuracy against many steps falls to nothing while that
# against one step rises. Both limits are judgement, not measurement; under a growing radius the two part by more than
# the second one without any collapse, so both have to be passed.
_LOST, _PARTED = 2 / 3, 0.15


@dataclass(frozen=True)
class Checked:
    """Shares of held-out rows, and of as many training rows."""

    clean: Share
    fgsm: Share
    robust: Share
    robust_training: Share


@dataclass(frozen=True)
class Checks:
    """Looks at a network: the same rows, starts and steps after every epoch, so that epochs can be compared."""

    held_out: Material
    training: Material
    threats: tuple[Threat, ...]
    bounds: tuple[float, float]
    device: torch.device
    seed: int

    def look(self, module: nn.Module) -> Checked:
        """With several threats a row is robust if it stands in all of them."""
        mode = Mode(module)
        with mode.evaluation():
            clean, robust = self._share(self._right(module, self.held_out, None)), self._robust(module, self.held_out)
            fgsm = self._share(self._right(module, self.held_out, FGSM()))
            same = self.training[: len(self.held_out)]
            return Checked(clean, fgsm, robust, self._robust(module, same))

    def _robust(self, module: nn.Module, rows: Material) -> Share:
        return self._share(self._right(module, rows, PGD(steps=STEPS, stride=0.25)))

    def _share(self, right: Tensor) -> Share:
        return Share.of(int(right.sum()), len(right))

    def _right(self, module: nn.Module, rows: Material, attack: Attack | None) -> Tensor:
        """(N,) which rows stay right within all threats."""
        parts = [self._part(module, rows[i : i + _CHUNK], attack) for i in range(0, len(rows), _CHUNK)]
        return torch.cat(parts)

    def _part(self, net: Net, rows: Material, attack: Attack | None) -> Tensor:
        batch = Batch(rows.inputs(slice(None)), rows.y, keys(self.seed, rows.id, _CHECK)).to(self.device)
        right = _stands(net, batch.x, batch.y)
        if attack is not None:
            for threat in self.threats:
                right &= _stands(net, self._attacked(net, batch, threat, attack), batch.y)
        return right

    def _attacked(self, net: Net, batch: Batch, threat: Threat, attack: Attack) -> Tensor:
        return climb(attack, threat, batch, radii(threat, batch, 1.0), net, lambda logits: margin(logits, batch.y))


def overfitted(now: Checked, best: float) -> bool:
    """Whether this is catastrophic overfitting: `best` is the highest robust share so far."""
    parted = now.fgsm.share - now.robust.share
    return now.robust.share < _LOST * best and parted > _PARTED


def _stands(net: Callable[[Tensor], Tensor], x: Tensor, y: Tensor) -> Tensor:
    with torch.no_grad():
        return margin(net(x), y) > 0
