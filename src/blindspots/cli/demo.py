"""The whole story on what is embedded: a network is evaluated, hardened, and evaluated again."""

import shutil
import time
from pathlib import Path

from blindspots.cli import screen, show
from blindspots.cli.endings import repeatable
from blindspots.cli.hardening import Lines, outcome
from blindspots.cli.progress import open_model
from blindspots.data import digits_training, load_data
from blindspots.experiments.harden.folder import WRITES, read_harden_file
from blindspots.experiments.harden.run import HardenOptions
from blindspots.experiments.harden.run import harden as run_harden
from blindspots.engine.threads import free_threads
from blindspots.errors import InputError
from blindspots.report.harden import write_harden_report
from blindspots.report.words import count, seconds
from blindspots.threat import parse_threat

MODEL, THREAT = "digits", "linf:0.15"
COMMAND = f"blindspots harden {MODEL} --data digits --threat {THREAT}"  # the mark by which the demo knows its own runs


def demo(out: Path) -> None:
    """Harden the network anew, show it before and after, and write one report."""
    began, console, result = time.monotonic(), screen.aside(), screen.result()
    options = HardenOptions(threads=free_threads())
    assert options.threads is not None
    _clear(out)
    with repeatable("blindspots demo"), Lines(console) as lines:
        run = run_harden(
            open_model(console, MODEL), data=digits_training(), test=load_data("digits"),
            threat=parse_threat(THREAT), out=out, options=options, watch=lines.watch, command=COMMAND,
        )  # fmt: skip
    report = write_harden_report(out)
    outcome(result, run.verdict)
    result.print(f"All of it took {seconds(time.monotonic() - began)} on {count(options.threads, 'thread')}.")
    result.print()
    show.where(result, report)


def _clear(folder: Path) -> None:
    """Remove what an earlier demo wrote; anything else is refused and left as it is."""
    if not (folder / "run.json").exists():
        return
    if not _wrote(folder):
        raise InputError(
            f"expected {folder} to be free or to hold an earlier demo, found another run: name a folder with --out"
        )
    for name in WRITES:
        path = folder / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _wrote(folder: Path) -> bool:
    try:
        return read_harden_file(folder).command == COMMAND
    except InputError:
        return False
