"""What counts of votes prove: abstention, the certified radius, and how many votes it takes."""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta, binomtest, norm

ABSTAINS = -1
Counts = NDArray[np.int64]


def at_least(hits: int, draws: int, alpha: float) -> float:
    """A lower bound of a probability, wrong with probability `alpha` at most (Clopper and Pearson 1934, one-sided)."""
    return float(beta.ppf(alpha, hits, draws - hits + 1)) if hits else 0.0


def radius(hits: int, draws: int, sigma: float, alpha: float) -> float:
    """sigma * Phi^-1(pA), with pA the lower bound of the top class's probability; 0 where it proves nothing.

    Cohen, Rosenfeld and Kolter 2019 (arXiv 1902.02918), CERTIFY.
    """
    probability = at_least(hits, draws, alpha)
    return sigma * float(norm.ppf(probability)) if probability > 0.5 else 0.0


def voted(counts: Counts, alpha: float) -> int:
    """The class with the most votes, or ABSTAINS where a fair coin could have put it before the second one.

    PREDICT of the same paper: an exact two-sided binomial test at level `alpha`.
    """
    second, first = (int(k) for k in np.argsort(counts, kind="stable")[-2:])
    top, both = int(counts[first]), int(counts[first] + counts[second])
    certain = both > 0 and binomtest(top, both, 0.5).pvalue <= alpha
    return first if certain else ABSTAINS


def needed(draws: int, alpha: float) -> int:
    """The fewest hits of so many draws that prove a probability above 1/2; draws + 1 where none do."""
    low, high = 0, draws + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if at_least(middle, draws, alpha) > 0.5 else (middle, high)
    return high


def largest(draws: int, sigma: float, alpha: float) -> float:
    """The radius that is certified where all votes agree: no more can be proved with so many."""
    return radius(draws, draws, sigma, alpha)


def fewest(alpha: float) -> int:
    """How many votes have to agree for a probability above 1/2: alpha^(1/n) > 1/2."""
    return math.floor(math.log(alpha) / math.log(0.5)) + 1


def draws_for(wanted: float, sigma: float, alpha: float) -> float:
    """How many votes have to agree for a radius; infinity where floats cannot say it."""
    below = float(norm.logcdf(wanted / sigma))
    return math.inf if below == 0 else math.ceil(math.log(alpha) / below)
