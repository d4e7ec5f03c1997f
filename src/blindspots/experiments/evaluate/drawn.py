"""Series that a report draws: before and after as lines, and how rough the change between them is."""

from dataclasses import dataclass

import numpy as np

from blindspots.experiments.evaluate.evidence import Array, Evidence
from blindspots.report.charts import rising

_MOST = 300  # parts of a series, of each of which the smallest and the largest value are drawn
_CHANNELS = 4  # that are drawn


@dataclass(frozen=True)
class Drawn:
    """Lines before and after as SVG paths in percent, per channel. `roughness`: NaN where it says nothing."""

    lines: list[tuple[str, str]]
    low: float  # of the vertical axis
    high: float
    length: int  # samples before the padding
    left_out: int  # channels
    roughness: float


def is_series(run: Evidence) -> bool:
    """Rows that are known to be series: padded, changed smoothly, or one channel (1, T)."""
    if run.texts or run.table is not None or run.rate is not None:
        return False
    smooth = any("Smooth(" in stage for stage in run.config.stages)
    return run.ball.padding is not None or smooth or (len(run.shape) == 2 and run.shape[0] == 1 < run.shape[1])


def drawn(run: Evidence, row: int) -> Drawn:
    """All channels share one axis."""
    x, moved = (_channels(t) for t in (run.clean(row), run.adversarial(row)))
    end = length_of(x, run.ball.padding)
    x, moved = x[:, :end], moved[:, :end]
    low, high = min(x.min(), moved.min()), max(x.max(), moved.max())
    before, after = ([_line(c, low, high) for c in t[:_CHANNELS]] for t in (x, moved))
    left_out, lines = max(0, len(x) - _CHANNELS), list(zip(before, after, strict=True))
    return Drawn(lines, float(low), float(high), end, left_out, roughness(moved - x))


def roughness_of(run: Evidence) -> Array:
    """Of the change of every row that fell, without the padding: (k,)."""
    found = []
    for row in np.flatnonzero(run.rows.broken):
        x, moved = (_channels(t) for t in (run.clean(int(row)), run.adversarial(int(row))))
        end = length_of(x, run.ball.padding)
        found.append(roughness(moved[:, :end] - x[:, :end]))
    return np.array([value for value in found if np.isfinite(value)])


def roughness(change: Array) -> float:
    """Mean square of second differences over the mean square of a change (channels, T).

    0 where it is a straight line, on average 6 for independent noise, 16 where its sign alternates.
    """
    d = change.astype(np.float64)
    size = (d**2).mean()
    return float((np.diff(d, 2) ** 2).mean() / size) if d.shape[1] > 2 and size > 0 else float("nan")


def length_of(x: Array, padding: object) -> int:
    """Samples of a series (channels, T) before its padding, at least 1."""
    if padding is None:
        whole: int = x.shape[1]
        return whole
    counts = np.flatnonzero((x != padding).any(0))
    return int(counts[-1]) + 1 if len(counts) else 1


def _channels(x: Array) -> Array:
    """(channels, T), whatever axes come before the last one."""
    return x.reshape(-1, x.shape[-1])


def _line(c: Array, low: float, high: float) -> str:
    """Of long series the extremes of every part, so that no peak is lost."""
    at = np.arange(len(c))
    if len(c) > 2 * _MOST:
        parts = np.array_split(at, _MOST)
        at = np.unique([i for part in parts for i in (part[c[part].argmin()], part[c[part].argmax()])])
    across, up = 100 * at / max(len(c) - 1, 1), 100 * (c[at] - low) / max(high - low, 1e-12)
    return rising(list(zip(across.tolist(), up.tolist(), strict=True)))
