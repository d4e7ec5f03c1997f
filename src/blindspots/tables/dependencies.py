"""Relations between columns that hold in every row of a table and hardly by chance.

What is looked for is found in two passes: whatever holds in a few rows is looked at in all of them.
"""

import math
from collections.abc import Iterator, Sequence
from itertools import combinations, permutations
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from blindspots.tables.encoding import Cells, word_of
from blindspots.tables.features import Features, Relation, spelled
from blindspots.tables.formula import ROUNDING

Array = NDArray[Any]
_SAMPLE = 64  # rows of the first pass
_ROWS = 20  # that have to speak for a relation
_CHANCE = 1e-3  # of columns that have nothing to do with each other, over all that are tried
_FAILS = 0.02  # of shuffled rows, at least, in which a comparison that always holds would fail
_USUAL = 0.8  # of all rows in which a conclusion may hold anyway
_WIDE = 60  # columns among which sums and products are looked for
_LEVELS = 8  # different numbers that are premises
_DECIMALS = 6
_RESERVED = ("if", "then", "and", "or", "not", "in")


class Dependency(NamedTuple):
    """A relation and what speaks for it."""

    relation: Relation
    why: str


class _Numbers(NamedTuple):
    """Columns of numbers that are not constant."""

    names: list[str]
    x: Array  # (columns, N) float64
    near: Array  # (columns,) by how much each of them is rounded, at most; 0 where it does not seem to be

    def apart(self, k: int) -> Array:
        """By how much a column may miss what it is equal to, in every row: (N,)."""
        apart: Array = np.maximum(self.near[k], ROUNDING / 10 * np.maximum(1, np.abs(self.x[k])))
        return apart


def dependencies(features: Features, cells: Cells) -> Iterator[Dependency]:
    """The relations, equations first."""
    names = [name for name, column in features.columns.items() if column.numeric and column.type != "category"]
    given = {name: np.array(cells[name], np.float64) for name in names if "`" not in name}
    given = {name: x for name, x in given.items() if np.ptp(x) > 0}
    columns = _Numbers(list(given), np.array(list(given.values())), np.array([_rounded(x) for x in given.values()]))
    less: list[tuple[int, int]] = []
    if given:
        copies = list(_copies(columns))
        yield from (_equation(columns, a, words.format(_quoted(columns.names[b]))) for a, b, words in copies)
        same = {a for a, _, _ in copies}  # what holds of the original holds of a copy
        yield from _equalities(columns, [k for k in range(len(given)) if k not in same][:_WIDE])
        below = [(a, b) for a, b in _below(columns) if not {a, b} & same]
        less = [(a, b) for a, b in below if _is_told(columns.x[a], columns.x[b], len(given) ** 2)]
        yield from (_compared(columns, a, b) for a, b in _reduced(less))
        yield from _sums(columns, less)
        yield from _parts(columns, below)
        yield from _groups(columns)
    yield from _implications(features, cells, columns, set(less))


# ------------------------------------------------------------------ equations


def _copies(columns: _Numbers) -> Iterator[tuple[int, int, str]]:
    """(a, b, "12 * {}") where a == 12 * b; of several that are the same, all but the first are equal to the first."""
    found: set[int] = set()
    for b, a in combinations(range(len(columns.names)), 2):
        factor = None if {a, b} & found else _factor(columns, a, columns.x[b])
        if factor is not None and _varied(columns.x[b]):
            found.add(a)
            yield a, b, factor


def _factor(columns: _Numbers, a: int, made: Array) -> str | None:
    """How column a is `made` (N,) times a number of up to four digits, or divided by one: "12 * {}", "{} / 12"."""
    x = columns.x[a]
    size = float(made @ made)
    if not 0 < size < math.inf:
        return None
    factor = float(x @ made) / size
    times, by = (float(f"{number:.4g}") for number in (factor, 1 / factor if factor else 1.0))
    ways = (("{}", 1.0), (f"{spelled(times)} * {{}}", times), (f"{{}} / {spelled(by)}", 1 / by if by else 0.0))
    return next((words for words, f in ways if f and (np.abs(x - f * made) <= columns.apart(a)).all()), None)


def _varied(x: Array) -> bool:
    """Whether enough rows differ from the usual value to prove something."""
    return len(x) - int(np.unique(x, return_counts=True)[1].max()) >= _ROWS


def _equalities(columns: _Numbers, places: Sequence[int]) -> Iterator[Dependency]:
    """a == b + c, a == k b c and a == k b / c, for each three columns the first that holds."""
    few = _Numbers([], columns.x[:, _spread(columns.x.shape[1])], columns.near)
    taken: set[frozenset[int]] = set()
    for sign, one, other in _pairs(places):
        for a in _likely(few, sign, one, other):
            three = frozenset((a, one, other))
            if a not in places or len(three) < 3 or three in taken or _turned(columns.x, sign, a, one, other):
                continue
            made = _made(columns.x, sign, one, other)
            words = _factor(columns, a, made) if np.isfinite(made).all() and _varied(made) else None
            if words is not None and (sign != "+" or words == "{}"):
                taken.add(three)
                names = (_quoted(columns.names[k]) for k in (one, other))
                yield _equation(columns, a, words.format(f" {sign} ".join(names)))


