"""What is concluded, and the columns that it is concluded from."""

from blindspots.records import Share
from blindspots.runs.metric import Metric, Verdict, metric

ROWS = {
    "prediction": "(n,) int64 without noise",
    "flips": "(n,) int64 draws in which the prediction is another",
}


class FlipsVerdict(Verdict):
    rows: int
    unstable: Share  # rows whose prediction changed in at least one draw
    flip_rate: float  # of all draws of all rows

    def metrics(self) -> dict[str, Metric]:
        why = "draws of the same row are not independent"
        return {
            "unstable": Metric.of(self.unstable, higher_is_better=False),
            "flip_rate": metric(self.flip_rate, why, higher_is_better=False),
        }
