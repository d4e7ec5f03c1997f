"""Inputs as they are shown on a page: pictures as parts of it, or the values that changed most."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Array = NDArray[Any]
_LARGEST_SIDE = 128  # px; larger inputs are shown reduced, so that a report stays small enough to be mailed
_PIXELATED_BELOW = 64  # px; smaller inputs are magnified into crisp squares
_CHANGES = 6


@dataclass(frozen=True)
class Change:
    """One value of an input that is not an image: where it is, and what the attack made of it."""

    where: str
    before: float
    after: float


def is_small(shape: Sequence[int]) -> bool:
    """Small enough to be magnified into crisp squares."""
    return max(shape[-2:]) < _PIXELATED_BELOW


def is_reduced(shape: Sequence[int]) -> bool:
    """Too large to be shown pixel by pixel."""
    return max(shape[-2:]) > _LARGEST_SIDE


def scaled(x: Array, low: float, high: float) -> Array:
    """Inputs with the bounds low and high on a scale from 0 to 1."""
    return (x - low) / (high - low)


def data_uri(image: Image.Image, side: int = _LARGEST_SIDE) -> str:
    """A picture as part of a page, reduced if it is larger than `side`."""
    image.thumbnail((side, side))
    buffer = BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def largest_changes(x: Array, adversarial: Array) -> list[Change]:
    """The values that changed most, largest first; those that did not change are left out."""
    size = np.abs(adversarial - x)
    order = np.argsort(-size, axis=None, kind="stable")[:_CHANGES]
    places = [np.unravel_index(int(i), x.shape) for i in order if size.flat[i] > 0]
    return [Change(", ".join(str(int(k)) for k in p), float(x[p]), float(adversarial[p])) for p in places]
