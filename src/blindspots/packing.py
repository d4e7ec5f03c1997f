"""How inputs and words are stored as tensors."""

import torch
from torch import Tensor


def pack_inputs(x: Tensor) -> Tensor:
    """Images that came from 8 bits are stored as 8 bits; anything else as it is."""
    levels = (x * 255).round()
    exact = bool(((levels >= 0) & (levels <= 255)).all()) and torch.equal(levels / 255, x)
    return levels.to(torch.uint8) if exact else x.contiguous()


def unpack_inputs(x: Tensor) -> Tensor:
    """The float32 inputs that `pack_inputs` was given."""
    return x.float() / 255 if x.dtype is torch.uint8 else x


def packed_text(text: str) -> Tensor:
    """Words as a column: (n,) uint8 of UTF-8."""
    return torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8) if text else torch.zeros(0, dtype=torch.uint8)


def unpacked_text(column: Tensor) -> str:
    """What `packed_text` was given."""
    return bytes(column.tolist()).decode()
