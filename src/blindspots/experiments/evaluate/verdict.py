"""What an evaluation says, as data: the part of run.json that scripts rely on."""

from math import nan

from blindspots.records import Interval, Record, Share
from blindspots.runs.metric import Metric, Verdict, metric

SHARD = {
    "id": "(n,) int64 place of the row in the data",
    "y": "(n,) int64 label",
    "x": "(n, ...) input: uint8 where every value is k / 255 exactly, else float32",
    "prediction": "(n,) int64 on the clean input, -1 where it was rejected",
    "confidence": "(n,) float32 probability of that prediction",
    "right": "(n,) bool",
    "won": "(n,) bool: right at first, and an adversarial example was found",
    "result": "(n,) uint8, see engine.result.Result",
    "target": "(n,) int64 class that the row was to be taken for, or one of several that it was; -1 if there is none",
    "stage": "(n,) int16 index of the stage that broke the row, -1",
    "norm": "(n,) float32 distance of the nearest adversarial example, inf where there is none",
    "margin": "(n,) float32 lowest margin seen inside the threat",
    "forwards": "(n,) int64",
    "backwards": "(n,) int64",
    "broken": "(k,) int64 positions of the won rows",
    "adversarial": "(k, ...) float32 the example with the lowest margin; in an unbounded threat the nearest one",
    "nearest": "(k, ...) float32 the example with the smallest norm",
    "adversarial_prediction": "(k,) int64",
    "adversarial_confidence": "(k,) float32, NaN where the model had stopped answering",
    "prediction_8bit": "(k,) int64 after rounding to 8 bits, -1 where it was rejected, or not asked any more",
    "stage_counts": "(stages, 4) int64: rows entered, won, forwards, backwards",
    "unbilled": "(2,) int64 forwards and backwards for padding, confirmation, and lanes beyond a success",
    "chunk": "(1,) int64 rows per call of the network: fewer than were asked for where memory ran out",
}

VALUES = {
    "truth": "(n, ...) float32 or int64 what the data say of the row, in whatever shape",
    "worst": "(n, ...) float32 the point inside the threat where the margin was lowest",
    "measure_names": "(...) uint8 names of the m numbers that the goal reports, one per line",
    "measures": "(n, m) float32 these of the clean inputs",
    "worst_measures": "(n, m) float32 and of the worst points",
}  # more columns, of goals that do not classify; y and predictions are then those of the scores that the goal reads

PROOFS = {
    "lower": "(n,) float64 no adversarial example is nearer: proved; inf: there is none, 0: nothing was proved",
    "exact": "(n,) float64 the same if nothing were rounded: `lower` leaves room for the sums of the model",
    "minimal": "(n,) bool: broken at `exact`, but for a millionth of it and the spacing of float32 at the example",
}  # more columns, of models of which something can be proved

WATCHED = {
    "shared": "(q,) float64 of every query of an attack, the largest share of hashes that an earlier one had as well",
}  # one more column, of models behind a guard of queries

TEXTS = {
    "lattices": "(...) uint8 JSON, compressed by zlib: every text with its places and what may stand there",
    "checked": "(k, checks) float32 what each check says of the adversarial texts",
    "valid": "(k,) bool: all checks are passed",
    "path_of": "(s,) int64 of which adversarial text this is an exchange, by its place among them",
    "path_place": "(s,) int64 the place of its lattice that is exchanged, the one that alone does most first",
    "path_choice": "(s,) int64 by which of its candidates, from 1",
    "path_score": "(s,) float32 probability of the label once it is exchanged, and those before it",
    "forwarded": "(1,) int64 texts that were really sent to the model, whose answers are remembered",
}  # more columns, of texts: x and all points are then code points

TABLES = {
    "ignoring_rows": "(g,) int64 positions of the rows that fell to an attack which ignores types and relations",
    "ignoring": "(g, ...) float32 its examples: in the ball, possible or not",
    "ignoring_kept": "(g, rules) bool whether each keeps types, directions and every relation",
}  # more columns, of tables whose protocol has such a stage

OUTCOMES = {
    0: "stood",
    1: "won",
    2: "already_wrong",
    3: "budget",
    4: "nonfinite",
    5: "no_start",
    6: "already_target",
    7: "unsearched",
    8: "unconfirmed",
    9: "no_answer",
    10: "immovable",
    11: "proved",
}  # what the numbers in `result` mean, as engine.result.Result


class Stage(Record):
    """One stage of a protocol: who entered, who fell, what it cost, why it ran."""

    name: str
    attack: str  # the constructor call, e.g. "PGD(steps=10, momentum=0.75)"
    why: str
    rows: int  # rows that entered
    won: int  # rows it broke
    forwards: int
    backwards: int


