"""A model that is given inputs of its own size, or whose outputs are given other labels."""

import hashlib
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from blindspots.models.model import Model, Wrapper
from blindspots.problem import Need

Size = tuple[int, int]


class Adapted(Wrapper):
    """A model that is given its own size, or whose outputs are given the data's labels.

    Args:
        inner: the model.
        size: inputs (B, C, H, W) are brought to this height and width, bilinearly (align_corners=False, no
            antialiasing), inside the model: whoever attacks it does so at the size of the data.
        labels: the label of each output; the score of a label is the largest of its outputs', so the prediction is the
            label of the inner prediction.
    """

    def __init__(self, inner: Model, size: Size | None, labels: Sequence[int | None] | None) -> None:
        self.model, self.size, self.labels = inner, size, labels  # first: they say where the model is
        super().__init__(inner, inner.net, inner.name, inner.spec)
        if inner.access is Need.SLOPES:  # embeddings are the inner model's own
            self.access = Need.VALUE

    @property
    def device(self) -> torch.device:
        return self.model.device

    @property
    def digest(self) -> str:
        return hashlib.sha256(repr((self.model.digest, self.size, self.labels)).encode()).hexdigest()

    def logits(self, x: Tensor) -> Tensor:
        x = x if self.size is None else F.interpolate(x, self.size, mode="bilinear", align_corners=False)
        scores = self.model.logits(x)
        return scores if self.labels is None else self._relabelled(scores)

    def _relabelled(self, scores: Tensor) -> Tensor:
        assert self.labels is not None
        of = [[i for i, k in enumerate(self.labels) if k == label] for label in range(class_count(self.labels))]
        return torch.stack([scores[:, outputs].amax(1) for outputs in of], 1)


def class_count(labels: Sequence[int | None]) -> int:
    """How many classes the labels of outputs speak of."""
    return 1 + max((k for k in labels if k is not None), default=-1)
