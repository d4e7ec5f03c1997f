"""Counter-fitting: vectors are moved until synonyms are near and antonyms are not."""

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from blindspots.texts.vectors import Vectors

Rows = NDArray[np.float32]  # (words, dimensions), of length 1
Pairs = NDArray[np.int64]  # (n, 2) places in the table
Weights = NDArray[np.float64]  # (n,)
_BLOCK = 1024  # rows whose cosines with all others are held at a time


def counterfit(
    vectors: Vectors,
    synonyms: Iterable[tuple[str, str]],
    antonyms: Iterable[tuple[str, str]],
    rate: float = 0.1,
    steps: int = 20,
) -> Vectors:
    """Vectors near the given ones in which synonyms attract and antonyms repel each other.

    Mrksic et al. 2016 (arXiv 1603.00892): descends on the sum of three hinges of d(u, v) = 1 - cos(u, v), with equal
    weights: antonyms nearer than 1 (eq. 1), synonyms further than 0 (eq. 2), and neighbours within d = 0.2 that moved
    apart (eq. 3), unless they are antonyms. As in the authors' code words move by means over their active pairs, and
    vectors keep length 1. Here each of the three has a mean of its own, as neighbours would drown antonyms where
    vectors are short, and all words move at once.

    Args:
        synonyms, antonyms: pairs; those of unknown words, and synonyms that are antonyms too, are left out.
        rate: of a step.
        steps: passes over all pairs.
    """
    opposite = _known(vectors, antonyms)
    apart, together = _rows(opposite), _rows(_known(vectors, synonyms) - opposite)
    near = _rows(set(_neighbours(vectors.unit)) - opposite)
    before = _cosines(vectors.unit, near)
    unit = vectors.unit
    for _ in range(steps):
        pull = [
            (apart, np.where(_cosines(unit, apart) > 0, -1.0, 0.0)),
            (together, np.where(_cosines(unit, together) < 1, 1.0, 0.0)),
            (near, np.where(_cosines(unit, near) < before, 1.0, 0.0)),
        ]
        unit = _stepped(unit, pull, rate)
    return Vectors(vectors.words, unit)


def _known(vectors: Vectors, pairs: Iterable[tuple[str, str]]) -> set[tuple[int, int]]:
    """The places of the words of pairs, the smaller one first; pairs of unknown words are left out."""
    place = vectors.place
    known = ((place[a], place[b]) for a, b in pairs if a != b and a in place and b in place)
    return {(min(pair), max(pair)) for pair in known}


def _rows(pairs: Iterable[tuple[int, int]]) -> Pairs:
    return np.array(sorted(pairs), np.int64).reshape(-1, 2)


def _neighbours(unit: Rows) -> Iterator[tuple[int, int]]:
    """Pairs i < j within d = 0.2."""
    for start in range(0, len(unit), _BLOCK):
        i, j = np.nonzero(unit[start : start + _BLOCK] @ unit.T >= 0.8)
        upper = i + start < j
        yield from zip((i[upper] + start).tolist(), j[upper].tolist(), strict=True)


def _cosines(unit: Rows, pairs: Pairs) -> NDArray[np.float32]:
    cosines: NDArray[np.float32] = np.einsum("ne,ne->n", unit[pairs[:, 0]], unit[pairs[:, 1]])
    return cosines


def _stepped(unit: Rows, pull: list[tuple[Pairs, Weights]], rate: float) -> Rows:
    """One step of every word along the sum of its mean pulls; + is together, - apart."""
    towards = np.sum([_mean(unit, *pairs) for pairs in pull], 0)
    along = towards - (towards * unit).sum(1, keepdims=True) * unit  # what turns the vector
    moved = unit + rate * along
    return np.asarray(moved / np.maximum(np.linalg.norm(moved, axis=1, keepdims=True), 1e-12), np.float32)


def _mean(unit: Rows, pairs: Pairs, weight: Weights) -> NDArray[np.float64]:
    """Where a word's active pairs pull it on average: (words, dimensions)."""
    i, j = pairs.T
    one_way = csr_array((weight, (i, j)), shape=(len(unit), len(unit)))
    active = np.bincount(i, weight != 0, len(unit)) + np.bincount(j, weight != 0, len(unit))
    pulled: NDArray[np.float64] = (one_way + one_way.T) @ unit / np.maximum(active, 1)[:, None]
    return pulled
