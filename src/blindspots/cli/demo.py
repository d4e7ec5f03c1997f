"""The main job on what is embedded: two small networks, one trained naturally and one against an adversary."""

import time
from pathlib import Path

import typer
from rich.console import Console

from blindspots.cli import show
from blindspots.cli.progress import Ticker, open_model
from blindspots.data import load_data
from blindspots.engine.threads import free_threads
from blindspots.errors import InputError
from blindspots.evaluate import Evaluation, Options, evaluate
from blindspots.journal import read_run_file
from blindspots.report import write_report
from blindspots.report.words import count, seconds
from blindspots.threat import parse_threat

MODELS, THREAT = ("digits", "digits-robust"), "linf:0.15"


def demo(out: Path) -> None:
    """Evaluate both networks anew, show the verdicts side by side and write one report."""
    began, console = time.monotonic(), Console(stderr=True)
    options = Options(threads=free_threads())
    assert options.threads is not None
    for name in MODELS:
        _clear(out / name, _command(name))
    try:
        runs = [_evaluate(console, name, out, options) for name in MODELS]
    except KeyboardInterrupt:
        typer.echo("Stopped. Begin again with: blindspots demo", err=True)
        raise typer.Exit(130) from None
    report = write_report([out / name for name in MODELS], out / "report.html")
    result = Console()
    show.side_by_side(result, runs)
    result.print(
        f"Both took {seconds(time.monotonic() - began)} on {count(options.threads, 'thread')}.", highlight=False
    )
    result.print()
    show.where(result, report)


def _evaluate(console: Console, name: str, out: Path, options: Options) -> Evaluation:
    model, data = open_model(console, name), load_data("digits")
    console.print(f"Attacking {name} on {count(len(data), 'row')} of digits, {THREAT}", highlight=False)
    with Ticker(console) as watch:
        return evaluate(
            model, data=data, threat=parse_threat(THREAT), out=out / name, options=options, watch=watch,
            command=_command(name),
        )  # fmt: skip


def _command(name: str) -> str:
    """How to repeat the run without the demo, and the mark by which the demo knows its own runs."""
    return f"blindspots evaluate {name} --data digits --threat {THREAT}"


def _clear(folder: Path, command: str) -> None:
    """Remove the run of an earlier demo, file by file; anything else is refused and left as it is."""
    if not (folder / "run.json").exists():
        return
    if not _wrote(folder, command):
        raise InputError(
            f"expected {folder} to be free or to hold an earlier demo, found another run: name a folder with --out"
        )
    for path in (*folder.glob("shards/*.safetensors"), *folder.glob("*.safetensors"), folder / "run.json"):
        path.unlink()


def _wrote(folder: Path, command: str) -> bool:
    try:
        return read_run_file(folder).command == command
    except InputError:
        return False
