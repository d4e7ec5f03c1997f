"""How pure what excites a direction is: by the labels of its top rows, and by how alike all are that excite it."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

_TINY = 1e-12
_ALONE = 1e-6  # share of pairs below which a single row excites a direction


def label_entropy(values: Tensor, labels: Tensor, top: int) -> Tensor:
    """Entropy in bits of the labels of the `top` rows that each direction answers most: (m,) of values (n, m).

    0: all of one class. Rows are to come in an order of lots, so that ties, frequent after a ReLU, are settled by lot.
    """
    rows = highest(values, top)
    return entropy(histogram(labels[rows], int(labels.max()) + 1))


def highest(values: Tensor, top: int) -> Tensor:
    """Places of the `top` largest numbers of every column of (n, m), the largest first: (m, top).

    They are in the `top` blocks of rows with the largest maxima, so a heap needs to see few of them.
    """
    rows, columns = values.shape
    size = max(1, round((rows / top) ** 0.5))
    blocks = F.pad(values, (0, 0, 0, -rows % size), value=-math.inf).view(-1, size, columns)
    best = blocks.amax(1).T.topk(min(top, len(blocks)), 1).indices
    inside = blocks.permute(2, 0, 1).gather(1, best[:, :, None].expand(-1, -1, size)).flatten(1)
    at = inside.topk(top, 1).indices
    found: Tensor = best.gather(1, at // size) * size + at % size
    return found


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
    of a direction q it needs Aᵀ E, Aᵀ A, the sums of A and of E, and the smallest and the largest of A q alone.

    Args:
        answers: (n, m) of the basis that directions are written in.
        embedded: (n, d) unit vectors of the same rows, by an independent network.
        weights: (n,) how often each row counts; None: once.
    """

    def __init__(self, answers: Tensor, embedded: Tensor, weights: Tensor | None = None) -> None:
        a, e = answers.double(), embedded.double()
        w = torch.ones(len(a), dtype=torch.float64) if weights is None else weights.double()
        weighted = (a * w[:, None]).T
        projected, total = weighted @ e, w @ e
        self._alike, self._cross, self._norm = projected @ projected.T, projected @ total, total @ total
        self._squares, self._sums, self._rows = weighted @ a, w @ a, w.sum()

    def of(self, directions: Tensor, low: Tensor, high: Tensor) -> Tensor:
        """Of directions (m, r) whose values, answers @ directions, lie from `low` to `high` (r,): (r,).

        0 where a single row excites a direction, so that there are no two to be alike.
        """
        q, low = directions.double(), low.double()
        width = (high.double() - low).clamp_min(_TINY)
        sums, squares = self._sums @ q, _quadratic(self._squares, q)
        once = (sums - self._rows * low) / width
        twice = (squares - 2 * low * sums + self._rows * low**2) / width**2
        together = (_quadratic(self._alike, q) - 2 * low * (self._cross @ q) + low**2 * self._norm) / width**2
        pairs = once**2 - twice
        several = pairs > _ALONE * once**2
        return torch.where(several, (together - twice) / pairs.clamp_min(_TINY), 0.0)


def _quadratic(form: Tensor, q: Tensor) -> Tensor:
    """q_jᵀ F q_j of every column."""
    return ((form @ q) * q).sum(0)
