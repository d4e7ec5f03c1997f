"""Numbers that stand for pictures: what an ascent changes, so that what it makes can be looked at.

All pictures are (B, C, H, W) in [0, 1]; what stands for one belongs to its row alone.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from blindspots.random import normal, uniform

# Of the colours of natural photographs: rows are red, green and blue, columns decorrelated axes (Olah et al. 2017,
# as their code lucid has it: an eigendecomposition scaled by the root of its values).
_COLOURS = ((0.26, 0.09, 0.02), (0.27, 0.0, -0.05), (0.27, -0.09, 0.03))
_SMALL = 0.01  # standard deviation of the first numbers
_SOFTEST = 0.02  # how near to black and white data are taken to be, whose logits are infinite there


def _mixture() -> Tensor:
    found = torch.tensor(_COLOURS)
    largest: Tensor = found.norm(dim=0).max()
    return found / largest


def coloured(x: Tensor) -> Tensor:
    """Decorrelated axes (B, 3, H, W) as red, green and blue; any other number of channels as it is."""
    return torch.einsum("dc,bchw->bdhw", _mixture().to(x), x) if x.shape[1] == len(_COLOURS) else x


def decorrelated(x: Tensor) -> Tensor:
    """The inverse of `coloured`."""
    return torch.einsum("dc,bchw->bdhw", _mixture().inverse().to(x), x) if x.shape[1] == len(_COLOURS) else x


class Parametrisation(ABC):
    """How numbers (B, ...) become pictures."""

    @abstractmethod
    def start(self, key: Tensor, shape: Sequence[int]) -> Tensor:
        """First numbers of pictures of `shape` (C, H, W), of each key (B,)."""

    @abstractmethod
    def image(self, numbers: Tensor) -> Tensor:
        """(B, C, H, W) in [0, 1], differentiable."""

    def settled(self, numbers: Tensor) -> Tensor:
        """The nearest numbers that are allowed."""
        return numbers


class Pixels(Parametrisation):
    """Every pixel for itself, in decorrelated colours, through a sigmoid."""

    def start(self, key: Tensor, shape: Sequence[int]) -> Tensor:
        return _SMALL * normal(key, torch.zeros_like(key), 0, shape)

    def image(self, numbers: Tensor) -> Tensor:
        return coloured(numbers).sigmoid()


class Plain(Parametrisation):
    """The picture itself, from grey with a little noise (Engstrom et al. 2019: robust networks need no more)."""

    def start(self, key: Tensor, shape: Sequence[int]) -> Tensor:
        return self.settled(0.5 + normal(key, torch.zeros_like(key), 0, shape) / 20)

    def image(self, numbers: Tensor) -> Tensor:
        return numbers

    def settled(self, numbers: Tensor) -> Tensor:
        return numbers.clamp(0, 1)


class Fourier(Parametrisation):
    """Its spectrum, in decorrelated colours, so that a step moves all frequencies as photographs have them.

    Olah et al. 2017, "Feature visualization", as lucid scales it: coefficients are divided by their frequency, of
    which the lowest counts as one period in the picture, and the sum by 4.
    """

    def __init__(self, size: Sequence[int]) -> None:
        self.size = tuple(size)
        high, wide = self.size
        across = torch.fft.fftfreq(high)[:, None].square() + torch.fft.rfftfreq(wide).square()
        self.scale = 1 / across.sqrt().clamp_min(1 / max(self.size))

    def start(self, key: Tensor, shape: Sequence[int]) -> Tensor:
        return _SMALL * normal(key, torch.zeros_like(key), 0, (shape[0], *self.scale.shape, 2))

    def image(self, numbers: Tensor) -> Tensor:
        spectrum = torch.view_as_complex(numbers.contiguous()) * self.scale.to(numbers.device)
        return coloured(torch.fft.irfft2(spectrum, self.size, norm="ortho") / 4).sigmoid()


class Maco(Parametrisation):
    """Its phase alone: magnitudes stay those that the user's own data have on average (Fel et al. 2023, 2306.06805).

    The paper takes them from ImageNet, and stretches every picture to unit variance; here they are those of the logits
    of pixels, in decorrelated colours, so that no stretching is needed and grey pictures have theirs, too.

    Args:
        magnitude: (C, H, W // 2 + 1) of orthonormal transforms, see `magnitudes`.
    """

    def __init__(self, size: Sequence[int], magnitude: Tensor) -> None:
        self.size, self.magnitude = tuple(size), magnitude

    def start(self, key: Tensor, shape: Sequence[int]) -> Tensor:
        return self.settled(2 * torch.pi * uniform(key, torch.zeros_like(key), 0, self.magnitude.shape))

    def image(self, numbers: Tensor) -> Tensor:
        wave = torch.complex(numbers.cos(), numbers.sin()) * self.magnitude.to(numbers.device)
        return coloured(torch.fft.irfft2(wave, self.size, norm="ortho")).sigmoid()

    def settled(self, numbers: Tensor) -> Tensor:
        """The mean of a picture stays that of the data, with its sign."""
        fixed = torch.zeros_like(self.magnitude, dtype=torch.bool)
        fixed[..., 0, 0] = True
        return numbers.masked_fill(fixed.to(numbers.device), 0.0)


def magnitudes(x: Tensor) -> Tensor:
    """Sums over pictures x (B, C, H, W) in [0, 1] of the magnitudes of their logits' spectra, (C, H, W // 2 + 1).

    In decorrelated colours; that of the mean has its sign.
    """
    spectrum = torch.fft.rfft2(decorrelated(x.clamp(_SOFTEST, 1 - _SOFTEST).logit()), norm="ortho")
    found: Tensor = spectrum.abs().sum(0)
    found[..., 0, 0] = spectrum[..., 0, 0].real.sum(0)
    return found
