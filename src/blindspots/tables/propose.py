"""A feature file from data: what columns seem to be, and which relations hold in every row and hardly by chance."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations, permutations
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from blindspots.tables.encoding import MOST_VALUES, Cells, numbers_of, word_of
from blindspots.tables.features import Column, Features, Relation

Array = NDArray[Any]
_FEW = 8  # different integers with gaps between them that are levels
_ROWS = 20  # fewer prove nothing
_FAILS = 0.02  # of random pairs of two columns, at least, in which a comparison that always holds would fail
_WIDE = 60  # columns among which sums and products are looked for
_DECIMALS = 6


class Proposal(NamedTuple):
    """A feature file, comments on its lines, and columns that are left out."""

    features: Features
    comments: dict[str, str]
    left_out: list[str]


class _Found(NamedTuple):
    """A relation and what speaks for it."""

    relation: Relation
    why: str


def propose(cells: Cells) -> Proposal:
    """What columns of a table (without the labels) seem to be."""
    columns, comments, left_out = {}, {}, []
    for name, given in cells.items():
        column, why = _column(given)
        if column is None:
            left_out.append(name)
        else:
            columns[name], comments[name] = column, why
    numbers = {name: np.array(cells[name], np.float64) for name, c in columns.items() if c.type != "category"}
    varied = {name: x for name, x in numbers.items() if np.ptp(x) > 0 and columns[name].numeric}
    found = list(_relations(varied)) if varied and len(next(iter(varied.values()))) >= _ROWS else []
    comments |= {one.relation.holds: one.why for one in found}
    return Proposal(Features(columns=columns, relations=tuple(one.relation for one in found)), comments, left_out)


def _column(cells: Sequence[Any]) -> tuple[Column | None, str]:
    numbers = numbers_of(cells)
    if numbers is None:
        words = sorted(set(map(word_of, cells)))
        if not 2 <= len(words) <= MOST_VALUES:
            return None, ""
        return Column(type="category", values=tuple(words)), f"{len(words)} different words in {len(cells)} rows"
    different = np.unique(numbers)
    low, high = float(different[0]), float(different[-1])
    if len(different) == 1:
        return Column(range=(low, low), change="never"), "the same in all rows"
    if (different == np.rint(different)).all():
        gaps = len(different) < high - low + 1
        if gaps and len(different) <= _FEW:
            return Column(type="ordinal", values=tuple(different.tolist())), f"{len(different)} different numbers"
        return Column(type="integer", range=(low, high)), "whole in all rows"
    return Column(type="real", range=(low, high)), ""


def _relations(x: Mapping[str, Array]) -> Iterator[_Found]:
    equal = list(_equalities(x))
    yield from equal
    less = list(_comparisons(x))
    yield from (_said(a, b, x) for a, b in _reduced(less))
    yield from _sums(x, less)
    yield from _zeros(x, {*less})


def _equalities(x: Mapping[str, Array]) -> Iterator[_Found]:
    """a == b + c, a == b * c and a == b / c, for each three columns the first that holds."""
    rows, names = len(next(iter(x.values()))), list(x)[:_WIDE]
    taken: set[frozenset[str]] = set()
    for sign in "+/*":
        for one, other in combinations(names, 2) if sign != "/" else permutations(names, 2):
            with np.errstate(all="ignore"):
                made = {"+": np.add, "*": np.multiply, "/": np.divide}[sign](x[one], x[other])
            for name in names:
                three = frozenset((name, one, other))
                if len(three) < 3 or three in taken or (sign == "/" and _whole(x[name])):
                    continue
                if (near := _misses(x[name], made)) is not None:
                    taken.add(three)
                    holds = f"{_quoted(name)} == {_quoted(one)} {sign} {_quoted(other)}"
                    yield _Found(Relation(holds=holds, tolerance=near or None), f"holds in all {rows:,} rows")


def _misses(x: Array, made: Array) -> float | None:
    """The tolerance with which two columns are equal in all rows, 0 where they are; None where they are not."""
    if not np.isfinite(made).all() or np.ptp(made) == 0:
        return None
    gap = float(np.abs(x - made).max())
    if gap <= 1e-6 * max(1.0, float(np.abs(x).max())):
        return 0.0
    digits = next((d for d in range(1, _DECIMALS + 1) if np.allclose(x * 10**d, np.rint(x * 10**d), atol=1e-4)), None)
    rounded = None if digits is None or _whole(x) else 0.5 * 10.0**-digits
    small = rounded is not None and rounded < 0.05 * float(x.std())
    return rounded * 1.01 if rounded is not None and small and gap <= rounded * 1.0001 else None


def _whole(x: Array) -> bool:
    return bool(np.array_equal(x, np.rint(x)))


def _comparisons(x: Mapping[str, Array]) -> Iterator[tuple[str, str]]:
    """Pairs with a <= b in all rows that would often fail if the columns had nothing to do with each other."""
    for a, b in permutations(x, 2):
        if (x[a] <= x[b]).all() and (x[a] < x[b]).any() and _fails(x[a], x[b]) >= _FAILS:
            yield a, b


def _fails(a: Array, b: Array) -> float:
    """In which share of all pairs of rows a of the one is larger than b of the other."""
    below = np.searchsorted(np.sort(b), a, side="left")
    return float(below.mean() / len(b))


def _reduced(less: Sequence[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Without a <= c where a <= b and b <= c."""
    pairs = set(less)
    for a, c in less:
        if not any((a, b) in pairs and (b, c) in pairs for b in {b for _, b in pairs} - {a, c}):
            yield a, c


def _said(a: str, b: str, x: Mapping[str, Array]) -> _Found:
    why = f"holds in all {len(x[a]):,} rows; of shuffled columns in {1 - _fails(x[a], x[b]):.0%}"
    return _Found(Relation(holds=f"{_quoted(a)} <= {_quoted(b)}"), why)


def _sums(x: Mapping[str, Array], less: Sequence[tuple[str, str]]) -> Iterator[_Found]:
    """a + b <= c, where both alone are below c, and the sum is not c."""
    for (a, c), (b, other) in combinations(less, 2):
        both = x[a] + x[b]
        if c == other and (both <= x[c]).all() and (both < x[c]).any() and _fails(both, x[c]) >= _FAILS:
            why = f"holds in all {len(both):,} rows; of shuffled columns in {1 - _fails(both, x[c]):.0%}"
            yield _Found(Relation(holds=f"{_quoted(a)} + {_quoted(b)} <= {_quoted(c)}"), why)


def _zeros(x: Mapping[str, Array], less: set[tuple[str, str]]) -> Iterator[_Found]:
    """If a is 0, so is b: in many rows, and not because b <= a."""
    for a, b in permutations(x, 2):
        none = x[a] == 0
        rows, usual = int(none.sum()), float((x[b] == 0).mean())
        if rows < _ROWS or rows == len(none) or (b, a) in less or usual > 0.8 or not (x[b][none] == 0).all():
            continue
        why = f"holds in all {rows:,} rows with {a} == 0; {b} is 0 in {usual:.0%} of all"
        yield _Found(Relation(holds=f"if {_quoted(a)} == 0 then {_quoted(b)} == 0"), why)


def _quoted(name: str) -> str:
    plain = name.isidentifier() and name not in ("if", "then", "and", "or", "not", "in")
    return name if plain else f"`{name}`"
