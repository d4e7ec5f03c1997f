"""Bases of a layer's activations: rotations by lot, whitened ones, and learned dictionaries."""

import warnings
from collections.abc import Iterator

import torch
from sklearn.decomposition import NMF
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor, nn

from blindspots.random import keys, normal, uniform

_FLOOR = 1e-6  # of the largest variance: directions with less are rounding
_STEPS, _BATCH, _RATE = 600, 128, 3e-3
_ACTIVE = 8  # latents of a sparse autoencoder that may answer a row, and at most one in as many
_SWEEPS = 200


def rotations(seed: int, number: int, count: int, units: int, directions: int) -> Iterator[Tensor]:
    """`count` random bases of a space of `units` dimensions, or the first `directions` vectors of each.

    (units, directions) with orthonormal columns, by the Haar measure: QR of normal numbers, with the signs that make
    the factorisation unique (Mezzadri 2007, math-ph/0609050). `seed`, `number` and place decide each.
    """
    for i in range(count):
        key = keys(seed, torch.tensor([i]), number)
        q, r = torch.linalg.qr(normal(key, torch.zeros_like(key), 0, (units, directions))[0].double())
        signed: Tensor = (q * r.diagonal().sign()).float()
        yield signed


def whitened(answers: Tensor) -> Tensor:
    """Centred answers (n, m) with the covariance of identity, as near to the units as that can be (ZCA)."""
    centred = answers.double() - answers.double().mean(0)
    values, vectors = torch.linalg.eigh(centred.T @ centred / len(centred))
    scale = torch.where(values > _FLOOR * values[-1], values.clamp_min(1e-300).rsqrt(), torch.zeros_like(values))
    found: Tensor = (centred @ (vectors * scale) @ vectors.T).float()
    return found


def factors(fit: Tensor, held: Tensor, count: int, seed: int) -> Tensor:
    """Answers of `count` non-negative factors, at most one per row, learned from `fit` (n, m) >= 0, to `held`."""
    learned = NMF(min(count, len(fit)), init="nndsvda", random_state=seed % 2**32, max_iter=_SWEEPS, tol=1e-4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # enough for a dictionary
        learned.fit(fit.numpy())
        return torch.from_numpy(learned.transform(held.numpy())).float()


def latents(fit: Tensor, held: Tensor, width: int, seed: int) -> Tensor:
    """Answers (n, width) of a sparse autoencoder to `held`, learned from `fit` (n, m).

    A linear encoder whose largest `_ACTIVE` answers are kept, and a decoder with unit columns (top-k: Makhzani and
    Frey 2014, 1312.5663; for networks' features Gao et al. 2024, 2406.04093, whose remedies for dead latents are left
    out). Trained by Adam on batches that the seed decides.
    """
    mean, scale = fit.mean(0), fit.std().clamp_min(1e-12)
    coder = _Coder(fit.shape[1], width, seed)
    optimiser = torch.optim.Adam(coder.parameters(), _RATE)
    for step in range(_STEPS):
        key = keys(seed, torch.tensor([step]), width)
        rows = (uniform(key, torch.zeros_like(key), 2, (_BATCH,))[0].double() * len(fit)).long()
        batch = (fit[rows] - mean) / scale
        optimiser.zero_grad()
        (coder(batch) - batch).square().sum(1).mean().backward()
        optimiser.step()
        coder.normalise_()
    with torch.no_grad():
        return coder.code((held - mean) / scale)


class _Coder(nn.Module):
    def __init__(self, units: int, width: int, seed: int) -> None:
        super().__init__()
        key = keys(seed, torch.tensor([width]), units)
        drawn = normal(key, torch.zeros_like(key), 0, (width, units))[0]
        self.decoder = nn.Parameter(drawn / drawn.norm(dim=1, keepdim=True))
        self.encoder = nn.Parameter(self.decoder.detach().clone())
        self.active = max(1, min(_ACTIVE, width // _ACTIVE))

    def code(self, x: Tensor) -> Tensor:
        answers = (x @ self.encoder.T).relu()
        kept = answers.topk(self.active, 1)
        return torch.zeros_like(answers).scatter(1, kept.indices, kept.values)

    def forward(self, x: Tensor) -> Tensor:
        rebuilt: Tensor = self.code(x) @ self.decoder
        return rebuilt

    @torch.no_grad()
    def normalise_(self) -> None:
        self.decoder.div_(self.decoder.norm(dim=1, keepdim=True).clamp_min(1e-12))
