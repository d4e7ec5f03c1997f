"""What a rate under noise says about the distance of the errors (Ford et al. 2019, arXiv 1901.10513).

Beyond a flat boundary at distance d, N(x, s^2 I) errs with probability Phi(-d / s). By the Gaussian isoperimetric
inequality no set of errors with that probability is farther away in the median; so d / (-s Phi^-1(rate)) is 1 where the
boundary is flat, and below 1 where errors come nearer to x than a flat boundary would with the same rate. Where the
rate is from splitting, a ratio below 1 may also mean that it missed the errors that an attack has found.
"""

import math

from scipy.stats import norm

from blindspots.errors import InputError
from blindspots.experiments.inspect.frequency.verdict import Flatness, Rate


def half_space_rate(distance: float, sd: float) -> float:
    """Phi(-distance / sd): the rate under N(x, sd^2 I) of errors beyond a plane, on x's side if it is below 0."""
    return float(norm.sf(distance / sd))


def implied_distance(p: float, sd: float) -> float:
    """-sd Phi^-1(p): how far a flat boundary with this rate is; infinity at 0."""
    return sd * float(norm.isf(p))


def flatness(found: float, sd: float, rate: Rate) -> Flatness:
    """The distance `found` of an error, an upper bound of the smallest one, against the rate under N(x, sd^2 I).

    Under another law than noise without a box, `found` is what a plane with the rate of the error's own would have
    under noise, and sd 1: see `planes.beyond`.

    Raises InputError for a distance below 0 or a standard deviation that is not above 0.
    """
    if not (found >= 0 and sd > 0 and math.isfinite(sd)):
        raise InputError(f"expected a distance of at least 0 and noise above 0, got {found:g} and {sd:g}: change them")
    near, far = (implied_distance(p, sd) for p in reversed(rate.interval))
    implied = None if rate.p is None else implied_distance(rate.p, sd)
    return Flatness(
        found=found,
        implied=implied,
        ratio=None if implied is None else _over(found, implied),
        ratio_interval=(_over(found, far) or 0.0, _over(found, near)),
    )


def _over(found: float, implied: float) -> float | None:
    """None where no distance is implied."""
    return found / implied if implied > 0 else None
