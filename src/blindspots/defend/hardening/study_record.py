"""What the side studies of a hardening run found."""

from blindspots.records import Record, Share


class Compared(Record):
    """One attack or corruption on the network before and after; of all rows, how many stay right."""

    name: str  # e.g. "l2:0.291" or "blur"
    kind: str  # "norm", "unseen attack", "transfer" or "corruption"
    what: str  # a sentence: what was done to the rows
    before: Share
    after: Share


class RadiusCurve(Record):
    """Accuracy against radius: of all rows, the share that is right and whose smallest known change is larger."""

    norm: str  # e.g. "linf"
    radii: list[float]  # ascending, from 0
    before: list[float]
    after: list[float]


class Alignment(Record):
    """|<x, g>| / (|x| |g|), in [0, 1], of inputs x and input gradients g: the median over the rows."""

    before: float
    after: float


class Study(Record):
    rows: int
    compared: list[Compared]
    curve: RadiusCurve
    alignment: Alignment
    seconds: float
