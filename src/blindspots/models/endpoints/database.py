"""Small sqlite files that several threads and processes share, and that survive a process that is killed."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

from blindspots.errors import InputError

_PATIENCE = 60.0  # seconds until another process has written


class Database:
    """One file, or memory where there is none. It is opened when it is first needed.

    Args:
        path: None: memory.
        tables: the statements that make what is missing.
        version: of these tables; a file of another version is refused.
        flushed: what was committed stays also when the power fails, and not only when the process is killed: some
            milliseconds each time.
    """

    def __init__(self, path: Path | None, tables: str, version: int, flushed: bool) -> None:
        self.path, self._tables, self._version, self._flushed = path, tables, version, flushed
        self._lock = Lock()
        self._file: sqlite3.Connection | None = None

    def _opened(self) -> sqlite3.Connection:
        """With a write-ahead log: readers never wait, and a process that is killed leaves a whole file."""
        if self._file is None:
            if self.path is not None:
                self.path.parent.mkdir(parents=True, exist_ok=True)
            file = sqlite3.connect(
                self.path or ":memory:", timeout=_PATIENCE, isolation_level=None, check_same_thread=False
            )
            file.execute("PRAGMA journal_mode=WAL")
            file.execute(f"PRAGMA synchronous={'FULL' if self._flushed else 'NORMAL'}")
            with _transaction(file):
                self._prepare(file)
            self._file = file
        return self._file

    def _prepare(self, file: sqlite3.Connection) -> None:
        (found,) = file.execute("PRAGMA user_version").fetchone()
        if found not in (0, self._version):
            raise InputError(
                f"expected a file of version {self._version} at {self.path}, got one of version {found}: name another "
                "one"
            )
        for statement in self._tables.split(";"):
            file.execute(statement)
        file.execute(f"PRAGMA user_version={self._version}")

    @property
    def is_there(self) -> bool:
        """Whether there is anything to read: looking must not make a file."""
        return self.path is None or self._file is not None or self.path.exists()

    @contextmanager
    def changing(self) -> Iterator[sqlite3.Connection]:
        """One transaction: all of it is written, or nothing."""
        with self._lock, self._explained(), _transaction(self._opened()) as file:
            yield file

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """To ask without writing."""
        with self._lock, self._explained():
            yield self._opened()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise InputError(
                f"expected a file that answers can be kept in at {self.path}, got this: {error}: name another one"
            ) from error

    def rest(self) -> None:
        """Close the file until it is needed again."""
        if self.path is not None:
            self.close()

    def close(self) -> None:
        """What was in memory is gone."""
        with self._lock:
            if self._file is not None:
                self._file.close()
            self._file = None


@contextmanager
def _transaction(file: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    file.execute("BEGIN IMMEDIATE")
    try:
        yield file
    except BaseException:
        file.execute("ROLLBACK")
        raise
    file.execute("COMMIT")
