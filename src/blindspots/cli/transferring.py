"""`transfer`: from words to a run folder with the matrix of who fools whom."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.status import Status
from rich.table import Table
from rich.text import Text

from blindspots.attacks import parse_attack
from blindspots.cli import screen, show
from blindspots.cli.endings import resumable
from blindspots.cli.progress import open_model
from blindspots.cli.reading import reader
from blindspots.cli.running import moved, slug
from blindspots.cli.transfer_job import TransferJob
from blindspots.command_line import command_line
from blindspots.data import Dataset
from blindspots.data.splits import refuse_overlap
from blindspots.engine.targets import RandomClass, Targets, parse_targets
from blindspots.engine.threads import set_threads
from blindspots.errors import InputError
from blindspots.journal import threads_of
from blindspots.models import Model
from blindspots.models.binding import like
from blindspots.report.transfer import write_transfer_report
from blindspots.report.transfer_words import alike, headline, reach, shortened, sizes
from blindspots.report.words import count, number, percent, seconds
from blindspots.threat import parse_threat
from blindspots.transfer.disjoint import split_models
from blindspots.transfer.record import Matrices, TransferVerdict
from blindspots.transfer.run import Told, Transfer
from blindspots.transfer.run import transfer as run_transfer
from blindspots.transfer.words import parse_sizes, read_labels

_ROOMY = 6  # models up to which a terminal has room for decimals, and for names of any length
_NAME = 22  # letters


def transfer(specs: Sequence[str], job: TransferJob) -> None:
    """Make the matrix of what was named, show it, write the report."""
    threat = parse_threat(job.threat)
    attack = parse_attack(job.attack) if job.attack else None
    own_sizes, labels = parse_sizes(job.resize or []), read_labels(job.labels) if job.labels else None
    console = screen.aside()
    data, trained_on = _data(job)
    out = job.out or Path("runs") / slug("transfer", data.name, job.threat)
    command = command_line()
    with set_threads(job.threads or threads_of(out, job.resume)) as threads, resumable(out, command):
        models = [moved(m, job.device) for m in _models(console, specs, trained_on, job)]
        said = f"Transfer between {count(len(models), 'model')} on {count(len(data), 'row')} of {data.name}"
        console.print(f"{said}, {threat.spec}; {count(threads, 'thread')}")
        with _Lines(console) as watch:
            run = run_transfer(
                models, data=data, threat=threat, attack=attack, amplify=job.amplify, targeted=job.targeted,
                targets=_targets(job), restarts=job.restarts, ensemble=job.ensemble, surrogate=job.surrogate,
                resize=own_sizes or None, labels=labels, trained_on=trained_on, out=out, resume=job.resume,
                seed=job.seed, threads=threads, chunk=job.chunk, slots=job.slots, watch=watch, command=command,
            )  # fmt: skip
        _finish(console, run, out, job.json)


def _data(job: TransferJob) -> tuple[Dataset, Dataset | None]:
    """The rows to attack, and those to train on."""
    read = reader(job.layout, job.classes)
    if (job.split is None) != (job.test is None):
        raise InputError(
            "expected --split disjoint together with --test DATA, got one without the other: --data is what is trained "
            "on, --test what is attacked"
        )
    if job.test is None:
        return read(job.data, job.rows), None
    trained_on, data = read(job.data), read(job.test, job.rows)
    data = like(trained_on, data)
    refuse_overlap(trained_on, data)
    return data, trained_on


def _models(console: Console, specs: Sequence[str], trained_on: Dataset | None, job: TransferJob) -> list[Model]:
    if trained_on is None:
        return [open_model(console, spec) for spec in specs]
    with screen.status(console, "Training on disjoint halves") as status:
        return split_models(specs, trained_on, job.seed, say=lambda text: status.update(Text(text)))


def _targets(job: TransferJob) -> Targets | None:
    return RandomClass(job.seed) if job.targets == "random" else parse_targets(job.targets) if job.targets else None


class _Lines:
    """To be passed as `watch`: a line for every source that is done, and which one is in hand."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._status: Status = screen.status(console, "Looking at the clean rows")

    def __enter__(self) -> "_Lines":
        self._status.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._status.stop()

    def __call__(self, told: Told) -> None:
        place = f"{told.number} of {told.sources}"
        if told.row is None:
            self._status.update(Text(f"{place}: making examples for {told.record.name}"))
        else:
            line = f"{place}: {told.record.name} {_outcome(told, told.row)}"
            self._console.print(line, soft_wrap=True)


def _outcome(told: Told, row: Matrices) -> str:
    own = told.record.members[0] if len(told.record.members) == 1 else None
    errors = sorted(e for j, e in enumerate(row.error[0]) if j != own)
    span = " to ".join(dict.fromkeys([percent(errors[0]), percent(errors[-1])]))
    who = "the models err" if own is None else "the other errs" if len(errors) == 1 else "the others err"
    return f"is fooled on {percent(row.found[0].share)}, {who} on {span}; {seconds(row.seconds[0])}"


def _finish(console: Console, run: Transfer, out: Path, json: bool) -> None:
    report = write_transfer_report(out)
    if json:
        screen.document(run.verdict)
        show.where(console, report)
        return
    result, verdict = screen.result(), run.verdict
    result.print()
    result.print(screen.fitting(result, _table(verdict)))
    result.print()
    for sentence in (f"{headline(verdict)}.", reach(verdict), alike(verdict), sizes(run.file.manifest, verdict)):
        if sentence:
            result.print(Text(sentence))
    show.findings(result, verdict.findings)
    show.where(result, report)


def _table(verdict: TransferVerdict) -> Table:
    """Rows made for, columns fed to, in percent; columns have numbers, since twelve names fit no terminal."""
    count = len(verdict.models)
    table = Table(box=None, pad_edge=False, padding=(0, 2 if count <= _ROOMY else 1, 0, 0), header_style="bold")
    table.add_column(Text("for, fed to (%)"), no_wrap=True)
    for name in (*map(str, range(1, count + 1)), "noise", "RMS"):
        table.add_column(name, justify="right", no_wrap=True)
    for i, name in enumerate(shortened(verdict.models)):
        table.add_row(*_row(verdict, i, f"{i + 1} {name}", own=i))
    for i, name in enumerate(verdict.ensemble.sources if verdict.ensemble else ()):
        assert verdict.ensemble is not None
        table.add_row(*_row(verdict.ensemble, i, name, own=-1))
    table.add_row(Text("unchanged", "dim"), *(_share(e.share, count) for e in verdict.clean_error))
    return table


def _row(block: Matrices, i: int, name: str, own: int) -> list[Text]:
    count = len(block.error[i])
    cells = [Text(_share(e, count), "bold" if own == j else "") for j, e in enumerate(block.error[i])]
    noise = sum(block.noise[i]) / count
    return [Text(_short(name, count)), *cells, Text(_share(noise, count)), Text(number(block.distortion[i]))]


def _short(name: str, count: int) -> str:
    return name if count <= _ROOMY or len(name) <= _NAME else f"{name[: _NAME - 1]}…"


def _share(share: float, count: int) -> str:
    """With one decimal where there is room."""
    return f"{100 * share:.{1 if count <= _ROOMY else 0}f}"
