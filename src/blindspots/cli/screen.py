"""Where a command speaks: results on stdout, progress and notes on stderr. No name is ever taken for markup."""

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from contextvars import ContextVar
from typing import Any, TextIO

from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.status import Status
from rich.table import Table
from rich.text import Text

_ANY = 10_000  # signs: more than any table has
_CLOSER = (0, 2, 0, 0)  # signs between columns where there is little room
_document: ContextVar[TextIO | None] = ContextVar("document", default=None)


def result() -> Console:
    """For what was asked for."""
    return _console(sys.stdout)


def aside() -> Console:
    """For everything else."""
    return _console(sys.stderr)


def _console(file: TextIO) -> Console:
    return Console(file=file, markup=False, highlight=False, emoji=False)


def status(console: Console, text: str) -> Status:
    """A spinner with `text` beside it; to be used in `with`, and told further texts by `say`."""
    return console.status(Text(text))


@contextmanager
def document_alone() -> Iterator[None]:
    """Inside, whatever is printed goes to stderr; stdout is for `document`."""
    token = _document.set(sys.stdout)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        _document.reset(token)


def document(record: Any) -> None:
    """A record as strict JSON, in signs that every locale has."""
    text = json.dumps(record.model_dump(mode="json"), indent=2, allow_nan=False)
    print(text, file=_document.get() or sys.stdout)


def fitting(console: Console, table: Table) -> RenderableType:
    """The table, or, where the terminal would break its words, its rows one below the other, a line for each cell."""
    if console.measure(table, options=console.options.update(width=_ANY)).maximum <= console.width:
        return table
    table.padding = _CLOSER
    sizes = [_sizes(str(column.header), column.cells) for column in table.columns]
    spare = console.width - (len(sizes) - 1) * _CLOSER[1] - sum(word for word, _ in sizes)
    if spare < 0:
        return Group(*stacked(table))
    _share_out(table, sizes, spare)
    return table


def _sizes(header: str, cells: Iterable[object]) -> tuple[int, int]:
    """Signs of the longest word, within which spaces may be that do not break, and of the longest cell below it."""
    said = list(map(str, cells))
    word = max(cell_len(word) for cell in [header, *said] for word in cell.split(" "))
    return word, max(word, *map(cell_len, said))


def _share_out(table: Table, sizes: Sequence[tuple[int, int]], spare: int) -> None:
    """Give every column the width of its longest word, and an equal part of what is spare to those that need more."""
    by_need = sorted(zip(table.columns, sizes, strict=True), key=lambda one: one[1][1] - one[1][0])
    for left, (column, (word, whole)) in zip(range(len(by_need), 0, -1), by_need, strict=True):
        column.width = min(whole, word + spare // left)
        spare -= column.width - word


def stacked(table: Table) -> Iterator[Text]:
    """The rows of a table one below the other, a line for each cell."""
    names = [str(column.header) for column in table.columns]
    for first, *others in zip(*(column.cells for column in table.columns), strict=True):
        yield Text(str(first), "bold")
        for name, cell in zip(names[1:], others, strict=True):
            if str(cell):
                yield Text(f"  {name}: {cell}" if name else f"  {cell}")