class Distances(Record):
    """Sizes, in the threat's own norm, of the perturbations found for rows that were right at first."""

    smallest: float
    median: float
    largest: float
    curve: list[tuple[float, float]]  # (radius, accuracy at that radius), ascending radii, at most 200 points


class Spread(Record):
    """A number of each row, over all rows that are finite."""

    mean: float
    root_mean_square: float
    median: float
    high: float  # the 95 % quantile
    largest: float


class Measure(Record):
    """What a goal reports besides: on the clean inputs, and at the worst points that were found."""

    name: str
    clean: Spread
    worst: Spread  # a search may have missed worse


class Reached(Record):
    """How often an adversary exceeds a change, or gets to a value."""

    tolerance: float  # in the units of the output
    share: Share  # of the rows that count


class Reach(Record):
    """What the measure that a goal goes by comes to within a radius; `goals.Regress.reach` names it."""

    radius: float
    attacked: Spread  # at the worst points that were found within it
    noise: Spread  # over rows and draws of noise of that size


class Forecast(Record):
    """How many queries that may be charged a run was said to come to, after so many of them."""

    after: int
    expected: int
    least: int
    most: int


class Asked(Record):
    """What became of the inputs that an endpoint was asked about, and what was forecast. Money as decimal numbers."""

    answered: int
    failed: int  # it said that it did not answer: asked too much or too fast, a fault of its own
    lost: int  # no answer came back; it may charge for them, so they are paid
    again: int  # among all that were sent, repetitions after a failure
    stored: int  # evaluations that cost no query, since the answer was known
    billed: int  # answered, refused and lost
    price: str  # of one input
    expected: int | None  # queries of the rehearsal
    expected_paid: str | None
    at_most: int  # queries where no row falls and nothing has to be sent again
    at_most_paid: str
    forecasts: tuple[Forecast, ...] = ()  # those that were made on the way


class BrokenRule(Record):
    """What examples of an attack that ignores the rules do not keep."""

    rule: str  # "types", "directions" or a relation
    rows: int


class ChangedColumn(Record):
    """What became of a column in the adversarial examples."""

    name: str
    rows: int  # in which it changed
    median: float | None = None  # of the size of the change, of numbers
    ups: int | None = None  # rows in which it grew
    usual: str = ""  # of a category, the commonest change
    unit: str = ""


class TableVerdict(Record):
    """What is said of a table besides."""

    looked: Share | None  # stands against the attack that ignores the rules, where only possible rows count
    ball: Share | None  # and where all of the ball does
    possible: Share | None  # of that attack's examples in the ball, those that keep every rule
    rules: tuple[BrokenRule, ...]  # which the others break
    columns: tuple[ChangedColumn, ...]
    plausible: Share  # of the rows that fell, those whose example is as near to real rows of its class as 95 % of these
    plausibility: float | None  # the median quantile


