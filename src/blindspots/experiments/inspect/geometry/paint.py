"""Slices as pictures: classes by colour, confidence by shade, lines where the threat and the box end."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from blindspots.experiments.inspect.geometry.verdict import REACH
from blindspots.runs.experiment import Columns

Array = np.ndarray[Any, Any]
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


def colours(labels: Sequence[int]) -> dict[int, str]:
    """A colour for every class, as CSS says it; by place where there are few classes."""
    return {y: f"rgb({', '.join(map(str, _colour(y)))})" for y in labels}


def _colour(y: int) -> tuple[int, int, int]:
    return _PALETTE[y % len(_PALETTE)] if y >= 0 else _NEVER


def painted(c: Columns) -> Image.Image:
    """The first coordinate runs to the right, the second upwards; the row is the cross in the middle."""
    label, confidence = c["label"].numpy(), c["confidence"].numpy()
    valid, size = c["valid"].numpy(), c["size"].numpy()
    least = 1 / max(len(np.unique(label)), 2)
    strength = _PALE + (1 - _PALE) * ((confidence - least) / (1 - least)).clip(0, 1)
    strength = np.where(valid, strength, _OUTSIDE * strength)[..., None]
    base = np.array([_colour(int(y)) for y in label.flat]).reshape(*label.shape, 3)
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
