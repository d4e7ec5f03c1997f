"""How often a law goes beyond a plane: what the rate would be if the boundary near a row were flat."""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import betainc
from scipy.stats import norm
from torch import Tensor

from blindspots.experiments.certify.noise import block_of, gaussian
from blindspots.experiments.inspect.frequency.laws import Ball, Cube, Gaussian, Law, Sphere

_DRAWN = 1000
_FLAT = 1e-3  # below it, the series of x coth x - 1 and ln(sinh x / x) are exact to 1e-13


def beyond(law: Law, x: Tensor, normal: Tensor, reach: float, key: int = 0) -> float:
    """P(normal . (point - x) > reach) for points around x (*shape), and a normal (*shape) of length 1.

    Exact for noise without a box, and for l2 laws that a box does not touch. In a linf ball the saddle point formula of
    Lugannani and Rice 1980, within a few percent. Where a box folds an l2 law over: that of the law without a box,
    moved and scaled to the mean and standard deviation of draws of a key.

    Raises TypeError for noise with a box, which has atoms at its faces.
    """
    flat = normal.double().flatten().cpu().numpy()
    if isinstance(law, Cube):
        low, high = law.ends(x.cpu().double())
        middle, half = ((high + low) / 2 - x.cpu()).flatten().numpy(), ((high - low) / 2).flatten().numpy()
        return uniform_sum(np.abs(flat * half), reach - float(flat @ middle))
    if isinstance(law, Ball | Sphere):
        return _cap(law, x.cpu(), torch.from_numpy(flat), reach, key)
    if isinstance(law, Gaussian) and law.box is None:
        return float(norm.sf(reach / law.size))
    raise TypeError(f"no plane of {law.words}")


def _cap(law: Ball | Sphere, x: Tensor, normal: Tensor, reach: float, key: int) -> float:
    dim = x.numel()
    height = reach / law.size
    if law.box is not None and bool(((x - law.box[0] < law.size) | (law.box[1] - x < law.size)).any()):
        z = gaussian(key, (min(_DRAWN, block_of((law.latent(x[None]),))), law.latent(x[None])), x.device)
        along = (law.point(z, x.expand(len(z), *x.shape)) - x).double().flatten(1) @ normal
        scale = math.sqrt(dim + 2 if isinstance(law, Ball) else dim)  # of one part of a point, in radii
        height = float((reach - along.mean()) / along.std()) / scale
    return cap(height, dim if isinstance(law, Ball) else dim - 2)


def cap(height: float, dimension: int) -> float:
    """The share of the unit ball of a dimension beyond a plane at this height from its centre (Li 2011)."""
    share = float(betainc((dimension + 1) / 2, 0.5, max(0.0, 1 - height**2))) / 2
    return share if height >= 0 else 1 - share


def uniform_sum(half: NDArray[np.float64], reach: float) -> float:
    """P(sum of independent uniforms of (-half_i, half_i) > reach), by Lugannani and Rice 1980 (eq. 10)."""
    a = half[half > 1e-12 * half.max(initial=0.0)]
    if reach < 0:
        return 1 - uniform_sum(half, -reach)
    if reach >= a.sum():
        return 0.0
    if reach <= 1e-6 * a.sum():
        return 0.5
    s = float(brentq(lambda s: _slope(a, s) - reach, 0.0, 2 * len(a) / (a.sum() - reach), rtol=1e-14))
    w = math.sqrt(2 * (s * reach - float(_log_sinc(a * s).sum())))
    u = s * math.sqrt(float((a**2 * _bend(a * s)).sum()))
    return float(norm.sf(w) + norm.pdf(w) * (1 / u - 1 / w))


def _slope(a: NDArray[np.float64], s: float) -> float:
    """The derivative of the cumulant generating function, at least the sum of a less len(a) / s."""
    return float((a * _langevin(a * s)).sum())


def _langevin(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """coth x - 1 / x, x >= 0."""
    safe = np.maximum(x, _FLAT)
    return np.where(x < _FLAT, x / 3, 1 / np.tanh(safe) - 1 / safe)


def _bend(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Its derivative, 1 / x^2 - 1 / sinh^2 x."""
    safe = np.maximum(x, _FLAT)
    return np.where(x < _FLAT, 1 / 3, 1 / safe**2 - (2 * np.exp(-safe) / -np.expm1(-2 * safe)) ** 2)


def _log_sinc(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """ln(sinh x / x)."""
    safe = np.maximum(x, _FLAT)
    return np.where(x < _FLAT, x**2 / 6, safe + np.log(-np.expm1(-2 * safe) / (2 * safe)))
