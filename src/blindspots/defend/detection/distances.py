"""Distances to clean rows that are kept, and which ones are."""

import torch
from torch import Tensor

from blindspots.defend.detection.detector import Examples


def distances(a: Tensor, b: Tensor) -> Tensor:
    """Euclidean, of rows (B, D) to rows (N, D): (B, N). From the differences: |a|^2 - 2ab + |b|^2 would cancel."""
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")


def drawn(examples: Examples, rows: int, seed: int) -> Examples:
    """At most so many of them, drawn without replacement and in a new order."""
    order = torch.randperm(len(examples), generator=torch.Generator().manual_seed(seed))
    return examples[order[:rows]]


def halves(examples: Examples, seed: int) -> tuple[Examples, Examples]:
    """Two disjoint parts: what has been fitted to rows must not be measured on them."""
    mixed, middle = drawn(examples, len(examples), seed), len(examples) // 2
    return mixed[:middle], mixed[middle:]
