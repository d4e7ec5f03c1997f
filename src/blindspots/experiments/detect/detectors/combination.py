"""One score out of those of several layers."""

from abc import abstractmethod
from collections.abc import Mapping

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from blindspots.experiments.detect.detectors.detector import Detector, Examples
from blindspots.experiments.detect.detectors.features import Inside, Look, gathered
from blindspots.models.model import Model


class Layered(Inside):
    """The weighted sum of the layers' scores, each standardised with those of clean rows."""

    centre: Tensor  # (L,) of clean scores
    spread: Tensor  # (L,) their standard deviation
    weights: Tensor  # (L,)

    @abstractmethod
    def parts(self, seen: Look) -> Tensor:
        """Scores (B, L), one for every layer."""

    def judge(self, seen: Look) -> Tensor:
        return ((self.parts(seen) - self.centre) / self.spread * self.weights).sum(1)


def halves(examples: Examples) -> tuple[Examples, Examples]:
    """Two disjoint parts: what has been fitted to rows must not be measured on them."""
    middle = len(examples) // 2
    return examples[:middle], examples[middle:]


def combined(
    detector: Detector, model: Model, learnt: Mapping[str, Tensor], clean: Examples, adversarial: Examples | None
) -> dict[str, Tensor]:
    """`learnt`, which makes a `Layered` detector but for its sum, with that sum.

    The weights are those of a logistic regression (both sides weigh the same, the penalty is scikit-learn's) if there
    are adversarial examples, else 1: the plain sum.

    Args:
        clean: rows that nothing was fitted to yet.
    """
    places = learnt["places"]
    ones = torch.ones(len(places))
    bare = detector.rebuild(
        model, tuple(clean.x.shape[1:]), {**learnt, "centre": 0 * ones, "spread": ones, "weights": ones}
    )
    assert isinstance(bare, Layered)
    below = bare.parts(gathered(model, clean.x, bare.at))
    centre, spread = below.mean(0), below.std(0)
    spread = torch.where(spread > 0, spread, 1.0)
    if adversarial:
        above = bare.parts(gathered(model, adversarial.x, bare.at))
        ones = _regressed((below - centre) / spread, (above - centre) / spread)
    return {**learnt, "centre": centre, "spread": spread, "weights": ones}


def _regressed(below: Tensor, above: Tensor) -> Tensor:
    """Weights (L,) that tell standardised scores (N, L) and (M, L) apart."""
    rows = np.concatenate([below.double().numpy(), above.double().numpy()])
    fit = LogisticRegression(class_weight="balanced", max_iter=1000)
    fit.fit(rows, np.repeat([0, 1], [len(below), len(above)]))
    return torch.from_numpy(fit.coef_[0]).float()
