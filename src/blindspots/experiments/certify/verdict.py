"""What a certification says, as data."""

from pydantic import Field

from blindspots.records import Interval, Record, Share
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
TEXTS = {
    "y": "(n,) int64 label",
    "base": "(n,) int64 what the model says of the text as it is",
    "prediction": "(n,) int64 what is certified, -1: it abstains",
    "withstood": "(n,) int64 exchanges that cannot change it, whichever they are; `places` where none can",
    "allowed": "(n,) int64 exchanges that the threat allows, at most `places`",
    "places": "(n,) int64 places of the text",
    "read": "(n,) bool whether bounds can follow all exchanges; votes need not",
    "lattices": "(m,) uint8 what may stand in each text, see `texts.lattice.packed`",
    "cost": "(2,) int64 forwards and backwards",
}
VOTES = {
    "selected": "(n, classes) int64 votes of the n0 draws that choose the class",
    "counts": "(n, classes) int64 votes of the draws that bound its probability",
    "overlaps": "(k,) float64 of each place of each text in turn, what its choices keep in common after an exchange",
}
JUDGED_TEXTS = {
    "broken": "(k,) int64 the rows in which an attack on the mean probabilities found a text",
    "votes": "(k, classes) int64 votes of the draws that judged it",
    "cost": "(2,) int64 forwards and backwards",
}


class OfTexts(Record):
    """What is said of texts besides. The threat's own number of exchanges may be another one for each text."""

    certified: Share  # right, and proved to stay so within the threat
    attacked: Share | None  # right, and no attack within the threat found another class; None: nothing was attacked
    adjusted: Share | None  # the same where only changed texts count that pass all checks of validity
    unread: int  # texts that bounds cannot follow, of which nothing is proved


def _is_none(value: object) -> bool:
    return value is None


class CertifyVerdict(Verdict):
    """Counts over all rows. A row counts at a radius if it is right and certified for every change that long.

    Of texts a radius is a number of exchanges, and without votes nothing is smoothed.
    """

    rows: int
    clean_accuracy: float  # of the smoothed classifier: certified to be right at radius 0
    clean_interval: Interval
    abstained: Share
    base: Share  # right without noise, the network alone
    noisy_accuracy: float | None  # of the network under the noise, over all draws that counted; None without draws
    certified: list[tuple[float, Share]]  # (radius, share) for every radius of the configuration
    empirical: list[tuple[float, Share]]  # right, and no attack of that radius found another class; [] without attack
    mean_radius: float  # over all rows, 0 where it is wrong or abstains
    forwards: int  # rows that went through the network, padding included
    backwards: int
    texts: OfTexts | None = Field(None, exclude_if=_is_none)

    def metrics(self) -> dict[str, Metric]:
        own = {} if self.texts is None else self._metrics_of_texts(self.texts)
        return own | self._metrics()

    def _metrics_of_texts(self, texts: OfTexts) -> dict[str, Metric]:
        shares = {
            "certified_accuracy": texts.certified,
            "empirical_accuracy": texts.attacked,
            "adjusted_accuracy": texts.adjusted,
        }
        return {name: Metric.of(share) for name, share in shares.items() if share is not None}

    def _metrics(self) -> dict[str, Metric]:
        shares = {"clean_accuracy": Share.of(round(self.clean_accuracy * self.rows), self.rows), "base": self.base}
        curve = {f"certified_accuracy@{r:g}": share for r, share in self.certified if r}
        attacked = {f"empirical_accuracy@{r:g}": share for r, share in self.empirical if r}
        spread = "no interval is known for the mean of bounds"
        return {
            **{name: Metric.of(share) for name, share in (curve | attacked | shares).items()},
            "abstained": Metric.of(self.abstained, higher_is_better=False),
            "mean_radius": metric(
                self.mean_radius, spread, higher_is_better=True, unit="exchanges" if self.texts else "L2"
            ),
            **self._noisy(),
        }

    def _noisy(self) -> dict[str, Metric]:
        if self.noisy_accuracy is None:
            return {}
        why = "draws of the same row are not independent"
        return {"noisy_accuracy": metric(self.noisy_accuracy, why, higher_is_better=True)}
