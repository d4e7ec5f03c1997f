"""Worst case, average case and rate of the same rows, side by side."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from blindspots.errors import InputError
from blindspots.experiments.inspect.frequency.distance import flatness, implied_distance
from blindspots.experiments.inspect.frequency.evidence import Evidence
from blindspots.experiments.inspect.frequency.laws import Law
from blindspots.experiments.inspect.frequency.rates import rate, totals
from blindspots.experiments.inspect.frequency.verdict import Flatness, Line, Rate, Table
from blindspots.records import Share


@dataclass(frozen=True)
class Worst:
    """What an attack found near one row.

    Args:
        distance: of the nearest error, in the norm of the law; infinite where none was found.
        plane: rate beyond the plane that touches the boundary there; NaN where it is not known.
    """

    distance: float
    plane: float


def table(
    evidence: Sequence[Evidence],
    law: Law,
    worst: Sequence[Worst] | None = None,
    *,
    name: str = "",
    ids: Sequence[int] | None = None,
    confidence: float = 0.95,
) -> Table:
    """From what was found out about each row, and how near an attack found an error.

    Args:
        evidence: of at least one row, from `evidence.gather` with this law.
        worst: of every row; None: there was no attack. An error that draws or splitting saw breaks a row, too.
        name: of the law.
        ids: places of the rows in the data; None: 0, 1, ...

    Raises InputError where an attack broke a row that is proved, and for lists of other lengths.
    """
    rows = len(evidence)
    places = range(rows) if ids is None else ids
    if not rows or len(places) != rows or (worst is not None and len(worst) != rows):
        raise InputError(
            f"expected an outcome of the attack for each of at least one row, got {len(worst or ())} of {rows} rows: "
            "give as many"
        )
    lines = [
        _line(i, e, law, None if worst is None else worst[k], confidence)
        for k, (i, e) in enumerate(zip(places, evidence, strict=True))
    ]
    judged = [line.broken for line in lines if line.broken is not None]
    means = [line.mean for line in lines if line.mean is not None]
    right = [e for e in evidence if not e.wrong]
    return Table(
        law=name,
        about=law.words,
        lines=lines,
        broken=Share.of(sum(judged), len(judged)) if judged else None,
        mean=math.fsum(means) / len(means) if means else None,
        totals=totals(evidence, confidence),
        standing=totals(right, confidence) if right else None,
    )


def _line(place: int, evidence: Evidence, law: Law, worst: Worst | None, confidence: float) -> Line:
    broken = _broken(evidence, law, worst)
    if worst is not None and broken and evidence.proved == 0:
        raise InputError(
            "expected certificates that hold, got an error inside of a ball that is proved to have none: check the "
            "certificate and the norm of its radius"
        )
    known = rate(evidence, confidence)
    return Line(
        id=place,
        wrong=evidence.wrong,
        broken=broken,
        distance=_distance(evidence, worst),
        mean=evidence.mean,
        error=evidence.error,
        rate=known,
        split=bool(evidence.rounds),
        steps=evidence.steps << len(evidence.rounds) >> 1,
        remembering=bool(evidence.rounds) and evidence.rounds[-1].remembering,
        stuck=evidence.rounds[-1].stuck if evidence.rounds else 0,
        flat=_flatness(evidence, worst, known),
    )


def _broken(evidence: Evidence, law: Law, worst: Worst | None) -> bool | None:
    """Whether there is an error in the law's ball; None: there is no ball, or nobody looked."""
    if law.norm is None:
        return None
    if evidence.wrong or evidence.hits > 0 or any(any(r.arrived) for r in evidence.rounds):
        return True
    return None if worst is None else worst.distance <= law.size


def _distance(evidence: Evidence, worst: Worst | None) -> float | None:
    if evidence.wrong:
        return 0.0
    return None if worst is None or math.isinf(worst.distance) else worst.distance


def _flatness(evidence: Evidence, worst: Worst | None, known: Rate) -> Flatness | None:
    """Of a row that is right, where the plane can be reached and leaves most points on this side."""
    if evidence.wrong or evidence.proved is not None or worst is None or not 0 < worst.plane < 0.5:
        return None
    sure = known.model_copy(update={"p": None}) if known.how == "at most" else known
    return flatness(implied_distance(worst.plane, 1.0), 1.0, sure)
