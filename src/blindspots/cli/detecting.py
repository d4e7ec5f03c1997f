"""`detect`: from words to a run folder with detectors, and what they are worth to an adversary who knows them."""

import time
from pathlib import Path

from rich.console import Console
from rich.status import Status
from rich.table import Table
from rich.text import Text

from blindspots.cli import screen, show
from blindspots.cli.detect_job import DetectJob
from blindspots.cli.endings import resumable
from blindspots.cli.progress import PLAIN_EVERY, Every, open_model
from blindspots.cli.reading import reader
from blindspots.cli.running import moved, slug
from blindspots.command_line import command_line
from blindspots.defend.detection.conclude import best_first
from blindspots.defend.detection.detectors.catalogue import parse_detector
from blindspots.defend.detection.record import DetectVerdict
from blindspots.defend.detection.rows import open_data
from blindspots.defend.detection.run import detect as run_detect
from blindspots.engine.threads import free_threads
from blindspots.errors import InputError
from blindspots.journal import threads_of
from blindspots.protocols import protocol as named_protocol
from blindspots.report.detect import headline, write_detect_report
from blindspots.report.words import count, interval, number, percent, seconds
from blindspots.threat import parse_threat

_DIGITS = "linf:0.15"  # as the robust digits network was trained


def detect(spec: str, job: DetectJob) -> None:
    """Fit and attack detectors on what was named, show what they are worth, write the report."""
    spoken = job.threat or (_DIGITS if job.data == "digits" else None)
    if spoken is None:
        raise InputError(f"expected --threat for {job.data}, got none: say what may change, such as linf:8/255")
    threat = parse_threat(spoken)
    for protocol in (job.protocol, job.bare_protocol):  # wrong names are said before anything is loaded
        named_protocol(protocol, threat)
    for name in job.detector or []:
        parse_detector(name)
    console = screen.aside()
    data, test = open_data(job.data, job.test, job.rows, reader(job.layout, job.classes))
    model = moved(open_model(console, spec), job.device)
    out = job.out or Path("runs") / slug(model.name, "detect", spoken)
    threads = job.threads or threads_of(out, job.resume) or free_threads()
    measured = f"{count(len(test), 'row')} of {test.name}" if test else f"two fifths of {data.name}"
    console.print(
        f"Detectors for {model.name}, fitted on {data.name}, measured on {measured}, {threat.spec}; {model.device}, "
        f"{count(threads, 'thread')}"
    )
    command = command_line()
    with resumable(out, command):
        with _Line(console) as say:
            run = run_detect(
                model, data=data, test=test, threat=threat, detector=job.detector, train_attacks=job.train_attack,
                test_attacks=job.test_attack, fpr=job.fpr, fit=job.fit, rows=job.rows, protocol=job.protocol,
                bare_protocol=job.bare_protocol, out=out,
                resume=job.resume, seed=job.seed, threads=threads, chunk=job.chunk, say=say, command=command,
            )  # fmt: skip
        _finish(console, run.verdict, out, job.json)


def _finish(console: Console, verdict: DetectVerdict, out: Path, json: bool) -> None:
    report = write_detect_report(out)
    if json:
        screen.document(verdict)
        show.where(console, report)
    else:
        _show(screen.result(), verdict)
        show.where(screen.result(), report)


class _Line:
    """To be passed as `say`: what is going on, live on a terminal, elsewhere a plain line now and then."""

    def __init__(self, console: Console) -> None:
        self._console, self._due = console, Every(PLAIN_EVERY, time.monotonic, first=0)
        self._status: Status = screen.status(console, "Looking at the model and the rows")

    def __enter__(self) -> "_Line":
        self._status.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._status.stop()

    def __call__(self, text: str) -> None:
        if self._console.is_terminal:
            self._status.update(Text(text))
        elif self._due():
            self._console.print(text, soft_wrap=True)


def _show(console: Console, v: DetectVerdict) -> None:
    console.print()
    console.print(Text(f"{headline(v)}.", "bold"))
    console.print()
    console.print(screen.fitting(console, _table(v)))
    console.print(Text(
        f"Model alone: {percent(v.robust.share)} ({interval(v.robust.interval)}) under attack, "
        f"{percent(v.clean.share)} without; {count(v.rows, 'row')}, {seconds(v.seconds)}."
    ))  # fmt: skip
    show.findings(console, v.findings)
    console.print()


def _table(v: DetectVerdict) -> Table:
    """No area under a curve without the accuracy of the pair under attacks that know it, in the same row."""
    table = show.table("Detector", "AUC", "Adaptive", "Unaware", "Clean", "TPR at 5 %", "Larger by", "Time")
    for d in best_first(v.detectors):
        factor = d.distortion.factor if d.distortion else None
        slower = d.overhead.seconds_pair["32"] / d.overhead.seconds_model["32"]
        table.add_row(
            Text(d.name),
            f"{d.auc:.3f}",
            Text(percent(d.adaptive_accuracy), "bold"),
            percent(d.pair.unaware.share),
            percent(d.pair.clean.share),
            percent(d.tpr.share),
            f"×{number(factor)}" if factor else "–",
            f"×{number(slower)}",
        )
    return table
