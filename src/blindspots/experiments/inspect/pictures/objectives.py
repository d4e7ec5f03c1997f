"""What pictures are made for: channels, units, directions, classes, and the activations of an image."""

from dataclasses import dataclass

import torch
from torch import Tensor

from blindspots.experiments.inspect.layers import Layer, pooled, watched
from blindspots.models.model import Model

_POWER, _LEAST = 2, 0.1  # of the cosine beside a projection, and its floor: lucid's, so that length alone does not pay
_SURE = 1e-16  # what is left for other classes, at least


@dataclass(frozen=True)
class Group:
    """Objectives of one kind at one layer.

    Attributes:
        kind: "channel": its mean over positions; "unit": the answer of a channel at the central position; "class": a
            logit; "odds": its log-odds against all other classes; "direction": the projection of all channels' means;
            "caricature": that of all answers, on those of an image.
        layer: None: the scores.
        targets: (T,) int64 channels or classes, or (T, D) float32 directions of length 1.
    """

    kind: str
    layer: Layer | None
    targets: Tensor

    def __len__(self) -> int:
        return len(self.targets)

    def values(self, out: Tensor) -> Tensor:
        """What each objective is, (B, T), of what the layer answered (B, ...)."""
        read = self._read(out)
        if self._is_projection:
            return torch.mm(read, self.targets.to(read).mT)
        return read[:, self.targets.to(read.device)]

    def climbed(self, out: Tensor, which: Tensor) -> Tensor:
        """What an ascent raises, (B,): objective `which` (B,) of each row; projections times a power of the cosine."""
        value = self.values(out).gather(1, which[:, None])[:, 0]
        if not self._is_projection:
            return value
        length: Tensor = self._read(out).norm(dim=1)
        return value * (value / length.clamp_min(1e-12)).clamp_min(_LEAST) ** _POWER

    def by_unit(self, out: Tensor) -> Tensor:
        """What the layer answered, (B, units, *positions)."""
        return out if self.layer is None else self.layer.by_unit(out)

    @property
    def _is_projection(self) -> bool:
        return self.kind in ("direction", "caricature")

    def _read(self, out: Tensor) -> Tensor:
        if self.kind == "caricature":
            return out.flatten(1)
        if self.layer is None:
            return odds(out).to(out) if self.kind == "odds" else out
        return central(self.layer, out) if self.kind == "unit" else pooled(self.layer, out)


def odds(logits: Tensor) -> Tensor:
    """Log-odds of every class against all others, (B, C) in float64: they still rise where probabilities round to 1."""
    sure = logits.double().softmax(1)
    return logits.double().log_softmax(1) - torch.log1p(-sure.clamp_max(1 - _SURE))


def central(layer: Layer, out: Tensor) -> Tensor:
    """(B, units) at the central position of what a layer answers (B, *shape)."""
    found = layer.by_unit(out)
    for axis in range(found.ndim - 1, 1, -1):
        found = found.select(axis, found.shape[axis] // 2)
    return found


def answered(model: Model, layer: Layer | None, x: Tensor) -> Tensor:
    """What a layer answers to x (B, *shape), or where there is none the model's scores. Keeps autograd."""
    with watched(model, [layer.name] if layer else []) as seen:
        logits = model.logits(x)
    return logits if layer is None else seen[layer.name][0].float()


def likeness(out: Tensor, each: int) -> Tensor:
    """How alike the pictures of an objective are, (B / each,): the mean over pairs of the cosine of Gram matrices.

    Olah et al. 2017: texture, not place; `out` (B, units, ...) of `each` pictures of every objective, one after the
    other.
    """
    flat = out.reshape(len(out), out.shape[1], -1)
    gram = (flat @ flat.mT).flatten(1)
    unit = (gram / gram.norm(dim=1, keepdim=True).clamp_min(1e-12)).view(-1, each, gram.shape[1])
    pairs = unit @ unit.mT
    total: Tensor = (pairs.sum((1, 2)) - pairs.diagonal(dim1=1, dim2=2).sum(1)) / max(each * (each - 1), 1)
    return total
