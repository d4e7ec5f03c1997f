"""Distance to the nearest class, as Gaussians with one covariance see it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from blindspots.errors import InputError
from blindspots.experiments.detect.detectors.combination import Layered, combined, halves
from blindspots.experiments.detect.detectors.detector import Detector, Examples, Fitted
from blindspots.experiments.detect.detectors.distances import distances
from blindspots.experiments.detect.detectors.features import Look, gathered, hidden
from blindspots.models.model import Model

_DEAD = 1e-6  # of the largest variance: a direction with less is rounding


@dataclass(frozen=True)
class Mahalanobis(Detector):
    """The squared Mahalanobis distance to the nearest class mean, of the layers' means over space, all layers combined.

    A Gaussian per label with a covariance that all share, fitted to half of the clean rows; the other half, and
    adversarial examples if there are any, combine the layers (Lee et al.: logistic regression). Lee et al. also move
    the input a little towards the nearest class before they measure; here that is left out, since it takes a backward
    pass and makes the score no slope of the input's.

    Args:
        ridge: added to the covariance, in mean variances.
        layers: hidden layers, at most, evenly spaced.
    """

    name: ClassVar[str] = "mahalanobis"
    title: ClassVar[str] = "Mahalanobis distance in hidden layers"
    paper: ClassVar[str] = "Lee et al. 2018 (arXiv 1807.03888)"
    cost: ClassVar[str] = "no forward of the model; one matrix product per layer"
    needs: ClassVar[str] = "layers that can be seen; better with adversarial examples"
    learns_from_attacks: ClassVar[bool] = True

    ridge: float = 1e-3
    layers: int = 6

    def __post_init__(self) -> None:
        if self.ridge < 0 or self.layers < 1:
            raise InputError(f"expected a ridge of at least 0 and at least one layer, got {self}: change it")

    def learn(self, model: Model, clean: Examples, adversarial: Examples | None, seed: int) -> dict[str, Tensor]:
        fit, rest = halves(clean)
        places = hidden(model, clean.x, self.layers)
        learnt = {"places": torch.tensor(places)}
        for i, features in enumerate(gathered(model, fit.x, places).seen):
            learnt[f"whitening{i}"], learnt[f"means{i}"] = gaussians(features, fit.y, self.ridge)
        return combined(self, model, learnt, rest, adversarial)

    def rebuild(self, model: Model, shape: tuple[int, ...], learnt: Mapping[str, Tensor]) -> Fitted:
        return _Mahalanobis(self, model, shape, learnt)


class _Mahalanobis(Layered):
    def parts(self, seen: Look) -> Tensor:
        return torch.stack([self._nearest(i, features) for i, features in enumerate(seen.seen)], 1)

    def _nearest(self, layer: int, features: Tensor) -> Tensor:
        white = features @ self.get_buffer(f"whitening{layer}")
        return distances(white, self.get_buffer(f"means{layer}")).square().amin(1)


def gaussians(features: Tensor, y: Tensor, ridge: float) -> tuple[Tensor, Tensor]:
    """W (D, D) and whitened class means (C, D) of rows (N, D) with labels (N,): |fW - m_c|^2 is Mahalanobis' distance.

    The covariance, divided by N, plus `ridge` times its mean variance on the diagonal; directions without variance
    count nothing.
    """
    f = features.double()
    classes, at = y.unique(return_inverse=True)  # type: ignore[no-untyped-call]
    means = torch.stack([f[y == c].mean(0) for c in classes])
    apart = f - means[at]
    variances, directions = torch.linalg.eigh(apart.T @ apart / len(f))
    variances = variances + ridge * variances.mean()
    alive = variances > _DEAD * variances.amax()
    whitening = directions * torch.where(alive, variances, torch.inf).rsqrt()
    return whitening.float(), (means @ whitening).float()
