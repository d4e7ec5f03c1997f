"""What the reproduction of Szegedy et al. 2013 says, as data, and the figures that the paper prints."""

from collections.abc import Iterator
from typing import Literal

from scipy.stats import spearmanr

from blindspots.experiments.reproduce.config import Rule
from blindspots.records import Record, Share
from blindspots.runs.metric import Metric, Verdict, metric

ROWS = {
    "x": "(k, ...) float32 the training rows that are attacked, the first ones",
    "y": "(n,) int64 labels of all training rows",
    "half": "(n,) int64 0: a row is in P1, 1: in P2",
    "held_x": "(l, ...) float32 the test rows that are attacked, the first ones",
    "held_y": "(m,) int64 labels of all test rows",
}
SMALLEST = {
    "moved": "(k, ...) float32 the smallest change of every row that was found; without one as it was",
    "clean": "(k,) int64 what the network says of the unchanged rows",
    "prediction": "(k,) int64 what it says of the changed ones",
    "rms": "(k,) float32 root mean square of the change",
}
TABLE = {
    "prediction": "(lines, networks, k) int64 what every network says of what it is fed, line by line",
    "rms": "(lines, k) float32 root mean square of the change",
}

Group = Literal["clean", "adversarial", "noise", "control"]

# arXiv 1312.6199, Tables 1 to 4. Errors in percent as they are printed.
TABLE_1 = ((6.7, 7.4, 0.062), (10, 9.4, 0.1), (21.2, 20, 0.14), (0, 1.64, 0.058), (0, 1.54, 0.065), (0.57, 1.9, 0.086))
TABLE_2 = (
    (100, 11.7, 22.7, 2, 3.9, 2.7),
    (87.1, 100, 35.2, 35.9, 27.3, 9.8),
    (71.9, 76.2, 100, 48.1, 47, 34.4),
    (28.9, 13.7, 21.1, 100, 6.6, 2),
    (38.2, 14, 23.8, 20.3, 100, 2.7),
    (23.4, 16, 24.8, 9.4, 6.6, 100),
)
TABLE_2_NOISE = {0.1: (5.0, 10.1, 18.3, 0, 0, 0.8), 0.3: (15.6, 11.3, 22.7, 5, 4.3, 3.1)}
TABLE_3 = ((0, 2.4, 2, 0.062), (0, 2.5, 2.1, 0.059), (2.3, 0, 2.1, 0.058))  # error on P1, P2, test; distortion
TABLE_4 = ((100, 26.2, 5.9), (6.25, 100, 5.1), (8.2, 8.2, 100))
TABLE_4_AMPLIFIED = ((100, 98, 43), (96, 100, 22), (27, 50, 100))
TABLE_4_NOISE = {0.06: (2.2, 2.6, 2.4), 0.1: (2.6, 2.8, 2.7)}
AMPLIFIED_TO = 0.1


class Cell(Record):
    """Our share and the published one, 0 to 1; None: the paper has no such figure."""

    share: Share
    published: float | None = None


class Line(Record):
    """What inputs do that were made in one way, network by network.

    `rms`: mean over the changed rows of the root mean square of the change; the published one is over all rows or over
    these, the paper does not say. `in_box`: values were cut off at 0 and 1, as examples always are.
    """

    name: str
    group: Group
    rms: float
    published_rms: float | None
    in_box: bool
    cells: list[Cell]


class Table(Record):
    fed_to: list[str]
    lines: list[Line]


class Distance(Record):
    """How far the smallest changes go that one search found.

    Attributes:
        targets: "random": one wrong class per row, drawn at random; "nearest": whichever wrong class comes first.
        rms: mean root mean square of the changes, over the rows that were right at first.
        rms_of_all: over all rows, those that were wrong at first needing no change.
        left: rows that are still right: 0 of all means that accuracy fell to 0 %.
    """

    targets: Rule
    rms: float
    rms_of_all: float
    left: Share


class Network(Record):
    name: str
    spec: str
    trained_on: str  # "all", "P1" or "P2"
    parameters: int
    digest: str
    errors: dict[str, Cell]  # "train" and "test", or "P1", "P2" and "test"
    distances: list[Distance]  # the first one belongs to the examples that are fed to others
    published_rms: float


class ReproduceVerdict(Verdict):
    """`networks` are Table 1, `halves` Table 3."""

    networks: list[Network]
    table_2: Table
    halves: list[Network]
    table_4: Table

    def foreign(self) -> Iterator[tuple[Share, float]]:
        """Ours and the published error of networks that were fed what was not made for them."""
        for table in (self.table_2, self.table_4):
            made = [line for line in table.lines if line.group == "adversarial"]
            width = len(table.fed_to)
            for i, line in enumerate(made):
                for k, cell in enumerate(line.cells):
                    if k != i % width and cell.published is not None:
                        yield cell.share, cell.published

    def rank_correlation(self) -> float:
        """Of our errors with the published ones, over `foreign`; 0 where ours are all the same."""
        ours, theirs = zip(*((share.share, published) for share, published in self.foreign()), strict=True)
        return float(spearmanr(ours, theirs).statistic) if len(set(ours)) > 1 else 0.0

    def left(self) -> int:
        """Changed rows that their own network still reads as their label, over all networks."""
        return sum(n.distances[0].left.hits for n in (*self.networks, *self.halves))

    def metrics(self) -> dict[str, Metric]:
        cells = "cells of a table share their rows"
        pairs = list(self.foreign())
        apart = sum(abs(ours.share - theirs) for ours, theirs in pairs) / len(pairs)
        errors = {n.name: n.errors["test"].share for n in (*self.networks, *self.halves)}
        return {
            "rank_correlation": metric(self.rank_correlation(), cells, higher_is_better=True),
            "difference": metric(apart, cells, higher_is_better=False),
            "left": metric(self.left(), "networks share their rows", higher_is_better=False, unit="rows"),
            **{
                f"test_error@{name.replace('(', '-').rstrip(')')}": Metric.of(share, higher_is_better=False)
                for name, share in errors.items()
            },
        }
