"""Correlations with intervals and exact tests, and how many dimensions vectors spread over."""

import math

import numpy as np
import torch
from scipy.stats import norm, rankdata
from torch import Tensor

from blindspots.random import keys, uniform
from blindspots.records import Interval


def pearson(a: Tensor, b: Tensor) -> float:
    """The linear correlation of (n,) and (n,); 0 where one does not vary."""
    a, b = a.double() - a.double().mean(), b.double() - b.double().mean()
    size = float(a.norm() * b.norm())
    return float(a @ b) / size if size > 0 else 0.0


def ranks(a: Tensor) -> Tensor:
    """(n,) float64, ties share their mean rank: Pearson's correlation of ranks is Spearman's."""
    return torch.from_numpy(np.asarray(rankdata(a.numpy()), dtype=np.float64))


def rank_interval(rho: float, rows: int) -> Interval | None:
    """95 % for Spearman's correlation: Fisher's z with the variance (1 + rho^2 / 2) / (n - 3) (Bonett, Wright 2000)."""
    if rows < 5 or abs(rho) >= 1:
        return None
    reach = float(norm.ppf(0.975)) * math.sqrt((1 + rho**2 / 2) / (rows - 3))
    z = math.atanh(rho)
    return math.tanh(z - reach), math.tanh(z + reach)


def permuted(a: Tensor, b: Tensor, times: int, seed: int) -> Tensor:
    """Pearson's correlations (times,) of a with b in random orders."""
    if not len(a):
        return torch.zeros(times, dtype=torch.float64)
    key = keys(seed, torch.arange(times), 31)
    orders = uniform(key, torch.zeros_like(key), 0, (len(a),)).argsort(dim=1, stable=True)
    return torch.tensor([pearson(a, b[order]) for order in orders], dtype=torch.float64)


def p_value(observed: float, null: Tensor) -> float:
    """Two-sided and exact: the share of orders, the observed one among them, that are correlated at least as much."""
    return (1 + int((null.abs() >= abs(observed) - 1e-12).sum())) / (1 + len(null))


def energies(gram: Tensor) -> Tensor:
    """Squared singular values (n,), descending, of rows whose inner products are `gram`, as shares of their sum."""
    squares: Tensor = torch.linalg.eigvalsh(gram).flip(0).clamp_min(0)
    return squares / squares.sum()


def effective(shares: Tensor) -> float:
    """In how many dimensions the energy lies: 1 / sum of squared shares, n for n equal ones."""
    return float(1 / shares.square().sum())
