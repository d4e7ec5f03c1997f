"""What a search for a trigger says, as data."""

from blindspots.experiments.universal.verdict import DominantLabels, Effect, OnModel, Pass
from blindspots.records import Interval, Record, Share
from blindspots.runs.metric import Metric, Verdict

FOUND = {
    "words": "(n,) uint8 the trigger, UTF-8",
    "passes": "(passes, 2) int64 forwards and backwards until the end of each pass over the fit texts",
    "fooled": "(passes,) float64 share of the fit texts that the trigger of that time fools after it",
}
ROWS = {
    "row": "(n,) int64 place in the data",
    "y": "(n,) int64 label",
    "clean": "(n,) int64 prediction without the trigger,",
    "moved": "(n,) int64 and with it",
}
CONTROLS = {
    "words": "(b,) uint8 the triggers as a list in JSON, in the order of `CONTROLS_NAMED`",
    "moved": "(k, n) int64 predictions of the held-out rows with each of them",
}
OTHER = {
    "clean": "(n,) int64 what another model predicts for the held-out rows,",
    "moved": "(n,) int64 with the trigger,",
    "random": "(n,) int64 and with the first random words",
}
SHOWN = {
    "row": "(k,) int64 place in the data, fooled rows first",
    "y": "(k,) int64 label",
    "texts": "(b,) uint8 the texts with the trigger as a list in JSON",
    "at": "(k,) int64 the character in each at which the trigger begins",
    "prediction": "(k,) int64",
    "moved_prediction": "(k,) int64",
    "confidence": "(k,) float32 probability of the prediction",
    "moved_confidence": "(k,) float32",
}
RANDOM = 5  # triggers by lot
CONTROLS_NAMED = (*(f"random words {i}" for i in range(1, RANDOM + 1)), "the commonest words")


class OfClass(Record):
    """The held-out rows that are taken for one class without the trigger, and those of them that are fooled."""

    label: int
    fooled: Share


class TriggerVerdict(Verdict):
    """The rate that counts is `fooling_rate_heldout`: of texts that the search never saw."""

    trigger: str
    place: str  # "front" or "end"
    fooling_rate_fit: float
    fooling_rate_heldout: float
    interval: Interval  # of fooling_rate_heldout
    control_rates: dict[str, float]  # triggers of as many words, held out: by lot, and the commonest words
    passes: int
    forwards: int
    backwards: int
    fit: Effect
    heldout: Effect
    per_class: list[OfClass]  # held out, by what texts are taken for without it: one trigger runs towards few classes
    controls: dict[str, Share]
    history: list[Pass]
    labels: DominantLabels
    on_models: list[OnModel]

    def metrics(self) -> dict[str, Metric]:
        worst = max((c.fooled for c in self.per_class), key=lambda share: share.share, default=self.heldout.fooled)
        best = max(self.controls.values(), key=lambda share: share.share)
        shares = {
            "fooling_rate_fit": self.fit.fooled,
            "fooling_rate_worst_class": worst,
            "strongest_control": best,
            **{f"fooling_rate@{m.model}": m.fooled for m in self.on_models},
        }
        return {
            "fooling_rate": self._rate(),
            **{name: Metric.of(share, higher_is_better=False) for name, share in shares.items()},
            "accuracy": Metric.of(self.heldout.accuracy),
            "clean_accuracy": Metric.of(self.heldout.clean_accuracy),
        }

    def _rate(self) -> Metric:
        """Gates go by what was tried: where no row counts, nothing is proved."""
        found = Metric.of(self.heldout.fooled, higher_is_better=False)
        if self.heldout.fooled.rows:
            return found
        why = "all unseen rows are taken for the target as they are: there is no evidence to go by"
        return found.model_copy(update={"shown": (1.0, (0.0, 1.0)), "why": why})
