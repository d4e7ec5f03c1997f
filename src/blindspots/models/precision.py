"""Float32 that is float32, and recurrent layers that have gradients outside of training."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """No TF32 on a GPU: with its ten bits, verdicts made there could fail verification elsewhere."""
    if device.type != "cuda":
        yield
        return
    convolutions, products = torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()
    try:
        torch.backends.cudnn.allow_tf32 = False
        torch.set_float32_matmul_precision("highest")
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = convolutions
        torch.set_float32_matmul_precision(products)


@contextmanager
def differentiable(net: nn.Module, device: torch.device) -> Iterator[None]:
    """Without cuDNN where there are recurrent layers on a GPU: it takes their gradients in training mode only.

    Training mode would turn on dropout, so that nobody gets the same answer twice.
    """
    if device.type != "cuda" or not any(isinstance(m, nn.RNNBase) for m in net.modules()):
        yield
        return
    before = torch.backends.cudnn.enabled
    try:
        torch.backends.cudnn.enabled = False
        yield
    finally:
        torch.backends.cudnn.enabled = before
