"""What a detector of adversarial inputs is: settings that can be fitted to a model, and what was learnt."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import ClassVar, final

import torch
from torch import Tensor, nn

from blindspots.batching import ANSWERS
from blindspots.errors import InputError
from blindspots.models.model import Model
from blindspots.models.precision import full_precision
from blindspots.models.training import alone

_ASIDE = 256
_LEAST = 10
_UPPER = 0.95


@dataclass(frozen=True)
class Examples:
    """Inputs and their labels.

    Attributes:
        x: (N, *shape) float32 within the model's bounds.
        y: (N,) int64, the right classes, of adversarial examples too.
    """

    x: Tensor
    y: Tensor

    def __post_init__(self) -> None:
        if self.x.shape[0] != self.y.shape[0]:
            raise InputError(
                f"expected one label per input, got {self.y.shape[0]} labels of {self.x.shape[0]} inputs: give as many"
            )

    def __len__(self) -> int:
        return self.x.shape[0]

    def __getitem__(self, at: Tensor | slice) -> "Examples":
        return Examples(self.x[at], self.y[at])


@dataclass(frozen=True)
class Detector(ABC):
    """The settings of a detector; `fit` makes one of them for a model."""

    name: ClassVar[str]  # on the command line
    title: ClassVar[str]  # for people
    paper: ClassVar[str]
    cost: ClassVar[str]  # beyond the model's own forward, per input
    needs: ClassVar[str]  # of the model and of the data, in words
    learns_from_attacks: ClassVar[bool] = False  # whether `fit` uses adversarial examples
    needs_attacks: ClassVar[bool] = False  # whether it cannot do without
    asks_model: ClassVar[bool] = True  # whether scores depend on the model
    tests_batches: ClassVar[bool] = False  # whether what is fitted tests whole batches, too: see `batches`
    smooth: ClassVar[bool] = True  # whether the score's gradient is its slope; else the class says what it is

    @final
    def fit(self, model: Model, clean: Examples, adversarial: Examples | None = None, seed: int = 0) -> "Fitted":
        """A detector for the model; same seed, same bits. The model stays as it was.

        One clean row in ten, at most 256, teaches nothing but the scale of the scores.

        Args:
            model: the one to be protected.
            clean: inputs as the model meets them, not those that the detector will be judged on.
            adversarial: what attacks made of such inputs.
            seed: decides all draws.

        Raises:
            InputError: adversarial examples are missing where they are needed, there are too few rows, or the model
                does not show what the detector looks at.
        """
        self._check(clean, adversarial)
        aside = min(_ASIDE, math.ceil(len(clean) / 10))
        with model.borrowed(), full_precision(model.device), alone(seed):
            clean, adversarial = _shuffled(clean), _shuffled(adversarial) if adversarial else None
            learnt = self.learn(model, clean[aside:], adversarial, seed)
            fitted = self.restore(model, tuple(clean.x.shape[1:]), {**learnt, "scale": torch.tensor(1.0)})
            fitted.scale.fill_(_scale(fitted, clean.x[:aside]))
        return fitted

    @final
    def restore(self, model: Model, shape: tuple[int, ...], learnt: Mapping[str, Tensor]) -> "Fitted":
        """The detector whose state these tensors are, for inputs (B, *shape)."""
        ordered = sorted(learnt.items())  # a file gives them in any order, and a model's digest is of their order, too
        fitted = self.rebuild(model, shape, {name: t for name, t in ordered if name != "scale"})
        fitted.scale.copy_(learnt["scale"])
        return fitted.requires_grad_(False).eval().to(model.device)

    @abstractmethod
    def learn(self, model: Model, clean: Examples, adversarial: Examples | None, seed: int) -> dict[str, Tensor]:
        """Everything that is to be remembered.

        Examples come in an order of chance, the model is in evaluation mode, torch's generator is seeded.
        """

    @abstractmethod
    def rebuild(self, model: Model, shape: tuple[int, ...], learnt: Mapping[str, Tensor]) -> "Fitted":
        """The network around what was learnt."""

    def __str__(self) -> str:
        """As `parse_detector` reads it."""
        settings = [f"{f.name}={str(getattr(self, f.name)).lower()}" for f in fields(self)]
        return f"{self.name}:{','.join(settings)}" if settings else self.name

    def _check(self, clean: Examples, adversarial: Examples | None) -> None:
        if self.needs_attacks and not adversarial:
            raise InputError(
                f"expected adversarial examples for {self.name}, which learns from them, got none: attack the model "
                "first, or choose a detector that does without, such as density"
            )
        if len(clean) < _LEAST:
            raise InputError(f"expected at least {_LEAST} clean rows for {self.name}, got {len(clean)}: give it more")
        if adversarial and adversarial.x.shape[1:] != clean.x.shape[1:]:
            raise InputError(
                f"expected adversarial examples of the clean inputs' shape {tuple(clean.x.shape[1:])}, got "
                f"{tuple(adversarial.x.shape[1:])}: make them of the same data"
            )


class Fitted(nn.Module, ABC):
    """A detector that has learnt. Called with inputs x (B, *shape) it gives scores (B,) float32.

    A larger score is more suspicious; a row's score depends on that row alone. As `Model.logits`, it is called within
    `model.borrowed()`, keeps autograd and moves x to the model's device. Its state is all it has learnt and nothing of
    the model.

    Attributes:
        scale: the change of the score that weighs as much as a change of 1 in the model's logits: how far the 95 %
            quantile of clean scores lies above their median, by the median margin between the two largest logits.
    """

    scale: Tensor  # ()

    def __init__(
        self, detector: Detector, model: Model, shape: tuple[int, ...], learnt: Mapping[str, Tensor] | None = None
    ) -> None:
        super().__init__()
        self.detector, self.model, self.shape = detector, model, shape
        self.register_buffer("scale", torch.tensor(1.0))
        for name, tensor in (learnt or {}).items():
            self.register_buffer(name, tensor.contiguous())  # as a file keeps it: a layout decides the last bits

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Scores (B,) of inputs (B, *shape)."""

    def beside(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The model's logits (B, C) and the scores (B,), in one forward pass where that is possible."""
        return self.model.logits(x), self(x)

    @property
    def numbers(self) -> int:
        """How many it has learnt."""
        return sum(tensor.numel() for tensor in self.state_dict().values())

    def extra_repr(self) -> str:
        return f"{self.detector}, shape={self.shape}"


def scores(fitted: Fitted, x: Tensor) -> Tensor:
    """Scores (N,) float32, on the CPU and without gradients, of any number of inputs (N, *shape).

    Raises InputError for inputs of another shape than the detector was fitted to.
    """
    if tuple(x.shape[1:]) != fitted.shape:
        raise InputError(
            f"expected inputs of shape {fitted.shape}, which {fitted.detector.name} was fitted to, got "
            f"{tuple(x.shape[1:])}: fit it to this data"
        )
    with fitted.model.borrowed(), full_precision(fitted.model.device), torch.no_grad():
        return torch.cat([fitted(part).cpu() for part in torch.split(x, ANSWERS)])


def _shuffled(examples: Examples) -> Examples:
    return examples[torch.randperm(len(examples))]


def _scale(fitted: Fitted, x: Tensor) -> float:
    """See `Fitted`; 1 where nothing can be said. Quantiles, since a few clean scores are wild."""
    with torch.no_grad():
        top = torch.cat([fitted.model.logits(part).topk(2, 1).values for part in torch.split(x, ANSWERS)])
    clean = scores(fitted, x)
    spread, margin = clean.quantile(_UPPER) - clean.median(), (top[:, 0] - top[:, 1]).median()
    scale = float(spread) / float(margin) if margin > 0 else float(spread)
    return scale if 0 < scale < torch.inf else 1.0
