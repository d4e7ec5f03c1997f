"""What a reader of a study of rates should know."""

import math
from collections.abc import Iterator

from blindspots.experiments.inspect.frequency.config import FrequencyConfig
from blindspots.experiments.inspect.frequency.verdict import FrequencyVerdict, Line, Table
from blindspots.findings import Finding
from blindspots.report.words import count, listing, number
from blindspots.runs.store import Parts

NEARER = 0.9  # of the distance that a rate implies, surely: an error nearer than that speaks against splitting
_SHOWN = 6  # rows that a sentence names


def findings(config: FrequencyConfig, verdict: FrequencyVerdict, parts: Parts) -> Iterator[Finding]:
    """On what the rates may have missed, and how far they go."""
    for table in verdict.tables:
        yield from _of(table)
    unreadable = sum(int(part["unreadable"].sum()) for name in config.law for part in parts.below(f"rates/{name}"))
    if unreadable:
        yield Finding(
            code="no-scores", severity="warning",
            saw=f"{count(unreadable, 'random point')} got scores that are no numbers; they count as no errors.",
            do="Check what the model answers to noisy inputs.",
        )  # fmt: skip
    if not config.splitting:
        yield Finding(
            code="draws-alone", severity="note",
            saw=f"Rates are from {config.draws:,} draws per row alone: what is rarer than about "
            f"{number(3 / config.draws)} was not seen.",
            do="Raise --draws; splitting, which sees further, follows scores.",
        )  # fmt: skip


def _of(table: Table) -> Iterator[Finding]:
    if nearer := missed(table):
        least = min(nearer, key=_highest)
        yield Finding(
            code="nearer-than-the-rate", severity="warning",
            saw=f"{table.law}: in {count(len(nearer), 'row')} ({_named(nearer)}) the attack found an error far nearer "
            f"than the rate from splitting implies, in row {least.id:,} at {number(_highest(least))} of "
            "the distance or less: splitting may have missed errors there, or they fill a thin pocket.",
            do="Repeat these rows with --particles 20 and another --seed: a rate that grows was too low.",
        )  # fmt: skip
    if stuck := [line for line in table.lines if line.stuck]:
        yield Finding(
            code="stuck", severity="note",
            saw=f"{table.law}: in {count(len(stuck), 'row')} ({_named(stuck)}) clones could not move any more, so "
            "only an upper bound is known; it is not 0.",
            do="Raise --walk; a model whose scores do not change cannot be split.",
        )  # fmt: skip
    if scattered := [line for line in table.lines if line.rate.how == "replicates"]:
        yield Finding(
            code="replicates-scatter", severity="note",
            saw=f"{table.law}: in {count(len(scattered), 'row')} ({_named(scattered)}) replicates scatter more than "
            "their law allows; the intervals are those of their scatter.",
            do="Raise --particles for narrower ones.",
        )  # fmt: skip
    if remembering := [line for line in table.lines if line.remembering]:
        most = max(line.steps for line in remembering)
        yield Finding(
            code="clones-remember", severity="warning",
            saw=f"{table.law}: in {count(len(remembering), 'row')} ({_named(remembering)}) clones are still like those "
            f"whom they were copied from after {count(most, 'step')}: rates may be higher than their intervals.",
            do="Raise --walk and --particles.",
        )  # fmt: skip


def missed(table: Table) -> list[Line]:
    """Rows from splitting, of which an attack found an error nearer than the whole interval of the rate allows."""
    return [line for line in table.lines if line.split and is_nearer(line)]


def is_nearer(line: Line) -> bool:
    """Whether the nearest error is far nearer than a flat boundary of the same rate."""
    return _highest(line) < NEARER


def _highest(line: Line) -> float:
    """The upper end of the ratio; infinite where it is not known."""
    end = None if line.flat is None else line.flat.ratio_interval[1]
    return math.inf if end is None else end


def _named(lines: list[Line]) -> str:
    named = [f"{line.id:,}" for line in lines[:_SHOWN]]
    return listing([*named, f"{len(lines) - _SHOWN} others"] if len(lines) > _SHOWN else named)
