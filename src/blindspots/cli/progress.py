"""How far a run has come: two live lines on a terminal, elsewhere a plain line now and then."""

import time
from collections.abc import Callable

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from blindspots.report.words import count, seconds
from blindspots.runs.world import Progress

PLAIN_EVERY = 10.0  # seconds


class Every:
    """True at most once in `seconds`, for the first time after `first` seconds."""

    def __init__(self, seconds: float, clock: Callable[[], float], first: float) -> None:
        self._seconds, self._clock, self._next = seconds, clock, clock() + first

    def __call__(self) -> bool:
        now = self._clock()
        if now < self._next:
            return False
        self._next = now + self._seconds
        return True


class Line:
    """To be passed as `watch`: two live lines on a terminal, elsewhere a plain line now and then."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._console, self._clock, self._began = console, clock, clock()
        self._due = Every(PLAIN_EVERY, clock, first=PLAIN_EVERY)
        self._doing: dict[str, Progress] = {}
        self._last: Progress | None = None
        self._first: Progress | None = None  # what was done by an earlier attempt does not count as pace
        self._spinner = Spinner("dots")
        self._live = Live(console=console, transient=True, get_renderable=self._picture)

    def __enter__(self) -> "Line":
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._live.stop()

    def say(self, text: str) -> None:
        """A sentence worth a line of its own."""
        self._console.print(Text(text), soft_wrap=True)

    def __call__(self, progress: Progress) -> None:
        self._first = self._first or progress
        self._last = progress
        if progress.said:
            self._doing[progress.part] = progress
        else:
            self._doing.pop(progress.part, None)
        if not self._console.is_terminal and self._due():
            self._console.print(Text(f"{self._rows()}{self._now()}"), soft_wrap=True)

    def _done(self) -> int:
        assert self._last is not None
        return min(self._last.finished + sum(p.done for p in self._doing.values()), self._last.total)

    def _rows(self) -> str:
        """ "386 of 500 done; 31 s, 9 s left" """
        p, first = self._last, self._first
        assert p is not None
        assert first is not None
        now, took = self._done() - first.finished, p.seconds - first.seconds
        left = f", {seconds(took / now * (p.total - self._done()))} left" if now > 0 and took > 1 else ""
        return f"{count(self._done())} of {count(p.total)} done; {seconds(round(p.seconds))}{left}"

    def _now(self) -> str:
        return "".join(f"; {name}: {p.said}" for name, p in list(self._doing.items())[-2:])

    def _picture(self) -> Table:
        """Drawn anew a few times a second, also while no news come."""
        grid = Table.grid(padding=(0, 1))
        if self._last is None:
            grid.add_row(self._spinner, "Opening the model and looking at its first rows")
            return grid
        bar = ProgressBar(total=self._last.total, completed=self._done(), width=24)
        grid.add_row(self._spinner, bar, Text(self._rows()))
        grid.add_row("", seconds(round(self._clock() - self._began)), Text(self._now().lstrip("; "), style="dim"))
        return grid
