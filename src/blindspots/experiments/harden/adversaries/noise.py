"""A single step from a noisy point, and noise alone."""

import torch
from torch import Tensor

from blindspots.ball import Ball
from blindspots.experiments.harden.adversaries.adversary import Adversary, Networks, look, radii
from blindspots.experiments.harden.batches import Batch
from blindspots.experiments.harden.objectives import slope
from blindspots.experiments.harden.recipe import Noise, NoisyStep, TrainingLoss
from blindspots.random import normal, sign
from blindspots.rows import Around, col

_NOISE = 103  # a stream of draws; normal draws take the next one, too


class StepAdversary(Adversary):
    """Wong, Rice, Kolter 2020 (arXiv 2001.03994) and de Jorge et al. 2022 (arXiv 2202.01181), see `recipe.NoisyStep`.

    Noise is uniform in ball and box; the published codes draw it in the ball and clip it.
    """

    def __init__(self, objective: TrainingLoss, how: NoisyStep, threat: Ball) -> None:
        super().__init__(objective)
        self.how, self.threat = how, threat

    def perturb(self, nets: Networks, batch: Batch, radius: float) -> list[Tensor]:
        r = radii(self.threat, batch, radius)
        noisy = self.threat.sample(Around(batch.x, self.how.noise * r), batch.key) if self.how.noise else batch.x
        seen = look(nets.looking, noisy, slope(self.objective, nets.looking, batch.x, batch.y))
        assert seen.grad is not None
        moved = noisy - col(self.how.stride * r, noisy) * self.threat.steepest(self.threat.pulled(seen.grad, batch.x))
        reach = r if self.how.project else torch.full_like(r, torch.inf)
        return [self.threat.project(moved, Around(batch.x, reach))]


class NoiseAdversary(Adversary):
    """Goodfellow et al. 2015: noise of the same size is no adversary, which is what a control has to show."""

    def __init__(self, objective: TrainingLoss, how: Noise, threat: Ball) -> None:
        super().__init__(objective)
        self.how, self.threat = how, threat

    def perturb(self, nets: Networks, batch: Batch, radius: float) -> list[Tensor]:
        r, clock, shape = radii(self.threat, batch, radius), torch.zeros_like(batch.key), batch.x.shape[1:]
        if self.how.shape == "uniform":
            return [self.threat.sample(Around(batch.x, r), batch.key)]
        if self.how.shape == "sign":
            step = self.threat.steepest(sign(batch.key, clock, _NOISE, shape))
            return [self.threat.project(batch.x + col(r, batch.x) * step, Around(batch.x, r))]
        sigma = torch.full_like(r, self.how.sigma) if self.how.sigma else r
        # not clipped: the smoothed classifier that it is for is never asked inside the box (Cohen et al. 2019)
        drawn = normal(batch.key, clock, _NOISE, shape)
        return [batch.x + col(sigma, batch.x) * self.threat.pulled(drawn, batch.x)]
