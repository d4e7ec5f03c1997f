"""What a run of `detect` on a guard of queries says, as data, and the columns of its own parts."""

from blindspots.records import Interval, Record, Share
from blindspots.runs.metric import Metric, Verdict, metric

USERS = {
    "x": "(n, ...) input of the rows that are attacked",
    "y": "(n,) int64 label",
    "shared": "(u,) float64 of every row of the users, one after the other: the largest share that one before had, too",
    "near": "(kinds, m) float64 of what comes right after a row and is nearly the same: the same of that pair",
    "kinds": "(c,) uint8 what that is, one line each, in UTF-8",
}


class Near(Record):
    """Honest queries that are nearly repetitions."""

    kind: str
    refused: Share


class Asked(Record):
    """What one attack asked, and what came of it.

    Attributes:
        bare, guarded: rows that fell without and with the guard, of those that the model gets right.
        refused: of the queries that it asked past the guard.
        first: median number of a row's first refused query, over the rows that have one; None: no row has.
        unnoticed: rows that fell before any query was refused, of those that fell.
        auc: the probability that one of its queries, any but the first of a row, has more in common with an earlier one
            than a query of a user has, ties for half; None: there is none.
    """

    attack: str
    spec: str
    bare: Share
    guarded: Share
    queries: int
    refused: Share
    first: float | None
    unnoticed: Share
    auc: float | None


class QueriesVerdict(Verdict):
    """Attributes:
    rows: that are attacked.
    clean: of them, those that the model gets right.
    robust: rows that are right whatever the attacks do without the guard.
    adaptive_accuracy: the same with it, under all attacks, those included that know it.
    rejected: queries of users that it refuses, of rows that differ.
    auc: of the queries of all attacks together, as in `Asked`; None: there is none.
    bytes_per_query: what it keeps of a query.
    """

    detector: str = "queries"
    rows: int
    clean: Share
    robust: Share
    adaptive_accuracy: float
    adaptive_interval: Interval
    rejected: Share
    auc: float | None
    near: list[Near]
    attacks: list[Asked]
    bytes_per_query: int

    def metrics(self) -> dict[str, Metric]:
        held = Metric(value=self.adaptive_accuracy, interval=self.adaptive_interval, higher_is_better=True)
        area = {} if self.auc is None else {"auc": metric(self.auc, _WHY, higher_is_better=True)}
        return {
            "adaptive_accuracy": held,
            **area,
            "rejected": Metric.of(self.rejected, higher_is_better=False),
            "bare_clean_accuracy": Metric.of(self.clean),
            "bare_robust_accuracy": Metric.of(self.robust),
            **{f"fell@{a.attack}": Metric.of(a.guarded, higher_is_better=False) for a in self.attacks},
        }


_WHY = "queries of one row are not independent"
