"""What an endpoint has answered, kept before it is used: what was paid for once is never paid for again."""

import sqlite3
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from blindspots.models.endpoints.database import Database

NAME = "answers.sqlite"
_VERSION = 1
_TABLES = """
CREATE TABLE IF NOT EXISTS answers (
    endpoint BLOB NOT NULL, sent BLOB NOT NULL, draw INTEGER NOT NULL, answer BLOB NOT NULL,
    PRIMARY KEY (endpoint, sent, draw)
) WITHOUT ROWID"""


class Key(NamedTuple):
    """Of an answer: SHA-256 of the bytes that were sent, and the how manieth answer to these it is, from 0."""

    sent: bytes
    draw: int


class Answers:
    """Answers of one endpoint in an sqlite file, which other endpoints, threads and processes may share.

    An answer is JSON text, written as it is and read as untrusted.

    Args:
        path: of the file; None: memory.
        endpoint: what tells the endpoint from others, SHA-256.
    """

    def __init__(self, path: Path | None, endpoint: bytes) -> None:
        self.endpoint, self._database = endpoint, Database(path, _TABLES, _VERSION, flushed=True)

    def of(self, keys: Iterable[Key]) -> dict[Key, bytes]:
        """Those that are kept."""
        with self._database.reading() as file:
            found = {key: self._one(file, key) for key in keys}
        return {key: answer for key, answer in found.items() if answer is not None}

    def _one(self, file: sqlite3.Connection, key: Key) -> bytes | None:
        row = file.execute(
            "SELECT answer FROM answers WHERE endpoint = ? AND sent = ? AND draw = ?", (self.endpoint, *key)
        ).fetchone()
        return None if row is None else bytes(row[0])

    def keep(self, answers: Mapping[Key, bytes]) -> None:
        """Write them; where another process was faster, its answer stays."""
        rows = [(self.endpoint, *key, answer) for key, answer in answers.items()]
        with self._database.changing() as file:
            file.executemany("INSERT OR IGNORE INTO answers VALUES (?, ?, ?, ?)", rows)

    def rest(self) -> None:
        """Close the file until it is needed again."""
        self._database.rest()

    def close(self) -> None:
        """What was in memory is gone."""
        self._database.close()
