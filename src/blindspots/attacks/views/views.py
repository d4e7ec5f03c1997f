"""Views: random changes of an input that leave its class as it is, differentiable in the input."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from blindspots.attacks.images import along_axes, in_box, shrunk, with_smooth_gradient
from blindspots.attacks.starts import as_images
from blindspots.ball import Ball
from blindspots.errors import InputError
from blindspots.random import normal, randint, uniform
from blindspots.rows import col, pick


class View(ABC):
    """A frozen object with settings only; row i of a view depends only on row i of its arguments.

    Inputs without two spatial dimensions are one line of pixels.
    """

    @abstractmethod
    def __call__(self, x: Tensor, key: Tensor, number: Tensor, threat: Ball) -> Tensor:
        """A view, within the box, of each row of `x` (B, ...).

        `key`, `number`: int64 (B,), the row's own randomness and the number of the view.
        """


@dataclass(frozen=True)
class InputDiversity(View):
    """Random resize and pad (DI; Xie et al. 2019, arXiv 1803.06978).

    The paper enlarges the input of its networks from 299 to 330 pixels. Here it keeps its size, as on networks that
    take one size alone: the image shrinks to sides between `least` and 1 of its own and lies anywhere on the box's
    lower bound.

    Args:
        least: the smallest side, as a share of the image's; paper: 299 / 330.
        chance: how often a view is changed at all.
    """

    least: float = 0.9
    chance: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.least <= 1:
            raise InputError(f"expected a share of the side in (0, 1], got least={self.least}: use e.g. 0.9")

    def __call__(self, x: Tensor, key: Tensor, number: Tensor, threat: Ball) -> Tensor:
        share = uniform(key, number, 0, (1,))[:, 0]
        lines, columns = (
            self._matrix(pixels, share, key, number, stream)
            for pixels, stream in zip(as_images(x).shape[2:], (1, 2), strict=True)
        )
        changed = uniform(key, number, 3, (1,))[:, 0] < self.chance
        return pick(changed, in_box(threat.lo + along_axes(x - threat.lo, lines, columns), threat), x)

    def _matrix(self, pixels: int, share: Tensor, key: Tensor, number: Tensor, stream: int) -> Tensor:
        least = max(1, int(self.least * pixels))
        size = least + (share * max(1, pixels - least)).long()
        return shrunk(pixels, size, randint(key, number, stream, pixels - size[:, None] + 1, (1,))[:, 0])


@dataclass(frozen=True)
class Scales(View):
    """x / 2^i for i = 0 .. count - 1, in turn (SI; Lin et al. 2020, arXiv 1908.06281).

    Use a multiple of `count` copies, so that every step sees all of them.

    Args:
        count: scales; paper: 5.
        to: where the images fade to, as a share of the box. The paper's networks take inputs in [-1, 1], so its images
            fade to grey: 0.5. On inputs in [0, 1] its formula, and most code, gives black: 0.0.
    """

    count: int = 5
    to: float = 0.0

    def __call__(self, x: Tensor, key: Tensor, number: Tensor, threat: Ball) -> Tensor:
        grey = threat.lo + self.to * threat.width
        return in_box(grey + col(0.5 ** (number % self.count), x).to(x.dtype) * (x - grey), threat)


@dataclass(frozen=True)
class Translations(View):
    """Random shifts by whole pixels (TI; Dong et al. 2019, arXiv 1904.02884, eq. 6). Gaps get the lower bound.

    Args:
        most: largest shift, as a share of the side; every shift up to it is as likely as any other.
    """

    most: float = 0.125

    def __call__(self, x: Tensor, key: Tensor, number: Tensor, threat: Ball) -> Tensor:
        lines, columns = (
            self._matrix(pixels, key, number, stream)
            for pixels, stream in zip(as_images(x).shape[2:], (0, 1), strict=True)
        )
        return in_box(threat.lo + along_axes(x - threat.lo, lines, columns), threat)

    def _matrix(self, pixels: int, key: Tensor, number: Tensor, stream: int) -> Tensor:
        most = int(self.most * pixels)
        shift = randint(key, number, stream, 2 * most + 1, (1,))[:, 0] - most
        return shrunk(pixels, torch.full_like(shift, pixels), shift)


@dataclass(frozen=True)
class GradientKernel(View):
    """The input itself; its gradient is convolved with a Gaussian (TI as the paper computes it, eq. 8).

    A network that is invariant to shifts has the same gradient at shifted images, so the average over shifts is a
    convolution. Put it first among the views, so that gradients from the others are convolved too.

    Args:
        reach: of the kernel on each side, as a share of the longer side, at least 1 pixel; three standard deviations.
            Paper: 7 of 299 pixels.
    """

    reach: float = 0.025

    def __call__(self, x: Tensor, key: Tensor, number: Tensor, threat: Ball) -> Tensor:
        pixels = max(1, round(self.reach * max(as_images(x).shape[2:])))
        weight = torch.exp(-torch.linspace(-3, 3, 2 * pixels + 1, dtype=torch.float64, device=x.device).square() / 2)
        return with_smooth_gradient(x, weight / weight.sum())


@dataclass(frozen=True)
class Noise(View):
    """Gaussian noise: the attack sees a smoothed loss.

    Args:
        sigma: its standard deviation, as a share of the box's width.
    """

    sigma: float = 0.02

    def __call__(self, x: Tensor, key: Tensor, number: Tensor, threat: Ball) -> Tensor:
        noise = normal(key, number, 0, x.shape[1:])
        return in_box(x + self.sigma * threat.width * noise, threat)
