"""`evaluate` and `attack`: from words to a run folder, with live progress and a way to go on after Ctrl-C."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from rich.console import Console

from blindspots.attacks import parse_attack
from blindspots.cli import screen, show
from blindspots.cli.endings import resumable
from blindspots.cli.gate import judge
from blindspots.cli.job import Job
from blindspots.cli.progress import Ticker, open_model
from blindspots.cli.reading import reader
from blindspots.command_line import command_line
from blindspots.data import Dataset
from blindspots.engine.targets import RandomClass, Targets, parse_targets
from blindspots.engine.threads import free_threads
from blindspots.evaluate import Evaluation, Options
from blindspots.evaluate import attack as run_attack
from blindspots.evaluate import evaluate as run_protocol
from blindspots.examples import Example, save_examples
from blindspots.goal import LossName
from blindspots.journal import threads_of
from blindspots.models import Model
from blindspots.models.binding import bound
from blindspots.models.first_look import first_look
from blindspots.models.model import to_device
from blindspots.models.transformations import Transformed, parse_chain
from blindspots.protocols import USUAL
from blindspots.protocols import protocol as named_protocol
from blindspots.report import write_report
from blindspots.report.words import count
from blindspots.threat import Threat, parse_threat


@dataclass(frozen=True)
class Search:
    """What `attack` is asked to run, in the command line's words."""

    attack: str
    loss: LossName | None
    targeted: bool
    targets: str | None
    restarts: int
    start: Literal["clean", "other"] | None
    to_the_end: bool
    pictures: int


@dataclass(frozen=True)
class _Bench:
    """Everything that was named, opened."""

    model: Model
    data: Dataset
    threat: Threat
    out: Path
    options: Options
    console: Console  # on stderr, so that stdout is the result's alone


def evaluate(model: str, protocol: str | None, job: Job) -> None:
    """Run a protocol on what was named, show the verdict, write the report."""
    threat = parse_threat(job.threat)
    if protocol is not None:
        named_protocol(protocol, threat)  # a wrong name is said before anything is loaded
    bench = _set_up(model, threat, job, "")
    with resumable(bench.out, command_line()):
        with _running(bench, f"protocol {protocol or USUAL[bench.model.access]}") as common:
            run = run_protocol(bench.model, protocol=protocol, resume=job.resume, **common)
        _finish(bench, run, job)


def attack(model: str, search: Search, job: Job) -> None:
    """Run one attack on what was named, show the verdict, write the report."""
    threat, attack = parse_threat(job.threat), parse_attack(search.attack)
    bench = _set_up(model, threat, job, search.attack)
    with resumable(bench.out, command_line()):
        with _running(bench, f"attack {search.attack}") as common:
            run = run_attack(
                bench.model, attack=attack, loss=search.loss, targeted=search.targeted, restarts=search.restarts,
                targets=_targets(search, job.seed), start=search.start, to_the_end=search.to_the_end,
                resume=job.resume, **common,
            )  # fmt: skip
        _finish(bench, run, job, save_examples(run, bench.model, bench.out / "examples", search.pictures))


def _set_up(spec: str, threat: Threat, job: Job, attack: str) -> _Bench:
    console = screen.aside()
    data = reader(job.layout, job.classes)(job.data, job.rows)
    changes = parse_chain(job.through) if job.through else ()
    model = moved(open_model(console, spec), job.device)
    model = Transformed(model, *changes) if changes else model
    data = bound(model, data)
    model = first_look(model, data)
    out = job.out or Path("runs") / slug(model.name, attack, job.threat)
    return _Bench(model, data, threat, out, _options(job, out), console)


def moved(model: Model, device: str | None) -> Model:
    """The model, on this device if one is named."""
    if device is not None:
        to_device(model.net, device)
    return model


def slug(*words: str) -> str:
    """A folder's name from words."""
    return "-".join(re.sub(r"[^A-Za-z0-9.]+", "-", word).strip("-.") for word in words if word)


def _options(job: Job, out: Path) -> Options:
    given = {f.name: getattr(job, f.name) for f in fields(Options)}
    return Options(**{**given, "threads": job.threads or threads_of(out, job.resume) or free_threads()})


def _targets(search: Search, seed: int) -> Targets | None:
    name = search.targets or ("runner-up" if search.targeted else None)
    if name == "random":
        return RandomClass(seed)
    return parse_targets(name) if name else None


@contextmanager
def _running(bench: _Bench, what: str) -> Iterator[dict[str, Any]]:
    """Say what begins, and show how far it is."""
    model, data, options = bench.model, bench.data, bench.options
    assert options.threads is not None
    bench.console.print(
        f"{model.name} on {count(len(data), 'row')} of {data.name}, {bench.threat.spec}, {what}; "
        f"{model.device}, {count(options.threads, 'thread')}"
    )
    with Ticker(bench.console) as watch:
        yield {
            "threat": bench.threat, "data": data, "out": bench.out, "options": options, "watch": watch,
            "command": command_line(),
        }  # fmt: skip


def _finish(bench: _Bench, run: Evaluation, job: Job, examples: Sequence[Example] = ()) -> None:
    report = write_report(bench.out)
    if job.json:
        screen.document(run.verdict)
        show.where(bench.console, report)
    else:
        console = screen.result()
        show.verdict(console, run)
        console.print()
        show.examples(console, examples, bench.out / "examples")
        show.where(console, report)
    judge(run.verdict, job.require)
