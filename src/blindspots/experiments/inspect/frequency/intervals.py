"""Intervals of probabilities: from counts of draws, from counts of kills, and from replicates that scatter too much.

An ideal last particle run of N particles kills a Poisson number M of them, with mean -N ln p (Guyader, Hengartner and
Matzner-Lober 2011; Simonnet 2016), so R runs kill Poisson(-R N ln p): the exact interval is that of Garwood 1936.
Kernels that move clones too little make M scatter more than that, which is tested before the interval is believed.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2, t

from blindspots.errors import InputError
from blindspots.records import Interval

Counts = NDArray[np.int64]
How = Literal["poisson", "replicates", "at most"]
SUSPICIOUS = 0.1  # below this p-value of the dispersion test, kills are no longer taken for Poisson


@dataclass(frozen=True)
class Estimate:
    """A probability from R last particle runs."""

    p: float | None  # None: none of the runs arrived
    interval: Interval
    how: How
    dispersion: float  # variance over mean of the kills; 1 where they are Poisson
    p_value: float  # of the one-sided test that it is more than 1


def check_confidence(confidence: float) -> None:
    """Raises InputError unless it is a probability, 0 and 1 apart."""
    if not 0 < confidence < 1:
        raise InputError(f"expected a confidence between 0 and 1, got {confidence:g}: 0.95 is usual")


def garwood(kills: int, particles: int, confidence: float = 0.95) -> Interval:
    """The exact interval of p from a Poisson number of kills with mean -particles * ln p (Garwood 1936)."""
    tail = (1 - confidence) / 2
    fewest = float(chi2.ppf(tail, 2 * kills)) / 2 if kills else 0.0
    most = float(chi2.ppf(1 - tail, 2 * kills + 2)) / 2
    return math.exp(-most / particles), math.exp(-fewest / particles)


def kills_below(floor: float, particles: int, confidence: float = 0.95) -> int:
    """The fewest kills that prove a probability of at most `floor`, by the upper end of `garwood`."""
    low, high = 0, 1
    while garwood(high, particles, confidence)[1] > floor:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if garwood(middle, particles, confidence)[1] > floor else (low, middle)
    return high


def dispersion(kills: Counts) -> tuple[float, float]:
    """Variance over mean of the kills of R runs, and the p-value of Fisher's test that they scatter more than Poisson.

    (R - 1) times the quotient is compared with chi2 of R - 1 degrees of freedom, one-sided. Without kills: (1, 1).
    """
    mean, others = float(kills.mean()), len(kills) - 1
    if not mean or not others:
        return 1.0, 1.0
    index = float(kills.var(ddof=1)) / mean
    return index, float(chi2.sf(others * index, others))


def estimated(kills: Counts, arrived: NDArray[np.bool_], particles: int, confidence: float = 0.95) -> Estimate:
    """A probability and its interval from the kills (R,) of R independent runs, and which of them arrived.

    Where all arrived: the Poisson interval, widened by what the replicates' own scatter says beyond it.
    Where some did not, they would have killed at least as many as they had: this bounds p from above. From below, the
    mean of the runs' unbiased estimates, with 0 for those that did not arrive, gives a bound by Markov's inequality.
    No number of runs excludes errors that none of them came near: where points crowd early on a side that ends worse,
    kills may look like Poisson and mean that side alone. The distance of an attack's error is the check (`distance`).

    Raises InputError for a confidence outside of (0, 1).
    """
    check_confidence(confidence)
    index, p_value = dispersion(kills)
    everywhere = len(kills) * particles
    if not arrived.all():
        mean = unbiased(kills, arrived, particles)
        low, high = mean * (1 - confidence) / 2, _widened(kills, particles, confidence, skewed=False)[1]
        return Estimate(mean if arrived.any() else None, (low, max(high, low)), "at most", index, p_value)
    scatters = p_value < SUSPICIOUS
    interval = _widened(kills, particles, confidence, skewed=scatters)
    if scatters:
        return Estimate(math.exp(_log_p(kills, particles)), interval, "replicates", index, p_value)
    p = (1 - 1 / everywhere) ** int(kills.sum())
    return Estimate(p, interval, "poisson", index, p_value)


def unbiased(kills: Counts, arrived: NDArray[np.bool_], particles: int) -> float:
    """The mean over runs of (1 - 1/N)^M, 0 for those that did not arrive: without bias whatever the kernel."""
    return float(np.where(arrived, (1 - 1 / particles) ** kills, 0.0).mean())


def _widened(kills: Counts, particles: int, confidence: float, skewed: bool) -> Interval:
    """The exact Poisson interval, and where it reaches farther the t interval of the replicates' mean, -N ln p.

    So a scatter too small for the test to find, which would cost coverage, costs width. Where it was found, the mean is
    no longer -N ln p: (1 - 1/N)^M is unbiased whatever the kernel, so ln p = -m/N + (v - m) / 2N^2 up to higher orders
    for kills with mean m and variance v (the mean of a log-normal). They matter, so both ends cover both centres.
    """
    runs, mean, variance = len(kills), float(kills.mean()), float(kills.var(ddof=1))
    reach = float(t.ppf((1 + confidence) / 2, runs - 1)) / particles
    low, high = garwood(int(kills.sum()), runs * particles, confidence)
    spans = [(-mean / particles, math.sqrt(variance / runs))]
    if skewed:
        both = math.sqrt(variance / runs + variance**2 / (2 * (runs - 1) * particles**2))
        spans.append((_log_p(kills, particles), both))
    ends = [(math.exp(min(0.0, at - reach * by)), math.exp(min(0.0, at + reach * by))) for at, by in spans]
    return min(low, *(end[0] for end in ends)), max(high, *(end[1] for end in ends))


def _log_p(kills: Counts, particles: int) -> float:
    mean, variance = float(kills.mean()), float(kills.var(ddof=1))
    return min(0.0, -mean / particles + (variance - mean) / (2 * particles**2))


def betting(values: NDArray[np.float64], confidence: float = 0.95) -> Interval:
    """An interval of the mean of independent values (n,) in [0, 1] from one law, whatever it is, for any n >= 1.

    Waudby-Smith and Ramdas 2023 (arXiv 2010.09686), hedged capital with predictable bets (their eq. 26), for a fixed n:
    a bettor against a wrong mean grows rich, against the true one with probability 1 - confidence at most.
    """
    low, mean, high = 0.0, float(values.mean()), 1.0
    rich = math.log(1 / (1 - confidence))
    bets = _bets(values, 1 - confidence)

    def doubted(m: float) -> bool:
        return _capital(values, bets, m) >= rich

    return (_edge(doubted, low, mean), _edge(doubted, high, mean))


def _bets(values: NDArray[np.float64], alpha: float) -> NDArray[np.float64]:
    """Of every value, from those before it: sqrt(2 ln(2 / alpha) / (n s^2))."""
    n, number = len(values), np.arange(1, len(values) + 1)
    means = (0.5 + np.cumsum(values)) / (number + 1)
    variances = (0.25 + np.cumsum((values - means) ** 2)) / (number + 1)
    before = np.concatenate([[0.25], variances[:-1]])
    return np.sqrt(2 * math.log(2 / alpha) / (n * before))


def _capital(values: NDArray[np.float64], bets: NDArray[np.float64], m: float) -> float:
    """The logarithm of the larger half of the capital, of bets on a mean above and below m; each risks half at most."""
    up = np.log1p(np.minimum(bets, 0.5 / m if m else math.inf) * (values - m)).sum()
    down = np.log1p(-np.minimum(bets, 0.5 / (1 - m) if m < 1 else math.inf) * (values - m)).sum()
    return float(max(up, down)) + math.log(0.5)


def _edge(doubted: Callable[[float], bool], outside: float, inside: float) -> float:
    """Where doubt ends between a point outside and one inside, to the last bit; the outside point if there is none."""
    if not doubted(outside):
        return outside
    while (middle := (outside + inside) / 2) not in (outside, inside):
        outside, inside = (middle, inside) if doubted(middle) else (outside, middle)
    return outside
