"""How far the outputs of a model of numbers can be moved: the curve against the radius, and how often it is too far."""

from collections.abc import Sequence
from dataclasses import dataclass

from blindspots.experiments.evaluate.verdict import EvaluateVerdict, Reach, Reached
from blindspots.goals import Above, Below, Error, Goal, Regress, To
from blindspots.report import charts
from blindspots.report.charts import Line, Mark, Plot, rising
from blindspots.report.experiment import Table
from blindspots.report.words import ThreatWords, count, interval, number, percent

_COLUMNS = ("Radius", "Attacked, mean", "median", "95 % quantile", "largest", "Noise, mean", "95 % quantile")


@dataclass(frozen=True)
class ReachShown:
    text: str
    plot: Plot | None
    tables: list[Table]


def reach_shown(v: EvaluateVerdict, goal: Goal | None, threat: ThreatWords) -> ReachShown | None:
    """None where the goal reads no numbers."""
    if not isinstance(goal, Regress) or not isinstance(v.reached, tuple):
        return None
    tables = [_often(v.reached, goal), *([_within(v.reach)] if v.reach else [])]
    return ReachShown(_said(v, goal, threat), _plot(v, goal, threat) if v.reach else None, tables)


def _measured(goal: Regress) -> str:
    """What the curve draws."""
    if isinstance(goal, Error):
        return "error |f(x') - y|"
    return {"move": "change |f(x') - f(x)|", "up": "rise", "down": "fall", "above": "rise", "below": "fall"}.get(
        goal.name, f"way towards {goal.threshold:g}"
    )


def _said(v: EvaluateVerdict, goal: Regress, threat: ThreatWords) -> str:
    if not v.reach:
        return "How often the output goes further than this or that, at the worst points that were found."
    last = v.reach[-1]
    times = (
        f": an adversary gets {last.attacked.mean / last.noise.mean:.1f} times as far" if last.noise.mean > 0 else ""
    )
    return (
        f"Within {threat.text} the {_measured(goal)} comes to {number(last.attacked.mean)} on average, and to "
        f"{number(last.noise.mean)} after random noise of that size{times}. Worse points may exist, so what is drawn "
        f"is the least that an adversary can do. The smaller radii and the noise took {count(v.reach_forwards)} "
        f"forwards and {count(v.reach_backwards)} backwards more."
    )


def _often(reached: Sequence[Reached], goal: Regress) -> Table:
    named = isinstance(goal, Above | Below | To)
    head = "Gets to" if named else f"{_measured(goal).capitalize()} above"
    rows = [
        (
            number(r.tolerance),
            percent(r.share.share),
            interval(r.share.interval),
            f"{r.share.hits:,} of {r.share.rows:,}",
        )
        for r in reached
    ]
    return Table((head, "Share of rows", "95 % interval", "Rows"), rows)


def _within(reach: Sequence[Reach]) -> Table:
    rows = [
        tuple(
            map(
                number,
                (
                    r.radius, r.attacked.mean, r.attacked.median, r.attacked.high, r.attacked.largest,
                    r.noise.mean, r.noise.high,
                ),
            )
        )
        for r in reach
    ]  # fmt: skip
    return Table(_COLUMNS, rows)


def _plot(v: EvaluateVerdict, goal: Regress, threat: ThreatWords) -> Plot:
    """Means and 95 % quantiles against the radius, from where nothing is changed."""
    clean = next(m.clean for m in v.measures if m.name == goal.reach)
    radii = [0.0, *(r.radius for r in v.reach)]
    attacked, noise = [clean, *(r.attacked for r in v.reach)], [clean, *(r.noise for r in v.reach)]
    lines = [
        ("attacked, mean", [s.mean for s in attacked]),
        ("attacked, 95 % quantile", [s.high for s in attacked]),
        ("noise, mean", [s.mean for s in noise]),
        ("noise, 95 % quantile", [s.high for s in noise]),
    ]
    top, end = max(max(values) for _, values in lines) or 1.0, radii[-1]
    at = [100 * radius / end for radius in radii]
    return Plot(
        name=f"{_measured(goal).capitalize()} against radius", across=threat.axis,
        x=[Mark(t.at, number(t.value)) for t in charts.ticks(end)],
        y=[Mark(t.at, number(t.value)) for t in charts.ticks(top)],
        lines=[_line(label, at, values, top) for label, values in lines],
        marks=[], where=[number(radius) for radius in radii],
    )  # fmt: skip


def _line(label: str, at: Sequence[float], values: Sequence[float], top: float) -> Line:
    dots = [(x, max(0.0, 100 * value / top)) for x, value in zip(at, values, strict=True)]
    return Line(label, rising(dots), "", dots, [number(value) for value in values])
