"""Whether a translation says what onnxruntime says, on probes within the model's bounds."""

import itertools
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from blindspots.box import Box
from blindspots.errors import InputError
from blindspots.models.foreign import told
from blindspots.random import keys, uniform

AGREEMENT = 1e-4  # the largest gap at which gradients are believed, relative to the largest score
_NOISY, _ALONE = 6, 2  # probes of noise, and how many of all are also asked about alone
_SIZES = (32, 224, 28, 64, 8, 16, 96, 128, 256, 299, 384, 512)  # tried where a graph leaves the size of an axis open


def probes(net: nn.Module, shape: tuple[int | None, ...], box: Box) -> tuple[Tensor, Any]:
    """Inputs (8, *shape) within the box that the network takes, and its answers.

    Raises InputError: it takes none of the sizes that were tried.
    """
    error: Exception | None = None
    for guess in _SIZES if None in shape else (1,):
        try:
            x = _inputs(tuple(guess if n is None else n for n in shape), box)
            with torch.no_grad():
                return x, net(x)
        except Exception as raised:  # noqa: BLE001 - whatever the runtime raises
            error = error or raised
    assert error is not None
    raise InputError(
        f"expected a graph that takes inputs of shape {shape}, got {told(error)}: export it again"
    ) from error


def _inputs(shape: tuple[int, ...], box: Box) -> Tensor:
    """Both corners of the box, and noise of more and more contrast: float32."""
    rows = torch.arange(_NOISY)
    noise = uniform(keys(0, rows), rows, 0, shape)
    contrast = ((rows + 1) / _NOISY).reshape(-1, *[1] * len(shape))
    unit = torch.cat([torch.zeros(1, *shape), torch.ones(1, *shape), 0.5 + contrast * (noise - 0.5)])
    lo, hi = (torch.as_tensor(bound, dtype=torch.float32) for bound in box)
    return lo + (hi - lo) * unit


def gap(net: nn.Module, x: Tensor, answers: Any) -> float:
    """The largest difference to the answers, relative to the largest of these, of all rows together and of some alone.

    Raises whatever the network raises.
    """
    with torch.no_grad():
        together = _difference(net(x), answers)
        alone = [_difference(net(x[i : i + 1]), _rows(answers, i)) for i in range(len(x) - _ALONE, len(x))]
    return max(together, *alone)


def _rows(answers: Any, i: int) -> Any:
    return {k: v[i : i + 1] for k, v in answers.items()} if isinstance(answers, Mapping) else answers[i : i + 1]


def _difference(found: Any, wanted: Any) -> float:
    if isinstance(wanted, Mapping):
        return max(itertools.starmap(_difference, ((found[key], value) for key, value in wanted.items())))
    if found.shape != wanted.shape:
        return torch.inf
    found, wanted = found.double(), wanted.double()
    difference = float(torch.where(found == wanted, 0.0, (found - wanted).abs()).max())  # infinities may be equal
    relative = difference / max(float(wanted.abs().max()), torch.finfo(torch.float32).tiny)
    return torch.inf if math.isnan(relative) else relative
