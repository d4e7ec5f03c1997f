"""What verdicts are made of: shares with exact intervals, and what a run says of its model and its data."""

from typing import Any

from pydantic import BaseModel, ConfigDict

Interval = tuple[float, float]
REJECTED = -1  # among predictions: the model refused an answer
NO_TARGET = -1  # among targets: any wrong class will do


def clopper_pearson(hits: int, rows: int, confidence: float = 0.95) -> Interval:
    """The exact two-sided interval of a binomial share (Clopper and Pearson 1934).

    Args: `hits` of `rows`, 0 <= hits <= rows. Returns (low, high) in [0, 1]; (0, 1) when there are no rows.
    """
    from scipy.stats import beta  # here: settings are read, and help is shown, without it

    tail = (1 - confidence) / 2
    low = float(beta.ppf(tail, hits, rows - hits + 1)) if hits else 0.0
    high = float(beta.ppf(1 - tail, hits + 1, rows - hits)) if hits < rows else 1.0
    return low, high


class Record(BaseModel):
    """Immutable, and nothing but its fields is accepted."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Share(Record):
    """`hits` of `rows` with its exact 95 % interval."""

    hits: int
    rows: int
    share: float
    interval: Interval

    @classmethod
    def of(cls, hits: int, rows: int) -> "Share":
        return cls(hits=hits, rows=rows, share=hits / rows if rows else 0.0, interval=clopper_pearson(hits, rows))


class ModelRecord(Record):
    spec: str | None  # what `blindspots evaluate` was given; None for a network passed from Python
    name: str
    digest: str
    parameters: int
    bounds: tuple[float, float]
    rejects: bool = False  # it may refuse an answer

    @classmethod
    def of(cls, model: Any) -> "ModelRecord":
        """Of a `models.Model`."""
        return cls(**{name: getattr(model, name) for name in cls.model_fields})


_OWN = ("rows", "layout", "values", "features")  # of `DataRecord`: datasets of users need not have them


class DataRecord(Record):
    spec: str | None
    name: str
    digest: str
    rows: int
    shape: tuple[int, ...]  # of one input, e.g. (3, 32, 32)
    class_names: list[str] | None
    layout: str | None = None  # what its axes were said to mean
    values: bool = False  # y are numbers, and no classes
    features: str | None = None  # the file that says what its columns are

    @classmethod
    def of(cls, data: Any) -> "DataRecord":
        """Of a `data.Dataset`."""
        named = {name: getattr(data, name) for name in cls.model_fields if name not in _OWN}
        layout, values = getattr(data, "layout", None), getattr(data, "values", False)
        return cls(rows=len(data), layout=layout, values=values, features=getattr(data, "told", None), **named)
