"""What the checks examine: a few rows, and what the network computes from them."""

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from blindspots.models.model import Model


@dataclass(frozen=True)
class Gradients:
    """Gradients of the predicted classes' cross entropy and margin, (n, *shape) each, and how well they predict.

    `deviation` (n, 2): how far the change of the margin in a small step is from what its gradient predicts, along the
    signs of the gradient and along random signs, as a share (at most 1) of the typical change; nan where rounding hides
    it.
    """

    ce: Tensor
    margin: Tensor
    deviation: Tensor


@dataclass(frozen=True)
class Sample:
    """The input of every check, for n rows: inputs (n, *shape), labels as given, logits (n, C).

    Logits of a model that may reject are (n, C + 1).
    """

    model: Model
    x: Tensor
    y: Tensor
    in_training: list[str]  # modules passed in training mode that behave differently in it
    logits: Tensor
    again: list[Tensor]  # logits of the same batch, computed again
    elsewhere: list[Tensor]  # logits of the first rows in batches with other rows: (m, C), m <= n
    autograd_calls: int  # in one forward pass without gradients
    gradients: Gradients | None
    refusal: str  # why there are no gradients

    @property
    def classes(self) -> int:
        return self.logits.shape[1] - self.model.rejects

    @cached_property
    def labels_fit(self) -> bool:
        """Whether every label is a class of the model."""
        return self.y.dtype == torch.int64 and self.y.ndim == 1 and not self.strange_labels.any()

    @cached_property
    def strange_labels(self) -> Tensor:
        return (self.y < 0) | (self.y >= self.classes)

    @cached_property
    def finite(self) -> Tensor:
        """(n,) rows whose logits are all finite."""
        return self.logits.isfinite().all(1)

    @cached_property
    def resolution(self) -> float:
        """Differences of logits up to this one may be due to rounding: half of the digits of the largest logit."""
        return math.sqrt(rounding_unit(self.model, self.logits)) * largest(self.logits)

    @cached_property
    def spread(self) -> float:
        """The largest difference between logits of repeated passes of the same batch."""
        return max(largest(other - self.logits) for other in self.again)

    @cached_property
    def coupling(self) -> float:
        """The largest difference between logits of a row in different batches."""
        return max(largest(other - self.logits[: len(other)]) for other in self.elsewhere)

    @property
    def randomised(self) -> bool:
        return self.spread > self.resolution

    @property
    def coupled(self) -> bool:
        return not self.randomised and self.coupling > self.resolution


def largest(t: Tensor) -> float:
    """The largest finite absolute value, 0 if there is none."""
    return float(t.detach().nan_to_num(0, 0, 0).abs().max())


def rounding_unit(model: Model, logits: Tensor) -> float:
    """The relative rounding of the coarsest type that the network seems to compute in."""
    held = {d for d in (torch.float16, torch.bfloat16) if torch.equal(logits.to(d).float(), logits)}
    kept = {p.dtype for p in model.net.parameters() if p.is_floating_point()}
    return max(torch.finfo(d).eps for d in held | kept | {torch.float32})


def is_zero(gradient: Tensor) -> Tensor:
    """(n,) rows whose gradient is exactly 0."""
    return (gradient == 0).flatten(1).all(1)
