"""What all inputs share: the numbers that are searched, and how they are put onto inputs.

A patch, a trigger or a generator is one more class of this kind: the methods SGD and SGA search in any.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from blindspots.ball import Ball
from blindspots.geometry import TINY
from blindspots.rows import Around, col


class Parametrisation(ABC):
    """One set of numbers, or one per group of inputs, that changes every input. Differentiable; holds no tensors."""

    @abstractmethod
    def blank(self) -> Tensor:
        """The numbers that change nothing: (groups, ...)."""

    @abstractmethod
    def paint(self, p: Tensor, x: Tensor, group: Tensor) -> Tensor:
        """Inputs `x` (B, *shape), each with the numbers of its `group` (B,) int64 on it: like `x`."""

    @abstractmethod
    def project(self, p: Tensor) -> Tensor:
        """The nearest numbers that are allowed."""

    @property
    @abstractmethod
    def reach(self) -> float:
        """How far numbers may be from those that change nothing, in units of `steepest` and `unit`."""

    @abstractmethod
    def steepest(self, p: Tensor) -> Tensor:
        """The step of length 1 that follows `p` most."""

    @abstractmethod
    def unit(self, p: Tensor) -> Tensor:
        """`p` scaled to length 1; zero stays zero."""

    def pull_back(self, p: Tensor, x: Tensor, group: Tensor, slope: Tensor) -> Tensor:
        """The gradient in `p` of a sum over rows whose gradients in the painted inputs are `slope` (B, *shape)."""
        with torch.enable_grad():
            p = p.detach().requires_grad_()
            return torch.autograd.grad(self.paint(p, x, group), p, slope)[0]


@dataclass(frozen=True)
class Additive(Parametrisation):
    """x + v with |v|_p within the threat's radius.

    Args:
        threat: with a radius, in the box of the inputs.
        shape: of an input.
        groups: how many perturbations there are.
        period: v repeats itself after so many pixels in both spatial dimensions; None: it does not. Fewer numbers to
            fit, the same at every place of the image: what is found on a few images then holds for others.
        clip: keep x + v in the box. The paper's code does not.
    """

    threat: Ball
    shape: tuple[int, ...]
    groups: int = 1
    period: int | None = None
    clip: bool = True

    @property
    def reach(self) -> float:
        return float(self.threat.radius or 0)

    def blank(self) -> Tensor:
        return self.cut(torch.zeros(self.groups, *self.shape))

    def cut(self, v: Tensor) -> Tensor:
        """The numbers of perturbations `v` (groups, *shape): the first of their repeats."""
        return v if self.period is None else v[..., : self.period, : self.period]

    def perturbation(self, p: Tensor) -> Tensor:
        """v of every group: (groups, *shape)."""
        if self.period is None:
            return p
        repeats = [-(-side // self.period) for side in self.shape[-2:]]
        return p.repeat(1, *[1] * (p.ndim - 3), *repeats)[..., : self.shape[-2], : self.shape[-1]]

    def paint(self, p: Tensor, x: Tensor, group: Tensor) -> Tensor:
        painted = x + self.perturbation(p)[group]
        return self.threat.whole.clip(painted) if self.clip else painted

    def steepest(self, p: Tensor) -> Tensor:
        """In the threat's norm."""
        return self.cut(self.threat.steepest(self.perturbation(p)))

    def unit(self, p: Tensor) -> Tensor:
        """In the threat's norm, of the perturbations."""
        return p / col(self.threat.norm(self.perturbation(p)).clamp_min(TINY), p)

    def project(self, p: Tensor) -> Tensor:
        return self.cut(self.project_change(self.perturbation(p)))

    def project_change(self, v: Tensor) -> Tensor:
        """The nearest perturbations (groups, *shape) of the threat's size: around zero, as wide as the box."""
        width = self.threat.span
        radius = torch.full((len(v),), self.reach, device=v.device)
        return self.threat.within(-width, width).project(v, Around(torch.zeros_like(v), radius))
