"""Local intrinsic dimensionality."""

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

_TINY = 1e-12  # the ratio of two distances, one of which may be 0
_FLAT = -1e-6  # all neighbours at one distance: the dimensionality is as large as it gets


@dataclass(frozen=True)
class LID(Detector):
    """The local intrinsic dimensionality of the layers' means over space, all layers combined.

    Ma et al. estimate it from the neighbours within a minibatch and from whole layers; here the neighbours are always
    taken from clean rows that are kept, so that a row is judged by itself, and layers by their means over space, so
    that they fit into memory. Half of the clean rows may be kept, the other half, and adversarial examples if there are
    any, combine the layers (in the paper: logistic regression).

    Args:
        neighbours: k.
        rows: clean rows that are kept, at most.
        layers: hidden layers, at most, evenly spaced.
    """

    name: ClassVar[str] = "lid"
    title: ClassVar[str] = "Local intrinsic dimensionality"
    paper: ClassVar[str] = "Ma et al. 2018 (arXiv 1801.02613)"
    cost: ClassVar[str] = "no forward of the model; per layer, distances to the clean rows kept"
    needs: ClassVar[str] = "layers that can be seen; better with adversarial examples"
    learns_from_attacks: ClassVar[bool] = True

    neighbours: int = 20
    rows: int = 1000
    layers: int = 6

    def __post_init__(self) -> None:
        if not 2 <= self.neighbours <= self.rows or self.layers < 1:
            raise InputError(
                f"expected 2 to {self.rows} neighbours, of the rows kept, and a layer, got {self}: change it"
            )

    def learn(self, model: Model, clean: Examples, adversarial: Examples | None, seed: int) -> dict[str, Tensor]:
        kept, rest = halves(clean)
        if len(kept) < self.neighbours:
            raise InputError(
                f"expected at least {2 * self.neighbours} clean rows for lid with {self.neighbours} neighbours, got "
                f"{len(clean)}: give it more rows or fewer neighbours"
            )
        places = hidden(model, clean.x, self.layers)
        seen = gathered(model, kept[: self.rows].x, places).seen
        learnt = {"places": torch.tensor(places), **{f"points{i}": points for i, points in enumerate(seen)}}
        return combined(self, model, learnt, rest, adversarial)

    def rebuild(self, model: Model, shape: tuple[int, ...], learnt: Mapping[str, Tensor]) -> Fitted:
        return _LID(self, model, shape, learnt)


class _LID(Layered):
    detector: LID

    def parts(self, seen: Look) -> Tensor:
        return torch.stack([self._lid(i, features) for i, features in enumerate(seen.seen)], 1)

    def _lid(self, layer: int, features: Tensor) -> Tensor:
        return dimensionality(distances(features, self.get_buffer(f"points{layer}")), self.detector.neighbours)


def dimensionality(distance: Tensor, neighbours: int) -> Tensor:
    """The maximum likelihood estimate -(mean_i log(r_i / r_k))^-1 from distances (B, N) to other points: (B,)."""
    nearest = distance.topk(neighbours, 1, largest=False, sorted=True).values
    ratio = nearest / nearest[:, -1:].clamp_min(_TINY)
    return -1 / ratio.clamp_min(_TINY).log().mean(1).clamp_max(_FLAT)
