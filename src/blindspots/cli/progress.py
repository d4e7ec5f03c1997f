"""How far a run has come: two live lines on a terminal, elsewhere a plain line now and then."""

import time
from collections.abc import Callable
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from blindspots.cli import screen
from blindspots.evaluate import Progress
from blindspots.models import Model, load_model
from blindspots.records import clopper_pearson
from blindspots.report.words import count, interval, number, percent, seconds

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


def open_model(console: Console, spec: str) -> Model:
    """Load a model, and say it when one is trained meanwhile."""
    due = Every(PLAIN_EVERY, time.monotonic, first=0)
    with screen.status(console, f"Loading {spec}") as status:

        def say(text: str) -> None:
            if console.is_terminal:
                status.update(Text(text))
            elif due():
                console.print(text, soft_wrap=True)

        return load_model(spec, say)


class Ticker:
    """To be passed as `watch`.

    Args:
        console: where to write.
        clock: the time in seconds.
    """

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._console, self._pace = console, Pace()
        self._last: Progress | None = None
        self._clock, self._began = clock, clock()
        self._due = Every(PLAIN_EVERY, clock, first=PLAIN_EVERY)
        self._spinner = Spinner("dots")
        self._live = Live(console=console, transient=True, get_renderable=self._picture)

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._live.stop()

    def __call__(self, progress: Progress) -> None:
        self._pace.see(progress)
        self._last = progress
        if not self._console.is_terminal and self._due():
            self._console.print(f"{self._pace.rows(progress)}; {stage(progress)}", soft_wrap=True)

    def _picture(self) -> Table:
        """Drawn anew a few times a second, also while no news come."""
        grid, now = Table.grid(padding=(0, 1)), self._last
        if now is None:
            grid.add_row(self._spinner, "Looking at the model and its first rows")
            return grid
        bar = ProgressBar(total=now.rows, completed=self._pace.decided, width=24)
        grid.add_row(self._spinner, bar, Text(self._pace.rows(now)))
        took = seconds(round(self._clock() - self._began))
        grid.add_row("", Text(f"{took}{self._pace.left(now)}", justify="right"), Text(stage(now), style="dim"))
        return grid


class Pace:
    """Rows decided so far, and how fast. A row is decided when it has fallen, or when its shard is finished."""

    def __init__(self) -> None:
        self.decided = 0
        self._first: Progress | None = None  # what was done by an earlier attempt does not count as pace
        self._last: Progress | None = None
        self._standing: int | None = 0  # rows of finished shards that stand; None: unknown after resuming

    def see(self, progress: Progress) -> None:
        if self._first is None:
            self._first = progress
            self._standing = 0 if progress.finished == 0 else None
        elif self._last and progress.finished > self._last.finished:
            self._standing = self._last.standing
        self._last = progress
        self.decided = progress.finished + self._fallen(progress)

    def _fallen(self, progress: Progress) -> int:
        if self._standing is None:
            return 0
        return max(progress.begun - progress.finished - (progress.standing - self._standing), 0)

    def rows(self, progress: Progress) -> str:
        """ "386 of 500 rows decided, robust so far at most 22.8 % (19.2 to 26.7 %)" """
        share = progress.standing / progress.begun if progress.begun else 0.0
        within = interval(clopper_pearson(progress.standing, progress.begun))
        decided = f"{count(self.decided)} of {count(progress.rows, 'row')} decided"
        return f"{decided}, robust so far at most {percent(share)} ({within})"

    def left(self, progress: Progress) -> str:
        """ ", 31 rows/s, 4 min left"; nothing until a shard is finished, which an estimate needs."""
        assert self._first is not None
        done = progress.finished - self._first.finished
        if not done or progress.seconds <= 0:
            return ""
        rate = done / progress.seconds
        return f", {number(rate)} rows/s, {seconds((progress.rows - progress.finished) / rate)} left"


def stage(progress: Progress) -> str:
    """ "stage restarts: 34 of 128 rows" """
    return f"stage {progress.stage}: {count(progress.left)} of {count(progress.entered, 'row')} through"
