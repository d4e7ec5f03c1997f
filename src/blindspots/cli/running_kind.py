"""To run a kind from the command line: progress on stderr, the result on stdout, the report beside the run."""

import re
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table as Grid
from rich.text import Text

from blindspots.cli import screen, show
from blindspots.cli.command import Where
from blindspots.cli.endings import UNMET, resumable
from blindspots.cli.progress import PLAIN_EVERY, Every
from blindspots.command_line import command_line
from blindspots.report.experiment import Page, page_of, write_report
from blindspots.report.words import count, seconds
from blindspots.runs.config import Config
from blindspots.runs.experiment import Kind
from blindspots.runs.metric import parsed, require
from blindspots.runs.run import How, follows, run
from blindspots.runs.store import Folder, Run
from blindspots.runs.world import Progress


def run_kind(kind: Kind, config: Config, where: Where) -> None:
    """Run it, show the verdict, write the report; leave with 1 where a gate is missed."""
    for rule in where.require:
        parsed(rule)  # a gate that cannot be read is said before anything is loaded
    out = where.out or Path("runs") / slug(*_named(kind, config))
    console, command = screen.aside(), command_line()
    with screen.document_alone() if where.json_ else nullcontext(), resumable(out, command):
        with Line(Console(quiet=True) if follows() else console) as line:
            how = How(Folder(out), where.resume, where.engine, watch=line, say=line.say, command=command)
            done = run(kind.name, config, how=how)
        finish(console, done, out, where)


def finish(console: Console, done: Run[Any, Any], out: Path, where: Where) -> None:
    """Show a finished run, write its report, and judge its gates."""
    report = write_report(out)
    if where.json_:
        screen.document(done.verdict)
        show.where(console, report)
    else:
        result(screen.result(), done, page_of(done))
        show.where(screen.result(), report)
    judge(done, where.require)


def judge(done: Run[Any, Any], rules: tuple[str, ...]) -> None:
    """Refuse a verdict that a check made meaningless; leave with 1 where a gate is missed."""
    import typer

    told = require(done.verdict, rules)
    for sentence in told:
        typer.echo(f"Not met: {sentence}", err=True)
    if told:
        raise typer.Exit(UNMET)


def _named(kind: Kind, config: Config) -> list[str]:
    return [*(Path(s.spec).name for s in config.models().values()), *config.words(kind.name)]


def slug(*words: str) -> str:
    """A folder's name from words."""
    return "-".join(re.sub(r"[^A-Za-z0-9.]+", "-", word).strip("-.") for word in words if word)


def result(console: Console, done: Run[Any, Any], page: Page) -> None:
    """The verdict as a person reads it on a terminal."""
    console.print()
    console.print(Text(f"{page.headline}.", "bold"))
    for table in page.tables:
        console.print()
        if table.title:
            console.print(Text(table.title, "bold"))
        grid = show.table(*table.head)
        for row in table.rows:
            grid.add_row(*map(Text, row))
        console.print(screen.fitting(console, grid))
    console.print()
    if page.text:
        console.print(Text(page.text))
    if page.cost:
        console.print(Text(f"Cost: {seconds(done.seconds)}, {page.cost}."))
    show.findings(console, done.findings)
    console.print()


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

    def _picture(self) -> Grid:
        """Drawn anew a few times a second, also while no news come."""
        grid = Grid.grid(padding=(0, 1))
        if self._last is None:
            grid.add_row(self._spinner, "Opening the model and looking at its first rows")
            return grid
        bar = ProgressBar(total=self._last.total, completed=self._done(), width=24)
        grid.add_row(self._spinner, bar, Text(self._rows()))
        grid.add_row("", seconds(round(self._clock() - self._began)), Text(self._now().lstrip("; "), style="dim"))
        return grid
