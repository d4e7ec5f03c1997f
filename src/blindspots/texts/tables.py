"""Files of words: synonyms, antonyms and lists, with the digests that pin them."""

import gzip
import hashlib
import json
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from blindspots.errors import InputError
from blindspots.files import check_regular, read_bytes

MOST = 1 << 28  # bytes of a table, and of what a compressed one unpacks to
_SEPARATORS = {".csv": ",", ".tsv": "\t"}


def digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    check_regular(path, "a file of words")
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_synonyms(path: Path) -> dict[str, tuple[str, ...]]:
    """What may stand for a word, by the word in small letters, in the order of the file.

    .json: {word: [synonym, ...]}. .tsv, .csv: in each line a word, then synonyms separated by tabs or commas. Anything
    else: two words per line, the second for the first, as in PPDB's lists.

    Raises InputError: the file has another form.
    """
    rows = _rows_of_json(path) if path.suffix == ".json" else _rows_of_lines(path)
    found: dict[str, dict[str, None]] = {}
    for word, synonyms in rows:
        found.setdefault(word.lower(), {}).update(dict.fromkeys(synonyms))
    if not any(found.values()):
        raise InputError(
            f"expected synonyms in {str(path)!r}, got none: write a word and what may stand for it per line"
        )
    return {word: tuple(synonyms) for word, synonyms in found.items()}


def read_pairs(path: Path) -> frozenset[tuple[str, str]]:
    """Pairs of words in small letters, in both orders, from a file that `read_synonyms` reads."""
    return both_ways((word, other.lower()) for word, others in read_synonyms(path).items() for other in others)


def both_ways(pairs: Iterable[tuple[str, str]]) -> frozenset[tuple[str, str]]:
    """The pairs and their reverses."""
    return frozenset(pair for a, b in pairs for pair in ((a, b), (b, a)))


def read_list(path: Path) -> tuple[str, ...]:
    """The words of a file with one per line, each once. Raises InputError: there is none."""
    words = tuple(dict.fromkeys(filter(None, map(str.strip, read_lines(path)))))
    if not words:
        raise InputError(f"expected one word per line in {str(path)!r}, got none: name another file")
    return words


def read_lines(path: Path) -> list[str]:
    """The lines of a text in UTF-8, also one packed by gzip. Raises InputError: it is not that."""
    try:
        return read_content(path).decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"expected words in UTF-8, but {str(path)!r} is not ({error}): save it as UTF-8") from error


def read_json(path: Path) -> Any:
    """What a file of JSON holds, also one packed by gzip. Raises InputError: it is not that."""
    try:
        return json.loads(read_content(path))
    except (ValueError, RecursionError) as error:
        raise InputError(f"expected JSON in {str(path)!r}, but it cannot be read ({error}): mend that place") from error


def read_content(path: Path) -> bytes:
    """The bytes of a file, unpacked if gzip packed them. Raises InputError: it cannot be read, or is too large."""
    packed = read_bytes(path, "a file of words", MOST)
    if not packed.startswith(b"\x1f\x8b"):
        return packed
    try:
        with gzip.open(path) as file:
            content = file.read(MOST + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"expected a whole gzip file, but {str(path)!r} is damaged ({error}): get it anew") from error
    if len(content) > MOST:
        raise InputError(f"expected at most {MOST:,} bytes in {str(path)!r}, got more: name a smaller table")
    return content


def _rows_of_json(path: Path) -> Iterator[tuple[str, list[str]]]:
    table = read_json(path)
    for word, synonyms in table.items() if isinstance(table, dict) else [("the file", None)]:
        if not isinstance(synonyms, list) or not all(isinstance(s, str) for s in synonyms):
            raise InputError(
                f'expected {{"word": ["synonym", ...]}} in {str(path)!r}, got another form for {word[:40]!r}: '
                "write lists of words"
            )
        yield word, synonyms


def _rows_of_lines(path: Path) -> Iterator[tuple[str, list[str]]]:
    separator = _SEPARATORS.get(path.suffix)
    form = "two words" if separator is None else "a word and its synonyms"
    for number, line in enumerate(read_lines(path), 1):
        cells = _cells(line, separator)
        if len(cells) == 1 or (separator is None and len(cells) > 2):
            raise InputError(f"expected {form} in line {number} of {str(path)!r}, got {line[:40]!r}: mend that line")
        if cells:
            yield cells[0], cells[1:]


def _cells(line: str, separator: str | None) -> list[str]:
    if separator is None:
        return line.split()
    return [cell.strip() for part in line.split(separator) for cell in part.split(",") if cell.strip()]
