"""What a run on an endpoint is going to cost, said again as its searches go on."""

import json
from dataclasses import dataclass, field

from blindspots.engine.cascade import Live
from blindspots.experiments.evaluate.outlook import Course, outlook
from blindspots.experiments.evaluate.verdict import Forecast
from blindspots.models.endpoints import Endpoint
from blindspots.models.endpoints.spending import Counts, money

_BASE, _MADE = "base", "forecasts"  # marks: what was asked before the searches; the forecasts that were made
_WHEN = (0.1, 0.25, 0.5, 0.75)  # shares of the most that it may come to after which a forecast is said and kept
_ENOUGH = 20  # evaluations that tell how many of them cost a query


def searches_begin(endpoint: Endpoint) -> None:
    """What was asked by now was not for searches."""
    counts = endpoint.spending.counts
    endpoint.spending.mark(_BASE, json.dumps([counts.billed, counts.answered + counts.refused]))


def made(endpoint: Endpoint) -> list[Forecast]:
    """The forecasts of the run, in this process or in earlier ones."""
    kept = json.loads(endpoint.spending.marked(_MADE) or "[]")
    return [Forecast(after=a, expected=e, least=low, most=high) for a, e, low, high in kept]


@dataclass
class Foreseen:
    """Forecasts of a process, by what it has seen of its parts.

    Args:
        endpoint: that is asked.
        each: evaluations of a row, at most.
        draws: forwards of an evaluation.
        rows: of the run.
        limit: of its queries; None: no limit.
    """

    endpoint: Endpoint
    each: int
    draws: int
    rows: int
    limit: int | None
    courses: dict[str, Course] = field(default_factory=dict)

    def now(self, part: str, live: Live) -> Forecast:
        """With what is now known of the rows of a part."""
        used, fell, goes_on = (column.cpu().numpy() for column in live.course())
        self.courses[part] = Course(used - self.draws, fell & ~goes_on, goes_on)  # some go on after they have fallen
        course = Course.of(list(self.courses.values()))
        unseen = max(0, self.rows - len(course.used))
        coming = outlook(course, self.each - self.draws, unseen)
        counts, rounded = self.endpoint.spending.counts, self.endpoint.levels is None
        base, repeated, fresh = self._paid(counts, coming.least)
        expected = base + repeated * (fresh * coming.expected + coming.falls * rounded)
        open_rows = int(course.open.sum()) + unseen
        most = counts.billed + repeated * (coming.most - coming.least + rounded * (open_rows + int(course.fell.sum())))
        most = most if self.limit is None else min(most, self.limit)
        return Forecast(
            after=counts.billed, expected=round(min(max(expected, counts.billed), most)), least=counts.billed,
            most=max(1, counts.billed, round(most)),
        )  # fmt: skip

    def _paid(self, counts: Counts, spent: int) -> tuple[int, float, float]:
        """Queries before the searches, those that a known answer costs, and the share of evaluations that need one."""
        base, known = json.loads(self.endpoint.spending.marked(_BASE) or "[0, 0]")
        answered = counts.answered + counts.refused
        fresh = min(1.0, (answered - known) / spent) if spent >= _ENOUGH else 1.0
        return base, counts.billed / max(answered, 1), fresh

    def is_due(self, forecast: Forecast) -> bool:
        """Whether it is one of those that are said and kept, which it is from now on."""
        kept = made(self.endpoint)
        before = max((f.after / f.most for f in kept), default=0.0)
        if not any(before < when <= forecast.after / forecast.most for when in _WHEN):
            return False
        rows = [[f.after, f.expected, f.least, f.most] for f in [*kept, forecast]]
        self.endpoint.spending.mark(_MADE, json.dumps(rows))
        return True

    def in_words(self, forecast: Forecast) -> str:
        """In queries, and in money where they have a price."""
        f, terms = forecast, self.endpoint.spending.terms
        if f.after < _WHEN[0] * f.most:  # too few have fallen
            return f"{f.after:,} queries of at most {f.most:,}"
        queries = f"{f.after:,} queries of about {f.expected:,} ({f.least:,} to {f.most:,})"
        if not terms.price:
            return queries
        low, expected, high = (money(terms.cost(n)) for n in (f.least, f.expected, f.most))
        return f"{queries}, about {expected} to pay in all ({low} to {high})"
