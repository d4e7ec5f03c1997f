"""Uncertainty of the model under dropout."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from blindspots.errors import InputError
from blindspots.experiments.detect.detectors.detector import Detector, Examples, Fitted
from blindspots.experiments.detect.detectors.features import enters, layers, name_of, portions
from blindspots.models.model import Model
from blindspots.random import keys, uniform

NOWHERE = -1  # but at the network's own dropout layers
_DROPOUT = {"dropout", "dropout1d", "dropout2d", "dropout3d", "feature_dropout"}


@dataclass(frozen=True)
class Dropout(Detector):
    """How much the predicted probabilities vary over passes with dropout: the sum of their variances.

    Feinman et al. draw masks anew for every input; here they are drawn once, the same ones for every input, so that the
    score is a function, and an attack may follow its slope. Where the network has dropout layers they drop at their own
    rates; where it has none, what enters its last layer with weights is dropped at `rate`. If that layer puts out the
    logits, only it is computed again.

    Args:
        passes: with one mask each.
        rate: for a network without dropout layers.
    """

    name: ClassVar[str] = "dropout"
    title: ClassVar[str] = "Dropout uncertainty"
    paper: ClassVar[str] = "Feinman et al. 2017 (arXiv 1703.00410)"
    cost: ClassVar[str] = "as many forwards as passes (20), or as many of its last layer in a network without dropout"
    needs: ClassVar[str] = "layers that can be seen"

    passes: int = 20
    rate: float = 0.5

    def __post_init__(self) -> None:
        if self.passes < 2 or not 0 <= self.rate < 1:
            raise InputError(f"expected at least 2 passes and a rate from 0 to below 1, got {self}: change it")

    def learn(self, model: Model, clean: Examples, adversarial: Examples | None, seed: int) -> dict[str, Tensor]:
        head = max(layer.place for layer in layers(model, clean.x) if layer.weighs)
        few, _ = next(portions(model, clean.x[:2]))
        finds, last = _Dropping(torch.zeros(1, dtype=torch.int64)), _Heads([None], 0.0, head)
        with torch.no_grad():
            with finds:
                model.logits(few)
            with last:
                logits = model.logits(few)
        return {
            "keys": keys(seed, torch.arange(self.passes)),
            "place": torch.tensor(NOWHERE if finds.dropped else head),
            "ends": torch.tensor(torch.equal(last.answers[0].float(), logits)),
        }

    def rebuild(self, model: Model, shape: tuple[int, ...], learnt: Mapping[str, Tensor]) -> Fitted:
        return _Dropout(self, model, shape, learnt)


class _Dropout(Fitted):
    detector: Dropout
    keys: Tensor  # (passes,) int64
    place: Tensor  # of the layer before which is dropped; -1: at the network's own dropout layers
    ends: Tensor  # bool: the logits are what the last layer with weights puts out

    def __init__(self, detector: Dropout, model: Model, shape: tuple[int, ...], learnt: Mapping[str, Tensor]) -> None:
        super().__init__(detector, model, shape, learnt)
        self.at, self.once = int(self.place), bool(self.ends) and int(self.place) != NOWHERE

    def beside(self, x: Tensor) -> tuple[Tensor, Tensor]:
        parts: list[tuple[Tensor, Tensor]] = [self._part(part, rows) for part, rows in portions(self.model, x)]
        probabilities = torch.cat([answers for _, answers in parts], 1).softmax(2)
        variance = (probabilities - probabilities.mean(0)).square().mean(0)
        return torch.cat([logits for logits, _ in parts]), variance.sum(1)

    def forward(self, x: Tensor) -> Tensor:
        return self.beside(x)[1]

    @torch.compiler.disable  # type: ignore[untyped-decorator]  # tracing loses what a mode changes
    def _part(self, x: Tensor, rows: int) -> tuple[Tensor, Tensor]:
        """Logits (B, C), and those of every pass (passes, B, C)."""
        if self.once:
            with _Heads([None, *self.keys[:, None]], self.detector.rate, self.at) as heads:
                logits = self.model.logits(x)
            answers = torch.stack(heads.answers[1:]).float()
        else:
            logits, answers = self.model.logits(x), torch.stack([self._pass(x, key) for key in self.keys[:, None]])
        return logits[:rows], answers[:, :rows]

    def _pass(self, x: Tensor, key: Tensor) -> Tensor:
        with _Dropping(key) if self.at == NOWHERE else _Heads([key], self.detector.rate, self.at):
            return self.model.logits(x)


class _Dropping(TorchFunctionMode):
    """Puts masks drawn from a key (1,) in place of a network's own dropout."""

    def __init__(self, key: Tensor) -> None:
        self.key, self.dropped = key, 0

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        name, named = name_of(func), kwargs or {}
        rate = (args[1] if len(args) > 1 else named.get("p", 0.5)) if name in _DROPOUT else 0
        if not rate:
            return func(*args, **named)
        self.dropped += 1
        t = args[0]
        shape = t.shape[1:] if name == "dropout" else (t.shape[1], *[1] * (t.ndim - 2))  # else whole channels
        return t * _mask(self.key, rate, self.dropped, shape)


class _Heads(TorchFunctionMode):
    """Computes the layer at `place` once under the mask of each key (1,), None being none; the first answer goes on."""

    def __init__(self, keys: Sequence[Tensor | None], rate: float, place: int) -> None:
        self.keys, self.rate, self.place = keys, rate, place
        self.calls, self.answers = 0, list[Tensor]()

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        named = kwargs or {}
        entering = enters(name_of(func), args, named)
        self.calls += entering is not None
        if entering is None or self.calls - 1 != self.place:
            return func(*args, **named)
        for key in self.keys:
            masked = entering if key is None else entering * _mask(key, self.rate, 0, entering.shape[1:])
            self.answers.append(func(*(masked if a is entering else a for a in args), **named))
        return self.answers[0]


def _mask(key: Tensor, rate: float, stream: int, shape: Sequence[int]) -> Tensor:
    """0 with probability `rate`, else 1 / (1 - rate): (1, *shape), for all rows."""
    return uniform(key, torch.zeros_like(key), stream, shape).ge(rate).float() / (1 - rate)
