"""What the study of pictures says, as data."""

from statistics import median

from blindspots.records import Record, Share
from blindspots.runs.metric import Metric, Verdict, metric

ANSWERS = {
    "targets": "(t,) int64 channels, classes, rows of the data, or places of directions by lot",
    "values": "(n, t) float32 of every row of the data",
    "top": "(t, k) int64 places in the data of the rows with the largest values",
    "top_x": "(t, k, ...) input",
    "top_y": "(t, k) int64 labels",
}
PICTURES = {
    "levels": "(t, d, ...) uint8 pictures, from the lower bound of inputs to the upper one",
    "value": "(t, d) float32 what each reaches",
    "unseen": "(t, d, u) float32 under transformations that it was not made with",
    "top_unseen": "(t, u) float32 the same of the row with the largest value",
    "says": "(t, d) int64 class that the model takes it for",
}
MATCHED = {
    "names": "(c,) uint8 layers of the independent network, by lines; the last are its scores",
    "layer": "(t,) int64 place among them",
    "unit": "(t,) int64",
    "correlation": "(t,) float64 over the data, of what both answer",
    "values": "(n, t) float32 of that unit, of every row of the data",
    "reached": "(t, d) float32 of that unit, of every picture",
}
JUDGED = {"says": "(t, d) int64 class that the independent network takes each picture for"}
BESIDE = {
    "levels": "(t, d, ...) uint8 pictures",
    "says": "(t, d) int64 class that their own model takes them for",
    "second": "(t, d) int64 class that the independent network takes them for; -1 where there is none",
}
FOOLING = {
    "x": "(k, ...) float32 images in [0, 1] from the lower bound of inputs to the upper one",
    "confidence": "(k,) float32 of the class that each was made for",
    "levels": "(k, ...) uint8 the same images",
    "confidence_8bit": "(k,) float32",
    "second": "(k,) float32 by the independent network, of 8 bits; NaN where there is none",
    "second_says": "(k,) int64 class that it takes each for; -1",
}


class Matched(Record):
    """The unit of an independent network whose answers to the data follow those of an objective most closely."""

    layer: str
    unit: int
    correlation: float
    quantile: float  # share of rows that excite it no more than the picture does


class Picture(Record):
    """The picture of an objective that reaches most, beside the data."""

    target: int
    reached: float
    top: float  # largest value of the data
    quantile: float  # share of rows with no more
    reach: (
        float | None
    )  # how far it goes from the median of the data, where the largest row goes 1; None: all rows are alike
    kept: float | None  # share of that way left, under transformations that it was not made with
    top_kept: float | None  # the same of the largest row
    says: int  # class that the model takes it for
    matched: Matched | None

    @property
    def rose(self) -> bool:
        return self.reached > self.top


class Drawn(Record):
    """All pictures of one kind, at one layer."""

    kind: str
    layer: str  # "": the scores
    pictures: list[Picture]

    @property
    def risen(self) -> int:
        return sum(picture.rose for picture in self.pictures)


class Recognised(Record):
    """Pictures of classes that an independent network takes for what they were made for."""

    made_on: str
    right: Share
    own: Share  # by the model that they were made on


class Fooled(Record):
    """An image that was made from nothing."""

    label: int
    confidence: float
    confidence_8bit: float
    second: float | None  # confidence of the independent network
    second_says: int


class Fooling(Record):
    way: str  # "gradient" or "cppn"
    images: list[Fooled]

    @property
    def typical(self) -> float:
        """Median confidence after rounding to 8 bits."""
        return median(image.confidence_8bit for image in self.images)

    @property
    def passed_on(self) -> int:
        """How many the independent network takes for the same class."""
        return sum(image.second_says == image.label for image in self.images)


class PicturesVerdict(Verdict):
    rows: int  # of the data beside which pictures are judged
    independent: str  # the network that gives a second opinion; "" where there is none
    groups: list[Drawn]
    recognised: list[Recognised]
    fooling: list[Fooling]

    @property
    def pictures(self) -> list[Picture]:
        return [picture for group in self.groups for picture in group.pictures]

    def metrics(self) -> dict[str, Metric]:
        p = self.pictures
        kept, matched = [x.kept for x in p if x.kept is not None], [x.matched.quantile for x in p if x.matched]
        told = {"above_the_data": Metric.of(Share.of(sum(x.rose for x in p), len(p)))} if p else {}
        if kept:
            told["kept"] = _mean(kept, "of what was reached, under unseen transformations")
        if matched:
            told["matched_quantile"] = _mean(matched, "of the data, of the matched unit")
        told |= {f"recognised@{r.made_on}": Metric.of(r.right) for r in self.recognised}
        return told | {f"fooling_confidence@{f.way}": _confidence(f.typical) for f in self.fooling}


def _mean(values: list[float], unit: str) -> Metric:
    return metric(sum(values) / len(values), "a mean over chosen objectives", higher_is_better=True, unit=unit)


def _confidence(value: float) -> Metric:
    return metric(value, "a median over chosen classes", higher_is_better=False, unit="confidence")
