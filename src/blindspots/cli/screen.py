"""Where a command speaks: results on stdout, progress and notes on stderr. No name is ever taken for markup."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from contextvars import ContextVar
from typing import Any, TextIO

from rich.console import Console, Group, RenderableType
from rich.status import Status
from rich.table import Table
from rich.text import Text

_ANY = 10_000  # signs: more than any table has
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
    needed = console.measure(table, options=console.options.update(width=_ANY)).minimum
    return table if needed <= console.width else Group(*stacked(table))


def stacked(table: Table) -> Iterator[Text]:
    """The rows of a table one below the other, a line for each cell."""
    names = [str(column.header) for column in table.columns]
    for first, *others in zip(*(column.cells for column in table.columns), strict=True):
        yield Text(str(first), "bold")
        for name, cell in zip(names[1:], others, strict=True):
            if str(cell):
                yield Text(f"  {name}: {cell}" if name else f"  {cell}")
