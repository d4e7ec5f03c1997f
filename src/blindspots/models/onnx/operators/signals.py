"""Fourier transforms; complex numbers are pairs along the last axis."""

import torch
from torch import Tensor

from blindspots.models.onnx.node import Node, Operators, UntranslatedError


def _dft(node: Node, x: Tensor, length: Tensor | None = None, axis: Tensor | None = None) -> Tensor:
    """Along one axis, which is an attribute before opset 20."""
    dim = node.get("axis", 1) if node.opset < 20 else -2 if axis is None else int(axis)
    dim, count = dim % x.ndim, None if length is None else int(length)
    one_sided = bool(node.get("onesided", 0))
    if not node.get("inverse", 0):
        return torch.view_as_real(_spectrum(_complex(x), count, dim, one_sided))
    if one_sided:
        raise UntranslatedError("an inverse DFT of one side")
    return torch.view_as_real(torch.fft.ifft(_complex(x), count, dim))


def _stft(node: Node, x: Tensor, step: Tensor, window: Tensor | None = None, length: Tensor | None = None) -> Tensor:
    """Of signals (B, T) or (B, T, 1 or 2): (B, frames, bins, 2)."""
    x = x.unsqueeze(-1) if x.ndim == 2 else x
    size = int(length) if length is not None else x.shape[1] if window is None else len(window)
    frames = _complex(x).unfold(1, size, int(step))
    frames = frames if window is None else frames * window
    return torch.view_as_real(_spectrum(frames, None, 2, bool(node.get("onesided", 1))))


def _complex(x: Tensor) -> Tensor:
    found: Tensor = torch.view_as_complex(x.contiguous()) if x.shape[-1] == 2 else x[..., 0]
    return found


def _spectrum(x: Tensor, count: int | None, dim: int, one_sided: bool) -> Tensor:
    found = torch.fft.fft(x, count, dim)
    part: Tensor = found.narrow(dim, 0, found.shape[dim] // 2 + 1) if one_sided else found
    return part


SIGNALS: Operators = {"DFT": _dft, "STFT": _stft}
