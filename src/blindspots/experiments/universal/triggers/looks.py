"""Texts before the oracle."""

import torch
from torch import Tensor

from blindspots.oracle import Oracle
from blindspots.texts.codes import as_codes

_AT_ONCE = 1 << 13


def scores_of(oracle: Oracle, texts: list[str]) -> Tensor:
    """What the model says of texts: (N, C) on the CPU."""
    parts = [texts[i : i + _AT_ONCE] for i in range(0, len(texts), _AT_ONCE)]
    return torch.cat([oracle.logits(codes_of(part).to(oracle.device)).cpu() for part in parts])


def codes_of(texts: list[str]) -> Tensor:
    """Code points (N, L), as wide as the longest text."""
    return as_codes(texts, max(1, *map(len, texts), 1))
