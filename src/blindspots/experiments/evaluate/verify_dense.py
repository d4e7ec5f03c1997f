"""Scores and measures of goals about pixels and objects, by formulas written a second time, one row after the other."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def margins(name: str, numbers: Sequence[float], output: Array, truth: Array) -> tuple[Array, Array]:
    """Of every row the margin that decides, and the share of pixels that are right or of objects that are missed."""
    parts = list(_of_pixels(output, truth) if name == "pixels" else _of_objects(output, truth, numbers[1], numbers[2]))
    lost = [sum(value < 0 for value in part) for part in parts]
    if name == "pixels":
        needed = [next(k for k in range(len(p) + 1) if len(p) - k < numbers[0] * len(p) - 1e-12) for p in parts]
        measures = [1 - n / len(p) for n, p in zip(lost, parts, strict=True)]
    else:
        needed = [max(1, math.ceil(numbers[0] * len(p) - 1e-12)) for p in parts]
        measures = [n / len(p) for n, p in zip(lost, parts, strict=True)]
    decides = [sorted(p)[k - 1] for p, k in zip(parts, needed, strict=True)]
    return np.asarray(decides), np.asarray(measures)


def _of_pixels(output: Array, truth: Array) -> Iterator[list[float]]:
    for scores, labels in zip(output, truth, strict=True):
        each = []
        for said, label in zip(scores.reshape(len(scores), -1).T, labels.reshape(-1), strict=True):
            if 0 <= label < 255:
                each.append(float(said[label] - np.delete(said, label).max()))
        yield each


def _of_objects(output: Array, truth: Array, overlap: float, score: float) -> Iterator[list[float]]:
    for candidates, objects in zip(output, truth, strict=True):
        yield [
            max(min(float(c[4 + int(o[4])]) - score, _union(c[:4], o[:4]) - overlap) for c in candidates)
            for o in objects
            if o[4] >= 0
        ]


def _union(a: Array, b: Array) -> float:
    """Intersection over union of two boxes."""
    sides = [max(0.0, float(min(a[i + 2], b[i + 2]) - max(a[i], b[i]))) for i in (0, 1)]
    both = sides[0] * sides[1]
    areas = [max(0.0, float(c[2] - c[0])) * max(0.0, float(c[3] - c[1])) for c in (a, b)]
    return both / max(sum(areas) - both, 1e-12)
