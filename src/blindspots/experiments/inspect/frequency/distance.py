"""What a rate under noise says about the distance of the errors (Ford et al. 2019, arXiv 1901.10513).

Beyond a flat boundary at distance d, N(x, s^2 I) errs with probability Phi(-d / s). By the Gaussian isoperimetric
inequality no set of errors with that probability is farther away in the median; so d / (-s Phi^-1(rate)) is 1 where the
boundary is flat, and below 1 where errors come nearer to x than a flat boundary would with the same rate. Where the
rate is from splitting, a ratio below 1 may also mean that it missed the errors that an attack has found.
"""

import math

from scipy.stats import norm

from blindspots.errors import InputError
from blindspots.experiments.inspect.frequency.rates import Rate
from blindspots.records import Interval, Record


class Flatness(Record):
    """Of one row; lengths are Euclidean, in units of the input."""

    implied: float | None  # the distance of a flat boundary with this rate; None: the rate is not known
    implied_interval: Interval  # below 0 where more than half of the points are errors
    ratio: float | None  # found / implied; None: no distance is implied
    ratio_interval: Interval  # up to infinity where a rate of one half cannot be excluded


def half_space_rate(distance: float, sd: float) -> float:
    """Phi(-distance / sd): the rate under N(x, sd^2 I) of errors beyond a plane, on x's side if it is below 0."""
    return float(norm.sf(distance / sd))


def implied_distance(p: float, sd: float) -> float:
    """-sd Phi^-1(p): how far a flat boundary with this rate is; infinity at 0."""
    return sd * float(norm.isf(p))


def flatness(found: float, sd: float, rate: Rate) -> Flatness:
    """The distance `found` of an error, an upper bound of the smallest one, against the rate under N(x, sd^2 I).

    The rate has to be that of noise without a box: clipped noise is no normal noise.

    Raises InputError for a distance below 0 or a standard deviation that is not above 0.
    """
    if not (found >= 0 and sd > 0 and math.isfinite(sd)):
        raise InputError(f"expected a distance of at least 0 and noise above 0, got {found:g} and {sd:g}: change them")
    near, far = (implied_distance(p, sd) for p in reversed(rate.interval))
    implied = None if rate.p is None else implied_distance(rate.p, sd)
    ratio = found / implied if implied is not None and implied > 0 else None
    return Flatness(
        implied=implied,
        implied_interval=(near, far),
        ratio=ratio,
        ratio_interval=(found / far if far > 0 else math.inf, found / near if near > 0 else math.inf),
    )
