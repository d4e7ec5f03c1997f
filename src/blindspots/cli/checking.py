"""`verify` and `report`: what is done with runs that are finished."""

import os
from collections.abc import Sequence
from pathlib import Path

from rich.text import Text

from blindspots.cli import screen, show
from blindspots.cli.endings import reading
from blindspots.report.experiment import write_report
from blindspots.runs.verify import verify as verify_run


def verify(run: Path) -> bool:
    """Say what was checked and what did not hold; whether everything did."""
    with reading(run), screen.status(screen.aside(), f"Verifying {run}") as status:
        outcome = verify_run(run, say=lambda text: status.update(Text(text)))
    console = screen.result()
    for mark, style, sentences in (
        ("✓", "green", outcome.checks),
        ("·", "", outcome.notes),
        ("✗", "bold red", outcome.problems),
    ):
        for sentence in sentences:
            console.print(Text.assemble((f"{mark} ", style), sentence))
    console.print(Text(f"The verdict of {run} {'holds' if outcome.ok else 'does not hold'}.", "bold"), soft_wrap=True)
    return outcome.ok


def report(runs: Sequence[Path], out: Path | None) -> None:
    """Write the report and say where."""
    with reading(" and ".join(map(str, runs))):
        written = write_report(runs, out or _beside(runs))
    show.where(screen.result(), written)


def _beside(runs: Sequence[Path]) -> Path:
    """In the run folder; of several, in the folder that has all of them."""
    folder = runs[0] if len(runs) == 1 else os.path.relpath(os.path.commonpath([os.path.realpath(run) for run in runs]))
    return Path(folder) / "report.html"
