"""Distances to rows that are kept."""

import torch
from torch import Tensor


def distances(a: Tensor, b: Tensor) -> Tensor:
    """Euclidean, of rows (B, D) to rows (N, D): (B, N). From the differences: |a|^2 - 2ab + |b|^2 would cancel."""
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")
