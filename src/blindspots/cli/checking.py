"""`verify` and `report`: what is done with runs that are finished."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.text import Text

from blindspots.cli import screen, show
from blindspots.cli.endings import reading
from blindspots.defend.hardening.proof import verify_harden
from blindspots.errors import InputError
from blindspots.journal import kind_of
from blindspots.report import write_report
from blindspots.report.experiment import write_report as write_run_report
from blindspots.report.harden import write_harden_report
from blindspots.report.words import count
from blindspots.runs.experiment import kinds
from blindspots.runs.verify import verify as verify_run
from blindspots.verify import Verification
from blindspots.verify import verify as prove

_PAGES = {
    "harden": write_harden_report,
}


_PROOFS: dict[str, Callable[..., Verification]] = {
    "harden": verify_harden,
}


def verify(run: Path) -> bool:
    """Say what was checked and what did not hold; whether everything did."""
    if kind_of(run) in kinds():
        return _verify(run)
    again = _PROOFS.get(kind_of(run), prove)
    with reading(run), screen.status(screen.aside(), f"Proving {run} again") as status:
        outcome = again(run, say=lambda text: status.update(Text(text)))
    console = screen.result()
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


def _verify(run: Path) -> bool:
    with reading(run), screen.status(screen.aside(), f"Proving {run} again") as status:
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
    path = out or _beside(runs)
    if len(runs) == 1 and kind_of(runs[0]) in kinds():
        with reading(runs[0]):
            show.where(screen.result(), write_run_report(runs[0], path))
        return
    own = [kind for kind in map(kind_of, runs) if kind in _PAGES]
    with reading(" and ".join(map(str, runs))):
        written = _page(own[0], runs, path) if own else write_report(runs, path)
    show.where(screen.result(), written)


def _page(kind: str, runs: Sequence[Path], out: Path) -> Path:
    if len(runs) > 1:
        raise InputError(
            f"expected a {kind} run alone, got {len(runs)} runs: it has a page of its own, so name one run"
        )
    return _PAGES[kind](runs[0], out)


def _beside(runs: Sequence[Path]) -> Path:
    """In the run folder; of several, in the folder that has all of them."""
    folder = runs[0] if len(runs) == 1 else os.path.relpath(os.path.commonpath([os.path.realpath(run) for run in runs]))
    return Path(folder) / "report.html"
