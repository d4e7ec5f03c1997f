"""Networks for pictures from a local folder, behind their own preprocessing rebuilt in torch; nothing is downloaded."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from blindspots.errors import InputError
from blindspots.findings import Finding
from blindspots.models.model import Model
from blindspots.models.preprocessing import Preprocessing
from blindspots.random import keys, uniform

Original = Callable[[Tensor], Tensor]  # from a picture (H, W, 3) uint8 to what the network gets, (3, h, w)
_MOST = 2.0  # levels of 8 bits: two roundings of Pillow, and a little for overshoots
_SIZES = (
    (1.0, 1.0),
    (1.3, 1.75),
    (0.8, 0.6),
    (2.2, 1.4),
)  # of the pictures that are compared, relative to the network's


class Behind(nn.Module):
    """A network behind its preprocessing: pictures (B, 3, H, W) in [0, 1] to scores (B, C)."""

    def __init__(self, before: Preprocessing, net: nn.Module, read: Callable[[Any], Tensor]) -> None:
        super().__init__()
        self.before, self.net, self.read = before, net, read
        self.config = getattr(net, "config", None)  # names of classes are looked up there

    def forward(self, x: Tensor) -> Tensor:
        return self.read(self.net(self.before(x)))


def of_pictures(
    net: Behind, original: Original, size: tuple[int, int], name: str, spec: str, class_names: list[str] | None = None
) -> Model:
    """The model, once its preprocessing was compared with the original on pictures of 8 bits; `notes` has the gap.

    Args:
        original: the library's own preprocessing.
        size: of what the network gets, (h, w).

    Raises:
        InputError: they differ by more than rounding.
    """
    pictures = [_picture(at, int(a * size[0]), int(b * size[1])) for at, (a, b) in enumerate(_SIZES)]
    with torch.no_grad():
        ours = [net.before(picture.permute(2, 0, 1)[None].float() / 255) for picture in pictures]
        theirs = [original(picture)[None] for picture in pictures]
        apart = max(_levels(net.before, a, b) for a, b in zip(ours, theirs, strict=True))
        scores = [(net.read(net.net(a)), net.read(net.net(b))) for a, b in zip(ours, theirs, strict=True)]
    if not apart <= _MOST:
        raise InputError(
            f"expected an image processor that resizes, crops, rescales and normalises in {spec!r}, got one that "
            f"differs from that by {apart:.2g} levels of 255: build the model with its preprocessing in a factory"
        )
    model = Model(net, name=name, spec=spec, class_names=class_names)
    relative = max(float((a - b).abs().max() / b.abs().max()) for a, b in scores)
    model.remarks = (_note(apart, relative),)
    return model


def _levels(before: Preprocessing, ours: Tensor, theirs: Tensor) -> float:
    same = ours.shape == theirs.shape
    return float((before.levels(ours) - before.levels(theirs)).abs().max()) if same else torch.inf


def _note(apart: float, relative: float) -> Finding:
    return Finding(
        code="preprocessing-inside",
        severity="note",
        saw="The threat is in the pixels of pictures, before their preprocessing, which was rebuilt in torch: it "
        f"differs from the original by up to {apart:.2g} of 255 levels, and scores by {relative:.2g} of the largest.",
        do="Nothing to do: the original rounds to 8 bits on the way, which leaves no gradient.",
    )


def _picture(at: int, height: int, width: int) -> Tensor:
    """Noise over a slope, black and white at its ends, as (H, W, 3) uint8."""
    noise = uniform(keys(0, torch.tensor([at])), torch.tensor([0]), 0, (height, width, 3))[0]
    slope = torch.linspace(0, 1, width)[:, None]
    return ((noise + slope - 0.5).clamp(0, 1) * 255).round().to(torch.uint8)
