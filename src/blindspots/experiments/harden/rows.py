"""Which rows judge and which are held out: functions of a seed, so that whoever verifies a run draws the same."""

import torch
from torch import Tensor

from blindspots.data import Dataset, TextData, part_of
from blindspots.data.splits import cut, share_of
from blindspots.errors import InputError
from blindspots.random import keys

TEST = 0.2  # share of the rows that judge where no others are named
HELD_OUT, MOST_HELD_OUT = 0.1, 1000  # share of the other rows that choose the best epoch, and rows
_HELD_OUT_LOT, _TEST_LOT = 2, 400  # what a lot is for


def generator(seed: int, *parts: int) -> torch.Generator:
    """A generator whose stream hangs on the seed and on what it is for."""
    key = int(keys(seed, torch.tensor([parts[0]]), *parts[1:])[0])
    return torch.Generator().manual_seed(key & (2**63 - 1))


def divide(data: Dataset, test: Dataset | None, most: int, seed: int) -> tuple[Dataset, Dataset]:
    """Rows to train on, and rows that judge: those of `test`, else a fifth of the data, at most `most`, by lot.

    Raises InputError: test rows of another shape.
    """
    if test is not None:
        if tuple(test.shape) != tuple(data.shape) and not isinstance(data, TextData):
            raise InputError(
                f"expected test inputs of shape {tuple(data.shape)}, as in {data.name}, got {tuple(test.shape)} in "
                f"{test.name}: name data of the same kind"
            )
        return data, test
    order = torch.randperm(len(data), generator=generator(seed, _TEST_LOT))
    judging, training = cut(order, share_of(len(data), TEST, most))
    x, y = data.rows(0, len(data))
    return (
        part_of(data, x[training], y[training], f"{data.name}, training rows"),
        part_of(data, x[judging], y[judging], f"{data.name}, test rows"),
    )


def held_out(rows: int, seed: int) -> tuple[Tensor, Tensor]:
    """Places of the rows that choose the best epoch, a tenth, at most 1,000, and of those that are trained on."""
    order = torch.randperm(rows, generator=generator(seed, _HELD_OUT_LOT))
    return cut(order, share_of(rows, HELD_OUT, MOST_HELD_OUT))
