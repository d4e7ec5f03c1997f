"""What changes of a row cost where that depends on their direction, or on which value of a category becomes which.

Kireev, Kulynych, Troncoso 2023 (arXiv 2208.13058): an adversary pays in money, and up is not down.
"""

import math
from functools import cached_property

import torch
from torch import Tensor

from blindspots.errors import InputError
from blindspots.tables.features import Column, Features


class PriceList:
    """The prices of a table's columns, for rows (B, D).

    Raises InputError: a column that may change has no price.
    """

    def __init__(self, table: Features) -> None:
        self.table = table
        lacking = [n for n, c in table.columns.items() if c.change != "never" and _least(c) is None]
        if lacking:
            raise InputError(
                "expected a cost for every column that may change, and in every direction, got none for "
                f"{', '.join(map(repr, lacking))}: write cost = 1.0 or cost = {{up = 2.0, down = 0.5}} in the feature "
                "file, or change = 'never'"
            )

    @cached_property
    def unit(self) -> Tensor:
        """What costs 1 in every input, in its cheaper direction: (D,); both values of a category pay half."""
        return torch.tensor([
            (2.0 if column.type == "category" else 1.0) / (_least(column) or 1.0)
            for column in self.table.columns.values() for _ in range(column.width)
        ])  # fmt: skip

    @cached_property
    def even(self) -> bool:
        """Whether `unit` says everything: no price depends on the direction or the values."""
        return all(column.change == "never" or len(set(_all(column))) == 1 for column in self.table.columns.values())

    def each(self, x0: Tensor) -> tuple[Tensor, Tensor]:
        """What a change by 1 of every input of the rows `x0` costs, up and down: (B, D) each, float64."""
        up, down = self._numbers
        up, down = (side.to(x0.device).expand(x0.shape).clone() for side in (up, down))
        for place, matrix in self._matrices:
            own = matrix.to(x0.device)[x0[:, place].argmax(1)]  # (B, K) from the row's own value
            half = torch.where(own > 0, own, torch.inf).amin(1, keepdim=True) / 2
            up[:, place] = down[:, place] = torch.where(own > 0, own - half, half)
        return up, down

    def paid(self, x: Tensor, x0: Tensor) -> Tensor:
        """What it costs to change the rows `x0` into `x`, both (B, D): (B,) float64."""
        change, (up, down) = x.double() - x0.double(), self.each(x0)
        return (torch.where(change > 0, up, down) * change.abs()).sum(1)

    @cached_property
    def _numbers(self) -> tuple[Tensor, Tensor]:
        pairs = [_finite(column) for column in self.table.columns.values() for _ in range(column.width)]
        up, down = zip(*pairs, strict=True)
        return torch.tensor(up, dtype=torch.float64), torch.tensor(down, dtype=torch.float64)

    @cached_property
    def _matrices(self) -> list[tuple[slice, Tensor]]:
        return [
            (self.table.places[name], torch.tensor(column.matrix, dtype=torch.float64))
            for name, column in self.table.columns.items() if column.matrix is not None and column.width > 1
        ]  # fmt: skip


def _all(column: Column) -> list[float]:
    """Every price of what can happen; none where one is lacking."""
    if column.type == "category":
        return [price for row in column.matrix or () for price in row if price > 0]
    return [price for price in column.prices or () if price < math.inf]


def _least(column: Column) -> float | None:
    """The cheapest price; None where one is lacking."""
    return min(_all(column), default=None)


def _finite(column: Column) -> tuple[float, float]:
    """Up and down of a number; a direction that is forbidden costs as much as the other, as nothing goes there."""
    if column.type == "category" or column.prices is None:
        return 1.0, 1.0
    up, down = column.prices
    return min(up, down) if up == math.inf else up, min(up, down) if down == math.inf else down
