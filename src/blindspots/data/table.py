"""Tables of numbers and words: columns with names become inputs, and keep their names."""

import hashlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from blindspots.data.arrays import ArrayData
from blindspots.data.columns import LABELS, found, parse_columns
from blindspots.data.dataset import note
from blindspots.data.names import shown
from blindspots.data.tables import Table, read_table
from blindspots.errors import InputError
from blindspots.files import check_regular
from blindspots.naming import meant
from blindspots.tables.encoding import (
    MOST_VALUES,
    Cells,
    check_complete,
    completed,
    encoded,
    inferred,
    is_missing,
    numbers_of,
    word_of,
)
from blindspots.tables.features import Features, read_features

_ENOUGH = 20  # rows, of fewer nobody can tell
TABLES = (".csv", ".tsv", ".parquet")  # how names of files with tables end
_DO = "name them: --columns label=COLUMN for a table, text=COLUMN,label=COLUMN for texts"


class TableData(ArrayData):
    """Rows of a table, as the inputs (N, D) of a model; column names, types and relations are in `table`.

    Args:
        cells: of every column by its name.
        y: one class, or one number, per row.
        features: what the columns are; None: numbers and categories, as they seem.
        told: where `features` come from, a file's name.
    """

    def __init__(
        self,
        cells: Cells,
        y: Any,
        name: str = "table",
        *,
        features: Features | None = None,
        told: str | None = None,
        spec: str | None = None,
        class_names: Sequence[str] | None = None,
        layout: str | None = None,
        rows: int | None = None,
        values: bool = False,
    ) -> None:
        rows = None if rows is None else max(rows, 0)
        cells = {column: _listed(given, f"column {column!r}")[:rows] for column, given in cells.items()}
        if not any(cells.values()):
            raise InputError(f"expected rows with columns beside the labels in {name}, got none: name another table")
        if features is None:
            check_complete(cells, name)
        self.declared, self.told = features is not None, told
        self.table = completed(features, cells) if features is not None else inferred(cells, name)
        x = torch.from_numpy(encoded(self.table, cells, name))
        unread = [column for column in cells if column not in self.table.columns]
        said = [note("columns", f"Columns of {name} that were not read: {shown(unread)}.")] if unread else []
        y = (
            [self._y_of(given, row, name) for row, given in enumerate(_listed(y, "y")[:rows])]
            if not values
            else y[:rows]
        )
        super().__init__(
            x, np.asarray(y), name, spec=spec, class_names=class_names, rows=None, notes=said, values=values
        )
        self.layout = layout

    @staticmethod
    def _y_of(given: Any, row: int, name: str) -> Any:
        if is_missing(given):
            raise InputError(f"expected a label in every row of {name}, got none in row {row}: leave such rows out")
        number = numbers_of([given])
        return given if number is None else int(number[0]) if number[0].is_integer() else given

    @cached_property
    def content(self) -> str:
        """SHA-256 (hex) of inputs and labels, and of what the columns are."""
        return hashlib.sha256(f"{super().content} {self.table.to_json()}".encode()).hexdigest()


def _listed(given: Any, what: str) -> list[Any]:
    try:
        return list(given)
    except TypeError as error:
        raise InputError(f"expected {what} as a list, got {type(given).__name__}: give one value per row") from error


def read_data_table(
    path: Path, spec: str, rows: int | None, layout: str | None, features: str | None, values: bool
) -> TableData | None:
    """The table in a file; None if it holds texts.

    Args:
        layout: "label=COLUMN", the labels or the numbers to predict; None: a usual name.
        features: the path of a feature file, see `tables.features`.

    Raises InputError: it cannot be read, or can be read in two ways.
    """
    if layout is not None and "text=" in layout.replace(" ", ""):
        return None
    if path.suffix.lower() not in TABLES:
        return None
    table = read_table(path)
    label = _label_of(table, layout, features, values)
    if label is None:
        return None
    _distinct(_names(table), table.name)
    cells = _columns(table)
    labels = cells.pop(label)
    y = _numbers(labels, label, table.name) if values else labels
    known = table.classes.get(label)
    told = None if features is None else read_features(features)
    return TableData(
        cells, y, table.name, features=told, told=features, spec=spec, class_names=known, layout=layout, rows=rows,
        values=values,
    )  # fmt: skip


