"""Kernel density in the last hidden layer."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from blindspots.errors import InputError
from blindspots.experiments.detect.detectors.detector import Detector, Examples, Fitted
from blindspots.experiments.detect.detectors.distances import distances
from blindspots.experiments.detect.detectors.features import HEAD, Inside, Look, gathered
from blindspots.models.model import Model

_GRID = torch.logspace(-1.5, 0.5, 21)  # of bandwidths, in median distances


@dataclass(frozen=True)
class Density(Detector):
    """Minus the logarithm of the kernel density at what enters the last layer, among clean rows of the predicted class.

    Feinman et al. take the training rows of that label and tune the bandwidth of each data set; here the rows count
    to which the model gives the class. A class without any is judged among all of them. Where the predicted class
    changes, the score jumps.

    Args:
        bandwidth: standard deviation of the Gaussian kernel; None: of 21 between 0.03 and 3 times the median distance
            of two rows of a class, the one under which each row is most likely by the others of its class.
        rows: clean rows that are kept, at most.
    """

    name: ClassVar[str] = "density"
    title: ClassVar[str] = "Kernel density in the last hidden layer"
    paper: ClassVar[str] = "Feinman et al. 2017 (arXiv 1703.00410)"
    cost: ClassVar[str] = "no forward of the model; distances to the clean rows kept"
    needs: ClassVar[str] = "layers that can be seen"

    bandwidth: float | None = None
    rows: int = 2000

    def __post_init__(self) -> None:
        if self.bandwidth is not None and not self.bandwidth > 0:
            raise InputError(f"expected a positive bandwidth for density, got {self.bandwidth}: leave it out, say")

    def learn(self, model: Model, clean: Examples, adversarial: Examples | None, seed: int) -> dict[str, Tensor]:
        seen = gathered(model, clean.x[: self.rows], (HEAD,))
        points, classes = seen.seen[0], seen.logits.argmax(1)
        width = likeliest(points, classes) if self.bandwidth is None else torch.tensor(self.bandwidth)
        return {"places": torch.tensor([HEAD]), "points": points, "classes": classes, "bandwidth": width}

    def rebuild(self, model: Model, shape: tuple[int, ...], learnt: Mapping[str, Tensor]) -> Fitted:
        return _Density(self, model, shape, learnt)


class _Density(Inside):
    points: Tensor  # (N, D)
    classes: Tensor  # (N,) that the model gives them
    bandwidth: Tensor

    def judge(self, seen: Look) -> Tensor:
        same = seen.logits.argmax(1, keepdim=True) == self.classes
        return -log_density(
            distances(seen.seen[0], self.points),
            same | ~same.any(1, keepdim=True),
            self.bandwidth,
            seen.seen[0].shape[1],
        )


def log_density(distance: Tensor, among: Tensor, bandwidth: Tensor, dimensions: int) -> Tensor:
    """Of the mean of Gaussians, (B,), at distances (B, N) from their centres, of those centres that count: (B, N)."""
    exponent = (-0.5 * (distance / bandwidth).square()).masked_fill(~among, -torch.inf)
    volume = dimensions * (bandwidth.log() + 0.5 * math.log(2 * math.pi))
    return exponent.logsumexp(1) - among.sum(1).log() - volume


def likeliest(points: Tensor, classes: Tensor) -> Tensor:
    """The bandwidth under which points (N, D) are most likely by the others of their class.

    Raises InputError if no two points of a class differ.
    """
    apart = distances(points, points)
    others = (classes[:, None] == classes) & ~torch.eye(len(points), dtype=torch.bool)
    median = apart[others].median() if others.any() else torch.tensor(0.0)
    if not median > 0:
        raise InputError("expected clean rows of one class that differ, got none: give more rows, or a bandwidth")
    grid = median * _GRID
    alone = others.any(1)
    likely = [log_density(apart[alone], others[alone], width, points.shape[1]).mean() for width in grid]
    return grid[torch.stack(likely).argmax()]
