"""How pure what excites a direction is: by the labels of its top rows, and by how alike all are that excite it."""

import math

import torch
from torch import Tensor

_TINY = 1e-12


def label_entropy(values: Tensor, labels: Tensor, top: int) -> Tensor:
    """Entropy in bits of the labels of the `top` rows that each direction answers most: (m,) of values (n, m).

    0: all of one class. Rows are to come in an order of lots, so that ties, frequent after a ReLU, are settled by lot.
    """
    rows = values.T.topk(top, 1).indices
    return entropy(histogram(labels[rows], int(labels.max()) + 1))


def histogram(labels: Tensor, classes: int) -> Tensor:
    """How often each class occurs along the last axis: (..., k) to (..., classes)."""
    counts = torch.zeros(*labels.shape[:-1], classes, dtype=torch.float64)
    counts.scatter_add_(-1, labels, torch.ones_like(labels, dtype=torch.float64))
    return counts


def entropy(counts: Tensor) -> Tensor:
    """In bits, along the last axis."""
    share = counts / counts.sum(-1, keepdim=True)
    nats: Tensor = -torch.special.xlogy(share, share).sum(-1)
    return nats / math.log(2)


class Likeness:
    """Monosemanticity of directions (Pach et al. 2025, 2504.02821): how alike two rows that excite it are on average.

    The mean cosine of embeddings over pairs of rows, weighted by the product of the answers, which are first scaled
    to [0, 1]. The paper's code sums over pairs; with unit embeddings e_i the sum is (|Σ a_i e_i|² - Σ a_i²) / 2, and
    of all directions A q at once it needs Aᵀ E alone.

    Args:
        answers: (n, m) of the basis that directions are written in.
        embedded: (n, d) unit vectors of the same rows, by an independent network.
        weights: (n,) how often each row counts; None: once.
    """

    def __init__(self, answers: Tensor, embedded: Tensor, weights: Tensor | None = None) -> None:
        weighted = embedded.double() if weights is None else embedded.double() * weights.double()[:, None]
        self.weights = weights
        projected, total = answers.double().T @ weighted, weighted.sum(0)
        self._gram, self._cross, self._norm = projected @ projected.T, projected @ total, total @ total

    def of(self, directions: Tensor, values: Tensor) -> Tensor:
        """Of directions (m, r) whose values (n, r) are answers @ directions: (r,) in [-1, 1]."""
        q, low = directions.double(), values.double().amin(0)
        width = (values.double().amax(0) - low).clamp_min(_TINY)
        square = ((self._gram @ q) * q).sum(0) - 2 * low * (self._cross @ q) + low**2 * self._norm
        scaled = (values.double() - low) / width
        once, twice = self._sum(scaled), self._sum(scaled**2)
        return (square / width**2 - twice) / (once**2 - twice).clamp_min(_TINY)

    def _sum(self, values: Tensor) -> Tensor:
        return values.sum(0) if self.weights is None else self.weights.double() @ values
