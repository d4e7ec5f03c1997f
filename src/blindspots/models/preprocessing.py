"""What pictures go through before a network, in torch, so that a threat is in the user's own pixels.

A radius after a resize would be another, harsher threat: downscaling averages, and a crop throws a border away.
"""

from collections.abc import Sequence
from functools import lru_cache, partial

import PIL
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from blindspots.models.resampling import Kernel, along, cubic, lanczos, linear, weights

# Pillow's filters: the kernel, and beyond which distance it is 0.
_FILTERS: dict[int, tuple[Kernel, float]] = {
    int(Image.Resampling.BILINEAR): (linear, 1),
    int(Image.Resampling.BICUBIC): (partial(cubic, a=-0.5), 2),
    int(Image.Resampling.LANCZOS): (lanczos, 3),
}
_SINCE_13 = int(PIL.__version__.split(".")[0]) >= 13
FILTERS = (int(Image.Resampling.NEAREST), *_FILTERS)  # that are known


class Preprocessing(nn.Module):
    """Resize, crop from the middle, scale and normalise pictures (B, C, H, W) in [0, 1], which may have any size.

    The resize is that of Pillow (kernels widen where pictures shrink), but for its rounding to 8 bits, which would
    leave no gradient.

    Args:
        size: (height, width); one number: that of the shorter side, the longer one in proportion; None: no resize.
        crop: (height, width), with zeros around smaller pictures; None: no crop.
        resample: one of Pillow's filters, by its number (`Image.Resampling`).
        scale: what 1 becomes before normalisation.
        mean, std: of each channel, (x - mean) / std; None: neither.
        rounded: half a pixel of a crop's margin goes to the even side, as in torchvision; else before the picture.
        flipped: the network takes the last channel first (BGR); mean and std are those of the flipped channels.
    """

    def __init__(
        self,
        size: int | tuple[int, int] | None,
        crop: tuple[int, int] | None,
        resample: int,
        scale: float = 1.0,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        rounded: bool = False,
        flipped: bool = False,
    ) -> None:
        super().__init__()
        self.mean: Tensor
        self.std: Tensor
        self.size, self.crop, self.resample, self.scale = size, crop, resample, scale
        self.rounded, self.flipped = rounded, flipped
        self.register_buffer("mean", torch.tensor(mean or [0.0]).reshape(-1, 1, 1))
        self.register_buffer("std", torch.tensor(std or [1.0]).reshape(-1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = x if self.size is None else self._resized(x)
        x = x if self.crop is None else self._cropped(x, *self.crop)
        x = x.flip(-3) if self.flipped else x
        return (x * self.scale - self.mean) / self.std

    def levels(self, out: Tensor) -> Tensor:
        """What it returned, as levels of 8 bits before it was scaled."""
        return (out * self.std + self.mean) / self.scale * 255

    def _resized(self, x: Tensor) -> Tensor:
        """One axis after the other, in Pillow's order; it cuts off at 0 and 255 after either."""
        old_height, old_width = x.shape[-2:]
        height, width = self._target(old_height, old_width)
        passes = [(-1, old_width, width), (-2, old_height, height)]
        for axis, n, m in reversed(passes) if _rows_first(old_height, old_width, height, width) else passes:
            x = x if n == m else along(x, axis, _matrix(n, m, self.resample)).clamp(0, 1)
        return x

    def _target(self, height: int, width: int) -> tuple[int, int]:
        if isinstance(self.size, tuple):
            return self.size
        assert self.size is not None
        longer = int(self.size * max(height, width) / min(height, width))
        return (self.size, longer) if height <= width else (longer, self.size)

    def _cropped(self, x: Tensor, height: int, width: int) -> Tensor:
        margins = (x.shape[-2] - height, x.shape[-1] - width)
        top, left = (round(m / 2) if self.rounded else m // 2 for m in margins)
        return F.pad(x, (-left, left - margins[1], -top, top - margins[0]))

    def extra_repr(self) -> str:
        resized = f"size={self.size}, resample={self.resample}"
        return f"{resized}, crop={self.crop}, rounded={self.rounded}, flipped={self.flipped}, scale={self.scale!r}"


def _rows_first(height: int, width: int, new_height: int, new_width: int) -> bool:
    """Whether Pillow changes the height before the width: since version 13, where the height shrinks by much more.

    The rule was found by comparing 600 resizes with both orders; python-pillow/Pillow#9549 says "significantly more".
    """
    lost = height - new_height
    return _SINCE_13 and lost > 0 and lost > 2 * (width - new_width)


@lru_cache(maxsize=64)
def _matrix(n: int, m: int, resample: int) -> Tensor:
    """(m, n): how much of each old place is in each new one."""
    places = (torch.arange(m, dtype=torch.float64) + 0.5) * n / m - 0.5
    if resample not in _FILTERS:  # the nearest
        return F.one_hot((places + 0.5).floor().long(), n).double()
    kernel, reach = _FILTERS[resample]
    return weights(places, n, kernel, reach, max(1.0, n / m), inside_only=True)
