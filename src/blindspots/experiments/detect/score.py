"""Detectors asked about any number of rows."""

import torch
from torch import Tensor

from blindspots.errors import InputError
from blindspots.experiments.detect.detectors.detector import Fitted
from blindspots.models.precision import full_precision


def scored(fitted: Fitted, x: Tensor, chunk: int) -> Tensor:
    """Scores (N,) float32 on the CPU of inputs (N, *shape), `chunk` rows in every call, as the engine asks a pair.

    Raises InputError: a score is not a number.
    """
    model = fitted.model
    with model.borrowed(), full_precision(model.device), torch.no_grad():
        parts = [fitted(_filled(part, chunk))[: len(part)].float().cpu() for part in torch.split(x, chunk) if len(part)]
    scores = torch.cat(parts) if parts else torch.zeros(0)
    strange = scores.isnan().nonzero()
    if len(strange):
        raise InputError(
            f"expected scores that are numbers from the detector {fitted.detector.name}, got NaN in row "
            f"{int(strange[0])}: leave that detector out, or look for overflow in the network"
        )
    return scores


def _filled(x: Tensor, rows: int) -> Tensor:
    return torch.cat([x, x[-1:].expand(rows - len(x), *x.shape[1:])])
