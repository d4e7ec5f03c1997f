"""Pictures of inputs and of their perturbations."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Array = NDArray[Any]

_DARKER, _BRIGHTER = (37, 99, 188), (205, 66, 32)


def is_image(shape: Sequence[int]) -> bool:
    """(H, W), (1, H, W) or (3, H, W)."""
    return (len(shape) == 2 or (len(shape) == 3 and shape[0] in (1, 3))) and min(shape[-2:]) > 1


def is_colour(shape: Sequence[int]) -> bool:
    """(3, H, W)."""
    return len(shape) == 3 and shape[0] == 3


def picture(x: Array) -> Image.Image:
    """An image (H, W), (1, H, W) or (3, H, W) with values in [0, 1], rounded to 8 bits."""
    pixels = np.rint(x.clip(0, 1) * 255).astype(np.uint8)
    return Image.fromarray(pixels.transpose(1, 2, 0) if is_colour(x.shape) else pixels.reshape(x.shape[-2:]))


def picture_of_change(change: Array) -> Image.Image:
    """A change with values in [-1, 1].

    Colour: centred on mid-grey. Greyscale: blue where it darkens, red where it brightens, transparent where nothing
    changes, so that it sits well on a light and on a dark page.
    """
    if is_colour(change.shape):
        return picture(0.5 + change / 2)
    flat = change.reshape(change.shape[-2:])
    colours = np.where(flat[..., None] < 0, _DARKER, _BRIGHTER)
    alpha = np.rint(np.abs(flat).clip(0, 1) * 255)[..., None]
    return Image.fromarray(np.concatenate([colours, alpha], 2).astype(np.uint8), "RGBA")