def columns_of_table(path: Path, layout: str | None) -> tuple[dict[str, list[Any]], str]:
    """The cells of a table's columns by their names, without the labels, and the name of their column.

    Raises InputError: the file is no table, the labels are not clear, or values are missing.
    """
    check_regular(path, "a table")
    if path.suffix.lower() not in TABLES:
        raise InputError(f"expected a table, a {', '.join(TABLES)} file, got {str(path)!r}: save it as one of these")
    table = read_table(path)
    label = _label_of(table, layout, None, values=True)
    _distinct(_names(table), table.name)
    cells = _columns(table)
    if label is not None:
        del cells[label]
    check_complete(cells, table.name)
    return cells, str(label)


def of_frame(x: Any, y: Any, features: str | Path | Features | None = None, values: bool = False) -> TableData:
    """Columns of a data frame (pandas, polars, or what behaves like them) with labels beside it."""
    names = _distinct([str(name) for name in x.columns], "the data frame")
    cells = {name: list(x[column]) for name, column in zip(names, x.columns, strict=True)}
    told = str(features) if isinstance(features, str | Path) else None
    known = read_features(features) if isinstance(features, str | Path) else features
    y = list(y.tolist() if hasattr(y, "tolist") else y)
    if len(y) != len(x):
        raise InputError(f"expected as many labels as rows, got {len(y)} for {len(x)}: check x and y")
    return TableData(cells, y, "data frame", features=known, told=told, values=values)


def is_frame(x: Any) -> bool:
    """Whether it has named columns, as data frames do."""
    return hasattr(x, "columns") and hasattr(x, "__getitem__") and hasattr(x, "__len__") and hasattr(x, "shape")


def _columns(table: Table) -> dict[str, list[Any]]:
    """The cells of a table's columns by their names, which may stand in its first row."""
    names = _names(table)
    rows = table.rows if table.names is not None else table.rows[1:]
    return {name: [row[k] for row in rows] for k, name in enumerate(names)}


def _names(table: Table) -> list[str]:
    return [str(name).strip() for name in (table.rows[0] if table.names is None else table.names)]


def _distinct(names: list[str], of: str) -> list[str]:
    """Raises InputError: two columns have the same name, so that one of them would be lost."""
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if twice:
        raise InputError(
            f"expected another name for every column of {of}, got {', '.join(map(repr, twice))} more than once: rename "
            "them"
        )
    return names


def _label_of(table: Table, layout: str | None, features: str | None, values: bool) -> str | None:
    """The column of labels, if the file is a table; None: it holds texts."""
    names = _names(table)
    if layout is not None:
        asked = _asked(layout)
        if asked not in names:
            raise InputError(
                f"expected a column {asked!r} in {table.name}, got {shown(names)}{meant(asked, names)}: name one of "
                "these"
            )
        return asked
    usual = next((name for word in LABELS for name in names if name.lower() == word), None)
    if usual is None and (features is not None or values):
        raise InputError(f"expected a column of labels in {table.name}, got {shown(names)}: {_DO}")
    if usual is None or features is not None or values:
        return usual
    return _told_apart(table, names, usual)


def _told_apart(table: Table, names: Sequence[str], label: str) -> str | None:
    """The label of a table, None of texts. Raises InputError: it could be either."""
    texts, cells = found(names), _columns(table)
    if texts is None:
        return label if table.rows[1:] and all(_is_short(cells[name]) for name in names if name != label) else None
    text = texts.text[0]
    if not _is_no_text(cells[text]):
        return None
    raise InputError(
        f"expected a table or texts in {table.name}, got what could be both: column {text!r} is called like a text, "
        f"but holds numbers or a few different words: {_DO}"
    )


def _is_no_text(cells: Sequence[Any]) -> bool:
    """Numbers, or the same few words again and again, under the name of a text."""
    there = [cell for cell in cells if not is_missing(cell)]
    return bool(there) and (
        numbers_of(there) is not None or (len(there) >= _ENOUGH and len(set(there)) <= len(there) // 4)
    )


def _is_short(cells: Sequence[Any]) -> bool:
    """Numbers, or at most a few different words: no texts."""
    there = [cell for cell in cells if not is_missing(cell)]
    if numbers_of(there) is not None:
        return True
    words = set(map(word_of, there))
    return len(words) <= min(MOST_VALUES, max(2, len(there) // 2)) and all(len(word) <= 40 for word in words)


def _asked(layout: str) -> str:
    key, _, value = (word.strip() for word in layout.partition("="))
    if key != "label" or not value or "," in value:
        parse_columns(layout)  # whose sentence tells all forms
    return value


def _numbers(cells: Sequence[Any], label: str, name: str) -> Any:
    found = numbers_of(cells)
    if found is None or not np.isfinite(found).all():
        raise InputError(f"expected finite numbers in column {label!r} of {name} for the goal, got others: mend it")
    return found.astype(np.float32)