class EvaluateVerdict(Verdict):
    """Counts over the rows, with all denominators; costs are sums over all rows.

    Rows that a targeted run found in their target class before anything was changed say nothing of an attack: they do
    not count, except for the clean accuracy and the costs.
    """

    rows: int
    counted: int  # rows, less those that had their target class from the start
    clean_accuracy: float  # of all rows
    clean_interval: Interval
    robust_accuracy: float  # right at first and never broken, of the rows that count
    interval: Interval
    # Of the rows that count, those that stand after a search that ended, or by a proof: what a gate goes by.
    searched: Share
    robust_of_right: Share  # of the rows that count and were right at first
    # In a targeted run: the target was reached, of the rows that count and were right at first. For a goal of numbers:
    # how often an adversary exceeds quarters and multiples of the tolerance, or gets to the value that is named.
    reached: Share | tuple[Reached, ...] | None
    robust_accuracy_8bit: float  # after the adversarial examples are rounded to 8 bits
    interval_8bit: Interval
    outcomes: dict[str, int]  # Result name -> rows
    distances: Distances | None  # None when nothing was broken
    forwards: int
    backwards: int
    forwards_per_row: float
    backwards_per_row: float
    forwards_unbilled: int  # padding, checks, confirmations, and lanes beyond a row's first success
    backwards_unbilled: int
    stages: list[Stage]
    measures: tuple[Measure, ...] = ()  # of goals that do not classify
    reach: tuple[Reach, ...] = ()  # of goals of numbers, against ascending radii; the last one is the threat's
    reach_forwards: int = 0  # of the searches within smaller radii and of the noise, which `forwards` leaves out
    reach_backwards: int = 0
    valid: Share | None = None  # of texts: of the rows that fell, those whose adversarial text passes all checks
    adjusted: Share | None = None  # of the rows that count, those that no valid change was found for
    forwarded: int | None = None  # of texts, those that were really sent to the model: it is asked about each once
    queries: int | None = None  # inputs sent to an endpoint, repetitions included; of attacks, past a guard of queries
    paid: str | None = None  # what these cost, exact
    refused: int | None = None  # those that it declined to answer
    endpoint: Asked | None = None

    certified_accuracy: float | None = None  # where proofs can be computed: right, and proved to stay so, of those rows
    certified_interval: Interval | None = None
    open: int | None = None  # rows that were right at first, and were neither broken nor proved to stand
    minimal: Share | None = None  # of the rows that fell, those whose distance is proved to be the smallest

    table: TableVerdict | None = None

    @property
    def unsearched(self) -> int:
        """Rows that stand although no search of theirs ran to its end."""
        return self.robust_of_right.hits - self.searched.hits

    @property
    def target_reached(self) -> Share | None:
        """Of the rows that were attacked in a targeted run."""
        return self.reached if isinstance(self.reached, Share) else None

    @property
    def settled(self) -> bool:
        """Whether every row was broken at the smallest distance or proved to stand: nothing is an estimate."""
        return self.open == 0 and self.minimal is not None and self.minimal.hits == self.minimal.rows

    @property
    def clean_hits(self) -> int:
        """Rows, of all, that were right at first."""
        return round(self.clean_accuracy * self.rows)

    def metrics(self) -> dict[str, Metric]:
        target = self.target_reached
        return {
            "robust_accuracy": self._robust(),
            **({"target_reached": Metric.of(target, higher_is_better=False)} if target else {}),
            **({"adjusted_accuracy": self._adjusted(self.adjusted)} if self.adjusted else {}),
            **self._certified(),
            **self._table(),
            "clean_accuracy": Metric.of(Share.of(self.clean_hits, self.rows)),
            "robust_accuracy_8bit": Metric(
                value=self.robust_accuracy_8bit, interval=self.interval_8bit, higher_is_better=True
            ),
            "searched": Metric.of(self.searched),
            "robust_of_right": Metric.of(self.robust_of_right),
            **self._distances(),
            **self._measures(),
            **self._costs(),
            "forwards_per_row": metric(self.forwards_per_row, "it is counted, not sampled", higher_is_better=False),
            "backwards_per_row": metric(self.backwards_per_row, "it is counted, not sampled", higher_is_better=False),
        }

    def _certified(self) -> dict[str, Metric]:
        if self.certified_accuracy is None or self.certified_interval is None:
            return {}
        found = Metric(value=self.certified_accuracy, interval=self.certified_interval, higher_is_better=True)
        return {"certified_accuracy": found}

    def _robust(self) -> Metric:
        found = Metric(value=self.robust_accuracy, interval=self.interval, higher_is_better=True)
        return self._searched("robust accuracy", found, self.searched)

    def _adjusted(self, adjusted: Share) -> Metric:
        searched = Share.of(adjusted.hits - self.unsearched, adjusted.rows)
        return self._searched("adjusted accuracy", Metric.of(adjusted), searched)

    def _searched(self, name: str, found: Metric, searched: Share) -> Metric:
        """Gates go by what was searched: a row that no search went through proves nothing."""
        if not self.counted:
            return found.model_copy(
                update={"shown": (nan, (nan, nan)), "why": "no row was attacked, so there is no evidence to go by"}
            )
        if not self.unsearched:
            return found
        why = (
            f"{name} is {found.value:.1%}, but for {self.unsearched:,} of the {self.robust_of_right.hits:,} rows that "
            f"stand no search ran to its end: {searched.share:.1%} by the others alone"
        )
        return found.model_copy(update={"shown": (searched.share, searched.interval), "why": why})

    def _measures(self) -> dict[str, Metric]:
        """Of the error of numbers, of which less is better; what a user's own numbers mean is not known."""
        why = "it is the mean over these rows alone"
        found = {}
        for m in self.measures:
            if m.name in ("error", "shift"):
                found[f"mean_{m.name}"] = metric(m.worst.mean, why, higher_is_better=False)
                found[f"clean_mean_{m.name}"] = metric(m.clean.mean, why, higher_is_better=False)
        return found

    def _costs(self) -> dict[str, Metric]:
        """Of an endpoint."""
        if self.queries is None or self.paid is None or self.refused is None:
            return {}
        found = {"queries": self.queries, "paid": float(self.paid), "refused": self.refused}
        why = "it is counted, not sampled"
        return {name: metric(float(value), why, higher_is_better=False) for name, value in found.items()}

    def _table(self) -> dict[str, Metric]:
        """How robust the model looked, so that the two can stand side by side."""
        looked = self.table.looked if self.table else None
        return {} if looked is None else {"looked_accuracy": Metric.of(looked)}

    def _distances(self) -> dict[str, Metric]:
        if self.distances is None:
            return {}
        why = "distances of rows that stand are unknown"
        return {"median_distance": metric(self.distances.median, why, higher_is_better=True)}
