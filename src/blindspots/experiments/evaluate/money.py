"""What a page shows of an endpoint: what was forecast, what it came to, and success against money."""

from dataclasses import dataclass
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

from blindspots.experiments.evaluate.evidence import Evidence
from blindspots.experiments.evaluate.verdict import Asked, Forecast
from blindspots.models.endpoints.endpoint import PROBES
from blindspots.models.endpoints.spending import Terms, money
from blindspots.records import clopper_pearson
from blindspots.report.charts import Line, Mark, Plot, path, quarters, rising, ticks
from blindspots.report.words import count, number, percent

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
_POINTS = 200  # of the curve, at most
_SHOWN = 8  # of them in the table
_ROOM = 1.001  # of the axis


@dataclass(frozen=True)
class Bill:
    """Lines of a table, each with a name, a number of queries and what they cost, and the curve."""

    lines: list[tuple[str, str, str]]
    curve: Plot | None


def bill(evidence: Evidence) -> Bill | None:
    """None: no endpoint was asked."""
    v = evidence.verdict
    if v.endpoint is None or v.queries is None:
        return None
    a, terms = v.endpoint, Terms(Decimal(v.endpoint.price), evidence.config.free)

    def cost(queries: int) -> str:
        return money(terms.cost(queries)) if terms.price else ""

    lines = [
        None if a.expected is None else ("Forecast, by the rehearsal", count(a.expected), cost(a.expected)),
        ("Forecast, at most", count(a.at_most), cost(a.at_most)),
        *(_forecast(f, terms) for f in a.forecasts),
        ("Sent", count(v.queries), cost(a.billed)),
        ("  answered", count(a.answered), ""),
        ("  refused", count(v.refused or 0), ""),
        ("  failed: too fast, or a fault of the service", count(a.failed), ""),
        ("  lost: no answer came back, maybe charged", count(a.lost), ""),
        ("  of all these, sent once more after a failure", count(a.again), ""),
        ("Not sent, since the answer was known", count(a.stored), ""),
    ]
    return Bill([line for line in lines if line is not None], _curve(evidence, a, terms))


def _forecast(said: Forecast, terms: Terms) -> tuple[str, str, str]:
    """What was said on the way, with its bounds."""
    low, middle, high = (count(n) for n in (said.least, said.expected, said.most))
    paid = [money(terms.cost(n)) for n in (said.expected, said.least, said.most)]
    return (
        f"Forecast after {low} queries",
        f"{middle} ({low} to {high})",
        f"{paid[0]} ({paid[1]} to {paid[2]})" if terms.price else "",
    )


def _curve(evidence: Evidence, asked: Asked, terms: Terms) -> Plot | None:
    """Which share of the rows that were right falls if every row may ask that much, against what all of them ask."""
    rows, price = evidence.rows, terms.price
    right = rows.right
    used, fell = rows.forwards[right].astype(np.int64), rows.broken[right]
    if not fell.any():
        return None
    budgets = np.unique(used[fell])
    budgets = budgets[np.unique(np.linspace(0, len(budgets) - 1, _POINTS).round().astype(int))]
    queries = _queries(used, fell, budgets, len(rows), asked.billed, evidence.config.draws or 1)
    spent = [_cost(n, terms) for n in queries]
    total_cost = _cost(asked.billed, terms)
    if not total_cost:
        return None
    hits = [int((fell & (used <= b)).sum()) for b in budgets]
    whole, total = total_cost, len(used)
    at = [100 * s / whole for s in [0.0, *spent, whole]]
    shares = [clopper_pearson(k, total) for k in [0, *hits, hits[-1]]]
    values = [0.0, *(100 * k / total for k in hits), 100 * hits[-1] / total]
    low, high = ([100 * s[i] for s in shares] for i in (0, 1))
    band = path([(x, 100 - y) for x, y in [*zip(at, high, strict=True), *reversed(list(zip(at, low, strict=True)))]])
    shown = sorted({int(i) for i in np.linspace(0, len(budgets) - 1, _SHOWN)})
    line = Line(
        "fell", rising(list(zip(at, values, strict=True))), f"{band}Z", [],
        [percent(hits[i] / total) for i in shown],
    )  # fmt: skip
    across = f"{'money' if price else 'queries'} for all rows together"
    marks = [Mark(t.at, number(t.value)) for t in ticks(whole)]
    where = [number(spent[i]) for i in shown]
    return Plot("Rows that fall, against cost", across, marks, quarters(), [line], _forecasts(asked, whole), where)


def _queries(used: Ints, fell: Bools, budgets: Ints, rows: int, billed: int, draws: int) -> list[float]:
    """What all rows ask if each may take only so many evaluations, of which some cost nothing and some twice as much.

    Every row is looked at once before, whatever its budget is, and one that fell once more, rounded to 8 bits.
    """
    before, searched = min(billed, PROBES - 1 + rows * draws), used - draws
    asked = [int(np.minimum(searched, b - draws).sum() + (fell & (used <= b)).sum()) for b in [*budgets, used.max()]]
    unit = (billed - before) / max(1, asked[-1])
    return [before + unit * n for n in asked[:-1]]


def _cost(queries: float, terms: Terms) -> float:
    """In money where there is a price, else in queries."""
    return float(terms.price) * max(0.0, queries - terms.free) if terms.price else queries


def _forecasts(asked: Asked, whole: float) -> list[Mark]:
    """Where the rehearsal ended, if that is on the axis."""
    said = asked.expected_paid if Decimal(asked.price) else asked.expected
    at = None if said is None else 100 * float(said) / whole
    return [] if at is None or at > 100 * _ROOM else [Mark(min(at, 100.0), f"forecast {number(float(said or 0))}")]
