"""Exchanges within the lattices of texts: by lot, or by the gradient at the embeddings."""

from abc import abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor

from blindspots.experiments.harden.adversaries.adversary import Adversary, Networks
from blindspots.experiments.harden.batches import Batch
from blindspots.experiments.harden.recipe import Sampled, TrainingLoss
from blindspots.models.precision import differentiable
from blindspots.models.texts import TokenModel
from blindspots.random import keys
from blindspots.rows import Around, pick
from blindspots.texts.threats import Choices, TextThreat

_DRAWN = 103  # what keys are for


class ExchangeAdversary(Adversary):
    """Chooses among the candidates of every text's places."""

    def __init__(self, objective: TrainingLoss, threat: TextThreat) -> None:
        super().__init__(objective)
        self.threat = threat

    def perturb(self, nets: Networks, batch: Batch, radius: float) -> list[Tensor]:
        own = self.threat.limits(batch.x)
        assert isinstance(own, Choices)
        around = Around(batch.x, self._allowed(batch.x, radius), own=own)
        inner = self.threat.inward(around)
        return [self.chosen(nets, batch, around, inner)]

    def _allowed(self, x: Tensor, radius: float) -> Tensor:
        """(B,) how many places may change: a share of what the threat allows, at least one where it allows any."""
        most = self.threat.reach(x)
        return (radius * most).floor().maximum(most.clamp_max(1.0))

    @abstractmethod
    def chosen(self, nets: Networks, batch: Batch, around: Around, inner: Around) -> Tensor:
        """The texts (B, L) to train on; `inner` are the choices that lead to the clean ones."""


class SampledAdversary(ExchangeAdversary):
    """Random exchanges; of several draws the one that hurts most."""

    def __init__(self, objective: TrainingLoss, how: Sampled, threat: TextThreat) -> None:
        super().__init__(objective, threat)
        self.tries = how.tries

    def chosen(self, nets: Networks, batch: Batch, around: Around, inner: Around) -> Tensor:
        worst = self._draw(batch, around, inner, 0)
        highest = self._loss(nets, worst, batch) if self.tries > 1 else None
        for i in range(1, self.tries):
            assert highest is not None
            form = self._draw(batch, around, inner, i)
            loss = self._loss(nets, form, batch)
            worst, highest = pick(loss > highest, form, worst), loss.maximum(highest)
        return worst

    def _draw(self, batch: Batch, around: Around, inner: Around, i: int) -> Tensor:
        u = self.threat.plain.sample(inner, keys(_DRAWN, batch.key, i))
        return self.threat.outward(u, inner, around)

    def _loss(self, nets: Networks, form: Tensor, batch: Batch) -> Tensor:
        with torch.no_grad():
            return F.cross_entropy(nets.looking(form), batch.y, reduction="none")


class ExchangedAdversary(ExchangeAdversary):
    """The exchanges with the steepest slopes of the loss at the clean text, at most one per place."""

    def chosen(self, nets: Networks, batch: Batch, around: Around, inner: Around) -> Tensor:
        gains = self._gains(batch, around)
        best, which = gains.max(2)
        rank = best.argsort(dim=1, descending=True, stable=True).argsort(1)
        taken = (rank < around.r[:, None]) & (best > 0)
        u = torch.where(taken, which + 1, 0).to(inner.x)
        return self.threat.outward(u, inner, around)

    def _gains(self, batch: Batch, around: Around) -> Tensor:
        """What every candidate adds to the loss, to first order: (B, P, C); nothing where there is none."""
        model, own = self.threat.reader, around.own
        assert isinstance(model, TokenModel)
        assert isinstance(own, Choices)
        with torch.enable_grad(), differentiable(model.net, model.device):
            z = model.embed(batch.x).detach().requires_grad_()
            loss = F.cross_entropy(model.head(z, batch.x), batch.y, reduction="sum")
            (g,) = torch.autograd.grad(loss, z)
        with torch.no_grad():
            slopes = self.threat.slopes(batch.x, around, g, model.embed)
        return slopes[:, : own.tokens[0].numel()].view_as(own.tokens).masked_fill(own.tokens < 0, -torch.inf)
