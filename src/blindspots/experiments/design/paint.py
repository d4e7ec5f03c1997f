"""Landscapes of two numbers as pictures: high values dark, promises above the optimum red, climbs as lines."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from PIL.Image import Resampling

Array = NDArray[np.float64]
GRID = 96  # values along each axis
_SIDE, _FINE = 320, 2  # px; drawn larger and reduced, so that lines are smooth
_RAMP = np.array([(247, 245, 238), (190, 214, 205), (104, 168, 158), (30, 110, 112), (14, 58, 74)], dtype=np.float64)
_ABOVE = np.array((214, 72, 40), dtype=np.float64)
_LEVELS = 8
_INK, _PAPER, _START = (20, 20, 20), (255, 255, 255), (120, 120, 120)


def places() -> Array:
    """(GRID * GRID, 2) in [-1, 1], the first number to the right, the second upwards, row by row from the top."""
    axis = (np.arange(GRID) + 0.5) / GRID * 2 - 1
    across, up = np.meshgrid(axis, axis[::-1])
    return np.stack([across.ravel(), up.ravel()], 1)


def painted(
    values: Array, ends: tuple[float, float], most: float | None, data: Array, paths: Sequence[Array]
) -> Image.Image:
    """A landscape.

    Args:
        values: (GRID * GRID,) at `places`.
        ends: the values that are lightest and darkest.
        most: above it no true value lies; None where nobody knows.
        data: (k, 2) points in [-1, 1].
        paths: of climbs, each (steps, 2); the first is that of the chosen design.
    """
    image = Image.fromarray(_coloured(_large(values), ends, most))
    draw = ImageDraw.Draw(image)
    for path in paths[::-1]:
        _line(draw, path, chosen=path is paths[0])
    for x, y in _pixels(data):
        draw.ellipse([x - 5, y - 5, x + 5, y + 5], fill=_START, outline=_PAPER, width=2)
    for path in paths[::-1]:
        _end(draw, path[-1:], chosen=path is paths[0])
    return image.resize((_SIDE, _SIDE), Resampling.LANCZOS)


def _large(values: Array) -> Array:
    grid = Image.fromarray(values.reshape(GRID, GRID).astype(np.float32), "F")
    return np.asarray(grid.resize((_SIDE * _FINE,) * 2, Resampling.BICUBIC), np.float64)


def _coloured(values: Array, ends: tuple[float, float], most: float | None) -> NDArray[np.uint8]:
    low, high = ends
    share = ((values - low) / (high - low)).clip(0, 1)
    at = share * (len(_RAMP) - 1)
    below = np.minimum(at.astype(int), len(_RAMP) - 2)
    colour = _RAMP[below] + (at - below)[..., None] * (_RAMP[below + 1] - _RAMP[below])
    band = np.floor(share * _LEVELS)
    edge = (band != np.roll(band, 1, 0)) | (band != np.roll(band, 1, 1))
    edge[0], edge[:, 0] = False, False
    colour = np.where(edge[..., None], 0.8 * colour, colour)
    if most is not None:
        colour = np.where((values > most)[..., None], 0.25 * colour + 0.75 * _ABOVE, colour)
    return np.asarray(np.rint(colour), np.uint8)


def _pixels(points: Array) -> list[tuple[float, float]]:
    side = _SIDE * _FINE
    return [(side * (x + 1) / 2, side * (1 - y) / 2) for x, y in points.tolist()]


def _line(draw: ImageDraw.ImageDraw, path: Array, chosen: bool) -> None:
    draw.line(_pixels(path), fill=_PAPER, width=9 if chosen else 6, joint="curve")
    draw.line(_pixels(path), fill=_INK, width=5 if chosen else 2, joint="curve")


def _end(draw: ImageDraw.ImageDraw, place: Array, chosen: bool) -> None:
    ((x, y),) = _pixels(place)
    size = 13 if chosen else 7
    draw.ellipse([x - size, y - size, x + size, y + size], fill=_PAPER, outline=_INK, width=4 if chosen else 2)
