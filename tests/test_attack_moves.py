"""Searches in lattices of words, beside all points of these."""

from typing import Any

import torch
from torch import Tensor

import blindspots as bs
from blindspots.attacks import (
    Attack,
)
from blindspots.engine.ledger import Ledger
from blindspots.models.model import Model

P, C, E, ROWS = 10, 5, 6, 160
G = torch.Generator().manual_seed(0)
WORDS = torch.randn(ROWS, P, C + 1, E, generator=G)  # of every text; the first one is the text's own
READ = torch.randn(P, E, generator=G)
ASKED: list[Tensor] = []


def embed(x: Tensor) -> Tensor:
    """The words of texts (B, 1 + P): the number of the text, and at every place its own word, 0, or a candidate."""
    words = WORDS[x[:, :1].long(), torch.arange(P), x[:, 1:].clamp_min(0).long()]
    return words * (x[:, 1:] >= 0)[..., None]


def reader(e: Tensor) -> Tensor:
    """The order of words counts."""
    score = (e.cumsum(1).tanh() * READ).sum((1, 2)) - 3
    return torch.stack([torch.zeros_like(score), score], 1)


def bag(e: Tensor) -> Tensor:
    """It does not, and what words do adds up."""
    score = (e * READ).sum((1, 2)) - 3
    return torch.stack([torch.zeros_like(score), score], 1)


def searched(
    attack: Attack[Any, Any], head: Any = reader, radius: float = 2, stop: bool = True, **settings: Any
) -> Ledger:
    if attack.need is bs.problem.Need.SLOPES:
        model = Model(head, bounds=(-2.0, float(ROWS)), embed=EMBED)
