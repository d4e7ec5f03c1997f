"""Two-sided norms of convolutions: strided, padded with zeros or circular, dilated, grouped, transposed."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, prod

import torch
import torch.nn.functional as F
from torch import Tensor

from blindspots.experiments.inspect.stability.norms import gram_upper

_NUMBERS = 1 << 23  # complex numbers in a batch of frequencies: 128 MB


@dataclass(frozen=True)
class Convolution:
    """A convolution without its bias; every field after `weight` has one entry per axis of space.

    A transposed convolution is the adjoint of the one with the same weight, so its norm is that of the latter with
    `size` and `out` exchanged.

    Args:
        weight: (D, C / groups, *kernel).
        size: of its inputs. out: of its outputs.
        padding: before the first input; zeros. How many follow the last one is told by `out`.
        circular: inputs are continued periodically instead; `out` must be size / stride.
    """

    weight: Tensor
    size: Sequence[int]
    out: Sequence[int]
    stride: Sequence[int]
    padding: Sequence[int]
    dilation: Sequence[int]
    groups: int = 1
    circular: bool = False

    def apply(self, x: Tensor) -> Tensor:
        """Of inputs (B, C, *size): (B, D, *out)."""
        pads = [(p, s * (m - 1) + k - p - n) for n, m, s, p, k in self._axes]
        x = F.pad(x, [end for pad in reversed(pads) for end in pad], "circular" if self.circular else "constant")
        convolve = (F.conv1d, F.conv2d, F.conv3d)[len(self.size) - 1]
        return convolve(x, self.weight.double(), None, self.stride, 0, self.dilation, self.groups)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one input: (C, *size)."""
        return (self.weight.shape[1] * self.groups, *self.size)

    @property
    def cost(self) -> int:
        """Multiplications of one input."""
        return self.weight.numel() * prod(self.out)

    @property
    def _axes(self) -> list[tuple[int, int, int, int, int]]:
        """Per axis: inputs, outputs, stride, padding, and the length of the dilated kernel."""
        kernel = [d * (k - 1) + 1 for d, k in zip(self.dilation, self.weight.shape[2:], strict=True)]
        return list(zip(self.size, self.out, self.stride, self.padding, kernel, strict=True))

    @property
    def grid(self) -> tuple[int, ...]:
        """Per axis, in strides: the fewest frequencies for which no output sees an input twice.

        The zero-padded operator is then a part of the circular one, from which its norm is bounded. Outputs j read the
        blocks j .. j + k - 1 of one stride each, so both M outputs and the blocks that hold the N inputs give a bound.
        """
        if self.circular:
            return tuple(self.out)
        blocks = [(p + n - 1) // s - p // s + 1 for n, _, s, p, _ in self._axes]
        return tuple(min(m, b) + ceil(k / s) - 1 for b, (_, m, s, _, k) in zip(blocks, self._axes, strict=True))

    def folded(self) -> Tensor:
        """The kernel of stride 1 whose channels are the phases: (groups, D / g, C / g * prod(stride), *kernel)."""
        w = self.weight.double()
        w = w.reshape(self.groups, -1, *w.shape[1:])
        for axis, ((*_, s, _, length), d) in enumerate(zip(self._axes, self.dilation, strict=True), 3):
            spread = w.new_zeros(*w.shape[:axis], ceil(length / s) * s, *w.shape[axis + 1 :])
            spread.index_copy_(axis, torch.arange(w.shape[axis]) * d, w)
            w = spread.view(*w.shape[:axis], -1, s, *w.shape[axis + 1 :]).movedim(axis + 1, 3).flatten(2, 3)
        return w


def convolution_upper(conv: Convolution, known: float = 0.0) -> float:
    """An upper bound of the norm of a convolution, zero-padded or circular, for inputs of its size.

    The largest norm of its transfer matrices over a grid of frequencies (Sedghi, Gupta and Long 2019, arXiv
    1805.10408), each bounded by Gram iteration (Delattre et al. 2023, arXiv 2305.16173). On the usual grid of N points
    the circular norm is no bound of the zero-padded one; on N + k - 1 it is. Frequencies are taken in batches, so
    memory does not depend on the size of the input.

    Args:
        known: a lower bound: frequencies that stay below it are dropped early.
    """
    kernel, upper = conv.folded(), known
    sizes = zip(_half(conv.grid), kernel.shape[3:], strict=True)
    phases = torch.cartesian_prod(*(torch.arange(n if k > 1 else 1) for n, k in sizes)).reshape(-1, len(conv.grid))
    places = torch.cartesian_prod(*(torch.arange(k) for k in kernel.shape[3:])).reshape(-1, len(conv.grid))
    for part in torch.split(phases, max(1, _NUMBERS // kernel[..., 0].numel())):
        turns = (part[:, None] * places / torch.tensor(conv.grid)).sum(2)
        transfer = torch.tensordot(
            torch.polar(torch.ones_like(turns).double(), -2 * torch.pi * turns.double()),
            kernel.flatten(3).to(torch.complex128),
            dims=([1], [3]),
        )
        upper = max(upper, gram_upper(transfer.flatten(0, 1), upper))
    return upper


def _half(grid: Sequence[int]) -> list[int]:
    """A real kernel has conjugate values at opposite frequencies: half of the last axis is enough."""
    return [*grid[:-1], grid[-1] // 2 + 1]
