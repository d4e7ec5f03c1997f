"""What a run says at its end, as data: the part of run.json that scripts rely on."""

from typing import Literal

from pydantic import BaseModel, ConfigDict
from scipy.stats import beta

from blindspots.findings import Finding

Interval = tuple[float, float]


def clopper_pearson(hits: int, rows: int, confidence: float = 0.95) -> Interval:
    """The exact two-sided interval of a binomial share (Clopper and Pearson 1934).

    Args: `hits` of `rows`, 0 <= hits <= rows. Returns (low, high) in [0, 1]; (0, 1) when there are no rows.
    """
    tail = (1 - confidence) / 2
    low = float(beta.ppf(tail, hits, rows - hits + 1)) if hits else 0.0
    high = float(beta.ppf(1 - tail, hits + 1, rows - hits)) if hits < rows else 1.0
    return low, high


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Share(_Record):
    """`hits` of `rows` with its exact 95 % interval."""

    hits: int
    rows: int
    share: float
    interval: Interval

    @classmethod
    def of(cls, hits: int, rows: int) -> "Share":
        return cls(hits=hits, rows=rows, share=hits / rows if rows else 0.0, interval=clopper_pearson(hits, rows))


class Stage(_Record):
    """One stage of a protocol: who entered, who fell, what it cost, why it ran."""

    name: str
    attack: str  # the constructor call, e.g. "PGD(steps=10, momentum=0.75)"
    why: str
    rows: int  # rows that entered
    won: int  # rows it broke
    forwards: int
    backwards: int
    seconds: float


class Distances(_Record):
    """Sizes, in the threat's own norm, of the perturbations found for rows that were right at first."""

    smallest: float
    median: float
    largest: float
    curve: list[tuple[float, float]]  # (radius, accuracy at that radius), ascending radii, at most 200 points


class Verdict(_Record):
    """Counts over all rows, with both denominators; costs are sums over all rows."""

    rows: int
    clean_accuracy: float
    clean_interval: Interval
    robust_accuracy: float  # of all rows
    interval: Interval
    robust_of_right: Share  # of the rows that were right at first
    robust_accuracy_8bit: float  # after the adversarial examples are rounded to 8 bits
    interval_8bit: Interval
    outcomes: dict[str, int]  # Result name -> rows
    distances: Distances | None  # None when nothing was broken
    forwards: int
    backwards: int
    forwards_per_row: float
    backwards_per_row: float
    forwards_unbilled: int  # padding of half-empty batches, checks and confirmations
    seconds: float
    stages: list[Stage]
    findings: list[Finding]


class ModelRecord(_Record):
    spec: str | None  # what `blindspots evaluate` was given; None for a network passed from Python
    name: str
    digest: str
    parameters: int
    bounds: tuple[float, float]


class DataRecord(_Record):
    spec: str | None
    name: str
    digest: str
    rows: int
    shape: tuple[int, ...]  # of one input, e.g. (3, 32, 32)
    class_names: list[str] | None


class Manifest(_Record):
    """Everything that decides the bits of a run. Resuming refuses a manifest that differs."""

    blindspots: str
    torch: str
    python: str
    machine: str
    device: str
    threads: int
    seed: int
    model: ModelRecord
    data: DataRecord
    threat: str  # e.g. "linf:0.15"
    protocol: str
    stages: list[str]  # repr of every stage of the protocol
    slots: int
    shard_rows: int
    precision: Literal["float32", "bf16"]
    channels_last: bool
    compile: bool


class ShardRecord(_Record):
    name: str
    rows: int
    sha256: str


class RunFile(_Record):
    """The whole of run.json."""

    manifest: Manifest
    command: str | None
    started: str  # ISO 8601, UTC
    shards: list[ShardRecord]
    verdict: Verdict | None  # None while the run is not finished
    seal: str | None  # SHA-256 over this file without the seal
