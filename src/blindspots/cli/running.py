"""To run a kind from the command line: progress on stderr, the result on stdout, the report beside the run."""

import re
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from blindspots.cli import screen, show
from blindspots.cli.endings import UNMET, reading, resumable
from blindspots.cli.progress import Line
from blindspots.cli.where import Where
from blindspots.command_line import command_line
from blindspots.report.experiment import Page, page_of, write_report
from blindspots.report.words import seconds
from blindspots.runs.config import Config
from blindspots.runs.experiment import Kind
from blindspots.runs.folder import Folder
from blindspots.runs.metric import parsed, require
from blindspots.runs.run import How, follows, run
from blindspots.runs.store import Run

_NAMED = 2  # models by whose names a folder is called


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
    with reading(out) if where.resume else nullcontext():  # what was there may not be what was written
        report, page = write_report(out), page_of(done)
    if where.json_:
        screen.document(done.verdict)
        show.where(console, report)
    else:
        result(screen.result(), done, page)
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
    models = [_called(source.spec) for source in config.models().values()]
    return [*(models if len(models) <= _NAMED else [f"{len(models)} models"]), *config.words(kind.name)]


def _called(spec: str) -> str:
    """net.py:small -> small, runs/hard/model.pt2 -> model"""
    return re.sub(r"\.(pt2?|skops|onnx)$", "", Path(spec.rpartition(":")[2]).name)


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
        if table.note:
            console.print(Text(table.note))
    console.print()
    if page.text:
        console.print(Text(page.text))
    if page.cost:
        console.print(Text(f"Cost: {seconds(done.seconds)}, {page.cost}."))
    show.findings(console, done.findings)
    console.print()
