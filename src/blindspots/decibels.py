"""Balls whose radius is a share of each row's own size, said in decibels: what is usual for sounds."""

import math
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from blindspots.ball import L2, Ball, Linf
from blindspots.box import Numbers
from blindspots.errors import InputError
from blindspots.geometry import TINY
from blindspots.rows import Around

Array = NDArray[Any]


class Relative(Ball):
    """A ball around each row with a radius of its own: a share of how large the row itself is, in the same norm.

    Distances and `radius` are such shares, so that less is less; `decibels` and `spec` are what users say.

    Args:
        decibels: the limit; None means unbounded.
        lo, hi: the box; of sounds -1 and 1.
        where, padding: see `Ball`.
        radius: the share itself, instead of decibels.

    Raises InputError as `Ball` does, and for units: decibels have none.
    """

    sign: ClassVar[int]  # of the decibels of a small change
    ball: ClassVar[type[Ball]]  # what attacks search in

    def __init__(
        self,
        decibels: float | None = None,
        lo: Numbers = -1.0,
        hi: Numbers = 1.0,
        unit: Numbers | None = None,
        where: np.ndarray | Tensor | None = None,
        padding: float | None = None,
        *,
        radius: float | None = None,
    ) -> None:
        if unit is not None:
            raise InputError(
                f"expected no units of features in {self.name}, which compares a row with itself, got some"
            )
        if decibels is not None and not math.isfinite(decibels):
            raise InputError(f"expected a finite number of decibels, got {decibels}: write {self.name} alone instead")
        super().__init__(radius if decibels is None else self.share(decibels), lo, hi, None, where, padding)

    @classmethod
    def share(cls, decibels: float) -> float:
        """The share that so many decibels stand for."""
        return float(10 ** (cls.sign * decibels / 20))

    @classmethod
    def in_decibels(cls, share: float) -> float:
        """The decibels of a share; infinite for none."""
        return cls.sign * 20 * math.log10(share) if share > 0 else -cls.sign * math.inf

    @property
    def decibels(self) -> float | None:
        """The limit; None: unbounded."""
        return None if self.radius is None else self.in_decibels(self.radius)

    @property
    def spec(self) -> str:
        return self.name if self.decibels is None else f"{self.name}:{self.decibels:.12g}"

    @property
    def family(self) -> str:
        return self.ball.name

    @cached_property
    def plain(self) -> Ball:
        return self.ball(None, self.lo, self.hi, None, self.where, self.padding)

    def reach(self, x: Tensor) -> Tensor:
        if self.radius is None:
            return super().reach(x)
        own: Tensor = self._norm(x) * self.radius
        return own

    def immovable(self, around: Around) -> Tensor:
        """Silent rows, too: a share of nothing is nothing."""
        loud = (around.x != 0).flatten(1).any(1) | around.r.isinf()
        return super().immovable(around) | ~loud

    def distance(self, x: Tensor, x0: Tensor) -> Tensor:
        return super().distance(x, x0) / self._norm(x0).clamp_min(TINY)

    def measured(self, x: Array, x0: Array) -> Array:
        flat = x0.astype(np.float64).reshape(len(x0), math.prod(x0.shape[1:]))
        whole = np.linalg.norm(flat, ord=self.p, axis=1)
        shares: Array = super().measured(x, x0) / np.maximum(whole, TINY)
        return shares


class SNR(Relative, L2):
    """The signal-to-noise ratio of the change is at least so many dB: |d|_2 <= |x|_2 10^(-dB / 20)."""

    name: ClassVar[str] = "snr"
    title: ClassVar[str] = "SNR"
    allowing: ClassVar[str] = "the signal-to-noise ratio of sound and change stays at {radius} or more"
    sign: ClassVar[int] = -1
    ball: ClassVar[type[Ball]] = L2


class Peak(Relative, Linf):
    """The loudest sample of the change is at most so many dB against that of the sound: dB_x of Carlini and Wagner
    2018 (arXiv 1801.01944), 20 log10 max|d| - 20 log10 max|x|."""

    name: ClassVar[str] = "peak"
    title: ClassVar[str] = "peak"
    allowing: ClassVar[str] = "the change may peak at {radius} against the peak of the sound"
    sign: ClassVar[int] = 1
    ball: ClassVar[type[Ball]] = Linf


DECIBELS: dict[str, type[Relative]] = {kind.name: kind for kind in (SNR, Peak)}


def parse_decibels(text: str) -> Relative:
    """ "snr:20" (dB), "peak:-30", or without a limit "snr". Raises InputError for anything else."""
    name, colon, limit = text.strip().lower().partition(":")
    try:
        return DECIBELS[name](float(limit.removesuffix("db")) if colon else None)
    except ValueError as error:
        raise InputError(
            f"expected a number of decibels for {name}, as in snr:20 or peak:-30, got {text!r}: change it"
        ) from error
