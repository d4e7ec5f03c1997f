"""What the study of training says, as data."""

from blindspots.records import Interval, Record, Share
from blindspots.runs.metric import Metric, Verdict

ROWS = {
    "id": "(n,) int64 place of the judged row in the data",
    "y": "(n,) int64 label",
    "x": "(n, ...) input",
}
EXAMPLES = {
    "clean": "(n,) int64 prediction",
    "moved": "(n, ...) float32 inside the radius, where the margin was lowest",
    "attacked": "(n,) int64 prediction there",
    "nearest": "(n, ...) float32 the nearest example; the row itself where none was found or needed",
    "distance": "(n,) float64 L2 to it: 0 where the row is wrong, inf where none was found",
    "cost": "(2,) int64 forwards and backwards",
}
ANSWERS = {
    "to_reference": "(n,) int64 what the reference says to this network's examples",
    "from_reference": "(n,) int64 what this network says to the reference's examples",
}
AUTOENCODER = {
    "latent": "(n, 3) float64 relative change of the code: under noise, a latent attack, a reconstruction attack",
    "rebuilt": "(n, 3) float64 relative change of the reconstruction",
    "towards": "(n, 2) float64 distance of the reconstruction to the target's, clean and under the attack towards it",
    "said": "(n, 4) int64 what the model says to reconstructions: clean, noise, latent, reconstruction",
    "x": "(k, ...) float32 rows that are shown",
    "shown": "(k, 4, ...) float32 their reconstructions",
    "error": "(1,) float64 mean squared error of clean reconstructions",
}


class Trained(Record):
    """One network: what was changed, and what became of it."""

    factor: str
    level: str
    repeat: int
    rows: int  # that it was trained on, copies apart
    clean: Share
    attacked: Share  # right, and no example was found within the radius
    distance: float | None  # median L2 distance over rows that were right; None: most have no example
    fooled: Share  # by the reference's examples, of the rows that both have right
    fools: Share  # the reference, by this network's examples, of the same rows


class Trend(Record):
    """How a measure goes with a factor, over all networks of its levels and the baseline's."""

    name: str  # of the factor, or where its levels have no order, of factor and level
    measure: str  # "clean", "attacked", "distance" or "fooled"
    change: float  # per `per`
    interval: Interval | str  # 95 %, or why there is none
    per: str


class Resilience(Record):
    """An autoencoder under attacks on its code and on its reconstruction: medians over rows."""

    error: float  # mean squared, of clean reconstructions
    code_noise: float  # relative change of the code under noise as large
    code_attacked: float
    rebuilt_noise: float
    rebuilt_attacked: float
    nearer: float  # how much nearer the reconstruction came to that of another row, as a share of the way
    read_clean: Share  # reconstructions that the model reads as their label
    read_noise: Share
    read_latent: Share
    read_rebuilt: Share


class TrainingVerdict(Verdict):
    networks: list[Trained]
    trends: list[Trend]
    autoencoder: Resilience

    def metrics(self) -> dict[str, Metric]:
        return {
            f"{t.name}.{t.measure}": Metric(
                value=t.change, interval=t.interval, higher_is_better=t.measure != "fooled", unit=t.per
            )
            for t in self.trends
        }
