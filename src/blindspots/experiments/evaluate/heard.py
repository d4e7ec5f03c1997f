"""Sounds that a report plays: the original, the change made louder, and what a file keeps of the example."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest

import numpy as np

from blindspots.experiments.evaluate.evidence import Array, Evidence
from blindspots.sounds import Depth, towards, write_wav

_HEADER = len("data:audio/wav;base64,")
_LONGEST = 10  # s of a sound; of longer ones the beginning is played
_SIZE = 4_000_000  # bytes of all players together, so that a report stays small enough to be mailed


@dataclass(frozen=True)
class Heard:
    """Three WAV files as parts of a page. `factor`: how much louder the change was made."""

    original: str
    change: str
    adversarial: str
    factor: float
    seconds: float  # that are played
    cut: bool  # there is more of the sound


def heard(run: Evidence, row: int) -> Heard:
    """The change is as loud as the sound at its loudest sample."""
    assert run.rate is not None
    assert run.depth is not None
    x = run.clean(row)
    moved = towards(run.adversarial(row), x, run.depth)
    whole = _end(x, moved)
    end = min(whole, int(_LONGEST * run.rate))
    x, moved = (np.atleast_2d(t)[:, :end] for t in (x, moved))
    factor = float(np.abs(x).max()) / max(float(np.abs(moved - x).max()), 1e-12)
    original, change, adversarial = (_uri(part, run.rate, run.depth) for part in (x, (moved - x) * factor, moved))
    return Heard(original, change, adversarial, factor, end / run.rate, whole > end)


def audible(run: Evidence, picks: Sequence[Sequence[int]]) -> set[int]:
    """Among rows in groups those that can be played, the first of every group first."""
    if run.rate is None:
        return set()
    played, left = set(), _SIZE
    for row in chain.from_iterable(zip_longest(*picks)):
        if row is not None:
            left -= 3 * _bytes(run, row)
            if left < 0:
                break
            played.add(row)
    return played


def _bytes(run: Evidence, row: int) -> int:
    """Of one player: base64 makes four characters of three bytes."""
    assert run.rate is not None
    assert run.depth is not None
    x = run.clean(row)
    samples = min(_end(x, x), int(_LONGEST * run.rate))
    return _HEADER + (44 + run.depth.bits // 8 * len(np.atleast_2d(x)) * samples) * 4 // 3


def _end(x: Array, moved: Array) -> int:
    """Samples up to the silence at the end of both."""
    loud = np.flatnonzero((np.atleast_2d(x) != 0).any(0) | (np.atleast_2d(moved) != 0).any(0))
    return int(loud[-1]) + 1 if len(loud) else 1


def _uri(x: Array, rate: int, depth: Depth) -> str:
    return "data:audio/wav;base64," + base64.b64encode(write_wav(x, rate, depth)).decode()
