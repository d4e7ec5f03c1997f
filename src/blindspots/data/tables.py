"""Files of texts: their rows and the names of their columns, in whatever form they are stored."""

import csv
import io
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from blindspots.data.names import number
from blindspots.errors import InputError
from blindspots.files import check_regular, read_bytes

MOST = 1 << 30  # bytes of a file that is read as a whole
_BOMS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
_FASTTEXT = "__label__"

Row = Sequence[Any]


@dataclass(frozen=True)
class Table:
    """The rows of a file.

    Attributes:
        name: of the file.
        rows: cells of any kind; strings where the file holds only these.
        names: of the columns; None: the first row may hold them.
        classes: by columns of numbers, names of the numbers 0, 1, ..., where the file gives them.
    """

    name: str
    rows: list[Row]
    names: list[str] | None = None
    classes: dict[str, list[str]] = field(default_factory=dict)


def read_table(path: Path) -> Table:
    """The table in a file of one of the forms in `READERS`.

    Raises InputError: it is empty, damaged, or no text in UTF-8 or UTF-16.
    """
    table = READERS[path.suffix.lower()](path)
    if not table.rows:
        raise InputError(f"expected rows of texts and labels in {path.name}, got none: name another file")
    return table


def _decoded(path: Path) -> str:
    """A text in UTF-8, with or without a byte order mark, or in UTF-16 with one, exactly as it is stored."""
    raw = read_bytes(path, "a file of texts", MOST)
    encoding = next((name for mark, name in _BOMS.items() if raw.startswith(mark)), "utf-8")
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError as error:
        marked = len(b"\xef\xbb\xbf") if encoding == "utf-8-sig" else 0  # positions are counted behind it
        raise InputError(
            f"expected {path.name} in UTF-8, or in UTF-16 with a byte order mark, got bytes that are neither at "
            f"position {error.start + marked}: save it as UTF-8"
        ) from error


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Lines that are not empty, with their numbers from 1; other separators than line feeds belong to the text."""
    for place, line in enumerate(_decoded(path).split("\n"), 1):
        if line := line.removesuffix("\r"):
            yield place, line


def _of_commas(path: Path) -> Table:
    """Comma-separated values, quoted where necessary (RFC 4180), or separated by semicolons or tabs."""
    text = _decoded(path)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=_separator(text))
    try:
        rows = [row for row in reader if row]
    except csv.Error as error:
        raise InputError(
            f"expected comma-separated values in {path.name}, got a row that cannot be read in line {reader.line_num} "
            f"({error}): put quotation marks around texts, and double those inside"
        ) from error
    return Table(path.name, _even(rows, path.name, "put quotation marks around texts with commas"))


def _separator(text: str) -> str:
    """A semicolon or a tab where the first line has some outside of quotation marks, but no comma; else a comma."""
    head = re.sub(r'"[^"]*"', "", re.split(r"[\r\n]", text.lstrip(), maxsplit=1)[0])
    return next((sign for sign in ",;\t" if sign in head), ",")


def _of_tabs(path: Path) -> Table:
    """A row per line, its cells between tabs; quotation marks are part of the text, as in GLUE's files."""
    rows = [line.split("\t") for _, line in _lines(path)]
    return Table(path.name, _even(rows, path.name, "replace tabs inside texts"))


def _even(rows: list[list[str]], name: str, do: str) -> list[Row]:
    """Rows of equal length."""
    for place, row in enumerate(rows):
        if len(row) != len(rows[0]):
            raise InputError(
                f"expected {len(rows[0])} columns in every row of {name}, as in the first, got {len(row)} in the row "
                f"that begins with {row[0][:40]!r}, number {place} from 0: {do}"
            )
    return list(rows)


def _of_lines(path: Path) -> Table:
    """A row per line: a label, a blank, a text; the label is a number, or begins as those of fastText."""
    lines = list(_lines(path))
    if all("\t" in line for _, line in lines):
        return _of_tabs(path)
    return Table(path.name, [_labelled(path.name, *line) for line in lines], ["label", "text"])


def _labelled(name: str, line: int, said: str) -> Row:
    label, _, text = said.partition(" ")
    if number(label) is None and not label.startswith(_FASTTEXT):
        raise InputError(
            f"expected a label before every text in {name}, a number or {_FASTTEXT}NAME, got {said[:40]!r} in line "
            f"{line}: write '1 the text', or use a .csv file"
        )
    return [label.removeprefix(_FASTTEXT), text]


def _of_json(path: Path) -> Table:
    """A JSON object per line; the columns are those of the first."""
    found = [_object(path.name, *line) for line in _lines(path)]
    names = list(found[0]) if found else []
    return Table(path.name, [[row.get(name) for name in names] for row in found], names)


def _object(name: str, line: int, said: str) -> dict[str, Any]:
    try:
        found = json.loads(said)
    except (ValueError, RecursionError) as error:
        raise InputError(f"expected JSON in line {line} of {name}, got {said[:40]!r} ({error}): mend it") from error
    if not isinstance(found, dict):
        raise InputError(f"expected a JSON object in line {line} of {name}, got {said[:40]!r}: write one per line")
    return found


def _of_parquet(path: Path) -> Table:
    """Columns of Apache Parquet, with the names of classes that Hugging Face's datasets store beside them."""
    check_regular(path, "a file of texts", MOST)
    try:
        from pyarrow import ArrowException, parquet
    except ImportError as error:
        raise InputError(
            f"expected pyarrow to be installed, to read {path.name}: pip install pyarrow, or save it as .csv or .jsonl"
        ) from error
    try:
        table = parquet.read_table(path)
    except (ArrowException, OSError) as error:
        said = " ".join(str(error).split())
        raise InputError(f"expected a .parquet file in {str(path)!r}, got one that cannot be read: {said}") from error
    columns = [column.to_pylist() for column in table.columns]
    classes = _stored_classes(table.schema.metadata or {})
    return Table(path.name, list(zip(*columns, strict=True)), list(table.column_names), classes)


def _stored_classes(metadata: dict[bytes, bytes]) -> dict[str, list[str]]:
    try:
        features = json.loads(metadata[b"huggingface"])["info"]["features"]
        return {name: kind["names"] for name, kind in features.items() if kind.get("_type") == "ClassLabel"}
    except (KeyError, ValueError, AttributeError, TypeError):
        return {}  # names are a help, not a need


READERS: dict[str, Callable[[Path], Table]] = {
    ".csv": _of_commas,
    ".tsv": _of_tabs,
    ".txt": _of_lines,
    ".jsonl": _of_json,
    ".parquet": _of_parquet,
}
