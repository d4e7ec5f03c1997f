"""Exact probabilities of quadratic forms of normal numbers, with a relative precision that holds at 1e-20."""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import quad
from scipy.optimize import brentq

from blindspots.errors import InputError

Weights = NDArray[np.float64]


def positive(weights: Weights) -> float:
    """P(sum_i w_i g_i^2 > 0) for independent standard normal g_i.

    The inversion integral of the moment generating function along the line through its saddle point (Rice 1980, SIAM J.
    Sci. Stat. Comput. 1:438), where nothing cancels. Imhof 1961 integrates along the imaginary axis instead: the same
    number, to 1e-10 of 1.

    Raises InputError for weights that are not finite numbers.
    """
    w = np.asarray(weights, dtype=np.float64).ravel()
    if not (len(w) and np.isfinite(w).all()):
        raise InputError("expected weights that are finite numbers, got others or none: check them")
    if w.max() <= 0:
        return 0.0
    if w.min() >= 0:
        return 1.0
    if w.sum() > 0:  # the smaller of both tails is the one that is computed
        return 1 - _tail(-w / np.abs(w).max())
    return _tail(w / np.abs(w).max())


def _tail(w: Weights) -> float:
    """P(Q > 0) = 1/pi int_0^inf Re exp(K(c + iy)) / (c + iy) dy, with K(s) = -1/2 sum ln(1 - 2 s w)."""
    c = _saddle(w)
    curvature = float(2 * (w**2 / (1 - 2 * c * w) ** 2).sum() + 1 / c**2)
    scale, height = 1 / math.sqrt(curvature), _log_integrand(w, complex(c)).real

    def share(y: float) -> float:
        return float(np.exp(_log_integrand(w, complex(c, scale * y)) - height).real)

    # What oscillates has decayed by a few widths; beyond, the rest is summed on its own.
    area = sum(quad(share, a, b, limit=500, epsabs=1e-13, epsrel=1e-11)[0] for a, b in _STRETCHES)
    return scale * area * math.exp(height) / math.pi


_STRETCHES = ((0, 4), (4, 16), (16, 64), (64, np.inf))


def _log_integrand(w: Weights, s: complex) -> complex:
    return complex(-0.5 * np.log(1 - 2 * s * w).sum() - np.log(s))


def _saddle(w: Weights) -> float:
    """Where exp(K(s)) / s is smallest on (0, 1 / (2 max w)): K'(s) = 1 / s, whose sides differ in sign at both ends."""
    end = 0.5 / float(w.max())

    def slope(s: float) -> float:
        return float((w / (1 - 2 * s * w)).sum()) - 1 / s

    return float(brentq(slope, end * 1e-12, end * (1 - 1e-12), xtol=1e-300, rtol=1e-14))
