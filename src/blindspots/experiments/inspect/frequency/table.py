"""Worst case, average case and rate of the same rows, side by side."""

import math
from collections.abc import Sequence

from blindspots.errors import InputError
from blindspots.experiments.inspect.frequency.evidence import Evidence
from blindspots.experiments.inspect.frequency.laws import Law
from blindspots.experiments.inspect.frequency.rates import Rate, Totals, rate, totals
from blindspots.records import Record, Share


class Line(Record):
    """One row."""

    wrong: bool  # it is an error as it is
    broken: bool | None  # worst case: whether an attack found an error in the same ball; None: it was not attacked
    distance: float | None  # of the nearest error that was found, in the norm of the law; 0 where it is wrong
    mean: float | None  # average case: the mean over draws of max_j z_j - z_y, which is above 0 for errors
    error: float | None  # its standard error
    rate: Rate


class Table(Record):
    """All rows, and what they come to. Rows that are wrong as they are count like all others."""

    lines: list[Line]
    broken: Share | None  # of those attacked, errors without an attack included
    mean: float | None  # of the rows' means
    totals: Totals
    standing: Totals | None  # of the rows alone that are right; None: there are none
    forwards: int


def table(
    evidence: Sequence[Evidence],
    law: Law,
    broken: Sequence[bool | None] | None = None,
    distances: Sequence[float | None] | None = None,
    confidence: float = 0.95,
) -> Table:
    """From what was found out about each row, whether an attack broke it, and how near it found an error.

    Args:
        evidence: of at least one row, from `evidence.gather` with this law.
        broken: whether an attack found an error in the law's ball; one that draws or splitting saw counts too.
        distances: in the law's norm; under normal noise Euclidean.

    Raises InputError where an attack broke a row that is proved, and for lists of other lengths.
    """
    rows = len(evidence)
    attacked, near = broken or [None] * rows, distances or [None] * rows
    if not rows or len(attacked) != rows or len(near) != rows:
        raise InputError(
            f"expected as many outcomes of attacks as rows, at least one, got {len(attacked)} and {len(near)} of "
            f"{rows} rows: give None for a row that was not attacked"
        )
    lines = [_line(e, law, b, d, confidence) for e, b, d in zip(evidence, attacked, near, strict=True)]
    judged = [line.broken for line in lines if line.broken is not None]
    means = [line.mean for line in lines if line.mean is not None]
    right = [e for e in evidence if not e.wrong]
    return Table(
        lines=lines,
        broken=Share.of(sum(judged), len(judged)) if judged else None,
        mean=math.fsum(means) / len(means) if means else None,
        totals=totals(evidence, confidence),
        standing=totals(right, confidence) if right else None,
        forwards=sum(e.forwards for e in evidence),
    )


def _line(evidence: Evidence, law: Law, broken: bool | None, distance: float | None, confidence: float) -> Line:
    if broken and evidence.proved == 0:
        raise InputError(
            "expected certificates that hold, got an error inside of a ball that is proved to have none: check the "
            "certificate and the norm of its radius"
        )
    seen = evidence.wrong or (law.norm is not None and (evidence.hits > 0 or any(evidence.arrived)))
    return Line(
        wrong=evidence.wrong,
        broken=True if seen else broken,
        distance=0.0 if evidence.wrong else distance,
        mean=evidence.mean,
        error=evidence.error,
        rate=rate(evidence, confidence),
    )
