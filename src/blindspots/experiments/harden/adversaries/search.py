"""Attacks of the catalogue as adversaries, within one threat or several."""

import torch
import torch.nn.functional as F
from torch import Tensor

from blindspots.ball import Ball
from blindspots.experiments.harden.adversaries.adversary import Adversary, Networks, climb, radii
from blindspots.experiments.harden.batches import Batch
from blindspots.experiments.harden.objectives import Slope, slope
from blindspots.experiments.harden.recipe import Search, TrainingLoss
from blindspots.random import randint
from blindspots.rows import pick

_LOT = 102  # a stream of draws


class SearchAdversary(Adversary):
    """Madry et al. 2018: the inner maximisation is an attack. Several norms: Tramer and Boneh 2019."""

    def __init__(self, objective: TrainingLoss, how: Search, threats: tuple[Ball, ...]) -> None:
        super().__init__(objective)
        self.attack, self.combine, self.threats = how.built(), how.combine, threats

    def perturb(self, nets: Networks, batch: Batch, radius: float) -> list[Tensor]:
        rises = slope(self.objective, nets.looking, batch.x, batch.y)
        if self.combine == "random" and len(self.threats) > 1:
            return [self._drawn(nets, batch, radius)]
        forms = [self._climb(nets, batch, radius, threat, rises) for threat in self.threats]
        return [self._worst(nets, batch, forms)] if self.combine == "max" else forms

    def _climb(self, nets: Networks, batch: Batch, radius: float, threat: Ball, rises: Slope) -> Tensor:
        return climb(self.attack, threat, batch, radii(threat, batch, radius), nets.looking, rises)

    def _drawn(self, nets: Networks, batch: Batch, radius: float) -> Tensor:
        """Every row within the threat of its own lot."""
        lot = randint(batch.key, torch.zeros_like(batch.key), _LOT, len(self.threats), (1,))[:, 0]
        form = batch.x.clone()
        for i, threat in enumerate(self.threats):
            at = (lot == i).nonzero()[:, 0]
            if len(at):
                part = Batch(batch.x[at], batch.y[at], batch.key[at])
                rises = slope(self.objective, nets.looking, part.x, part.y)
                form[at] = self._climb(nets, part, radius, threat, rises)
        return form

    def _worst(self, nets: Networks, batch: Batch, forms: list[Tensor]) -> Tensor:
        """Of every row the form with the highest cross-entropy."""
        worst, highest = forms[0], None
        for form in forms[1:]:
            if highest is None:
                highest = self._pain(nets, worst, batch)
            pain = self._pain(nets, form, batch)
            worst, highest = pick(pain > highest, form, worst), pain.maximum(highest)
        return worst

    def _pain(self, nets: Networks, form: Tensor, batch: Batch) -> Tensor:
        with torch.no_grad():
            return F.cross_entropy(nets.looking(form), batch.y, reduction="none")
