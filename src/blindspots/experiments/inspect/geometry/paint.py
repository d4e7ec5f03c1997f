"""Slices as pictures: classes by colour, confidence by shade, lines where the threat and the box end."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from blindspots.experiments.inspect.geometry.verdict import REACH
from blindspots.runs.experiment import Columns

Array = np.ndarray[Any, Any]
Colour = tuple[int, int, int]
SIDE = 264  # px
_PALETTE = (
    (68, 80, 196), (205, 102, 41), (15, 140, 110), (168, 62, 145), (140, 120, 30), (40, 140, 190),
    (200, 60, 70), (110, 150, 50), (120, 90, 170), (150, 110, 90), (70, 130, 130), (190, 130, 160),
)  # fmt: skip
_NEVER = (150, 150, 150)  # of points that nobody asked about
_PALE = 0.25  # how much of its colour a class without confidence keeps
_OUTSIDE = 0.45  # and a point outside of the box
_INK = (20, 20, 20)
_SECTORS = 40  # of half a turn, every other one a dash


def colours(labels: Sequence[int]) -> dict[int, Colour]:
    """A colour for every class: its own where there are few, else one by its place among those of the slices."""
    own = max(labels) < len(_PALETTE)
    asked = [y for y in labels if y >= 0]
    told = {y: _PALETTE[(y if own else i) % len(_PALETTE)] for i, y in enumerate(asked)}
    return told | {y: _NEVER for y in labels if y < 0}


def painted(c: Columns, shade: Mapping[int, Colour]) -> Image.Image:
    """The first coordinate runs to the right, the second upwards; the row is the cross in the middle."""
    label, confidence = c["label"].numpy(), c["confidence"].numpy()
    valid, size = c["valid"].numpy(), c["size"].numpy()
    least = 1 / max(len(np.unique(label)), 2)
    strength = _PALE + (1 - _PALE) * ((confidence - least) / (1 - least)).clip(0, 1)
    strength = np.where(valid, strength, _OUTSIDE * strength)[..., None]
    base = np.array([shade[int(y)] for y in label.flat]).reshape(*label.shape, 3)
    pixels = np.rint(255 + strength * (base - 255)).astype(np.uint8)
    picture = Image.fromarray(_upright(pixels)).resize((SIDE, SIDE), Image.Resampling.NEAREST)
    lined = np.array(picture)
    lined[_edge(_large(valid.astype(float)) > 0.5)] = _INK
    lined[_edge(_large(size) <= 1) & _dashes()] = _INK
    made = Image.fromarray(lined)
    _marks(made, c["ends"].tolist())
    return made


def _upright(values: Array) -> Array:
    """Index (i, j) of a grid to (row, column) of a picture."""
    return np.ascontiguousarray(np.moveaxis(values, 0, 1)[::-1])


def _large(values: Array) -> Array:
    """Interpolated to all pixels, (SIDE, SIDE)."""
    image = Image.fromarray(_upright(values.astype(np.float32)), "F")
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BILINEAR))


def _edge(inside: Array) -> Array:
    """Pixels inside that touch the outside."""
    padded = np.pad(inside, 1, mode="edge")
    around = [padded[1:-1, :-2], padded[1:-1, 2:], padded[:-2, 1:-1], padded[2:, 1:-1]]
    return np.asarray(inside & ~np.logical_and.reduce(around))


def _dashes() -> Array:
    """Pixels in every other one of many sectors around the middle."""
    rows, columns = np.indices((SIDE, SIDE)) - (SIDE - 1) / 2
    return np.asarray(np.floor(np.arctan2(rows, columns) * _SECTORS / np.pi) % 2 < 1)


def _marks(picture: Image.Image, ends: list[list[float]]) -> None:
    """A cross where the row is, and dots where the two ways end."""
    draw, middle = ImageDraw.Draw(picture), SIDE / 2
    for dx, dy in ((5, 0), (0, 5)):
        draw.line([middle - dx, middle - dy, middle + dx, middle + dy], fill=_INK, width=2)
    for a, b in ends:
        x, y = middle * (1 + a / REACH), middle * (1 - b / REACH)
        draw.ellipse([x - 4, y - 4, x + 4, y + 4], fill=(255, 255, 255), outline=_INK, width=2)
