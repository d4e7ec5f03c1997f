"""Corruptions: noise, blur and faded contrast, as label-only baselines."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from blindspots.attacks.attack import Facts
from blindspots.attacks.images import along_axes, gaussian
from blindspots.attacks.natural.line import LineSearch
from blindspots.attacks.starts import as_images
from blindspots.problem import Job, Problem
from blindspots.random import normal, uniform
from blindspots.rows import col


@dataclass(frozen=True)
class AdditiveNoise(LineSearch):
    """Independent noise on every component, clipped to the box; searches for the smallest amount that fools the model.

    Args:
        kind: "gaussian", or "uniform".
        most: standard deviation at the end, as a share of the box's width; it grows with the square of the amount.
        steps: amounts that are tried, from the smallest one up.
        halvings: of the stretch before the first success.
        draws: random patterns that are tried.
    """

    kind: Literal["gaussian", "uniform"] = "gaussian"
    most: float = 2.0
    steps: int = 32
    halvings: int = 8
    draws: int = 100

    facts: ClassVar[Facts] = Facts(
        paper="Rauber, Brendel, Bethge: Foolbox (repeated additive noise)",
        year=2017,
        family="natural changes",
        cost="steps + halvings + (draws - 1)(1 + halvings) forwards at most",
        use="whether plain noise is enough",
    )
    threats: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1")

    @property
    def rounds(self) -> int:
        return self.draws

    def at(self, problem: Problem, job: Job, amount: Tensor, draw: Tensor) -> Tensor:
        width = problem.threat.span
        return job.x + col(self.most * width * amount.square(), job.x) * self._pattern(job, draw)

    def _pattern(self, job: Job, draw: Tensor) -> Tensor:
        """Of unit variance."""
        if self.kind == "gaussian":
            return normal(job.key, draw, 0, job.x.shape[1:])
        return 12**0.5 * (uniform(job.key, draw, 0, job.x.shape[1:]) - 0.5)


@dataclass(frozen=True)
class SaltAndPepper(LineSearch):
    """Random pixels become the lower or the upper bound, in all channels; searches for the fewest that fool the model.

    Args:
        most: share of the pixels that change at the end; it grows with the square of the amount.
        steps, halvings, draws: as in `AdditiveNoise`.
    """

    most: float = 1.0
    steps: int = 32
    halvings: int = 8
    draws: int = 200

    facts: ClassVar[Facts] = Facts(
        paper="Rauber, Brendel, Bethge: Foolbox (salt and pepper noise)",
        year=2017,
        family="natural changes",
        cost="as AdditiveNoise",
        use="few pixels, black or white",
    )
    threats: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1", "l0")

    @property
    def rounds(self) -> int:
        return self.draws

    def at(self, problem: Problem, job: Job, amount: Tensor, draw: Tensor) -> Tensor:
        image = as_images(job.x)
        lo, hi = problem.threat.whole.over(job.x, as_images)
        place = uniform(job.key, draw, 0, (1, *image.shape[2:]))
        half = col(self.most * amount.square() / 2, image)
        changed = torch.where(place >= 1 - half, hi, torch.where(place < half, lo, image))
        return changed.view_as(job.x)


@dataclass(frozen=True)
class Blur(LineSearch):
    """Gaussian blur, reflected at the border; searches for the least blur that fools the model.

    Args:
        most: standard deviation at the end, as a share of the longer side; it grows with the square of the amount.
        steps, halvings: as in `AdditiveNoise`.
    """

    most: float = 1.0
    steps: int = 32
    halvings: int = 8

    facts: ClassVar[Facts] = Facts(
        paper="Rauber, Brendel, Bethge: Foolbox (Gaussian blur)",
        year=2017,
        family="natural changes",
        cost="steps + halvings forwards at most",
        use="the least blur that fools the model",
    )
    threats: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1")
    even: ClassVar[bool] = True

    def at(self, problem: Problem, job: Job, amount: Tensor, draw: Tensor) -> Tensor:
        height, width = as_images(job.x).shape[2:]
        sigma = self.most * max(height, width) * amount.square()
        return along_axes(job.x, gaussian(height, sigma), gaussian(width, sigma))


@dataclass(frozen=True)
class Contrast(LineSearch):
    """Fades to one grey; searches for the least fading that fools the model.

    Args:
        to: the grey, as a share of the box.
        steps, halvings: as in `AdditiveNoise`.
    """

    to: float = 0.5
    steps: int = 32
    halvings: int = 8

    facts: ClassVar[Facts] = Facts(
        paper="Rauber, Brendel, Bethge: Foolbox (contrast reduction)",
        year=2017,
        family="natural changes",
        cost="steps + halvings forwards at most",
        use="the least fading that fools the model",
    )
    threats: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1")

    def at(self, problem: Problem, job: Job, amount: Tensor, draw: Tensor) -> Tensor:
        box = problem.threat.whole
        grey = torch.as_tensor(box.lo + self.to * box.width, dtype=job.x.dtype, device=job.x.device)
        return torch.lerp(job.x, grey.expand_as(job.x), col(amount, job.x))
