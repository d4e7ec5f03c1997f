"""What a run has asked of an endpoint, what that costs, and the limits of both: counted before anything is sent."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Literal

from blindspots.errors import InputError
from blindspots.models.endpoints.database import Database

NAME = "queries.sqlite"
_VERSION = 1
_TABLES = """
CREATE TABLE IF NOT EXISTS totals (outcome TEXT PRIMARY KEY, inputs INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS marks (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID"""

# answered, refused: the service did its work. failed: it said that it did not (429, 5xx and the like). lost: no answer
# came back, so nobody knows. open: no word yet; after a process was killed, as good as lost. unsent: no connection.
Outcome = Literal["answered", "refused", "failed", "lost", "open", "unsent"]
_SENT: tuple[Outcome, ...] = ("answered", "refused", "failed", "lost", "open")
_BILLED: tuple[Outcome, ...] = ("answered", "refused", "lost", "open")
_TURN = "turn"  # of time.time(): when the next request may be sent
_STALE = 600.0  # seconds; a turn that is farther away was given by a clock that has been set back since
_AGAIN = "again"  # inputs that were sent once more after a failure


class SpentError(InputError):
    """The next request would exceed what may be spent."""


@dataclass(frozen=True)
class Terms:
    """What inputs cost, and what a run may cost.

    Args:
        price: of one input, in any currency.
        free: inputs that cost nothing, the first ones.
        queries: inputs that may be sent, repetitions included; None: no limit.
        paid: money that may be spent; None: no limit.
    """

    price: Decimal = Decimal(0)
    free: int = 0
    queries: int | None = None
    paid: Decimal | None = None

    def cost(self, inputs: int) -> Decimal:
        """Of this many inputs, exact."""
        return self.price * max(0, inputs - self.free)

    @property
    def most(self) -> int | None:
        """The largest number of inputs that both limits allow; None: any number."""
        bought = None if self.paid is None or not self.price else self.free + int(self.paid // self.price)
        limits = [limit for limit in (self.queries, bought) if limit is not None]
        return min(limits, default=None)


def money(amount: Decimal) -> str:
    """Exact, with two decimals or as many as it takes."""
    whole = amount.normalize()
    return f"{whole.quantize(Decimal('0.01')) if whole == round(whole, 2) else whole:f}"


@dataclass(frozen=True)
class Counts:
    """Inputs by what became of them; `again` of those that were sent are repetitions after a failure."""

    answered: int = 0
    refused: int = 0
    failed: int = 0
    lost: int = 0
    open: int = 0
    unsent: int = 0
    again: int = 0

    @property
    def sent(self) -> int:
        """Inputs that left this machine: what a limit in queries is about."""
        return sum(getattr(self, name) for name in _SENT)

    @property
    def billed(self) -> int:
        """Inputs that a service may charge for: all but those of which it said that it did not answer them."""
        return sum(getattr(self, name) for name in _BILLED)


class Spending:
    """The account of a run, in an sqlite file that its processes share; it goes on where a killed one ended.

    Entries survive whatever happens to a process; the last of them may be lost where the power fails.

    Args:
        path: of the file; None: memory.
    """

    def __init__(self, path: Path | None, terms: Terms) -> None:
        self.terms, self.deadline = terms, float("inf")  # of time.monotonic()
        self._database = Database(path, _TABLES, _VERSION, flushed=False)

    @property
    def counts(self) -> Counts:
        """So far."""
        with self._database.reading() as file:
            return _counts(file)

    def affords(self, inputs: int) -> bool:
        """Whether that many more may be sent."""
        return time.monotonic() < self.deadline and self._within(self.counts, inputs)

    def _within(self, counts: Counts, inputs: int) -> bool:
        most, limit = self.terms.most, self.terms.queries
        bought = most is None or counts.billed + inputs <= most
        return bought and (limit is None or counts.sent + inputs <= limit)

    @contextmanager
    def sending(self, inputs: int, again: bool) -> Iterator["Sending"]:
        """Enter a request of so many inputs before it is sent; what became of it is said inside.

        Raises SpentError: it would exceed a limit, so it must not be sent.
        """
        with self._database.changing() as file:
            counts = _counts(file)
            if time.monotonic() >= self.deadline or not self._within(counts, inputs):
                raise SpentError("the budget is spent")
            for name in ["open", _AGAIN][: 1 + again]:
                file.execute(_ADD, (name, inputs))
        sending = Sending()
        try:
            yield sending
        finally:
            with self._database.changing() as file:
                file.execute(_ADD, ("open", -inputs))
                file.execute(_ADD, (sending.outcome, inputs))

    def turn(self, rate: float | None) -> float:
        """Seconds until this request may be sent, of so many per second by all processes together."""
        with self._database.changing() as file:
            now = time.time()
            free = float(_marked(file, _TURN) or 0)
            begin = min(max(now, free), now + _STALE)
            if rate is not None:
                file.execute(_MARK, (_TURN, repr(begin + 1 / rate)))
        return max(0.0, min(begin - now, self.deadline - time.monotonic()))

    def hold(self, seconds: float) -> None:
        """Nobody sends anything before so many seconds are over."""
        with self._database.changing() as file:
            free = max(float(_marked(file, _TURN) or 0), time.time() + seconds)
            file.execute(_MARK, (_TURN, repr(free)))

    def mark(self, name: str, value: str) -> None:
        """Remember something said once of the endpoint."""
        with self._database.changing() as file:
            file.execute(_MARK, (name, value))

    def marked(self, name: str) -> str | None:
        """What was remembered."""
        if not self._database.is_there:
            return None
        with self._database.reading() as file:
            return _marked(file, name)

    def rest(self) -> None:
        """Close the file until it is needed again."""
        self._database.rest()

    def close(self) -> None:
        """What was in memory is gone."""
        self._database.close()


def _counts(file: sqlite3.Connection) -> Counts:
    found = file.execute("SELECT outcome, inputs FROM totals WHERE typeof(inputs) = 'integer'").fetchall()
    return Counts(**{name: inputs for name, inputs in found if name in Counts.__annotations__})


def _marked(file: sqlite3.Connection, name: str) -> str | None:
    row = file.execute("SELECT value FROM marks WHERE name = ?", (name,)).fetchone()
    return None if row is None else str(row[0])


_MARK = "INSERT OR REPLACE INTO marks VALUES (?, ?)"
_ADD = "INSERT INTO totals VALUES (?, ?) ON CONFLICT (outcome) DO UPDATE SET inputs = inputs + excluded.inputs"


class Sending:
    """One request under way."""

    outcome: Outcome = "lost"  # until something else is known
