"""True values for verification, by formulas written a second time, and where the published optima are."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

# Surjanovic and Bingham, "Virtual Library of Simulation Experiments": maximisers, and minus the published minima
PUBLISHED: dict[str, tuple[float, list[list[float]]]] = {
    "branin": (-0.397887, [[-math.pi, 12.275], [math.pi, 2.275], [9.42478, 2.475]]),
    "hartmann3": (3.86278, [[0.114614, 0.555649, 0.852547]]),
    "hartmann6": (3.32237, [[0.20169, 0.150011, 0.476874, 0.275332, 0.311652, 0.6573]]),
}
BOUNDS = {"branin": [(-5, 10), (0, 15)], "hartmann3": [(0, 1)] * 3, "hartmann6": [(0, 1)] * 6}
# height of every bump, steepness and place (in ten thousandths) of each number
_BUMPS: dict[str, list[tuple[float, tuple[float, ...], tuple[int, ...]]]] = {
    "hartmann3": [
        (1.0, (3.0, 10, 30), (3689, 1170, 2673)), (1.2, (0.1, 10, 35), (4699, 4387, 7470)),
        (3.0, (3.0, 10, 30), (1091, 8732, 5547)), (3.2, (0.1, 10, 35), (381, 5743, 8828)),
    ],
    "hartmann6": [
        (1.0, (10, 3, 17, 3.5, 1.7, 8), (1312, 1696, 5569, 124, 8283, 5886)),
        (1.2, (0.05, 10, 17, 0.1, 8, 14), (2329, 4135, 8307, 3736, 1004, 9991)),
        (3.0, (3, 3.5, 1.7, 10, 17, 8), (2348, 1451, 3522, 2883, 3047, 6650)),
        (3.2, (17, 8, 0.05, 10, 0.1, 14), (4047, 8828, 8732, 5743, 1091, 381)),
    ],
}  # fmt: skip


def branin(x: Array) -> Array:
    """Minus (x2 - 5.1 x1^2 / 4 pi^2 + 5 x1 / pi - 6)^2 + 10 (1 - 1 / 8 pi) cos x1 + 10, for x (N, 2)."""
    first, second = x[:, 0], x[:, 1]
    valley = second - 5.1 * np.square(first / (2 * np.pi)) + 5 * first / np.pi - 6
    return np.asarray(-np.square(valley) - (10 - 10 / (8 * np.pi)) * np.cos(first) - 10)


def _hartmann(name: str) -> Callable[[Array], Array]:
    def value(x: Array) -> Array:
        total = np.zeros(len(x))
        for height, steepness, place in _BUMPS[name]:
            exponent = sum(
                a * np.square(x[:, i] - p / 1e4) for i, (a, p) in enumerate(zip(steepness, place, strict=True))
            )
            total += height * np.exp(-exponent)
        return total

    return value


FORMULAS: dict[str, Callable[[Array], Array]] = {
    "branin": branin, "hartmann3": _hartmann("hartmann3"), "hartmann6": _hartmann("hartmann6"),
}  # fmt: skip


def ehrlich(task: Mapping[str, Array], sequences: Array) -> Array:
    """Of letters (N, positions), position by position (Stanton et al. 2024)."""
    levels, motif_length = int(task["quantisation"][0]), task["patterns"].shape[1]
    value = np.ones(len(sequences))
    for motif, places in zip(task["patterns"], task["offsets"], strict=True):
        best = np.zeros(len(sequences), dtype=np.int64)
        for start in range(sequences.shape[1] - places[-1]):
            best = np.maximum(
                best, sum((sequences[:, start + p] == a).astype(np.int64) for a, p in zip(motif, places, strict=True))
            )
        value *= np.floor(best * levels / motif_length) / levels
    for before, after in zip(sequences.T[:-1], sequences.T[1:], strict=True):
        value[task["transitions"][before, after] == 0] = 0
    return value


def reachable(task: Mapping[str, Array]) -> bool:
    """Whether some sequence has the value 1: motifs side by side, every gap filled with the letter before it; and
    whether every letter comes after every other at some time, also of both parities (the chain is ergodic)."""
    motifs, length = task["patterns"].shape
    line: list[int] = []
    for motif, places in zip(task["patterns"].tolist(), task["offsets"].tolist(), strict=True):
        gaps = np.diff([*places, places[-1] + 1])
        line += [letter for letter, gap in zip(motif, gaps, strict=True) for _ in range(gap)]
    allowed = (task["transitions"] > 0).astype(np.float64)
    steps = np.linalg.matrix_power(np.eye(len(allowed)) + allowed, len(allowed))
    ergodic = bool((steps > 0).all() and np.diagonal(allowed).any())
    return ergodic and bool(ehrlich(task, np.array([line]))[0] == 1) and motifs * length > 0
