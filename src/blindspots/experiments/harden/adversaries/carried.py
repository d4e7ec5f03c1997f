"""Adversaries that live on the backward of the weights: their gradient costs nothing."""

from dataclasses import replace

import torch
from torch import Tensor

from blindspots.ball import Ball
from blindspots.experiments.harden.adversaries.adversary import Adversary, Networks, radii
from blindspots.experiments.harden.batches import Batch
from blindspots.experiments.harden.recipe import Free, TrainingLoss, Universal
from blindspots.rows import Around, col


class _Carried(Adversary):
    """Keeps a change d between steps, and the point x + d of the step in hand."""

    def __init__(self, objective: TrainingLoss, stride: float, threat: Ball) -> None:
        super().__init__(objective)
        self.stride, self.threat = stride, threat
        self._point: Tensor | None = None

    def perturb(self, nets: Networks, batch: Batch, radius: float) -> list[Tensor]:
        change = self.memory.setdefault("change", self._still(batch))
        around = Around(batch.x, radii(self.threat, batch, radius))
        moved = self.threat.project(batch.x + change.to(batch.x.device), around)
        self._point = moved.detach().requires_grad_()
        return [self._point]

    def _still(self, batch: Batch) -> Tensor:
        return torch.zeros_like(batch.x)

    def _step(self, gradient: Tensor, batch: Batch, radius: float) -> Tensor:
        """A change for every row, one step up the loss."""
        assert self._point is not None
        r = radii(self.threat, batch, radius)
        moved = self._point.detach() + col(self.stride * r, batch.x) * self.threat.steepest(
            self.threat.pulled(gradient, batch.x)
        )
        return self.threat.project(moved, Around(batch.x, r)) - batch.x


class FreeAdversary(_Carried):
    """Shafahi et al. 2019 (arXiv 1904.12843): every batch `replays` times; its change is where the next batch begins.

    Their code clips the change to the ball; here it is clipped to ball and box of the rows that it was made for.
    """

    def __init__(self, objective: TrainingLoss, how: Free, threat: Ball) -> None:
        super().__init__(objective, how.stride, threat)
        self.replays = how.replays

    def learn(self, nets: Networks, batch: Batch, radius: float) -> None:
        assert self._point is not None
        assert self._point.grad is not None
        self.memory["change"] = self._step(self._point.grad, batch, radius)


class UniversalAdversary(_Carried):
    """Shafahi et al. 2020 (arXiv 1811.11304): one change for all rows, moved by the sum of the batch's gradients."""

    def __init__(self, objective: TrainingLoss, how: Universal, threat: Ball) -> None:
        super().__init__(objective, how.stride, threat)

    def _still(self, batch: Batch) -> Tensor:
        return torch.zeros_like(batch.x[:1])

    def learn(self, nets: Networks, batch: Batch, radius: float) -> None:
        assert self._point is not None
        assert self._point.grad is not None
        own = self.threat.pulled(self._point.grad, batch.x)
        gradient = nets.shared(own.sum(0, keepdim=True))
        assert self.threat.radius is not None
        r = gradient.new_full((1,), radius * self.threat.radius)
        change = self.memory["change"].to(gradient.device)
        # In the middle of a box twice as wide no change meets the box: what is shared belongs to no row.
        low, high = self.threat.bounds
        wide = replace(self.threat.within(2 * low - high, 2 * high - low), padding=None)
        middle = torch.full_like(change, (low + high) / 2)
        step = col(self.stride * r, change) * self.threat.steepest(gradient)
        self.memory["change"] = wide.project(middle + change + step, Around(middle, r)) - middle
