"""Counter-fitting: vectors are moved until synonyms are near and antonyms are not."""

from collections.abc import Iterable

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
    apart (eq. 3). As in the authors' code words move by means over their active pairs, and vectors keep length 1. Here
    each of the three has a mean of its own, as neighbours would drown antonyms where vectors are short, and all words
    move at once.

    Args:
        synonyms, antonyms: pairs; those of unknown words, and synonyms that are antonyms too, are left out.
        rate: of a step.
        steps: passes over all pairs.
    """
    apart = _known(vectors, antonyms)
    together = _known(vectors, set(synonyms) - set(antonyms))
    near = _neighbours(vectors.unit, 0.8)
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


def _known(vectors: Vectors, pairs: Iterable[tuple[str, str]]) -> Pairs:
    place = vectors.place
    found = {(place[min(p)], place[max(p)]) for p in pairs if p[0] != p[1] and p[0] in place and p[1] in place}
    return np.array(sorted(found), np.int64).reshape(-1, 2)


def _neighbours(unit: Rows, cosine: float) -> Pairs:
    """Pairs i < j with at least that cosine."""
    found = []
    for start in range(0, len(unit), _BLOCK):
        i, j = np.nonzero(unit[start : start + _BLOCK] @ unit.T >= cosine)
        found.append(np.stack([i + start, j], 1)[i + start < j])
    return np.concatenate([np.empty((0, 2), np.int64), *found])


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
