"""What the verifiers of several kinds compute once more, by other code than that of the runs."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import binomtest
from torch import Tensor

from blindspots.models.foreign import own_randomness
from blindspots.models.model import Model
from blindspots.models.precision import full_precision

# Another batch size, memory layout or machine moves scores by rounding: on 39 networks by at most 1.5e-6 of the row's
# largest score. Where that much decides, the row is on the edge and either answer is accepted.
EDGE = 1e-5
# A radius may be exceeded by 1e-5 of it, as in threat.py, and by a tenth of that for the float32 norm it takes.
SLACK = 1.1e-5
UNIT_ROUNDOFF = 2.0**-24  # storing x + d in float32 moves every component by that share of it
NORM_ROUNDING = 1e-5  # between a norm in float32 and the same in float64
Array = NDArray[Any]


def share(hits: int | np.integer[Any], rows: int) -> dict[str, Any]:
    """A `records.Share` as plain values, its interval by scipy."""
    hits = int(hits)
    exact = binomtest(hits, rows).proportion_ci(method="exact") if rows else None
    interval = [float(exact.low), float(exact.high)] if exact else [0.0, 1.0]
    return {"hits": hits, "rows": rows, "share": hits / rows if rows else 0.0, "interval": interval}


def norms(name: str, changes: Array) -> Array:
    """Of the changes (N, ...) in "linf", "l2", "l1" or "l0": (N,)."""
    order = {"linf": np.inf, "l2": 2, "l1": 1, "l0": 0}[name]
    sizes: Array = np.linalg.norm(changes.reshape(len(changes), -1), ord=order, axis=1)
    return sizes


def rms(changes: Array) -> Array:
    """The root mean square of each of the changes (N, ...): (N,)."""
    sizes: Array = np.sqrt(np.mean(np.square(changes.reshape(len(changes), -1)), axis=1))
    return sizes


def predictions(model: Model, x: Tensor, chunk: int, seed: int) -> tuple[Tensor, Tensor]:
    """What a model says of inputs x (N, ...), `chunk` of them in every call.

    Returns: classes (N,), -1 where a score is not finite; and (N,) bool: rounding decides between the two best scores.
    """
    with model.borrowed(), full_precision(model.device), own_randomness(model.device, seed):
        logits = torch.cat([_logits(model, part, chunk) for part in torch.split(x, chunk)])
    two = logits.topk(2, dim=1).values
    edge = two[:, 0] - two[:, 1] <= EDGE * logits.abs().amax(1)
    return torch.where(logits.isfinite().all(1), logits.argmax(1), -1), edge


@torch.no_grad()
def _logits(model: Model, x: Tensor, chunk: int) -> Tensor:
    """A model that is known only through its outputs is asked for these alone, another one in calls of full size."""
    lacking = 0 if model.service else chunk - len(x)
    full = torch.cat([x, x[-1:].expand(lacking, *x.shape[1:])])
    return model.logits(full.to(model.device))[: len(x)].cpu()
