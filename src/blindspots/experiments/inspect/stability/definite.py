"""A proof that a zero-padded convolution is no longer than a given number: a Cholesky factorisation that succeeds.

A bound over a grid of frequencies does not know where the inputs end; for 8 x 8 inputs that costs several per cent.
"""

from collections import defaultdict
from collections.abc import Iterator
from itertools import combinations_with_replacement, product
from math import prod

import torch
from torch import Tensor

from blindspots.experiments.inspect.stability.convolutions import Convolution, convolution_upper
from blindspots.experiments.inspect.stability.norms import Norm, lower

_SIDE, _COST = 2048, 2e10  # of a block, and multiplications in all: seconds on one core
_SEARCH = 1e10  # multiplications of the search for a lower bound
_NEAR = 5e-4  # above the lower bound
Rows = tuple[int, int, int]  # a row that is kept, one that is summed over, and the line of the kernel that joins them


class Bands:
    """B = A A^T or A^T A, whichever is smaller, of a zero-padded convolution A, in blocks of rows (the first axis).

    Rows of A are joined by one matrix per line of the kernel, so B is made of the products of these matrices, and is
    block tridiagonal in groups of as many rows as a kernel reaches.
    """

    def __init__(self, conv: Convolution) -> None:
        reach, s = conv.dilation[0] * (conv.weight.shape[2] - 1), conv.stride[0]
        inner, outer = (prod(shape[1:]) for shape in (conv.size, conv.out))
        inside = conv.weight.shape[1] * conv.groups * inner * max(1, reach)
        outside = len(conv.weight) * outer * max(1, reach // s)
        self.conv, self.of_inputs = conv, inside * conv.size[0] <= outside * conv.out[0]
        self.rows = conv.size[0] if self.of_inputs else conv.out[0]
        self.side = inside if self.of_inputs else outside
        self.group = max(1, reach if self.of_inputs else reach // s)

    @property
    def cost(self) -> float:
        """Multiplications that `below` takes, about."""
        return self.side**3 * self.rows / self.group

    @property
    def affordable(self) -> bool:
        """Whether `below` takes seconds."""
        return not self.conv.circular and self.side <= _SIDE and self.cost <= _COST

    def below(self, limit: float) -> bool:
        """Whether the norm of A is proven to be less than `limit`.

        limit^2 I - B is positive definite if its Cholesky factorisation in float64 succeeds for a limit lower by what
        rounding may hide (Higham 2002, theorem 10.3).
        """
        rest: Tensor | float = 0.0
        level = limit**2 * (1 - (self.side * self.rows / self.group) ** 2 * 2.0**-52)
        for diagonal, beside in self._blocks():
            shifted = level * torch.eye(len(diagonal), dtype=torch.float64) - diagonal - rest
            factor, failed = torch.linalg.cholesky_ex(shifted)
            if int(failed):
                return False
            half = torch.linalg.solve_triangular(factor, beside, upper=False)
            rest = half.T @ half
        return True

    def _blocks(self) -> Iterator[tuple[Tensor, Tensor]]:
        """B_gg and B_g(g+1) of every group g of rows; the last of the latter is empty."""
        lines = _lines(self.conv)
        lines = lines.mT if self.of_inputs else lines
        products = {(s, t): lines[s] @ lines[t].T for s, t in product(range(len(lines)), repeat=2)}
        terms = self._terms()
        side = lines.shape[1]

        def block(a: range, b: range) -> Tensor:
            made = torch.zeros(len(a), side, len(b), side, dtype=torch.float64)
            for i, j in product(a, b):
                for pair in terms.get((i, j), ()):
                    made[i - a.start, :, j - b.start] += products[pair]
            return made.view(len(a) * side, len(b) * side)

        groups = [range(i, min(i + self.group, self.rows)) for i in range(0, self.rows, self.group)]
        for here, following in zip(groups, [*groups[1:], range(0)], strict=True):
            yield block(here, here), block(here, following)

    def _terms(self) -> dict[tuple[int, int], list[tuple[int, int]]]:
        """Which products make up each block of two rows."""
        met: dict[int, list[tuple[int, int]]] = defaultdict(list)
        for kept, summed, line in self._joined():
            met[summed].append((kept, line))
        terms: dict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
        for row in met.values():
            for (a, s), (b, t) in combinations_with_replacement(row, 2):
                terms[a, b].append((s, t))
                if a != b:
                    terms[b, a].append((t, s))
        return terms

    def _joined(self) -> Iterator[Rows]:
        for j, i, t in _places(self.conv, 0):
            yield (i, j, t) if self.of_inputs else (j, i, t)


def _places(conv: Convolution, axis: int) -> list[Rows]:
    """(output, input, place in the kernel) along an axis, for every weight that meets an input."""
    s, d, p = conv.stride[axis], conv.dilation[axis], conv.padding[axis]
    met = product(range(conv.out[axis]), range(conv.weight.shape[2 + axis]))
    return [(j, i, t) for j, t in met if 0 <= (i := s * j + d * t - p) < conv.size[axis]]


def _lines(conv: Convolution) -> Tensor:
    """For every line t of the kernel the matrix from a row of inputs to a row of outputs: (k, D * M, C * N)."""
    weight = _full(conv)[..., None].flatten(3)
    axes = range(1, len(conv.size))
    outer, inner, kernel = (list(s) for s in (conv.out[1:], conv.size[1:], conv.weight.shape[3:]))
    made = torch.zeros(weight.shape[2], prod(outer), prod(inner), *weight.shape[:2], dtype=torch.float64)
    for met in product(*(_places(conv, axis) for axis in axes)):
        j, i, t = (_flat([m[which] for m in met], sizes) for which, sizes in enumerate((outer, inner, kernel)))
        made[:, j, i] += weight[..., t].movedim(2, 0)
    return made.permute(0, 3, 1, 4, 2).flatten(3).flatten(1, 2)


def _flat(at: list[int], sizes: list[int]) -> int:
    place = 0
    for i, n in zip(at, sizes, strict=True):
        place = place * n + i
    return place


def _full(conv: Convolution) -> Tensor:
    """The kernel (D, C, k, ...) with zeros between groups."""
    w = conv.weight.double()
    parts = [[part if g == h else torch.zeros_like(part) for h in range(conv.groups)]
             for g, part in enumerate(w.chunk(conv.groups))]  # fmt: skip
    return torch.cat([torch.cat(row, 1) for row in parts])


def convolution_norm(conv: Convolution, prove: bool = True) -> Norm:
    """From both sides. The upper one is that of the frequencies, or a proof that the norm is at most 5e-4 higher.

    The gap is below 1e-3 where the proof takes seconds; of larger zero-padded convolutions it is that of the grid, and
    so it is without `prove`.
    """
    below = lower(conv.apply, conv.shape, int(_SEARCH / conv.cost))
    upper, near = convolution_upper(conv, below), below * (1 + _NEAR)
    if prove and upper > near and (bands := Bands(conv)).affordable and bands.below(near):
        upper = near
    return Norm(upper, below)
