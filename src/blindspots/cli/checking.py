"""`verify` and `report`: what is done with runs that are finished."""

import os
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from blindspots.cli import show
from blindspots.report import write_report
from blindspots.report.words import count
from blindspots.verify import verify as prove


def verify(run: Path) -> bool:
    """Say what was checked and what did not hold; whether everything did."""
    with Console(stderr=True).status(f"Proving {run} again") as status:
        outcome = prove(run, say=status.update)
    console = Console()
    for mark, style, sentences in (
        ("✓", "green", outcome.checks),
        ("·", "", outcome.notes),
        ("✗", "bold red", outcome.problems),
    ):
        for sentence in sentences:
            console.print(Text.assemble((f"{mark} ", style), sentence))
    held = f"holds, for all {count(outcome.rows, 'row')}" if outcome.ok else "does not hold"
    console.print(Text(f"The verdict of {run} {held}.", "bold"), soft_wrap=True)
    return outcome.ok


def report(runs: Sequence[Path], out: Path | None) -> None:
    """Write the report and say where."""
    show.where(Console(), write_report(runs, out or _beside(runs)))


def _beside(runs: Sequence[Path]) -> Path:
    """In the run folder; of several, in the folder that has all of them."""
    folder = runs[0] if len(runs) == 1 else os.path.relpath(os.path.commonpath([run.resolve() for run in runs]))
    return Path(folder) / "report.html"