def _turned(x: Array, sign: str, a: int, one: int, other: int) -> bool:
    """Whether the column that is computed stands on the wrong side: a whole number that is a ratio or a part of one."""
    whole = _whole(x[a])
    return whole and (sign == "/" or (sign == "*" and not (_whole(x[one]) and _whole(x[other]))))


def _pairs(places: Sequence[int]) -> Iterator[tuple[str, int, int]]:
    for sign in "+*/":
        for one, other in permutations(places, 2) if sign == "/" else combinations(places, 2):
            yield sign, one, other


def _likely(few: _Numbers, sign: str, one: int, other: int) -> list[int]:
    """Which columns may be equal to a sum, a product or a ratio, times a number, by some rows."""
    made = _made(few.x, sign, one, other)
    if not np.isfinite(made).all() or not np.ptp(made):
        return []
    factor = np.ones(len(few.x)) if sign == "+" else few.x @ made / (made @ made)
    room = 2 * few.near[:, None] + 1e-3 * np.abs(made) + 1e-6
    return np.flatnonzero((np.abs(few.x - factor[:, None] * made) <= room).all(1)).tolist()


def _made(x: Array, sign: str, one: int, other: int) -> Array:
    with np.errstate(all="ignore"):
        return np.asarray({"+": np.add, "*": np.multiply, "/": np.divide}[sign](x[one], x[other]))


def _equation(columns: _Numbers, a: int, formula: str) -> Dependency:
    near = float(columns.near[a])
    relation = Relation(holds=f"{_quoted(columns.names[a])} == {formula}", tolerance=near or None)
    return Dependency(relation, f"holds in all {columns.x.shape[1]:,} rows")


def _rounded(x: Array) -> float:
    """By how much numbers of a few decimals may have been rounded; 0 where that is much, or they are whole."""
    decimals = (d for d in range(1, _DECIMALS + 1) if np.allclose(x * 10**d, np.rint(x * 10**d), rtol=0, atol=1e-4))
    digits = None if _whole(x) else next(decimals, None)
    near = 0.0 if digits is None else 0.505 * 10.0**-digits
    return near if near < 0.05 * float(x.std()) else 0.0


def _whole(x: Array) -> bool:
    return bool(np.array_equal(x, np.rint(x)))


def _spread(rows: int) -> Array:
    """Rows of the first pass."""
    return np.unique(np.linspace(0, rows - 1, _SAMPLE).astype(int))


def _parts(columns: _Numbers, below: Sequence[tuple[int, int]]) -> Iterator[Dependency]:
    """a == sum(b, c, d, ...) of at least three columns, none of which is ever larger than a or below 0."""
    for whole in sorted({b for _, b in below}):
        parts = [a for a, b in below if b == whole and columns.x[a].min() >= 0]
        if not 3 <= len(parts) <= _WIDE:
            continue
        weights = nnls(columns.x[parts].T, columns.x[whole])[0]
        chosen = [k for k, weight in zip(parts, weights, strict=True) if weight > 0.5]
        made = columns.x[chosen].sum(0)
        if len(chosen) >= 3 and (np.abs(columns.x[whole] - made) <= columns.apart(whole)).all():
            yield _equation(columns, whole, f"sum({', '.join(_quoted(columns.names[k]) for k in chosen)})")


def _groups(columns: _Numbers) -> Iterator[Dependency]:
    """Columns of 0 and 1 that begin alike, as colour_red and colour_blue, exactly one of which is 1."""
    alike: dict[str, list[int]] = {}
    for k, name in enumerate(columns.names):
        cut = max(name.rfind(sign) for sign in "_=.:- ")
        if cut > 0 and np.isin(columns.x[k], (0, 1)).all():
            alike.setdefault(name[: cut + 1], []).append(k)
    for group in alike.values():
        if len(group) > 1 and (columns.x[group].sum(0) == 1).all():
            names = ", ".join(_quoted(columns.names[k]) for k in group)
            yield Dependency(Relation(holds=f"sum({names}) == 1"), f"holds in all {columns.x.shape[1]:,} rows")


# ------------------------------------------------------------------ comparisons


def _below(columns: _Numbers) -> Iterator[tuple[int, int]]:
    """Pairs with a <= b in all rows, for whatever reason."""
    x, few = columns.x, columns.x[:, _spread(columns.x.shape[1])]
    for a in range(len(x)):
        for b in np.flatnonzero((few[a] <= few).all(1)).tolist():
            if a != b and (x[a] <= x[b]).all() and (x[a] < x[b]).any():
                yield a, b


def _is_told(a: Array, b: Array, tried: int) -> bool:
    """Whether a <= b, which holds in all rows, hardly holds by chance in one of so many comparisons."""
    fails = _fails(a, b)
    return fails >= _FAILS and len(a) * math.log1p(-min(fails, 1 - 1e-9)) + math.log(tried) < math.log(_CHANCE)


