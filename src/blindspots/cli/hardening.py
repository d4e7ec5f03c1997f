"""`harden`: from words to a hardened model, with a live table of its epochs."""

import os
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live
from rich.status import Status
from rich.table import Table
from rich.text import Text

from blindspots.cli import screen, show
from blindspots.cli.endings import resumable
from blindspots.cli.gate import judge
from blindspots.cli.harden_job import HardenJob
from blindspots.cli.progress import PLAIN_EVERY, Every, Ticker, open_model
from blindspots.cli.reading import Read, reader
from blindspots.cli.running import moved, slug
from blindspots.command_line import command_line
from blindspots.data import Dataset, digits
from blindspots.experiments.harden.course import Told
from blindspots.experiments.harden.recipe import read_recipe
from blindspots.experiments.harden.record import Epoch, HardenVerdict
from blindspots.experiments.harden.run import Hardened, HardenOptions, Watch
from blindspots.experiments.harden.run import harden as run_harden
from blindspots.engine.threads import free_threads
from blindspots.evaluate import Progress
from blindspots.journal import threads_of
from blindspots.report.harden import write_harden_report
from blindspots.report.harden_words import claim_in_words
from blindspots.report.words import count, interval, number, percent, seconds
from blindspots.threat import parse_threat

MOST_TEST = 1000
_SHOWN = 12  # epochs of the live table


def harden(spec: str, job: HardenJob) -> None:
    """Train what was named, show what it did, write the report."""
    threat = parse_threat(job.threat)
    read_recipe(job.recipe)  # a wrong name is said before anything is loaded
    console = screen.aside()
    read = reader(job.layout, job.classes)
    data, test = read(job.data, job.rows, training=True), _test(job, read)
    extra = read(job.extra) if job.extra else None
    model = moved(open_model(console, spec), job.device)
    out = job.out or Path("runs") / slug(model.name, Path(job.recipe).stem, job.threat)
    options = HardenOptions(job.seed, job.threads or threads_of(out, job.resume) or free_threads(), job.precision)
    command = command_line()
    with resumable(out, command):
        with Lines(console) as lines:
            run = run_harden(
                model, data=data, test=test, test_rows=job.test_rows or MOST_TEST, extra=extra, threat=threat,
                recipe=job.recipe, epochs=job.epochs, from_scratch=job.from_scratch, controls=job.controls,
                study_rows=job.study_rows, protocol=job.protocol, out=out, resume=job.resume, options=options,
                watch=lines.watch, command=command,
            )  # fmt: skip
        _finish(console, run, out, job)


def _test(job: HardenJob, read: Read) -> Dataset | None:
    if job.test is None and job.data == "digits":
        return digits(job.test_rows)
    return read(job.test, job.test_rows or MOST_TEST) if job.test else None


class Lines:
    """What is told while a model is hardened: on a terminal a live table of epochs, elsewhere a line now and then."""

    def __init__(self, console: Console) -> None:
        self._console, self._due = console, Every(PLAIN_EVERY, time.monotonic, first=0.0)
        self._epochs: list[Epoch] = []
        self._silent = int(os.environ.get("RANK", "0")) > 0  # of several processes one speaks
        self._shown: Live | Status | Ticker | None = None
        self.watch = Watch(self._phase, self._detail, self._epoch, self._evaluation)

    def __enter__(self) -> "Lines":
        return self

    def __exit__(self, *error: object) -> None:
        self._show(None)

    def _show(self, shown: Live | Status | Ticker | None) -> None:
        """Put one live display in the place of another."""
        if self._shown is not None:
            self._shown.__exit__(None, None, None)
        self._shown = shown
        if shown is not None:
            shown.__enter__()

    def _phase(self, text: str) -> None:
        self._show(None)
        if not self._silent:
            self._console.print(text, soft_wrap=True)

    def _detail(self, text: str) -> None:
        if not self._console.is_terminal or self._silent:
            return
        if not isinstance(self._shown, Status):
            self._show(screen.status(self._console, text))
        assert isinstance(self._shown, Status)
        self._shown.update(Text(text))

    def _evaluation(self, progress: Progress) -> None:
        if not isinstance(self._shown, Ticker):
            self._show(Ticker(self._console))
        assert isinstance(self._shown, Ticker)
        self._shown(progress)

    def _epoch(self, told: Told) -> None:
        if told.epoch is not None:
            self._epochs.append(told.epoch)
        if self._silent:
            return
        if not self._console.is_terminal:
            if told.epoch is not None and (self._due() or told.done == told.epochs):
                self._console.print(line(told, told.epoch), soft_wrap=True)
            return
        if not isinstance(self._shown, Live):
            self._show(Live(console=self._console))
        assert isinstance(self._shown, Live)
        self._shown.update(table(self._epochs[-_SHOWN:], told), refresh=True)


def line(told: Told, epoch: Epoch) -> str:
    """ "epoch 12 of 40: held-out rows 97.7 % right, 71.5 % under attack; 8 s left" """
    shares = f"{percent(epoch.clean.share)} right, {percent(epoch.robust.share)} under attack"
    note = f"; {epoch.note}" if epoch.note else ""
    return f"epoch {told.done} of {told.epochs}: held-out rows {shares}{note}; {seconds(told.seconds_left)} left"


def table(epochs: Sequence[Epoch], told: Told) -> Group:
    """The last epochs, shares of held-out rows, and the time that is left."""
    made = show.table("Epoch", "Loss", "Clean", "One step", "Attacked", "Attacked, training", "Time", "")
    for e in epochs:
        shares = (percent(share.share) for share in (e.clean, e.fgsm, e.robust, e.robust_training))
        made.add_row(str(e.epoch), f"{e.loss:.3f}", *shares, seconds(e.seconds), e.note)
    return Group(made, Text(f"{told.done} of {told.epochs} epochs, {seconds(told.seconds_left)} left", "dim"))


def _finish(console: Console, run: Hardened, out: Path, job: HardenJob) -> None:
    report = write_harden_report(out)
    if job.json:
        screen.document(run.verdict)
        show.where(console, report)
    else:
        outcome(screen.result(), run.verdict)
        screen.result().print(Text(f"Model: {out / 'model.pt2'}"), soft_wrap=True)
        show.where(screen.result(), report)
    if job.require is not None:
        judge(run.verdict.after, job.require)


def outcome(console: Console, v: HardenVerdict) -> None:
    """Before and after, the controls, the price, and what was found on the way."""
    console.print()
    console.print(screen.fitting(console, _shares(v)))
    console.print()
    for sentence in (price(v), claim_in_words(v), *v.events):
        if sentence:
            console.print(Text(sentence))
    show.findings(console, v.findings)
    console.print()


def _shares(v: HardenVerdict) -> Table:
    made = show.table("", "Right at first", "Robust", "95 % sure")
    for name, verdict in (("before", v.before), ("after", v.after)):
        made.add_row(
            Text(name, "bold"), percent(verdict.clean_accuracy), percent(verdict.robust_accuracy),
            interval(verdict.interval),
        )  # fmt: skip
    for control in v.controls:
        made.add_row(
            f"{control.name} alone", percent(control.clean.share), percent(control.robust.share),
            interval(control.robust.interval),
        )  # fmt: skip
    return made


def price(v: HardenVerdict) -> str:
    """What it cost, in a sentence."""
    ratio = v.seconds_epoch / v.seconds_natural_epoch
    return (
        f"{count(v.epochs, 'epoch')} in {seconds(v.seconds)}: {number(ratio)} times as long per epoch as natural "
        f"training; clean accuracy {percent(v.before.clean_accuracy)} before, {percent(v.after.clean_accuracy)} after."
    )
