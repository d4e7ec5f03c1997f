"""A statistical test of whether a batch comes from where the clean rows come from."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from blindspots.errors import InputError
from blindspots.experiments.detect.detectors.detector import Detector, Examples, Fitted
from blindspots.experiments.detect.detectors.distances import distances
from blindspots.models.model import Model

_TIE = 1e-12  # of the statistic: sums in another order


@dataclass(frozen=True)
class MMD(Detector):
    """The two-sample test of the maximum mean discrepancy on inputs, between a batch and clean rows that are kept.

    Grosse et al. test batches, and so does `p_value` of the fitted detector. The score of a single row is the witness
    function: how much nearer, in the mean of the kernel, the row is to adversarial examples than to clean rows; without
    adversarial examples, how far it is from the clean ones.

    Args:
        rows: clean rows that are kept, at most, and as many adversarial ones.
        bandwidth: standard deviation of the Gaussian kernel; None: the median distance of the clean rows kept.
    """

    name: ClassVar[str] = "mmd"
    title: ClassVar[str] = "Two-sample test on inputs"
    paper: ClassVar[str] = "Grosse et al. 2017 (arXiv 1702.06280), Gretton et al. 2012 (JMLR 13)"
    cost: ClassVar[str] = "no forward of the model; distances to the rows kept"
    needs: ClassVar[str] = "a batch for the test; better with adversarial examples for single rows"
    learns_from_attacks: ClassVar[bool] = True
    asks_model: ClassVar[bool] = False
    tests_batches: ClassVar[bool] = True

    rows: int = 500
    bandwidth: float | None = None

    def __post_init__(self) -> None:
        if self.rows < 2 or (self.bandwidth is not None and not self.bandwidth > 0):
            raise InputError(f"expected at least 2 rows and a positive bandwidth, got {self}: change it")

    def learn(self, model: Model, clean: Examples, adversarial: Examples | None, seed: int) -> dict[str, Tensor]:
        points = clean.x[: self.rows].flatten(1)
        others = adversarial.x[: self.rows].flatten(1) if adversarial else points[:0]
        width = median_distance(points) if self.bandwidth is None else torch.tensor(self.bandwidth)
        return {"clean": points, "adversarial": others, "bandwidth": width}

    def rebuild(self, model: Model, shape: tuple[int, ...], learnt: Mapping[str, Tensor]) -> Fitted:
        return FittedMMD(self, model, shape, learnt)


class FittedMMD(Fitted):
    """Scores of single rows, and the test of a batch."""

    clean: Tensor  # (n, D)
    adversarial: Tensor  # (m, D), m may be 0
    bandwidth: Tensor

    def forward(self, x: Tensor) -> Tensor:
        points = x.to(self.clean.device).float().flatten(1)
        near = self._kernel(points, self.clean).mean(1)
        return (self._kernel(points, self.adversarial).mean(1) if len(self.adversarial) else 0) - near

    def p_value(self, batch: Tensor, seed: int = 0, permutations: int = 1000) -> float:
        """How likely so large a discrepancy is for a batch (B, *shape), B >= 2, of clean rows.

        The share of permutations of all rows, the batch as it is being one of them, whose unbiased estimate of the
        squared discrepancy is at least that of the batch: exact at any size. At least 1 / (permutations + 1).
        """
        if batch.shape[0] < 2 or tuple(batch.shape[1:]) != self.shape:
            raise InputError(
                f"expected a batch of at least 2 inputs of shape {self.shape}, got {tuple(batch.shape)}: give more "
                "rows of the data that mmd was fitted to"
            )
        rows = torch.cat([batch.to(self.clean.device).float().flatten(1), self.clean])
        kernel = self._kernel(rows, rows).double()
        generator = torch.Generator().manual_seed(seed)
        own = torch.arange(len(rows)) < len(batch)
        members = torch.stack(
            [own, *(own[torch.randperm(len(rows), generator=generator)] for _ in range(permutations))]
        )
        values = discrepancies(kernel, members.to(kernel.device))
        return float((values >= values[0] - _TIE).double().mean())

    def _kernel(self, a: Tensor, b: Tensor) -> Tensor:
        return (-0.5 * (distances(a, b) / self.bandwidth).square()).exp()


def discrepancies(kernel: Tensor, members: Tensor) -> Tensor:
    """The unbiased estimates MMD^2_u of Gretton et al. 2012, one for each way to part N rows in two: (P,).

    Args:
        kernel: (N, N) of all pairs of rows.
        members: (P, N) bool, which rows are on the first side; at least two on both.
    """
    pairs = kernel - torch.diag(kernel.diag())
    first, second = members.to(kernel.dtype), (~members).to(kernel.dtype)
    m, n = first.sum(1), second.sum(1)
    within = ((first @ pairs) * first).sum(1) / (m * (m - 1)) + ((second @ pairs) * second).sum(1) / (n * (n - 1))
    return within - 2 * ((first @ pairs) * second).sum(1) / (m * n)


def median_distance(points: Tensor) -> Tensor:
    """Of the pairs of different rows. Raises InputError if most rows are the same."""
    apart = distances(points, points)
    median = apart[torch.ones_like(apart, dtype=torch.bool).triu(1)].median()
    if not median > 0:
        raise InputError("expected clean rows that differ, got mostly equal ones: give others, or a bandwidth")
    return median
