"""What is shown of a study of rates: pictures of the extremes, rates on a logarithmic scale, and rates by distance."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from blindspots.experiments.inspect.frequency.config import FrequencyConfig
from blindspots.experiments.inspect.frequency.distance import half_space_rate, implied_distance
from blindspots.experiments.inspect.frequency.findings import missed
from blindspots.experiments.inspect.frequency.rates import words
from blindspots.experiments.inspect.frequency.verdict import FrequencyVerdict, Line, Rate, Table
from blindspots.experiments.inspect.page import Shown
from blindspots.packing import unpack_inputs
from blindspots.pictures import is_image, picture
from blindspots.report import charts
from blindspots.report.charts import Mark, Plot, rising
from blindspots.report.experiment import Table as Told
from blindspots.report.shown import data_uri, is_small, scaled
from blindspots.report.words import count, number, percent
from blindspots.runs.store import Run

Inspected = Run[FrequencyConfig, FrequencyVerdict]
_EXTREMES = 4  # rows of either end that are shown
_LISTED = 60  # rows of the table, those of the highest rates
_NOTHING = "–"


@dataclass(frozen=True)
class Extreme:
    """One row as a picture, beside the nearest error."""

    title: str
    rate: str
    original: str
    nearest: str


@dataclass(frozen=True)
class Law:
    """What is shown of one law."""

    title: str
    plots: list[tuple[Plot, str]]
    extremes: list[tuple[str, list[Extreme]]]
    table: Told


def shown(run: Inspected) -> Shown:
    """Every law with its pictures, charts and table, and what all of them come to."""
    v = run.verdict
    shape = run.manifest.world["data"]["shape"]
    return Shown(
        name="frequency", title="How often errors occur", answer=answer(v), text=_text(run),
        body="frequency/body.html.j2", tables=[totals(v)],
        context={
            "laws": [_law(run, table, is_image(shape)) for table in v.tables], "totals": totals(v),
            "crisp": is_small(shape),
        },
    )  # fmt: skip


def answer(v: FrequencyVerdict) -> str:
    """Worst case against rate, for the first law."""
    table = v.tables[0]
    right = [line for line in table.lines if not line.wrong]
    if not right:
        return "All rows are errors as they are"
    middle = median(sorted(_height(line.rate) for line in right))
    below = f"at most {_power(middle)}" if _is_bound(right, middle) else f"{_power(middle)} or less"
    said = f"for half of the rows random points are errors with a probability of {below}"
    if table.broken is None:
        return f"{said[0].upper()}{said[1:]}"
    fallen = sum(bool(line.broken) for line in right)
    return f"{fallen} of {count(len(right), 'row')} have an error within reach, but {said}"


def _height(rate: Rate) -> float:
    """Where a rate stands on a scale: the probability, or what it is at most."""
    return rate.interval[1] if _is_at_most(rate) else rate.p or 0.0


def _is_at_most(rate: Rate) -> bool:
    """Whether only a bound is worth a place on a scale: some replicates, or all, found no error."""
    return rate.how == "at most"


def _is_bound(lines: Sequence[Line], height: float) -> bool:
    return any(_is_at_most(line.rate) and _height(line.rate) <= height for line in lines)


def _power(p: float) -> str:
    """ "1.2e-20", "0.034", "0" """
    return f"{p:.2g}" if p else "0"


def _text(run: Inspected) -> str:
    c, v = run.config, run.verdict
    split = sum(line.split for table in v.tables for line in table.lines)
    told = [f"Points are {table.about}: {c.draws:,} of each row were counted." for table in v.tables[:1]]
    if split:
        told.append(
            f"Where less than ten were errors, {c.replicates} runs of last particle splitting with {c.particles} "
            f"particles each looked further, down to {c.floor:g}."
        )
    return " ".join([*told, "Intervals are exact at 95 % unless it is said otherwise; not to be found is never 0."])


# ------------------------------------------------------------------ tables


def totals(v: FrequencyVerdict) -> Told:
    """Worst case, average case and rate of every law over the data."""
    head = ["Points", "Worst case: broken", "Average case: mean score", "Rate over rows", "Over rows that are right"]
    rows = [
        [
            table.about, _NOTHING if table.broken is None else percent(table.broken.share), _mean(table.mean),
            _rate(table.totals.rows), _NOTHING if table.standing is None else _rate(table.standing.rows),
        ]
        for table in v.tables
    ]  # fmt: skip
    return Told(head, rows, "Worst case, average case and rate")


def _mean(value: float | None) -> str:
    return _NOTHING if value is None else number(value)


def _rate(rate: Rate) -> str:
    low, high = map(_power, rate.interval)
    if rate.how == "proved":
        return f"{_power(_height(rate))}, proved"
    return f"≤ {high}" if rate.p is None or _is_at_most(rate) else f"{_power(rate.p)} ({low} to {high})"


def each(table: Table) -> Told:
    """Every row, those of the highest rates first."""
    head = ["Row", "Nearest error", "Mean score", "Rate", "Known by", "Found at, sd", "Implied, sd", "Ratio"]
    lines = sorted(table.lines, key=lambda line: (-_height(line.rate), line.id))
    return Told(head, [_row(line) for line in lines[:_LISTED]], "Rows")


def _row(line: Line) -> list[str]:
    flat = line.flat
    return [
        f"{line.id:,}{' (wrong)' if line.wrong else ''}", _NOTHING if line.distance is None else number(line.distance),
        _mean(line.mean), _rate(line.rate), outcome(line), _NOTHING if flat is None else number(flat.found),
        _NOTHING if flat is None else _implied(line), _NOTHING if flat is None else _ratio(line),
    ]  # fmt: skip


def outcome(line: Line) -> str:
    """By what means a rate is known, in words."""
    rate = line.rate
    if line.stuck:
        return f"bound: {count(line.stuck, 'run')} stuck"
    if rate.how == "at most":
        return "bound: given up" if line.split else "bound: no draw hit"
    means = {"proved": "proof", "counted": "draws", "poisson": "splitting, Poisson"}
    return means.get(rate.how, f"splitting, t (scatter ×{number(rate.dispersion or 1)})")


def _implied(line: Line) -> str:
    assert line.flat is not None
    least = implied_distance(line.rate.interval[1], 1.0)
    return f"> {number(least)}" if line.flat.implied is None else number(line.flat.implied)


def _ratio(line: Line) -> str:
    assert line.flat is not None
    low, high = line.flat.ratio_interval
    upper = "" if high is None else number(high)
    if line.flat.ratio is None:
        return f"< {upper}" if upper else _NOTHING
    return f"{number(line.flat.ratio)} ({number(low)} to {upper or '∞'})"


# ------------------------------------------------------------------ charts


def _law(run: Inspected, table: Table, pictured: bool) -> Law:
    plots = [(spread(table), spread_said(table))]
    if any(line.flat for line in table.lines):
        plots.append((by_distance(table), by_distance_said(table)))
    return Law(table.about[0].upper() + table.about[1:], plots, extremes(run, table) if pictured else [], each(table))


def spread(table: Table) -> Plot:
    """Rates of all rows in order, on a logarithmic scale, with their intervals."""
    lines = sorted((line for line in table.lines if _height(line.rate) > 0), key=lambda line: _height(line.rate))
    scale = _Scale(
        [_height(line.rate) for line in lines] + [line.rate.interval[0] for line in lines if not _is_at_most(line.rate)]
    )
    across = [100 * (i + 0.5) / max(len(lines), 1) for i in range(len(lines))]
    dots = [(a, scale.at(_height(line.rate))) for a, line in zip(across, lines, strict=True)]
    ends = [[scale.at(line.rate.interval[k]) for line in lines] for k in (0, 1)]
    high, low = (list(zip(across, end, strict=True)) for end in (ends[1], ends[0]))
    band = rising([*high, *low[::-1]]) + "Z" if lines else ""
    drawn = charts.Line("rate, or what it is at most", rising(dots) if dots else "", band, dots, _told(lines))
    marks = [Mark(a, f"{line.id}") for a, line in zip(across, lines, strict=True)] if len(lines) <= 16 else []
    rows = [f"row {line.id:,}" for line in lines]
    return Plot("Rates of all rows", "rows, by their rates", marks, scale.marks, [drawn], [], rows)


def _told(lines: Sequence[Line]) -> list[str]:
    return [_rate(line.rate) for line in lines]


class _Scale:
    """A logarithmic axis from the smallest of some probabilities to 1."""

    def __init__(self, values: Sequence[float]) -> None:
        least = min((math.log10(v) for v in values if v > 0), default=-1.0)
        self.low = max(min(math.floor(least), -1), -40)

    def at(self, p: float) -> float:
        """In percent from the bottom."""
        return 100 * (1 - max(math.log10(p), self.low) / self.low) if p > 0 else 0.0

    @property
    def marks(self) -> list[Mark]:
        step = max(1, -(-abs(self.low) // 6))
        return [Mark(self.at(10.0**-k), "1" if k == 0 else f"1e-{k}") for k in range(0, -self.low + 1, step)]


def spread_said(table: Table) -> str:
    """What the chart of all rates says."""
    heights = sorted(_height(line.rate) for line in table.lines)
    known = [line for line in table.lines if line.rate.p and not _is_at_most(line.rate)]
    proved = sum(line.rate.how == "proved" for line in table.lines)
    bounds = sum(_is_at_most(line.rate) for line in table.lines)
    parts = [f"From {_power(heights[0])} to {_power(heights[-1])}."]
    if known:
        lowest = min(known, key=lambda line: line.rate.p or 1)
        parts.append(f"The rarest errors that were reached are those near row {lowest.id:,}: {words(lowest.rate)}.")
    parts += [f"Of {count(bounds, 'row')} only an upper bound is known, which is drawn."] * bool(bounds)
    parts += [f"{count(proved, 'row')} are proved and not drawn."] * bool(proved)
    return " ".join(parts)


def by_distance(table: Table) -> Plot:
    """Rates against how far the nearest error is, beside those of a flat boundary."""
    lines = sorted((line for line in table.lines if line.flat), key=lambda line: line.flat.found if line.flat else 0)
    found = [line.flat.found for line in lines if line.flat]
    scale = _Scale([_height(line.rate) for line in lines] + [half_space_rate(s, 1.0) for s in found])
    end = max(found) * 1.05
    ticks = charts.ticks(end)
    dots = [(100 * s / end, scale.at(_height(line.rate))) for s, line in zip(found, lines, strict=True)]
    curve = [(float(a), scale.at(half_space_rate(end * a / 100, 1.0))) for a in range(0, 101, 2)]
    plane = [_power(half_space_rate(s, 1.0)) for s in found]
    return Plot(
        "Rate by distance of the nearest error", "distance of the boundary there, in standard deviations",
        [Mark(t.at, number(t.value)) for t in ticks], scale.marks,
        [
            charts.Line("a flat boundary", rising(curve), "", [], plane),
            charts.Line("this model", "", "", dots, _told(lines)),
        ],
        [], [f"row {line.id:,} at {number(s)}" for s, line in zip(found, lines, strict=True)],
    )  # fmt: skip


def by_distance_said(table: Table) -> str:
    """What the chart of rates by distance says."""
    ratios = [line.flat.ratio for line in table.lines if line.flat and line.flat.ratio is not None]
    said = (
        "A dot on the line is a row whose boundary is flat; below it, errors are rarer than the nearest one suggests."
    )
    if ratios:
        said += f" Here the ratio of both distances is {number(median(ratios))} in the median of {len(ratios)} rows."
    if any(line.flat and _is_at_most(line.rate) for line in table.lines):
        said += " Rows of which only a bound is known are drawn at it, and may be lower."
    doubted = missed(table)
    if doubted:
        return f"{said} {count(len(doubted), 'row')} lie so far below it that splitting may have missed errors."
    return f"{said} No row lies so far below it that splitting would have to be doubted."


# ------------------------------------------------------------------ pictures


def extremes(run: Inspected, table: Table) -> list[tuple[str, list[Extreme]]]:
    """The rows of the highest and of the lowest rates, each beside its nearest error."""
    lines = sorted((line for line in table.lines if not line.wrong), key=lambda line: -_height(line.rate))
    most = min(_EXTREMES, len(lines) // 2)
    shown = [("Errors most often", lines[:most]), ("Errors most rarely", lines[len(lines) - most :][::-1])]
    near, rows = run.parts.joined(f"nearest/{table.law}")["nearest"], run.parts.joined("rows")
    low, high = run.manifest.world["model"]["bounds"]
    place = {i: k for k, i in enumerate(rows["id"].tolist())}

    def one(line: Line) -> Extreme:
        pair = (unpack_inputs(rows["x"][place[line.id]][None])[0], near[place[line.id]])
        first, second = (data_uri(picture(scaled(x.numpy(), low, high))) for x in pair)
        return Extreme(f"row {line.id:,}", _rate(line.rate), first, second)

    return [(title, [one(line) for line in some]) for title, some in shown if some]
