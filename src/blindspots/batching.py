"""How many rows share one call of a network, a search and a shard: one family of rules for every kind of run.

The rows per call are the same in every call of a run and decide a row's last bits, so a run records them. The defaults
make a call cheap per row: a CPU gains little beyond 32 rows, an accelerator wants hundreds, and inputs of more than
16,384 numbers fill a CPU sooner.
"""

from collections.abc import Sequence
from math import prod
from typing import Literal

import torch

Work = Literal["search", "cascade", "universal"]

# Rows per call on a CPU. The later stages of a cascade search so few rows that larger calls would be padding for the
# most part; 16 cost hardly more per row than 32.
_CPU: dict[Work, int] = {"search": 32, "cascade": 16, "universal": 16}
_CPU_LARGE = 8
_ACCELERATOR: dict[Work, int] = {"search": 512, "cascade": 512, "universal": 128}
_LARGE = 1 << 14  # numbers in an input
_SHARD_NUMBERS, _SHARD_ROWS = 1 << 23, 1024  # at most, in a shard
TEXTS_PER_CALL = 1024  # evaluations at a time, which a model of texts sorts by their lengths
ANSWERS = 256  # rows per call where a network is only asked for its answers
ANSWERS_OF_FEW = 32  # where few of the rows are asked about at a time


def is_large(shape: Sequence[int]) -> bool:
    """Whether an input of this shape is a photograph rather than a small picture: more than 16,384 numbers."""
    return prod(shape) > _LARGE


def rows_per_call(work: Work, shape: Sequence[int], device: torch.device, asked: int | None = None) -> int:
    """Rows per call of a network for inputs of this shape.

    Args:
        work: "search", where one attack searches all rows; "cascade", where stages search ever fewer; "universal",
            where all rows of a call share one perturbation.
        asked: what the user wants instead.
    """
    if asked:
        return asked
    if device.type != "cpu":
        return _ACCELERATOR[work]
    return _CPU_LARGE if is_large(shape) else _CPU[work]


def rows_in_flight(shape: Sequence[int], device: torch.device, chunk: int, asked: int | None = None) -> int:
    """Rows that a search works on at a time, with `chunk` rows per call."""
    if asked:
        return asked
    return chunk if device.type != "cpu" else 64 if is_large(shape) else 128


def rows_per_shard(shape: Sequence[int], slots: int, asked: int | None = None) -> int:
    """Rows that are read, searched and stored together: a power of two that fits in memory, or those in flight."""
    fitting = 1 << max(_SHARD_NUMBERS // prod(shape), 1).bit_length() - 1
    return asked or max(min(fitting, _SHARD_ROWS), slots)


def draws_per_call(block: int, device: torch.device) -> int:
    """Noisy copies of an input per call of a network, of those that are drawn together in a `block`."""
    return max(1, block // 4) if device.type == "cpu" else block
