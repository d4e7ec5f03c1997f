"""Verdicts as a person reads them on a terminal."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from blindspots.cli import screen
from blindspots.evaluate import Evaluation
from blindspots.examples import Example
from blindspots.findings import Finding
from blindspots.report.words import (
    ThreatWords,
    by_severity,
    count,
    interval,
    is_believable,
    meaning,
    never_searched,
    number,
    percent,
    right_and_standing,
    seconds,
)
from blindspots.verdict import Verdict

STYLES = {"error": "bold red", "warning": "yellow", "note": "cyan"}


def verdict(console: Console, run: Evaluation) -> None:
    """The verdict of one run: in numbers, in words, stage by stage, and what was found on the way."""
    manifest, v = run.file.manifest, run.verdict
    threat = ThreatWords(manifest.threat, manifest.model.bounds)
    console.print()
    console.print(screen.fitting(console, _numbers(v, threat)))
    console.print()
    within = "" if threat.radius is None else f" within {threat.text}"
    _say(console, f"{right_and_standing(v)}{within}: {threat.allows}.")
    _say(console, never_searched(v))
    if is_believable(v):
        _say(console, meaning(v, threat))
    if any(s.rows for s in v.stages):
        console.print()
        console.print(screen.fitting(console, _stages(v)))
    findings(console, v.findings)


def examples(console: Console, table: Sequence[Example], folder: Path) -> None:
    """How many examples were saved, and how many of them a picture file can hold."""
    if table:
        kept = sum(line.survives_8bit for line in table)
        console.print()
        _say(
            console,
            f"{count(len(table), 'example')} in {folder}; {kept:,} of them fool the model as 8-bit pictures, too.",
        )


def findings(console: Console, found: Sequence[Finding]) -> None:
    """What the checks saw, the gravest first."""
    if found:
        console.print()
    for finding in by_severity(found):
        console.print(Text.assemble((finding.severity, STYLES[finding.severity]), f": {finding.saw} {finding.do}"))


def where(console: Console, report: Path) -> None:
    """A path on a line of its own, never wrapped."""
    console.print(Text(f"Report: {report}"), soft_wrap=True)


def _say(console: Console, sentence: str) -> None:
    if sentence:
        console.print(Text(sentence))


def table(first: str, *others: str) -> Table:
    """A plain table: names on the left, numbers on the right."""
    made = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="bold")
    made.add_column(Text(first))
    for name in others:
        made.add_column(Text(name), justify="right")
    return made


def _numbers(v: Verdict, threat: ThreatWords) -> Table:
    grid = Table.grid(padding=(0, 3, 0, 0))
    in_8bit = round(v.robust_accuracy_8bit * v.counted)
    lines = [
        ("Robust", v.robust_accuracy, v.interval, v.robust_of_right.hits, v.counted),
        ("Right at first", v.clean_accuracy, v.clean_interval, v.clean_hits, v.rows),
        ("Robust in 8 bits", v.robust_accuracy_8bit, v.interval_8bit, in_8bit, v.counted),
    ]
    if v.unsearched:
        s = v.searched
        lines.insert(1, ("Robust, searched", s.share, s.interval, s.hits, s.rows))
    if v.reached is not None:
        s = v.reached
        lines.insert(0, ("Target reached", s.share, s.interval, s.hits, s.rows))
    for name, share, bounds, hits, rows in lines:
        style = "bold" if name == "Robust" else ""
        grid.add_row(
            Text(name, style),
            Text(percent(share), style),
            f"{interval(bounds)}, 95 % sure",
            f"{count(hits)} of {count(rows, 'row')}",
        )
    if v.distances:
        d = v.distances
        grid.add_row(
            "Median change",
            f"{threat.norm} {number(d.median)}",
            f"{number(d.smallest)} to {number(d.largest)}",
            "of the rows that fell",
        )
    cost = f"{count(v.forwards, 'forward')}, {count(v.backwards, 'backward')}"
    grid.add_row(
        "Cost", seconds(v.seconds), cost, f"{number(v.forwards_per_row)} + {number(v.backwards_per_row)} per row"
    )
    return grid


def _stages(v: Verdict) -> Table:
    """Stages that nobody had to enter are left out."""
    stages = table("Stage", "Entered", "Fell", "Forwards", "Backwards", "Time")
    for s in v.stages:
        if s.rows:
            stages.add_row(
                Text(s.name), count(s.rows), count(s.won), count(s.forwards), count(s.backwards), seconds(s.seconds)
            )
    return stages
