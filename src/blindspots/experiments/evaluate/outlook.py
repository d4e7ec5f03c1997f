"""What a search will cost in all, by the rows that it has asked about so far."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]

# Where no row has been asked so often, the share that stands falls like a power of the number of questions. Its
# exponent is that of the last half of them, as if 3 more units of log time had seen 3 more rows fall: values that were
# good on seven searches of 60 rows on three networks, by scores and by labels, in lockstep and 16 rows at a time.
_WINDOW, _PRIOR, _EXPONENT = 2.0, 3.0, 1.0
_LEAST = 1e-9  # of a share, so that it can be divided by


@dataclass(frozen=True)
class Course:
    """How far some rows that were right at first have come, each array (N,).

    Args:
        used: evaluations so far, without that of the clean input.
        fell: whether it fell.
        open: whether it may be asked more.
    """

    used: Ints
    fell: Bools
    open: Bools

    @classmethod
    def of(cls, parts: Sequence["Course"]) -> "Course":
        """All of them."""
        used, fell, goes_on = zip(*((part.used, part.fell, part.open) for part in parts), strict=True)
        return cls(np.concatenate(used), np.concatenate(fell), np.concatenate(goes_on))


@dataclass(frozen=True)
class Outlook:
    """Evaluations in all: `expected`, and bounds that hold whatever happens; and how many rows will have fallen."""

    expected: float
    least: int
    most: int
    falls: float


def outlook(course: Course, most: int, unseen: int = 0) -> Outlook:
    """What the rows of a course and so many `unseen` ones come to, if none takes more than `most` evaluations.

    The share that stands after n evaluations is estimated by Kaplan and Meier (1958), in which rows that are still
    asked count up to where they are; beyond the last of them see `_EXPONENT`.
    """
    spent = int(course.used.sum())
    stands = _standing(course, most)
    left = np.append(np.cumsum(stands[-2::-1])[::-1], 0.0)  # evaluations after the n-th, of a row from the start
    at = np.minimum(course.used[course.open], most)
    right = unseen * float(np.mean((course.used > 0) | course.open))  # the others are as often right at first
    expected = spent + float((left[at] / stands[at]).sum()) + right * float(left[0])
    falls = course.fell.sum() + float((1 - stands[-1] / stands[at]).sum()) + right * (1 - float(stands[-1]))
    return Outlook(expected, spent, spent + int((most - at).sum()) + unseen * most, falls)


def _standing(course: Course, most: int) -> Floats:
    """The share of rows that stand after 0 to `most` evaluations: (most + 1,)."""
    number = np.arange(most + 1)
    reached = (course.used[None] >= number[:, None]).sum(1)
    fell = np.bincount(np.minimum(course.used[course.fell], most), minlength=most + 1)
    stands = np.cumprod(1 - fell / np.maximum(reached, 1))
    last = int(min(course.used.max(initial=1), most))
    beyond = number[last + 1 :]
    stands[last + 1 :] = stands[last] * (last / beyond) ** _exponent(course, last)
    floor: Floats = np.maximum(stands, _LEAST)
    return floor


def _exponent(course: Course, last: int) -> float:
    """Rows that fell in the last half of the evaluations, for each unit of log time that rows have stood there."""
    first = max(last / _WINDOW, 1.0)
    exposure = np.log(np.clip(course.used, first, max(last, first)) / first).sum()
    fell = (course.fell & (course.used > first)).sum()
    return float((fell + _PRIOR * _EXPONENT) / (exposure + _PRIOR))
