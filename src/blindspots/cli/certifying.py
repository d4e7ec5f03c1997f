"""`certify`: from words to a run folder with the certified accuracy of a smoothed model."""

import math
import time
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from blindspots.cli import screen, show
from blindspots.cli.certify_job import CertifyJob
from blindspots.cli.endings import resumable
from blindspots.cli.progress import PLAIN_EVERY, Every, open_model
from blindspots.cli.reading import reader
from blindspots.cli.running import moved, slug
from blindspots.defend.smoothing import Asked, Certified, certify
from blindspots.defend.smoothing.run import Progress
from blindspots.engine.threads import free_threads
from blindspots.errors import InputError
from blindspots.evaluate import command_line
from blindspots.journal import threads_of
from blindspots.report.certify import write_certify_report
from blindspots.report.certify_words import headline, implied, meaning
from blindspots.report.words import count, interval, number, percent, seconds


def run(spec: str, job: CertifyJob) -> None:
    """Certify what was named, show the curve, write the report."""
    out = job.out or Path("runs") / slug(spec, f"certify-{job.sigma:g}")
    asked = Asked(
        job.sigma, samples=job.samples, alpha=job.alpha, radii=_radii(job.radii), draws=job.draws, seed=job.seed,
        threads=job.threads or threads_of(out, job.resume) or free_threads(), chunk=job.chunk,
    )  # fmt: skip
    console = screen.aside()
    data = reader(job.layout, job.classes)(job.data, job.rows)
    model = moved(open_model(console, spec), job.device)
    said = f"{model.name} on {count(len(data), 'row')} of {data.name}, sigma {job.sigma:g}, {job.samples:,} samples"
    console.print(said)
    command = command_line()
    with resumable(out, command):
        with _Line(console) as watch:
            done = certify(model, data=data, asked=asked, out=out, resume=job.resume, watch=watch, command=command)
        _finish(console, done, out, job.json)


def _radii(text: str | None) -> list[float] | None:
    try:
        return [float(word) for word in text.split(",") if word.strip()] if text else None
    except ValueError:
        raise InputError(f"expected radii such as 0.25,0.5,1, got {text!r}: change them") from None


class _Line:
    """To be passed as `watch`: one live line on a terminal, elsewhere a plain line now and then."""

    def __init__(self, console: Console) -> None:
        self._console, self._due = console, Every(PLAIN_EVERY, time.monotonic, first=PLAIN_EVERY)
        self._first: Progress | None = None
        self._live = Live(Text("Taking the first votes"), console=console, transient=True)

    def __enter__(self) -> "_Line":
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._live.stop()

    def __call__(self, progress: Progress) -> None:
        self._first = self._first or progress
        if self._console.is_terminal:
            self._live.update(Text(self._said(progress)))
        elif self._due():
            self._console.print(self._said(progress), soft_wrap=True)

    def _said(self, p: Progress) -> str:
        """ "certifying: 12 of 100 rows, 9 of them right within L2 0.125; 31 s, 4 min 2 s left" """
        assert self._first is not None
        now, whole = p.done - self._first.done, p.rows - p.done
        pace = (p.seconds - self._first.seconds) / now if now and p.name == self._first.name else math.nan
        left = "" if math.isnan(pace) else f", {seconds(pace * whole)} left"
        sure = f"{count(p.certified)} of them certified to be right within L2 {number(p.at)}"
        return f"{p.name}: {count(p.done)} of {count(p.rows, 'row')} through, {sure}; {seconds(p.seconds)}{left}"


def _finish(console: Console, done: Certified, out: Path, json: bool) -> None:
    report = write_certify_report(out)
    if json:
        screen.document(done.verdict)
        show.where(console, report)
    else:
        _show(screen.result(), done)
        show.where(screen.result(), report)
    if any(f.severity == "error" for f in done.verdict.findings):
        raise InputError("expected certificates that no attack contradicts, but one did: see the findings")


def _show(console: Console, done: Certified) -> None:
    m, v = done.file.manifest, done.verdict
    console.print()
    console.print(Text(f"{headline(m, v)}.", "bold"))
    console.print()
    console.print(screen.fitting(console, _curve(done)))
    console.print()
    console.print(Text(meaning(m, v)))
    console.print(Text(
        f"Cost: {seconds(v.seconds)}, {count(v.forwards, 'forward')}, {count(v.backwards, 'backward')}; "
        f"{seconds(v.seconds_per_certificate)} per certificate."
    ))  # fmt: skip
    show.findings(console, v.findings)
    console.print()


def _curve(done: Certified) -> Table:
    m, v = done.file.manifest, done.verdict
    table = show.table("L2 radius", "Certified", "95 % sure", "Under attack", "L∞ implied")
    attacked = dict(v.empirical)
    for radius, share in v.certified:
        under = percent(attacked[radius].share) if radius in attacked else "–"
        table.add_row(
            number(radius), percent(share.share), interval(share.interval), under, implied(radius, m.data.shape)
        )  # fmt: skip
    return table
