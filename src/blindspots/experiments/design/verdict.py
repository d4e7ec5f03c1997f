"""What a run of designs concludes, and the columns that it is concluded from."""

from blindspots.records import Interval, Record
from blindspots.runs.metric import Metric, Verdict, metric

BOX = {"bounds": "(size, 2) float64 low and high of every number"}
SEQUENCES = {
    "transitions": "(letters, letters) float64 the probability that a letter follows a letter; 0: it is banned",
    "patterns": "(motifs, length) int64 letters of every motif",
    "offsets": "(motifs, length) int64 where they stand, from the first on",
    "quantisation": "(1,) int64 levels of a motif",
}
MOLECULES = {"symbols": "(letters, 16) uint8 what every letter means: a symbol of SELFIES in ASCII, padded with 0"}
DATA = {
    "drawn": "(r, n, size) input all random designs of every repeat: float32 in [-1, 1], or uint8 letters",
    "values": "(r, n) float64 their true values",
    "kept": "(r, k) int64 places of those that are data: the worst, the very worst first",
}
NETWORKS = {
    "first": "(k, f, 64) float32",
    "first_bias": "(k, 1, 64) float32",
    "second": "(k, 64, 64) float32",
    "second_bias": "(k, 1, 64) float32",
    "third": "(k, 64, 1) float32",
    "third_bias": "(k, 1, 1) float32",
}
CONSERVATIVE = {
    **NETWORKS,
    "over": "(updates, k) float32 what climbs promise above their ceilings before every update, in standard deviations",
    "alpha": "(updates, k) float32 what the promises were multiplied by, on average",
}
CLIMB = {
    "step": "(s,) int64 after how many steps",
    "designs": "(s, r, m, size) input where the climbs were",
    "predicted": "(s, r, m) float64 what the method predicts there, in the unit of the truth",
    "true": "(s, r, m) float64",
}


class Estimate(Record):
    """A mean over repeats."""

    mean: float
    interval: Interval | str  # 95 %, Student's t over repeats; or why there is none


class Numbers(Record):
    """Of what a method ends with."""

    predicted: Estimate
    true: Estimate
    gap: Estimate  # predicted - true
    over: Estimate  # the gap where it is positive, else 0: an underestimate here makes up for no promise there
    error: Estimate  # the size of the gap, in either direction


class Outcome(Record):
    sd: Numbers  # in standard deviations of the data, from their mean on
    unit: Numbers  # as the truth has it


class Method(Record):
    """Attributes:
    mean: over all designs.
    chosen: the design with the highest prediction.
    better: true value of the chosen design minus that of naive ascent in the same repeat, in standard deviations.
    left_mean, left_chosen: `over` as a share of naive ascent's; None: that is 0.
    """

    name: str
    mean: Outcome
    chosen: Outcome
    better: Estimate
    left_mean: float | None
    left_chosen: float | None


class DesignVerdict(Verdict):
    """Attributes:
    optimum: the largest true value that there is; None where nobody knows.
    best_data, best_drawn: largest true value among the data, and among all random designs.
    asked: designs whose truth was asked, without those that were asked about again as a check.
    """

    rows: int
    repeats: int
    optimum: float | None
    unit: str  # of the truth; "" without one
    best_data: Estimate
    best_drawn: Estimate
    deviation: Estimate  # of the values of the data
    methods: list[Method]
    asked: int

    def method(self, name: str) -> Method:
        return next(m for m in self.methods if m.name == name)

    def metrics(self) -> dict[str, Metric]:
        """The last method first: what it leaves of the gap of the chosen design."""
        found: dict[str, Metric] = {}
        for m in reversed(self.methods):
            found |= {
                f"chosen_gap@{m.name}": _metric(m.chosen.sd.gap, False),
                f"gap@{m.name}": _metric(m.mean.sd.gap, False),
                f"chosen_true@{m.name}": _metric(m.chosen.unit.true, True),
            }
            for name, left in (("left", m.left_mean), ("chosen_left", m.left_chosen)):
                if left is not None:
                    found[f"{name}@{m.name}"] = metric(left, "a ratio of two means", higher_is_better=False)
        return found


def _metric(estimate: Estimate, higher_is_better: bool) -> Metric:
    return Metric(value=estimate.mean, interval=estimate.interval, higher_is_better=higher_is_better)
