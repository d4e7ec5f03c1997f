"""What the study of rates says, as data."""

from typing import Literal

from blindspots.records import Interval, Record, Share
from blindspots.runs.metric import Metric, Verdict

ROWS = {
    "id": "(n,) int64 place of the row in the data",
    "y": "(n,) int64 label",
    "x": "(n, ...) input",
    "certified": "(n,) float64 radius in the norm of the threat within which its prediction was proved to stay",
}
NEAREST = {
    "nearest": "(n, ...) float32 nearest error that was found; the row itself where there is none",
    "distance": "(n,) float64 to it, in the norm of the law: 0 where the row is wrong, inf where none was found",
    "reach": "(n,) float64 how far the plane is that touches the boundary there, in l2, else NaN",
    "plane": "(n,) float64 rate of the law beyond that plane",
    "cost": "(2,) int64 forwards and backwards",
}
RATES = {
    "wrong": "(n,) bool the row itself is an error",
    "proved": "(n,) float64 0 or 1 where a certificate covers the law, else NaN",
    "hits": "(n,) int64 draws that are errors",
    "draws": "(n,) int64",
    "mean": "(n,) float64 of max_j z_j - z_y over draws; NaN where only labels are known",
    "error": "(n,) float64 its standard error",
    "unreadable": "(n,) int64 draws without a score",
    "rounds": "(n,) int64 of splitting, each with twice the steps of the one before; 0: the row was not split",
    "kills": "(n, k, r) int64 of every replicate of every round; 0 in those that were not made",
    "arrived": "(n, k, r) bool it ended among errors",
    "stuck": "(n, k) int64 replicates whose clones could not move",
    "tau": "(n, k) float64 Kendall's tau of clones and their parents, NaN in rounds that were not made",
    "chance": "(n, k) float64 its standard deviation where clones forgot their parents",
    "level": "(n,) float64 score that all replicates of the last round came to, NaN without",
    "asked": "(n,) int64 points at which the model was asked",
    "cost": "(2,) int64 forwards, padding included, and backwards",
}
How = Literal["proved", "counted", "poisson", "replicates", "at most"]


class Rate(Record):
    """The probability of an error."""

    p: float | None  # None: no error was seen, only `interval` says how rare they are
    interval: Interval
    how: How  # proved; binomial draws; splitting with its exact or its replicates' law; an upper bound alone
    dispersion: float | None = None  # of the kills: variance over mean, 1 where they are Poisson


class Totals(Record):
    """The mean rate."""

    rows: Rate  # over these rows
    population: Rate | None  # over all rows that these were drawn from; None without draws


class Flatness(Record):
    """Of one row: where an attack found an error against where a flat boundary of the same rate would be.

    In the unit of the noise. A study tells both in standard deviations: the distance at which a plane has, under
    N(x, I), the rate that it has under the law.
    """

    found: float  # of the plane that touches the boundary at the nearest error
    implied: float | None  # the distance of a flat boundary with this rate; None: the rate is not known
    ratio: float | None  # found / implied; None: no distance is implied
    ratio_interval: tuple[float, float | None]  # None: no upper end, since a rate of one half cannot be excluded


class Line(Record):
    """One row."""

    id: int
    wrong: bool  # it is an error as it is
    broken: bool | None  # worst case: whether an attack found an error in the same ball; None: there is no ball
    distance: float | None  # of the nearest error that was found, in the norm of the law; 0 where it is wrong
    mean: float | None  # average case: the mean over draws of max_j z_j - z_y, which is above 0 for errors
    error: float | None  # its standard error
    rate: Rate
    split: bool
    steps: int  # of a clone, in the last round; 0 where it was not split
    remembering: bool  # clones are like their parents all the same
    stuck: int  # replicates whose clones could not move
    flat: Flatness | None


class Table(Record):
    """All rows under one law, and what they come to. Rows that are wrong as they are count like all others."""

    law: str  # its name
    about: str  # in words
    lines: list[Line]
    broken: Share | None  # of those attacked, errors without an attack included
    mean: float | None  # of the rows' means
    totals: Totals
    standing: Totals | None  # of the rows alone that are right; None: there are none


class FrequencyVerdict(Verdict):
    tables: list[Table]
    forwards: int
    backwards: int

    def metrics(self) -> dict[str, Metric]:
        told = {}
        for table in self.tables:
            told[f"{table.law}.rate"] = _metric(table.totals.rows)
            if table.standing is not None:
                told[f"{table.law}.standing"] = _metric(table.standing.rows)
            if table.broken is not None:
                told[f"{table.law}.broken"] = Metric.of(table.broken, higher_is_better=False)
        return told


def _metric(rate: Rate) -> Metric:
    """The probability, or what it is at most."""
    value = rate.interval[1] if rate.p is None else rate.p
    return Metric(value=value, interval=rate.interval, higher_is_better=False, unit="probability of an error")
