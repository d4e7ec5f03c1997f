"""What the study of units says, as data."""

from blindspots.records import Interval, Record
from blindspots.runs.metric import Metric, Verdict, metric

ACTIVATIONS = {"y": "(n,) int64 label", "embedded": "(n, d) float32"}
COMPARED = {
    "chosen": "(r,) int64 units that were judged",
    "live": "(1,) int64 units that do not answer all rows alike",
    "entropy": "(r,) float64 bits, of every unit",
    "likeness": "(r,) float64 monosemanticity of every unit",
    "null_entropy": "(b,) float64 mean over a random basis, of every basis",
    "null_likeness": "(b,) float64",
    "resampled_entropy": "(s,) float64 units less random bases, on rows drawn with repetition",
    "resampled_likeness": "(s,) float64",
}
LEARNED = {
    "nmf_entropy": "(f,) float64 bits, of every factor; none where answers can be negative",
    "nmf_likeness": "(f,) float64",
    "sae_entropy": "(g,) float64 of a sparse autoencoder as wide as the layer",
    "sae_likeness": "(g,) float64",
    "wide_sae_entropy": "(h,) float64 of one four times as wide",
    "wide_sae_likeness": "(h,) float64",
}
SHEETS = {
    "units": "(u,) int64 units by lot",
    "unit_rows": "(u, t) int64 places in the data of the rows that excite each most",
    "random_rows": "(v, t) int64 the same of random directions",
    "unit_x": "(u, t, ...) input",
    "random_x": "(v, t, ...) input",
    "unit_y": "(u, t) int64 labels",
    "random_y": "(v, t) int64 labels",
}


class Comparison(Record):
    """The units of a layer against random bases of one space, by one statistic."""

    units: float  # mean over the units
    random: float  # mean over random bases
    spread: float  # their standard deviation
    effect: float | None  # how many of these the units are purer; None: all random bases are alike
    interval: Interval | None  # of the effect, by bootstrap over rows
    p: float  # share of bases, the units among them, that are at least as pure: exact
    holm: float  # p after Holm's correction over all layers and answers


class Dictionary(Record):
    """Learned directions of a layer, by the same statistics: means over those that answer at all."""

    name: str
    directions: int
    live: int
    entropy: float | None  # None: none answers enough rows
    likeness: float | None


class View(Record):
    """A layer as it is, or rectified."""

    layer: str
    answers: str  # "pre" or "post"
    units: int
    live: int
    judged: int
    comparisons: dict[str, Comparison]  # "centred/entropy", "centred/likeness", "whitened/entropy", ...
    dictionaries: list[Dictionary]


class UnitsVerdict(Verdict):
    rows: int  # on which all bases are judged
    fitted: int  # on which dictionaries were learned
    by_lot: float  # entropy in bits of as many rows by lot
    independent: str  # whose embeddings say what is alike
    views: list[View]

    def purer(self, space: str = "centred") -> list[View]:
        """Where units are purer than random directions, by the labels of their top rows, at 5 % after Holm."""
        return [v for v in self.views if (c := v.comparisons.get(f"{space}/entropy")) and c.holm <= 0.05]

    def metrics(self) -> dict[str, Metric]:
        said = {f"{v.layer}.{v.answers}": c for v in self.views if (c := v.comparisons.get("centred/entropy"))}
        effects = {f"effect@{name}": (c.effect, c.interval) for name, c in said.items()}
        return {
            "layers_with_special_units": self._count("centred"),
            "layers_with_special_units_whitened": self._count("whitened"),
            **{name: _effect(value, interval) for name, (value, interval) in effects.items() if value is not None},
        }

    def _count(self, space: str) -> Metric:
        found = len(self.purer(space))
        return metric(found, "a count of tests", higher_is_better=True, unit=f"of {len(self.views)}")


def _effect(value: float, interval: Interval | None) -> Metric:
    return Metric(
        value=value, interval=interval or "too few rows", higher_is_better=True,
        unit="standard deviations of random bases",
    )  # fmt: skip
