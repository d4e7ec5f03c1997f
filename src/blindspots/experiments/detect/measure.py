"""How well scores tell adversarial examples from clean inputs: curves, areas, and how sure one can be of them.

Positives are adversarial examples, and larger scores are more suspicious. A row of the data may stand behind a negative
(its clean input) and behind several positives (what different attacks made of it): such scores are not independent, and
the interval of the area takes that into account.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import norm

from blindspots.experiments.detect.guarded import threshold_at
from blindspots.records import Interval, Share, clopper_pearson

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Points = list[tuple[float, float]]
POINTS = 200  # that are kept of a curve


@dataclass(frozen=True)
class Scores:
    """What a detector says of clean inputs and of adversarial examples, and which row of the data each came from."""

    negatives: Floats  # (n,)
    positives: Floats  # (m,)
    negative_rows: Integers  # (n,)
    positive_rows: Integers  # (m,)

    @classmethod
    def of(cls, negatives: Any, positives: Any, negative_rows: Any = None, positive_rows: Any = None) -> "Scores":
        """Without rows, each score has one of its own."""
        low, high = np.asarray(negatives, np.float64), np.asarray(positives, np.float64)
        at = np.arange(len(low)) if negative_rows is None else np.asarray(negative_rows, np.int64)
        others = len(low) + np.arange(len(high)) if positive_rows is None else np.asarray(positive_rows, np.int64)
        return cls(low, high, at, others)

    def __bool__(self) -> bool:
        """Whether there is something on both sides."""
        return len(self.negatives) > 0 and len(self.positives) > 0


def auc(scores: Scores) -> float:
    """The probability that a positive scores above a negative, ties for half: the area under the ROC curve."""
    return float(_placements(scores)[0].mean())


def auc_interval(scores: Scores, confidence: float = 0.95) -> Interval:
    """The interval of the area after DeLong et al. 1988, for rows with several scores after Obuchowski 1997.

    Both estimate the variance from placements: the share of the other side that each score is beyond. Where all pairs
    are in order that variance is 0 and says nothing; then the interval is Clopper and Pearson's for as many pairs as
    can be formed without using a row twice.
    """
    area = auc(scores)
    if area in (0.0, 1.0):
        pairs = min(len(np.unique(scores.negative_rows)), len(np.unique(scores.positive_rows)))
        return clopper_pearson(round(area * pairs), pairs, confidence)
    half = float(norm.ppf(0.5 + confidence / 2)) * auc_variance(scores) ** 0.5
    return max(area - half, 0.0), min(area + half, 1.0)


def auc_variance(scores: Scores) -> float:
    """Of the estimated area. With a row for every score it is DeLong's; inf with fewer than two rows on a side."""
    area, (above, below) = auc(scores), _placements(scores)
    rows = np.union1d(scores.negative_rows, scores.positive_rows)
    m, n = len(scores.positives), len(scores.negatives)
    up, has_up = _summed(rows, scores.positive_rows, above - area)
    down, has_down = _summed(rows, scores.negative_rows, below - area)
    if min(has_up.sum(), has_down.sum()) < 2:
        return float("inf")
    own = _bessel(has_up) * (up**2).sum() / m**2 + _bessel(has_down) * (down**2).sum() / n**2
    both = has_up | has_down
    return max(float(own + 2 * _bessel(both) * (up * down).sum() / (m * n)), 0.0)


def _placements(scores: Scores) -> tuple[Floats, Floats]:
    """Of each positive, the share of negatives below it; of each negative, the share of positives above it."""
    above = _beyond(scores.positives, np.sort(scores.negatives))
    return above, 1 - _beyond(scores.negatives, np.sort(scores.positives))


def _beyond(values: Floats, others: Floats) -> Floats:
    """The share of the sorted `others` below each value, ties for half."""
    left, right = (np.searchsorted(others, values, side=side) for side in ("left", "right"))
    return (left + right) / (2.0 * len(others))


def _summed(rows: Integers, at: Integers, values: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """Sums of `values` by row, and which rows have any."""
    place = np.searchsorted(rows, at)
    sums = np.asarray(np.bincount(place, values, len(rows)), np.float64)
    return sums, np.bincount(place, minlength=len(rows)) > 0


def _bessel(has: NDArray[np.bool_]) -> float:
    count = int(has.sum())
    return count / (count - 1)


def roc(scores: Scores) -> Points:
    """(false positive rate, true positive rate) from (0, 0) to (1, 1), at most 200 of its corners."""
    false, true = _counts(scores)
    corners = list(zip(false / len(scores.negatives), true / len(scores.positives), strict=True))
    return _thinned([(0.0, 0.0), *corners])


def precision_recall(scores: Scores) -> Points:
    """(recall, precision), recall ascending, one for each threshold, at most 200 of them."""
    false, true = _counts(scores)
    return _thinned(list(zip(true / len(scores.positives), true / (true + false), strict=True)))


def average_precision(scores: Scores) -> float:
    """Sum over thresholds of (gain in recall) * precision: no interpolation, which would flatter."""
    false, true = _counts(scores)
    gains = np.diff(true, prepend=0) / len(scores.positives)
    return float((gains * true / (true + false)).sum())


def _counts(scores: Scores) -> tuple[Floats, Floats]:
    """Negatives and positives at or above each distinct score, the largest first: equal scores fall together."""
    distinct = np.unique(np.concatenate([scores.negatives, scores.positives]))[::-1]
    sides = (np.sort(scores.negatives), np.sort(scores.positives))
    false, true = (len(side) - np.searchsorted(side, distinct, side="left") for side in sides)
    return false.astype(np.float64), true.astype(np.float64)


def _thinned(points: Sequence[tuple[float, float]]) -> Points:
    kept = np.unique(np.linspace(0, len(points) - 1, POINTS).round().astype(int))
    return [(float(points[i][0]), float(points[i][1])) for i in kept]


def tpr_at(scores: Scores, fpr: float) -> Share:
    """Positives above the lowest threshold that at most the share `fpr` of these negatives is above."""
    return above(scores.positives, threshold_at(torch.from_numpy(scores.negatives), fpr))


def above(values: Floats, threshold: float) -> Share:
    """How many are suspicious: above the threshold."""
    return Share.of(int((values > threshold).sum()), len(values))
