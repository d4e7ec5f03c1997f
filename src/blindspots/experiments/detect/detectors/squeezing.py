"""Feature squeezing: a prediction that a harmless change of the input moves far is suspicious."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from blindspots.errors import InputError
from blindspots.experiments.detect.detectors.detector import Detector, Examples, Fitted
from blindspots.models.model import Model
from blindspots.models.transformations import Bits, Median, Transformation
from blindspots.pictures import is_image

_LEAST = 16  # pixels of a side


@dataclass(frozen=True)
class Squeezing(Detector):
    """The largest L1 distance, 0 to 2, between the probabilities of an input and of its squeezed forms.

    Nothing is learnt. Xu et al. choose the squeezers of each data set; their median is of 2 x 2 pixels, and they have
    non-local means besides. The gradient passes the rounding to fewer bits straight through, and the median with its
    own.

    Args:
        depth: bits per number; None: no rounding.
        window: of the median, odd; None: no median; "auto": 3 for images of at least 16 by 16 pixels, and no median for
            tables and for smaller images, of which it leaves little (on 8 x 8 digits the area under the ROC curve
            falls from 0.98 to 0.76 with it).
    """

    name: ClassVar[str] = "squeezing"
    title: ClassVar[str] = "Feature squeezing"
    paper: ClassVar[str] = "Xu et al. 2018 (arXiv 1704.01155)"
    cost: ClassVar[str] = "one forward per squeezer (1 or 2)"
    needs: ClassVar[str] = "nothing but scores"
    smooth: ClassVar[bool] = False

    depth: int | None = 4
    window: int | Literal["auto"] | None = "auto"

    def __post_init__(self) -> None:
        self._squeezers((1, _LEAST, _LEAST))

    def learn(self, model: Model, clean: Examples, adversarial: Examples | None, seed: int) -> dict[str, Tensor]:
        return {}

    def rebuild(self, model: Model, shape: tuple[int, ...], learnt: Mapping[str, Tensor]) -> Fitted:
        return _Squeezing(self, model, shape, self._squeezers(shape))

    def _squeezers(self, shape: tuple[int, ...]) -> list[Transformation]:
        large = is_image(shape) and min(shape[-2:]) >= _LEAST
        window = (3 if large else None) if self.window == "auto" else self.window
        rounding: list[Transformation] = [] if self.depth is None else [Bits(self.depth)]
        both = rounding + ([] if window is None else [Median(window)])
        if not both:
            raise InputError(f"expected a squeezer that fits the inputs, got {self}: give it a depth, say 3")
        return both


class _Squeezing(Fitted):
    def __init__(
        self, detector: Squeezing, model: Model, shape: tuple[int, ...], squeezers: list[Transformation]
    ) -> None:
        super().__init__(detector, model, shape)
        self.squeezers = squeezers

    def beside(self, x: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.model.logits(x)
        moved = [self._moved(logits.softmax(1), squeeze(x, self.model.bounds)) for squeeze in self.squeezers]
        return logits, torch.stack(moved).amax(0)

    def forward(self, x: Tensor) -> Tensor:
        return self.beside(x)[1]

    def _moved(self, probabilities: Tensor, x: Tensor) -> Tensor:
        return (probabilities - self.model.logits(x).softmax(1)).abs().sum(1)
