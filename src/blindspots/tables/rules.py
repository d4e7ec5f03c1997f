"""What every row of a table has to keep to, exactly: types, directions and relations."""

from functools import cached_property

import torch
from torch import Tensor

from blindspots.tables.features import Features
from blindspots.tables.formula import Columns, Is, truth


class Rules:
    """The rules of a feature file, on inputs (B, D) of a model.

    Ranges and what never changes are the business of a ball: its box and its mask.
    """

    def __init__(self, features: Features) -> None:
        self.features = features
        self.width = features.width

    @cached_property
    def names(self) -> list[str]:
        """What each column of `kept` is about."""
        return ["types", "directions", *(relation.holds for relation in self.features.relations)]

    def kept(self, x: Tensor, x0: Tensor) -> Tensor:
        """Which rules the rows of `x` (B, D), changed from `x0`, keep: (B, len(names)) bool."""
        relations = [self.holds(k, x) for k in range(len(self.features.relations))]
        return torch.stack([self._typed(x), self._directed(x, x0), *relations], 1)

    def holds(self, number: int, x: Tensor) -> Tensor:
        """Whether a relation holds in each row of `x` (B, D): (B,) bool."""
        relation = self.features.relations[number]
        found = truth(relation.condition, self.columns(x), self.has(x), relation.tolerance)
        return found.expand(len(x))

    def columns(self, x: Tensor) -> Columns:
        """The numbers of columns by their names."""
        return lambda name: x[:, self.features.places[name].start].double()

    def has(self, x: Tensor) -> Is:
        """Whether a column has a value that is a word."""

        def found(name: str, word: str) -> Tensor:
            column, place = self.features.columns[name], self.features.places[name]
            k = column.words.index(word)
            if column.type == "category":
                return x[:, place.start + k] == 1
            return x[:, place.start] == column.numbers[k]

        return found

    def _typed(self, x: Tensor) -> Tensor:
        """Integers are whole, levels are levels, and exactly one value of every category is set."""
        kept = (x == x.round())[:, self.whole].all(1)
        for place, levels in self.levels:
            kept &= (x[:, place, None] == torch.tensor(levels, dtype=x.dtype, device=x.device)).any(1)
        for group in self.groups:
            values = x[:, group]
            kept &= ((values == 0) | (values == 1)).all(1) & (values.sum(1) == 1)
        return kept

    def _directed(self, x: Tensor, x0: Tensor) -> Tensor:
        change = x - x0
        return (change[:, self.up] >= 0).all(1) & (change[:, self.down] <= 0).all(1)

    # ------------------------------------------------------------------ which inputs are what

    @cached_property
    def whole(self) -> list[int]:
        """Places of integers."""
        return self._places("type", "integer")

    @cached_property
    def levels(self) -> list[tuple[int, list[float]]]:
        """Places of ordinal columns with their numbers."""
        columns = self.features.columns.items()
        return [(self.features.places[n].start, c.numbers) for n, c in columns if c.type == "ordinal"]

    @cached_property
    def groups(self) -> list[slice]:
        """Places of categories."""
        return [self.features.places[n] for n, c in self.features.columns.items() if c.type == "category"]

    @cached_property
    def up(self) -> list[int]:
        """Places of what only grows,"""
        return self._places("change", "up")

    @cached_property
    def down(self) -> list[int]:
        """and of what only shrinks."""
        return self._places("change", "down")

    @cached_property
    def column_of(self) -> list[int]:
        """The number of the column that each input belongs to."""
        return [k for k, column in enumerate(self.features.columns.values()) for _ in range(column.width)]

    def _places(self, field: str, value: str) -> list[int]:
        columns = self.features.columns.items()
        return [self.features.places[name].start for name, column in columns if getattr(column, field) == value]
