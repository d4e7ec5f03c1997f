"""Concentric spheres (Gilmer et al. 2018, arXiv 1801.02774): data in high dimension of which everything is known.

Class 0 is uniform on the sphere of radius 1, class 1 on that of radius 1.3. A quadratic network says class 1 where
sum_i a_i x_i^2 > 1; it never errs exactly where all a_i lie in [1 / 1.3^2, 1]. Otherwise its error rate, and the
distance of every point to its boundary, have closed forms: truths for rates of 1e-20 and attacks in 500 dimensions.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import beta
from torch import Tensor, nn

from blindspots.errors import InputError
from blindspots.experiments.certify.noise import gaussian
from blindspots.experiments.inspect.frequency.quadratic import positive
from blindspots.random import keys, uniform

Coefficients = NDArray[np.float64]


@dataclass(frozen=True)
class Spheres:
    """Two spheres around 0.

    Args:
        dimension: of the space, at least 2.
        radii: of class 0 and of class 1, 0 < inner < outer.

    Raises InputError for others.
    """

    dimension: int = 500
    radii: tuple[float, float] = (1.0, 1.3)

    def __post_init__(self) -> None:
        if self.dimension < 2 or not 0 < self.radii[0] < self.radii[1]:
            raise InputError(
                f"expected at least 2 dimensions and radii 0 < inner < outer, got {self.dimension} and {self.radii}: "
                "the paper has 500, 1 and 1.3"
            )

    def batch(self, seed: int, number: int, rows: int) -> tuple[Tensor, Tensor]:
        """Batch `number` of an endless stream, both classes alike: x (rows, dimension) float32, y (rows,) int64."""
        key = keys(seed, torch.tensor([number]))
        y = (uniform(key, torch.zeros_like(key), 0, (rows,))[0] < 0.5).long()
        z = gaussian(int(key), (rows, self.dimension), torch.device("cpu"))
        radius = torch.tensor(self.radii)[y]
        return z / z.norm(dim=1, keepdim=True) * radius[:, None], y

    def perfect(self, a: Coefficients) -> bool:
        """Whether a network with these coefficients never errs."""
        inner, outer = self.radii
        return bool(a.min() >= outer**-2 and a.max() <= inner**-2)

    def error_rates(self, a: Coefficients) -> tuple[float, float]:
        """Exact probabilities of an error on the inner and on the outer sphere, for coefficients a (dimension,).

        On radius r, sum a_i x_i^2 > 1 is sum (a_i r^2 - 1) g_i^2 > 0 for normal g.
        """
        inner, outer = self.radii
        return positive(a * inner**2 - 1), positive(1 - a * outer**2)


class Quadratic(nn.Module):
    """Scores (B, 2): 0, and a factor times (sum_i a_i x_i^2 - 1). In the axes of the data, as Gilmer's after an SVD."""

    def __init__(self, a: Tensor, factor: float = 1.0) -> None:
        super().__init__()
        self.a, self.factor = nn.Parameter(a), nn.Parameter(a.new_tensor(factor))

    def forward(self, x: Tensor) -> Tensor:
        value = self.factor * (x.square() @ self.a - 1)
        return torch.stack([torch.zeros_like(value), value], 1)

    @property
    def coefficients(self) -> Coefficients:
        """a (dimension,), float64."""
        return self.a.detach().cpu().double().numpy()


def trained(spheres: Spheres, rows: int, *, steps: int = 500, rate: float = 0.01, seed: int = 0) -> Quadratic:
    """A quadratic network after full batches of Adam on the cross entropy of so many rows; deterministic.

    Raises InputError for fewer than 2 rows or 1 step.
    """
    if rows < 2 or steps < 1:
        raise InputError(f"expected at least 2 rows and 1 step, got {rows} and {steps}: take more of both")
    x, y = spheres.batch(seed, 0, rows)
    start = gaussian(int(keys(seed, torch.tensor([-1]))), (spheres.dimension,), torch.device("cpu"))
    net = Quadratic((1 + 0.5 * start) / spheres.radii[1])
    optimiser = torch.optim.Adam(net.parameters(), lr=rate)
    for _ in range(steps):
        optimiser.zero_grad()
        F.cross_entropy(net(x), y).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    return net


def two_blocks(dimension: int, first: int, a: float, b: float) -> float:
    """The error rate on the unit sphere where the first coefficients are a > 1 and the others b < 1.

    The first squares add up to Beta(first / 2, (dimension - first) / 2), which has to exceed (1 - b) / (a - b).
    """
    if not (0 < first < dimension and b < 1 < a):
        raise InputError(f"expected b < 1 < a and two blocks, got {b:g}, {a:g} and {first} of {dimension}: change them")
    return float(beta.sf((1 - b) / (a - b), first / 2, (dimension - first) / 2))


def boundary_distance(a: Coefficients, x: NDArray[np.float64]) -> float:
    """The Euclidean distance from x (dimension,) to the nearest point with sum a_i x_i^2 = 1; infinity without one.

    The nearest point moves by d_i = -k a_i x_i / (1 + k a_i), all 1 + k a_i >= 0, where k is the one root of the sum at
    x + d, which falls with k. Where x has no part along the largest a (or the smallest, if it is below 0) and the sum
    stays off 1 up to the end of that range, the rest is made up along that axis.
    """
    if a.max() <= 0:
        return math.inf

    def off(k: float) -> float:
        return float((a * (x / (1 + k * a)) ** 2).sum()) - 1

    beyond = off(0.0) > 0
    end = _end(off, float(a.min() if beyond else a.max()), beyond)
    if (off(end) > 0) == beyond:
        missing = -off(end) / float(a.min() if beyond else a.max())
    else:
        end, missing = float(brentq(off, min(0.0, end), max(0.0, end), xtol=1e-300, rtol=1e-14)), 0.0
    return math.sqrt(float(((end * a * x / (1 + end * a)) ** 2).sum()) + missing)


def _end(off: Callable[[float], float], extreme: float, beyond: bool) -> float:
    """A k behind the root, or next to the end of the range, -1 / extreme, where there is no root before it."""
    endless = beyond and extreme >= 0
    tries = (2.0**j for j in range(1000)) if endless else ((2.0**-j - 1) / extreme for j in range(1, 50))
    return next((k for k in tries if (off(k) > 0) != beyond), (2.0**-50 - 1) / extreme if not endless else math.inf)
