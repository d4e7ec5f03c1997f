"""Which columns of a table hold the texts, and which the labels: found by their names, guessed, or named."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from blindspots.data.names import number, shown
from blindspots.data.tables import Row, Table
from blindspots.errors import InputError
from blindspots.naming import meant
from blindspots.texts.pairs import Side

TEXTS = ("text", "sentence", "review", "content", "body", "comment", "tweet", "document", "headline", "utterance")
LABELS = ("label", "labels", "y", "class", "category", "sentiment", "target", "gold_label", "polarity", "intent")
PAIRS = (
    ("premise", "hypothesis"),
    ("sentence1", "sentence2"),
    ("question1", "question2"),
    ("question", "sentence"),
    ("text_a", "text_b"),
    ("text1", "text2"),
)  # the first of each stays, the second may change
FORM = "text=COLUMN,label=COLUMN (text=title+body joins two, fixed=COLUMN is the side of a pair that stays)"
_MOST_CLASSES = 100  # that are words in a column without a name


@dataclass(frozen=True)
class Columns:
    """Names of columns.

    Attributes:
        text: what may change; several are joined by spaces.
        label: the classes.
        fixed: the other side of a pair, which stays; "" where there is none.
        side: where that stands.
    """

    text: tuple[str, ...]
    label: str
    fixed: str = ""
    side: Side = "first"

    @property
    def used(self) -> list[str]:
        return [*self.text, self.label, *([self.fixed] if self.fixed else [])]


def parse_columns(spec: str) -> Columns:
    """Columns from "text=review,label=stars" or "fixed=premise,text=hypothesis,label=gold".

    Raises InputError: it has another form.
    """
    given: dict[str, str] = {}
    for part in spec.split(","):
        key, _, value = (word.strip() for word in part.partition("="))
        if key not in ("text", "label", "fixed") or not value or key in given:
            raise InputError(f"expected columns such as {FORM}, got {spec!r}: name each once")
        given[key] = value
    if not {"text", "label"} <= set(given):
        raise InputError(f"expected columns such as {FORM}, got {spec!r}: name both texts and labels")
    order = list(given)
    side: Side = "second" if "fixed" in given and order.index("fixed") > order.index("text") else "first"
    return Columns(tuple(given["text"].split("+")), given["label"], given.get("fixed", ""), side)


@dataclass(frozen=True)
class Picked:
    """The rows of a table, and which of their columns are meant.

    Attributes:
        bare: the columns have no names in the file, and are called by their numbers, 1, 2, ...
    """

    name: str
    names: list[str]
    rows: list[Row]
    columns: Columns
    bare: bool = False

    def column(self, name: str) -> list[Any]:
        """The cells of a column."""
        at = self.names.index(name)
        return [row[at] for row in self.rows]


def picked(table: Table, asked: Columns | None) -> Picked:
    """The columns that were asked for, else those with usual names, else what the cells tell.

    Raises InputError: what was asked for is not there, or nothing is clear.
    """
    first = list(map(str, table.rows[0])) if table.names is None else table.names
    rows = table.rows[1:] if table.names is None else table.rows
    columns = found(first) if asked is None else asked
    if columns and set(columns.used) <= set(first):
        return Picked(table.name, first, rows, columns)
    numbers = [str(i + 1) for i in range(len(first))] if table.names is None else []
    columns = guessed(table.rows) if numbers and asked is None else asked
    if columns and set(columns.used) <= set(numbers):
        return Picked(table.name, numbers, table.rows, columns, bare=True)
    raise _unclear(table.name, first) if columns is None else _missing(table.name, first, columns)


def _unclear(name: str, names: Sequence[str]) -> InputError:
    return InputError(
        f"expected columns of texts ({', '.join(TEXTS[:3])}, ...) and labels ({', '.join(LABELS[:3])}, ...) in {name}, "
        f"got {shown(names)}: name them with the layout {FORM}"
    )


def _missing(name: str, names: Sequence[str], asked: Columns) -> InputError:
    lacking = next(column for column in asked.used if column not in names)
    return InputError(
        f"expected a column {lacking!r} in {name}, got {shown(names)}{meant(lacking, names)}: use names that are there "
        "or, in a file without names, numbers from 1"
    )


def found(names: Sequence[str]) -> Columns | None:
    """Columns with usual names; None unless there is one of labels and one of texts, or a pair."""
    by_name = {name.strip().lower(): name for name in names}
    label = next((by_name[name] for name in LABELS if name in by_name), None)
    if label is None:
        return None
    for first, second in PAIRS:
        if first in by_name and second in by_name:
            return Columns((by_name[second],), label, by_name[first])
    text = next((by_name[name] for name in TEXTS if name in by_name), None)
    return None if text is None else Columns((text,), label)


def guessed(rows: Sequence[Row]) -> Columns | None:
    """The first or the last of two or three columns without names holds the labels, if only that one can."""
    if not 2 <= len(rows[0]) <= 3:
        return None
    last = len(rows[0]) - 1
    for may in (_are_numbers, _are_words):
        ends = [i for i in (0, last) if may([row[i] for row in rows])]
        if len(ends) == 1:
            text = tuple(str(i + 1) for i in range(last + 1) if i != ends[0])
            return Columns(text, str(ends[0] + 1))
    return None


def _are_numbers(cells: Sequence[str]) -> bool:
    return all(number(cell.strip()) is not None for cell in cells)


def _are_words(cells: Sequence[str]) -> bool:
    """Whether they are few words that come again and again; where the first does not, it may be the column's name."""
    different = set(cells)
    few = len(different) <= min(_MOST_CLASSES, len(cells) // 2) and cells[0] in cells[1:]
    return few and all(cell and not any(map(str.isspace, cell)) for cell in different)
