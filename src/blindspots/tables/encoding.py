"""From the columns of a table to the inputs of a model, and back: numbers as they are, categories as one-hot groups."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blindspots.errors import InputError
from blindspots.tables.features import Column, Features, needs_range, spelled

Array = NDArray[Any]
Cells = Mapping[str, Sequence[Any]]  # of every column by its name
MOST_VALUES = 50  # different words of a column that can be a category
EXACT = 2.0**24  # up to here float32 holds every integer
_MISSING = ("", "nan", "na", "n/a", "null")
_SHOWN = 5  # rows in a sentence
_MOSTLY = 0.9  # of the cells of a column that are numbers: then the others are mistakes, no words
_LEVELS = 8  # different numbers that can be names of categories, as "1", "2", "3+"
_DATE = re.compile(r"\d{4}-\d\d?-\d\d?([T ].*)?|\d\d?[./]\d\d?[./]\d{2,4}([T ].*)?")
_SIGNED = re.compile(r"[^\w\s.,+-]?\s*[+-]?\s*[^\w\s.,+-]?\s*\d[\d.,'\s]*[^\w\s.,+-]?")  # "$1,000", "12 %", "1,5"


def is_missing(cell: Any) -> bool:
    """Whether a cell stands for a value that nobody knows."""
    if isinstance(cell, str):
        return cell.strip().lower() in _MISSING
    try:
        return cell is None or bool(cell != cell)
    except TypeError:  # pandas' NA is neither equal to anything nor not
        return True
    except ValueError:  # an array in a cell
        return False


def numbers_of(cells: Sequence[Any]) -> Array | None:
    """The numbers that cells are, float64; None where one is a word."""
    try:
        return np.array([float(cell) for cell in cells], np.float64)
    except (TypeError, ValueError):
        return None


def word_of(cell: Any) -> str:
    """A cell as a value of a category: 3.0 and "3" are the same."""
    if isinstance(cell, str):
        return cell
    return (
        spelled(float(cell)) if isinstance(cell, int | float | np.number) and not isinstance(cell, bool) else str(cell)
    )


def check_complete(cells: Cells, name: str, features: Features | None = None) -> None:
    """Raises InputError: values are missing or infinite. What `features` name as a value is one."""
    known = {column: about.words for column, about in features.columns.items()} if features else {}
    missing = {
        column: [i for i, cell in enumerate(given) if is_missing(cell) and cell not in known.get(column, ())]
        for column, given in cells.items()
    }
    missing = {column: rows for column, rows in missing.items() if rows}
    if missing:
        rows = sorted(set().union(*missing.values()))
        columns = ", ".join(f"{column!r} ({len(rows)})" for column, rows in missing.items())
        raise InputError(
            f"expected a value in every cell of {name}, got none in {rows_words(rows)}, in the columns {columns}: fill "
            "them in, or leave these rows out"
        )
    for column, given in cells.items():
        numbers = numbers_of(given)
        if numbers is not None and (infinite := np.flatnonzero(np.isinf(numbers))).size:
            raise InputError(
                f"expected finite numbers in column {column!r} of {name}, got infinite ones in "
                f"{rows_words(infinite.tolist())}: mend them, or leave these rows out"
            )


def rows_words(rows: Sequence[int]) -> str:
    """ "3 rows (4, 7, 12)", counted from 0"""
    shown = ", ".join(map(str, rows[:_SHOWN])) + (", ..." if len(rows) > _SHOWN else "")
    return f"{len(rows)} rows ({shown})" if len(rows) != 1 else f"1 row ({shown})"


def inferred(cells: Cells, name: str) -> Features:
    """What columns seem to be: numbers, or categories of their words. Raises InputError: a column is neither."""
    return Features(columns={column: _inferred(given, column, name) for column, given in cells.items()})


def _inferred(cells: Sequence[Any], column: str, name: str) -> Column:
    numbers = numbers_of(cells)
    if numbers is not None:
        return Column(range=(float(numbers.min()), float(numbers.max())))
    words = sorted(set(map(word_of, cells)))
    why = no_category(cells) if len(words) > 1 else "holds one word alone"
    if why is not None:
        raise InputError(
            f"expected numbers or up to {MOST_VALUES} different words in column {column!r} of {name}, which {why}: "
            "mend it, say with --features which columns to read, or for texts --columns text=..,label=.."
        )
    return Column(type="category", values=tuple(words))


def no_category(cells: Sequence[Any]) -> str | None:
    """Why a column that does not hold numbers alone holds no categories either, as "holds dates"; None: it may."""
    words = set(map(word_of, cells))
    if all(map(_DATE.fullmatch, words)):
        return f"holds dates such as {min(words)!r}, which have to become numbers first"
    others = [i for i, cell in enumerate(cells) if numbers_of([cell]) is None]
    if len(words) > _LEVELS and len(cells) - len(others) >= _MOSTLY * len(cells):
        return f"holds numbers, but for {word_of(cells[others[0]])!r} and the like in {rows_words(others)}"
    if len(words) > _LEVELS and all(map(_SIGNED.fullmatch, words)):
        return f"holds numbers such as {word_of(cells[others[0]])!r}, which have to be written as 1234.5"
    return f"holds {len(words):,} different words" if len(words) > MOST_VALUES else None


def completed(features: Features, cells: Cells) -> Features:
    """With the ranges of the data where the feature file gives none."""
    found = {}
    for column, about in features.columns.items():
        if needs_range(about) and (numbers := numbers_of(cells[column])) is not None:
            found[column] = (float(np.float32(numbers.min())), float(np.float32(numbers.max())))
    return features.ranged(found)


def encoded(features: Features, cells: Cells, name: str) -> Array:
    """The inputs of a model, float32 (N, features.width).

    Raises InputError: a column is missing, or holds what the features do not allow.
    """
    if lacking := [column for column in features.columns if column not in cells]:
        raise InputError(
            f"expected the columns of the feature file in {name}, which lacks {', '.join(map(repr, lacking))}: it has "
            f"{', '.join(map(repr, cells))}"
        )
    used = {column: cells[column] for column in features.columns}
    check_complete(used, name, features)
    parts = [_encoded(about, used[column], column, name) for column, about in features.columns.items()]
    return np.concatenate(parts, 1)


def _encoded(about: Column, cells: Sequence[Any], column: str, name: str) -> Array:
    if about.type == "category" or not about.numeric:
        at = _places(about, cells, column, name)
        one_hot = np.eye(len(about.values), dtype=np.float32)[at]
        return one_hot if about.type == "category" else np.asarray(about.numbers, np.float32)[at][:, None]
    numbers = numbers_of(cells)
    if numbers is None:
        word = next(cell for cell in cells if numbers_of([cell]) is None)
        raise InputError(
            f"expected numbers in column {column!r} of {name}, got {word!r}: give it type = 'category' in the feature "
            "file"
        )
    single = numbers.astype(np.float32)
    _check_numbers(about, numbers, single, column, name)
    return single[:, None]


def _places(about: Column, cells: Sequence[Any], column: str, name: str) -> Array:
    at = {word: k for k, word in enumerate(about.words)}
    unknown = [i for i, cell in enumerate(cells) if word_of(cell) not in at]
    if unknown:
        raise InputError(
            f"expected one of {', '.join(about.words)} in column {column!r} of {name}, got "
            f"{word_of(cells[unknown[0]])!r} and the like in {rows_words(unknown)}: add it to the feature file"
        )
    return np.array([at[word_of(cell)] for cell in cells], np.int64)


def _check_numbers(about: Column, numbers: Array, single: Array, column: str, name: str) -> None:
    low, high = map(np.float32, about.bounds)
    whole = about.type == "integer"
    wrong = {
        f"numbers from {low:g} to {high:g}": ~((single >= low) & (single <= high)),
        "integers": whole & (numbers != np.rint(numbers)),
        "integers of up to 16,777,216, all that float32 holds,": whole & (np.abs(numbers) > EXACT),
        f"one of {', '.join(about.words)}": bool(about.values) & ~np.isin(single, np.array(about.numbers, np.float32)),
    }
    for what, rows in wrong.items():
        if (at := np.flatnonzero(rows)).size:
            raise InputError(
                f"expected {what} in column {column!r} of {name}, as the feature file says, got {numbers[at[0]]:g} and "
                f"the like in {rows_words(at.tolist())}: mend the file or the rows"
            )


def decoded(features: Features, x: Array) -> dict[str, list[Any]]:
    """The columns of a table from inputs (N, features.width): numbers, and the words of categories."""
    return {name: _decoded(about, x[:, features.places[name]]) for name, about in features.columns.items()}


def _decoded(about: Column, x: Array) -> list[Any]:
    if about.type == "category":
        return [about.values[k] for k in x.argmax(1)]
    if not about.numeric:
        return [about.values[int(k)] for k in x[:, 0]]
    numbers = x[:, 0].astype(np.float64).tolist()
    return [int(n) if about.type == "integer" and math.isfinite(n) else n for n in numbers]
