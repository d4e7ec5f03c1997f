"""What a certification says, as data."""

from blindspots.records import Interval, Share
from blindspots.runs.metric import Metric, Verdict, metric

ROWS = {
    "y": "(n,) int64 label",
    "base": "(n,) int64 what the network says without noise",
    "prediction": "(n,) int64 what is certified, -1: it abstains",
    "radius": "(n,) float64 L2 radius within which that cannot change, 0 where it abstains",
    "selected": "(n, classes) int64 votes of the n0 draws that choose the class",
    "counts": "(n, classes) int64 votes of the draws that bound its probability",
    "draws": "(n,) int64 how many those were",
    "cost": "(2,) int64 forwards and backwards",
}
ATTACKS = {
    "broken_at": "(n,) float64 the smallest radius at which an attack found another class, inf",
    "broken": "(k,) int64 the rows of which it did",
    "adversarial": "(k, ...) float32 what was found",
    "votes": "(k, classes) int64 votes of the draws that judged it",
    "attacked": "(1,) int64 how many radii were attacked",
    "cost": "(2,) int64 forwards and backwards",
}


class CertifyVerdict(Verdict):
    """Counts over all rows. A row counts at a radius if it is right and certified for every change that long."""

    rows: int
    clean_accuracy: float  # of the smoothed classifier: certified to be right at radius 0
    clean_interval: Interval
    abstained: Share
    base: Share  # right without noise, the network alone
    noisy_accuracy: float  # of the network under the noise, over all draws that counted
    certified: list[tuple[float, Share]]  # (radius, share) for every radius of the configuration
    empirical: list[tuple[float, Share]]  # right, and no attack of that radius found another class; [] without attack
    mean_radius: float  # over all rows, 0 where it is wrong or abstains
    forwards: int  # rows that went through the network, padding included
    backwards: int

    def metrics(self) -> dict[str, Metric]:
        shares = {"clean_accuracy": Share.of(round(self.clean_accuracy * self.rows), self.rows), "base": self.base}
        curve = {f"certified_accuracy@{r:g}": share for r, share in self.certified if r}
        attacked = {f"empirical_accuracy@{r:g}": share for r, share in self.empirical if r}
        spread = "no interval is known for the mean of bounds"
        return {
            **{name: Metric.of(share) for name, share in (curve | attacked | shares).items()},
            "abstained": Metric.of(self.abstained, higher_is_better=False),
            "mean_radius": metric(self.mean_radius, spread, higher_is_better=True, unit="L2"),
            "noisy_accuracy": metric(
                self.noisy_accuracy, "draws of the same row are not independent", higher_is_better=True
            ),
        }
