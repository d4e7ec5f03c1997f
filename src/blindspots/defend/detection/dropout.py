"""Uncertainty of the model under dropout."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from blindspots.defend.detection.detector import Detector, Examples, Fitted
from blindspots.defend.detection.features import enters, layers, name_of, portions
from blindspots.errors import InputError
from blindspots.models.model import Model
from blindspots.random import keys, uniform

NOWHERE = -1  # but at the network's own dropout layers
_DROPOUT = {"dropout", "dropout1d", "dropout2d", "dropout3d", "feature_dropout"}


@dataclass(frozen=True)
class Dropout(Detector):
    """How much the predicted probabilities vary over passes with dropout: the sum of their variances.

    Feinman et al. draw masks anew for every input; here they are drawn once, the same ones for every input, so that the
    score is a function, and an attack may follow its slope. Where the network has dropout layers they drop at their own
    rates; where it has none, what enters its last layer with weights is dropped at `rate`.

    Args:
        passes: with one mask each.
        rate: for a network without dropout layers.
    """

    name: ClassVar[str] = "dropout"
    title: ClassVar[str] = "Dropout uncertainty"
    paper: ClassVar[str] = "Feinman et al. 2017 (arXiv 1703.00410)"
    cost: ClassVar[str] = "as many forwards as passes (20)"
    needs: ClassVar[str] = "layers that can be seen"

    passes: int = 20
    rate: float = 0.5

    def __post_init__(self) -> None:
        if self.passes < 2 or not 0 <= self.rate < 1:
            raise InputError(f"expected at least 2 passes and a rate from 0 to below 1, got {self}: change it")

    def learn(self, model: Model, clean: Examples, adversarial: Examples | None, seed: int) -> dict[str, Tensor]:
        head = max(layer.place for layer in layers(model, clean.x) if layer.weighs)
        finds = _Dropping(torch.zeros(1, dtype=torch.int64), 0.0, NOWHERE)
        with torch.no_grad(), finds:
            model.logits(clean.x[:1])
        place = NOWHERE if finds.dropped else head
        return {"place": torch.tensor(place), "keys": keys(seed, torch.arange(self.passes))}

    def rebuild(self, model: Model, shape: tuple[int, ...], learnt: Mapping[str, Tensor]) -> Fitted:
        return _Dropout(self, model, shape, learnt)


class _Dropout(Fitted):
    detector: Dropout
    keys: Tensor  # (passes,) int64
    place: Tensor  # of the layer before which is dropped; -1: at the network's own dropout layers

    def forward(self, x: Tensor) -> Tensor:
        place = int(self.place)
        answers = torch.stack([self._answer(x, key, place) for key in torch.split(self.keys, 1)])
        return (answers - answers.mean(0)).square().mean(0).sum(1)

    def _answer(self, x: Tensor, key: Tensor, place: int) -> Tensor:
        """Probabilities (B, C) under the masks of one key."""
        answers = []
        for part, rows in portions(self.model, x):
            with _Dropping(key, self.detector.rate, place):
                answers.append(self.model.logits(part)[:rows].softmax(1))
        return torch.cat(answers)


class _Dropping(TorchFunctionMode):
    """Puts masks drawn from a key (1,) in place of a network's dropout, or before the layer at `place`."""

    def __init__(self, key: Tensor, rate: float, place: int) -> None:
        self.key, self.rate, self.place = key, rate, place
        self.calls = self.dropped = 0

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        name, named = name_of(func), kwargs or {}
        rate = (args[1] if len(args) > 1 else named.get("p", 0.5)) if name in _DROPOUT and self.place == NOWHERE else 0
        if rate:
            self.dropped += 1
            return self._masked(args[0], rate, channels=name != "dropout")
        entering = enters(name, args, named)
        if entering is not None:
            args = self._at_place(entering, args)
        return func(*args, **named)

    def _at_place(self, entering: Tensor, args: Sequence[Any]) -> Sequence[Any]:
        here, self.calls = self.calls == self.place, self.calls + 1
        return [self._masked(a, self.rate) if a is entering else a for a in args] if here else args

    def _masked(self, t: Tensor, rate: float, channels: bool = False) -> Tensor:
        shape = (t.shape[1], *[1] * (t.ndim - 2)) if channels else t.shape[1:]
        kept = uniform(self.key, torch.zeros_like(self.key), self.dropped, shape) >= rate
        return t * (kept.to(t.dtype) / (1 - rate))
