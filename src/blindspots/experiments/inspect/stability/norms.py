"""Two-sided spectral norms of linear maps: an upper bound by Gram iteration, a lower one on the real operator.

Everything is computed in float64. Upper bounds hold in exact arithmetic and are raised by more than rounding can take.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf, log, prod, sqrt

import torch
from torch import Tensor

Map = Callable[[Tensor], Tensor]

_RTOL = 1e-4  # how far Gram iteration may stay above the largest singular value
_STEPS = 30  # of power iteration on a map without negative entries
_KRYLOV, _RESTARTS, _CONVERGED, _TINY = 20, 8, 3e-5, 1e-12
_SMALL = 512  # the shorter side of matrices whose singular values are computed
_ROUNDING = 2.0**-48  # of sums of one product: well above the unit roundoff of float64


@dataclass(frozen=True)
class Norm:
    """A spectral norm from both sides: lower <= norm <= upper; upper is infinite where there is no bound."""

    upper: float
    lower: float

    @property
    def gap(self) -> float:
        """(upper - lower) / lower: 0 where the norm is known."""
        return 0.0 if self.upper == self.lower else inf if self.lower == 0 else self.upper / self.lower - 1


def gram_upper(matrices: Tensor, known: float = 0.0) -> float:
    """An upper bound of the largest spectral norm among matrices (F, D, C), at most 1e-4 above it.

    Gram iteration: ||G||_F^(1/p) of G = (A^H A)^(p/2) never is below the norm and converges quadratically. G is
    rescaled in every turn. Matrices whose bound falls below the largest known norm are dropped.
    """
    tall = matrices.shape[1] > matrices.shape[2]
    g = matrices.mH @ matrices if tall else matrices @ matrices.mH
    side, p = g.shape[1], 2
    scale, size = g.new_zeros(len(g), dtype=torch.float64), _frobenius(g)
    while True:
        upper = ((scale + size.log()) / p).exp()
        known = max(known, float(upper.amax()) * side ** (-0.5 / p))  # since ||G||_F <= sqrt(side) ||G||
        if p >= log(side) / 2 / _RTOL or known == 0:
            return max(known, float(upper.amax())) * (1 + (side + max(matrices.shape[1:])) * _ROUNDING)
        kept = upper >= known * (1 - _RTOL / 2)
        if not kept.any():  # all are shorter than what the caller knew
            return known
        g, size, scale = g[kept], size[kept], scale[kept]
        scale = 2 * (scale + size.log())
        g = g / size[:, None, None]
        g = g @ g
        size, p = _frobenius(g), 2 * p


def _frobenius(g: Tensor) -> Tensor:
    size: Tensor = torch.linalg.matrix_norm(g)
    return size


def matrix_norm(matrix: Tensor) -> Norm:
    """Of a matrix (D, C): by its singular values where one side is at most 512, else by Gram iteration."""
    a = matrix.double()
    if min(a.shape) > _SMALL:
        return Norm(gram_upper(a[None]), lower(lambda v: v @ a.T, (a.shape[1],)))
    largest = float(torch.linalg.matrix_norm(a, 2))
    slack = (sum(a.shape)) * _ROUNDING
    return Norm(largest * (1 + slack), largest * (1 - slack))


def positive_norm(map: Map, shape: Sequence[int]) -> Norm:
    """Of a linear map with no negative entry, as means and interpolations are; from inputs (1, *shape).

    ||A||^2 <= max_i (A^T A v)_i / v_i for every positive v (Collatz 1942, Wielandt 1950); v comes from power iteration.
    """
    v = torch.ones(1, *shape, dtype=torch.float64)
    upper, below = inf, 0.0
    for _ in range(_STEPS):
        back = normal(map, v)
        upper = min(upper, float((back / v).amax()))
        below = max(below, float((back * v).sum() / v.square().sum()))
        v = (back / back.amax()).clamp_min(1e-6)  # any positive vector gives a bound
    return Norm(upper**0.5 * (1 + v.numel() * _ROUNDING), below**0.5)


def diagonal_norm(map: Map, shape: Sequence[int]) -> Norm:
    """Of a linear map each of whose outputs is a multiple of one input: selections, copies, scales. Exact.

    Its columns are orthogonal, so the norm is the largest length of a column.
    """
    squares = normal(map, torch.ones(1, *shape, dtype=torch.float64))
    root = float(squares.amax()) ** 0.5
    return Norm(root, root)


def lower(map: Map, shape: Sequence[int], calls: int | None = None) -> float:
    """A lower bound of the norm of a linear map of inputs (1, *shape): ||A v|| / ||v|| of the best v found.

    Power iteration on the operator itself, in whose Krylov space the best vector is taken (Lanczos, restarted), with
    A^T by differentiation. Whether it converged does not matter for the bound.

    Args:
        calls: about how many products with A or A^T it may take; 60 at least. None: until it converges.
    """
    best, v = 0.0, torch.arange(1, prod(shape) + 1, dtype=torch.float64).sqrt().mul(7.3).sin()
    turns = _RESTARTS if calls is None else min(_RESTARTS, max(1, calls // (3 * _KRYLOV)))
    for _ in range(turns):
        v = _leading(lambda u: normal(map, u.view(1, *shape)).flatten(), v)
        last, best = best, max(best, float(torch.linalg.vector_norm(map(v.view(1, *shape)))))
        if best <= last * (1 + _CONVERGED):
            break
    return best * (1 - sqrt(prod(shape)) * _ROUNDING)


def _leading(symmetric: Map, v: Tensor) -> Tensor:
    """The best unit vector in the Krylov space of a symmetric map and a start (n,)."""
    basis = v.new_empty(min(_KRYLOV, len(v)), len(v))
    image = torch.empty_like(basis)
    for i in range(len(basis)):
        for _ in range(2):  # twice is enough to be orthogonal (Parlett)
            v = v - (basis[:i] @ v) @ basis[:i]
        size = torch.linalg.vector_norm(v)
        if size <= _TINY * (torch.linalg.vector_norm(image[i - 1]) if i else 0):  # the space is exhausted
            basis, image = basis[:i], image[:i]
            break
        basis[i] = v / size
        image[i] = v = symmetric(basis[i])
    small = basis @ image.T
    leading: Tensor = torch.linalg.eigh((small + small.T) / 2).eigenvectors[:, -1]
    return leading @ basis


def normal(map: Map, v: Tensor) -> Tensor:
    """A^T A v of inputs v (B, ...)."""
    with torch.enable_grad():
        v = v.detach().requires_grad_()
        out = map(v)
        (back,) = torch.autograd.grad(out, v, out.detach())
    return back
