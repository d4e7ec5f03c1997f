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
    for text in texts:
        if len(text) > width or "\0" in text:
            raise _refusal(text, width)
    try:
        together = "".join(text.ljust(width, "\0") for text in texts).encode("utf-32-le")
    except UnicodeEncodeError as error:
        text = texts[error.start // width]
        raise InputError(
            f"expected whole characters, got half of one at {error.start % width} of {text[:40]!r}"
        ) from error
    return torch.from_numpy(np.frombuffer(together, "<u4").reshape(len(texts), width).astype(np.float32))


def _refusal(text: str, width: int) -> InputError:
    if len(text) > width:
        return InputError(
            f"expected texts of at most {width:,} characters, which is the room that data leave for exchanges, got "
            f"{len(text):,} in {text[:40]!r}: allow fewer exchanges, or shorter candidates"
        )
    return InputError(f"expected texts without the character NUL, got one in {text[:40]!r}: remove it")


def as_texts(x: Tensor) -> list[str]:
    """The texts whose code points are the rows of `x` (B, L)."""
    width, codes = x.shape[1], x.detach().cpu().numpy().astype("<u4")
    together = codes.tobytes().decode("utf-32-le", "replace")
    ends = np.arange(0, codes.size, max(width, 1)) + np.count_nonzero(codes, axis=1)
    return [together[i * width : end] for i, end in enumerate(ends.tolist())]