def _fails(a: Array, b: Array) -> float:
    """In which share of all pairs of rows a of the one is larger than b of the other."""
    below = np.searchsorted(np.sort(b), a, side="left")
    return float(below.mean() / len(b))


def _reduced(less: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Without a <= c where a <= b and b <= c."""
    pairs = set(less)
    above: dict[int, set[int]] = {}
    for a, b in less:
        above.setdefault(a, set()).add(b)
    for a, c in less:
        if not any((b, c) in pairs for b in above[a] - {c}):
            yield a, c


def _compared(columns: _Numbers, a: int, b: int) -> Dependency:
    return _told(columns, columns.x[a], b, _quoted(columns.names[a]))


def _sums(columns: _Numbers, less: Sequence[tuple[int, int]]) -> Iterator[Dependency]:
    """a + b <= c, where both alone are below c, and the sum is not c."""
    for (a, c), (b, other) in combinations(less, 2):
        both = columns.x[a] + columns.x[b]
        if c != other or not (both <= columns.x[c]).all() or not (both < columns.x[c] - columns.apart(c)).any():
            continue
        if _is_told(both, columns.x[c], len(less) ** 2):
            yield _told(columns, both, c, f"{_quoted(columns.names[a])} + {_quoted(columns.names[b])}")


def _told(columns: _Numbers, left: Array, b: int, words: str) -> Dependency:
    why = f"holds in all {len(left):,} rows; of shuffled columns in {1 - _fails(left, columns.x[b]):.0%}"
    return Dependency(Relation(holds=f"{words} <= {_quoted(columns.names[b])}"), why)


# ------------------------------------------------------------------ if one, then the other


def _implications(
    features: Features, cells: Cells, columns: _Numbers, less: set[tuple[int, int]]
) -> Iterator[Dependency]:
    """If a column has some value, another one has one: in many rows, seldom else, and not because b <= a."""
    coded = dict(sorted(_coded(features, cells), key=lambda one: len(one[1][1])))
    place = {name: k for k, name in enumerate(columns.names)}
    found: set[tuple[str, int, str, int]] = set()
    for a, k, b in ((a, k, b) for a, (_, words) in coded.items() for k in range(len(words)) for b in coded if b != a):
        (values, words), (others, said) = coded[a], coded[b]
        rows = values == k
        if not _ROWS <= int(rows.sum()) < len(rows) or (words[k] == "0" and (place.get(b), place.get(a)) in less):
            continue
        code = int(others[rows][0])
        if code >= len(said) or '"' in words[k] + said[code] or _turned_round(found, a, k, b, code, len(said)):
            continue
        if (why := _implied(others, rows, len(coded) ** 2)) is not None:
            found.add((a, k, b, code))
            text = f"if {_equal(features, a, words[k])} then {_equal(features, b, said[code])}"
            yield Dependency(Relation(holds=text), why)


def _turned_round(found: set[tuple[str, int, str, int]], a: str, k: int, b: str, code: int, values: int) -> bool:
    """Whether "if a is k then b is this one of two" says what "if b is the other then a is not k" did before."""
    return values == 2 and any(one[:3] == (b, 1 - code, a) and one[3] != k for one in found)


def _coded(features: Features, cells: Cells) -> Iterator[tuple[str, tuple[Array, list[str]]]]:
    """Columns of words and of few numbers as numbers of their values; of other columns, only 0 has a number."""
    for name, column in features.columns.items():
        if "`" in name or column.change == "never":
            continue
        if column.type == "category":
            at = {word: k for k, word in enumerate(column.words)}
            yield name, (np.array([at[word_of(cell)] for cell in cells[name]]), list(column.words))
            continue
        values, codes = np.unique(np.array(cells[name], np.float64), return_inverse=True)
        if len(values) <= _LEVELS:
            yield name, (codes, [spelled(v) for v in values])
        elif (values == 0).any():
            zero = np.flatnonzero(values == 0)[0]
            yield name, (np.where(codes == zero, 0, 1 + codes), ["0"])


def _implied(others: Array, rows: Array, tried: int) -> str | None:
    """What speaks for the one value that a column has in some rows; None where too little does."""
    inside = others[rows]
    if (inside != inside[0]).any():
        return None
    usual = float((others == inside[0]).mean())
    chance = len(inside) * math.log(usual) + math.log(tried)
    if usual > _USUAL or chance >= math.log(_CHANCE):
        return None
    return f"holds in all {len(inside):,} rows of this kind; of all rows in {usual:.0%}"


def _equal(features: Features, name: str, word: str) -> str:
    quoted = word if features.columns[name].numeric and features.columns[name].type != "category" else f'"{word}"'
    return f"{_quoted(name)} == {quoted}"


def _quoted(name: str) -> str:
    plain = name.isidentifier() and name not in _RESERVED
    return name if plain else f"`{name}`"
