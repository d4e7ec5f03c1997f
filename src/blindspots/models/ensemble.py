"""Several models as one: a surrogate for attacks on another model."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from blindspots.errors import InputError
from blindspots.findings import Finding
from blindspots.models.model import Model, Service
from blindspots.problem import Need

Combine = Literal["logits", "probabilities", "loss"]
_SHOWN = (Need.LABEL, Need.VALUE, Need.GRAD)  # from least to most


class Ensemble(Model):
    """The mean of several models as one model, for anything that takes a model (Liu et al. 2017).

    Args:
        models: networks or `Model`s with the same classes and the same bounds.
        combine: what is averaged.
            "logits": the logits, which usually transfers best (Dong et al. 2018, arXiv 1710.06081).
            "probabilities": the probabilities; the logits are the logarithms of the mean.
            "loss": the cross entropies. No scores of the C classes have the mean of the members' cross entropies for
            every class, since their probabilities would add up to less than 1. So one more class, the last one, takes
            the rest: it stands for "the members disagree", and wins where they do. The cross entropy and its gradient
            are exact for all other classes. Targets should be given as classes, not as a rule over all classes.

    Raises:
        InputError: no model, or models that cannot be combined.
    """

    def __init__(
        self, models: Sequence[Model | nn.Module | Callable[[Tensor], Any]], combine: Combine = "logits"
    ) -> None:
        if combine not in get_args(Combine):
            raise InputError(
                f"expected combine to be one of {', '.join(get_args(Combine))}, got {combine!r}: pick one of these"
            )
        members = tuple(m if isinstance(m, Model) else Model(m) for m in models)
        if any(m.rejects for m in members):
            raise InputError(
                "expected models that answer every input, got one that may reject: use the classifier inside it"
            )
        super().__init__(_Members(members, combine), _common_bounds(members), output="logits", name="Ensemble")
        self.members = members
        self.access = min((m.access for m in members), key=_SHOWN.index)

    @property
    def service(self) -> Service | None:
        return next((m.service for m in self.members if m.service), None)

    @property
    def notes(self) -> list[Finding]:
        return [*(note for m in self.members for note in m.notes), *self.remarks]


class _Members(nn.Module):
    """The networks as one module, so that modes, devices and digests cover all of them."""

    def __init__(self, members: tuple[Model, ...], combine: Combine) -> None:
        super().__init__()
        self.members, self.combine = members, combine
        self.nets = nn.ModuleList(m.net for m in members)

    def forward(self, x: Tensor) -> Tensor:
        logits = [m.logits(x).to(x.device) for m in self.members]
        classes = sorted({z.shape[1] for z in logits})
        if len(classes) > 1:
            raise InputError(f"expected models with the same classes, got {classes} of them: leave some out")
        return _COMBINED[self.combine](torch.stack(logits))

    def extra_repr(self) -> str:
        scaled = [(m.mean, m.std, m.output) for m in self.members]
        return f"combine={self.combine!r}, members={scaled}"


def _common_bounds(members: tuple[Model, ...]) -> tuple[float, float]:
    if any(isinstance(m.box.lo, Tensor) for m in members):
        raise InputError("expected models with one pair of bounds for all features, got arrays: combine others")
    bounds = sorted({m.bounds for m in members})
    if len(bounds) != 1:
        raise InputError(f"expected models with the same bounds, at least one, got {bounds}: give them all the same")
    return bounds[0]


def _mean_logits(logits: Tensor) -> Tensor:
    return logits.mean(0)


def _mean_probabilities(logits: Tensor) -> Tensor:
    return logits.log_softmax(2).logsumexp(0)  # up to a constant, which does not change probabilities


def _mean_loss(logits: Tensor) -> Tensor:
    """log p of (B, C + 1) classes: the geometric means of the probabilities, and the rest to 1."""
    mean = logits.log_softmax(2).mean(0)
    rest = 1 - mean.exp().sum(1, keepdim=True)
    return torch.cat([mean, rest.clamp_min(torch.finfo(rest.dtype).tiny).log()], 1)


_COMBINED: dict[str, Callable[[Tensor], Tensor]] = {
    "logits": _mean_logits,
    "probabilities": _mean_probabilities,
    "loss": _mean_loss,
}
