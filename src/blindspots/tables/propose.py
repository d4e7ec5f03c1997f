"""A feature file from data: what columns seem to be, and which relations hold in every row and hardly by chance."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from blindspots.errors import InputError
from blindspots.tables.dependencies import Dependency, dependencies
from blindspots.tables.encoding import EXACT, Cells, encoded, no_category, numbers_of, word_of
from blindspots.tables.features import Column, Features
from blindspots.tables.rules import Rules

Array = NDArray[Any]
_FEW = 8  # different numbers that are levels,
_OFTEN = 5  # each in so many rows on average
_ROWS = 20  # fewer prove nothing


class Proposal(NamedTuple):
    """A feature file, comments on its lines, and why columns are left out, by their names."""

    features: Features
    comments: dict[str, str]
    left_out: dict[str, str]


def propose(cells: Cells) -> Proposal:
    """What columns of a table (without the labels) seem to be. Raises InputError: none of them can be used."""
    columns, comments, left_out = {}, {}, {}
    for name, given in cells.items():
        column, why = _column(given) if name else (None, "has no name")
        if column is None:
            left_out[name] = why
        else:
            columns[name], comments[name] = column, why
    if not columns:
        said = "; ".join(f"{name!r} {why}" for name, why in left_out.items())
        raise InputError(f"expected columns of numbers or of a few words, got others ({said}): mend one of them")
    found = _kept(Features(columns=columns), cells)
    comments |= {one.relation.holds: one.why for one in found}
    return Proposal(Features(columns=columns, relations=tuple(one.relation for one in found)), comments, left_out)


def _kept(features: Features, cells: Cells) -> list[Dependency]:
    """The relations that hold of the rows as they are read, in float32."""
    x = torch.from_numpy(encoded(features, cells, "the data"))
    found = list(dependencies(features, cells)) if len(x) >= _ROWS else []
    rules = Rules(features.model_copy(update={"relations": tuple(one.relation for one in found)}))
    return [one for k, one in enumerate(found) if bool(rules.holds(k, x).all())]


def _column(cells: Sequence[Any]) -> tuple[Column | None, str]:
    numbers = numbers_of(cells)
    if numbers is None:
        words = tuple(sorted(set(map(word_of, cells))))
        if len(words) == 1:
            return Column(type="category", values=words, change="never"), "the same in all rows"
        if (why := no_category(cells)) is not None:
            return None, why
        said = f"{len(words)} different words in {len(cells)} rows{_blanks(words)}"
        return Column(type="category", values=words), said
    return _numeric(numbers)


def _blanks(words: Sequence[str]) -> str:
    return "" if len({word.strip() for word in words}) == len(words) else ", some of which differ by blanks alone"


def _numeric(numbers: Array) -> tuple[Column, str]:
    different = np.unique(numbers)
    low, high = float(different[0]), float(different[-1])
    if low == high:
        return Column(range=(low, high), change="never"), "the same in all rows"
    whole = bool((different == np.rint(different)).all())
    if whole and max(-low, high) > EXACT:
        return Column(range=(low, high)), "whole in all rows, but larger than the integers that float32 holds"
    if whole and len(different) == len(numbers) == high - low + 1 and len(numbers) >= _ROWS:
        return Column(type="integer", range=(low, high), change="never"), "numbers the rows: a model should not see it"
    gaps = len(different) < high - low + 1 or not whole
    if gaps and len(different) <= _FEW and len(numbers) >= _OFTEN * len(different):
        return Column(type="ordinal", values=tuple(different.tolist())), f"{len(different)} different numbers"
    if whole:
        return Column(type="integer", range=(low, high)), "whole in all rows"
    return Column(range=(low, high)), ""
