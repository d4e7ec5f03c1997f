"""`universal`: from words to a run folder with one perturbation for all inputs."""

import time
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from blindspots.cli import screen, show
from blindspots.cli.endings import reading, resumable
from blindspots.cli.gate import leave
from blindspots.cli.progress import PLAIN_EVERY, Every, open_model
from blindspots.cli.reading import Read, reader
from blindspots.cli.running import moved, slug
from blindspots.cli.universal_job import UniversalJob
from blindspots.command_line import command_line
from blindspots.data import Dataset
from blindspots.engine.threads import free_threads
from blindspots.errors import InputError
from blindspots.journal import threads_of
from blindspots.records import Share
from blindspots.report.universal import sentence, write_universal_report
from blindspots.report.words import count, interval, number, percent, seconds
from blindspots.threat import parse_threat
from blindspots.universal import Studies, Universal, UniversalOptions, parse_method
from blindspots.universal import universal as run_universal
from blindspots.universal.file import load_perturbation
from blindspots.universal.fitting import Stage
from blindspots.universal.record import UniversalVerdict


def universal(spec: str, job: UniversalJob) -> None:
    """Search on what was named, show what it does to unseen rows, write the report."""
    threat, method = parse_threat(job.threat), parse_method(job.method)
    images = _images(job.images)
    console = screen.aside()
    read = reader(job.layout, job.classes)
    data, heldout = read(job.data, job.rows), _heldout(job.heldout, read)
    with reading(job.perturbation):
        given = load_perturbation(job.perturbation) if job.perturbation else None
    model = moved(open_model(console, spec), job.device)
    others = tuple(moved(open_model(console, other), job.device) for other in job.on or [])
    out = job.out or Path("runs") / slug(model.name, "universal", job.threat)
    options = UniversalOptions(job.seed, job.threads or threads_of(out, job.resume) or free_threads(), job.chunk)
    command = command_line()
    with resumable(out, command):
        with _Line(console) as watch:
            run = run_universal(
                model, data=data, threat=threat, method=method, fit=job.fit, heldout=heldout, target=job.target,
                per_class=job.per_class, clip=not job.unclipped, perturbation=given,
                studies=Studies(images, job.several, job.geometry, True, others, job.cross), out=out,
                resume=job.resume, options=options, watch=watch, command=command,
            )  # fmt: skip
        _finish(console, run, out, job)


def _images(text: str | None) -> tuple[int, ...]:
    try:
        return tuple(int(word) for word in (text or "").split(",") if word.strip())
    except ValueError:
        raise InputError(f"expected numbers of images such as 10,50,100, got {text!r}: change them") from None


def _heldout(text: str | None, read: Read) -> int | Dataset | None:
    return int(text) if text and text.isdigit() else read(text) if text else None


class _Line:
    """To be passed as `watch`: one live line on a terminal, elsewhere a plain line now and then."""

    def __init__(self, console: Console) -> None:
        self._console, self._due = console, Every(PLAIN_EVERY, time.monotonic, first=PLAIN_EVERY)
        self._live = Live(Text("Looking at the model and the rows"), console=console, transient=True)

    def __enter__(self) -> "_Line":
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._live.stop()

    def __call__(self, stage: Stage) -> None:
        if self._console.is_terminal:
            self._live.update(Text(_said(stage)))
        elif self._due():
            self._console.print(_said(stage), soft_wrap=True)


def _said(stage: Stage) -> str:
    """ "search, pass 3 of at most 10: 128 of 500 rows, 71.2 % of them fooled; 12 s" """
    rate = percent(stage.fooled / stage.counted) if stage.counted else "none"
    which = "them" if stage.counted == stage.seen else f"the {count(stage.counted)} that count"
    return (
        f"{stage.name}, pass {stage.number} of at most {stage.passes}: {count(stage.seen)} of "
        f"{count(stage.rows, 'row')}, {rate} of {which} fooled; {seconds(stage.seconds)}"
    )


def _finish(console: Console, run: Universal, out: Path, job: UniversalJob) -> None:
    report, v = write_universal_report(out), run.verdict
    if job.json:
        screen.document(v)
        show.where(console, report)
    else:
        _show(screen.result(), run, v)
        show.where(screen.result(), report)
    if any(f.severity == "error" for f in v.findings):
        raise InputError(
            "expected inputs and outputs that allow a verdict, but a check found an error: see the findings"
        )
    if job.require is not None and (missed := _missed(v, job.require, job.perturbation is not None)):
        leave(job.require, missed)


def _missed(v: UniversalVerdict, most: float, given: bool) -> str:
    """Why it is not shown that at most so many unseen rows are fooled; "" where it is."""
    if not v.heldout.fooled.rows:
        return "all unseen rows are taken for the target as they are: there is no evidence to go by"
    if not v.norm or not (given or v.passes):
        made = "no pass over the fit rows was made" if not v.passes else "nothing was changed"
        return f"{made}: there is no evidence to go by"
    found = v.fooling_rate_heldout
    return f"{percent(found)} of the unseen rows are fooled, at most {percent(most)} may be" if found > most else ""


def _show(console: Console, run: Universal, v: UniversalVerdict) -> None:
    console.print()
    console.print(Text(f"{sentence(run.file)}.", "bold"))
    console.print()
    console.print(screen.fitting(console, _rates(v)))
    cost = f"{count(v.forwards, 'forward')}, {count(v.backwards, 'backward')}, {count(v.passes)} passes"
    console.print(Text(f"Found in {seconds(v.seconds)}: {cost}; norm {number(v.norm)}."))
    show.findings(console, v.findings)
    console.print()


def _rates(v: UniversalVerdict) -> Table:
    table = show.table("Fooled", "Share", "95 % sure", "Rows")
    named = {
        "unseen rows": v.heldout.fooled,
        "unseen rows, not clipped": v.heldout_unclipped.fooled,
        "fit rows": v.fit.fooled,
        **{f"  {name}": rate for name, rate in v.controls.items()},
    }
    for name, rate in named.items():
        table.add_row(name, *_cells(rate))
    return table


def _cells(rate: Share) -> tuple[str, str, str]:
    return percent(rate.share), interval(rate.interval), count(rate.rows)
