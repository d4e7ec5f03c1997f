"""Texts as rows of numbers: their code points, padded with 0, which float32 holds exactly."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from blindspots.errors import InputError

LARGEST = 0x10FFFF  # of Unicode


def as_codes(texts: Sequence[str], width: int) -> Tensor:
    """Code points (B, width) float32, 0 behind the end of a text.

    Raises InputError: a text is longer, or has a character that no text has (NUL, half of a surrogate pair).
    """
    rows = np.zeros((len(texts), width), dtype=np.uint32)
    for row, text in zip(rows, texts, strict=True):
        if len(text) > width:
            raise InputError(
                f"expected texts of at most {width:,} characters, got {len(text):,}: shorten {text[:40]!r}"
            )
        row[: len(text)] = _codes(text)
    return torch.from_numpy(rows.astype(np.float32))


def _codes(text: str) -> "np.ndarray[tuple[int], np.dtype[np.uint32]]":
    try:
        codes = np.frombuffer(text.encode("utf-32-le"), dtype="<u4")
    except UnicodeEncodeError as error:
        raise InputError(f"expected whole characters, got half of one at {error.start} of {text[:40]!r}") from error
    if not codes.all():
        raise InputError(f"expected texts without the character NUL, got one in {text[:40]!r}: remove it")
    return codes


def as_texts(x: Tensor) -> list[str]:
    """The texts whose code points are the rows of `x` (B, L)."""
    codes = x.detach().cpu().numpy().astype("<u4")
    lengths = (codes != 0).sum(1).tolist()
    return [row[:n].tobytes().decode("utf-32-le", "replace") for row, n in zip(codes, lengths, strict=True)]
