"""What a transfer run says, as data."""

import re

from blindspots.records import Interval, Record, Share
from blindspots.runs.experiment import Columns
from blindspots.runs.metric import Metric, Verdict, metric
from blindspots.runs.store import Parts

CLEAN = {
    "x": "(n, ...) input: uint8 where every value is k / 255 exactly, else float32",
    "y": "(n,) int64 label",
    "prediction": "(models, n) int64, -1 where a score is not finite",
}
SOURCE = {
    "moved": "(n, ...) float32 what the search ended with: rows without an example as the best attempt",
    "target": "(n,) int64 target class, -1 where there is none",
    "cost": "(1, 2) int64 forwards and backwards that the search took",
}
ANSWERS = {
    "own_clean": "(n,) int64 the source's prediction on the clean input",
    "own": "(n,) int64 the source's prediction on what was fed",
    "found": "(n,) bool: an example was found before it was amplified, or the source was wrong at first",
    "norm": "(n,) float32 size of the change in the threat's own norm",
    "rms": "(n,) float32 root mean square of the change, of texts the number of exchanges",
    "noise_rms": "(n,) float32 the same of the noise",
    "prediction": "(models, n) int64 on what was fed, -1 where a score is not finite",
    "noise_prediction": "(models, n) int64 on the noise of the same size",
}


class Matrices(Record):
    """Rows: whom the examples were made for; columns: the model that they were fed to. Shares of all rows if not said.

    An error is another answer than the label. `agreement`: it is also the wrong class that the source itself gives.
    """

    sources: list[str]
    error: list[list[float]]
    error_interval: list[list[Interval]]
    error_of_right: list[list[Share]]  # of the rows that both got right at first
    agreement: list[list[float]]
    agreement_interval: list[list[Interval]]
    agreement_of_errors: list[list[Share]]  # of the rows that both get wrong
    targeted: list[list[Share]] | None  # the target is reached, of the rows that the model did not take for it anyway
    noise: list[list[float]]  # error under noise as large, row by row, as the source's changes
    noise_interval: list[list[Interval]]
    noise_p_value: list[list[float]]  # one-sided sign test: noise would do as well, by the rows on which they differ
    distortion: list[float]  # mean root mean square of the changes, over the rows that were changed
    noise_distortion: list[float]
    norm: list[float]  # mean size in the threat's own norm, over the rows that were changed
    changed: list[int]  # rows
    found: list[Share]  # the source is fooled before anything is amplified; towards classes: of the rows as above
    forwards: list[int]
    backwards: list[int]


class TransferVerdict(Matrices, Verdict):
    """`sources` are the models here; what was made for their averages is in `ensemble`.

    `ensemble`: its first source is the average of all models with gradients; where there are three or more of them,
    the next ones leave one out each, so that the column of that model is an attack without any access to it.
    """

    models: list[str]
    rows: int
    clean_error: list[Share]
    ensemble: Matrices | None

    def metrics(self) -> dict[str, Metric]:
        """Means over the cells off the diagonal, then every cell: error@SOURCE/MODEL."""
        names = [re.sub(r"[^\w.:\-]+", "-", name) for name in self.models]
        cells = [(i, j) for i in range(len(names)) for j in range(len(names))]
        mean = "cells of a matrix share their rows"
        return {
            "transfer_error": metric(off_diagonal(self.error), mean, higher_is_better=False),
            "noise_error": metric(off_diagonal(self.noise), mean, higher_is_better=False),
            **{
                f"error@{names[i]}/{names[j]}": Metric(
                    value=self.error[i][j], interval=self.error_interval[i][j], higher_is_better=False
                )
                for i, j in cells
            },
            **{
                f"clean_error@{name}": Metric.of(share, higher_is_better=False)
                for name, share in zip(names, self.clean_error, strict=True)
            },
        }


def off_diagonal(matrix: list[list[float]]) -> float:
    """The mean of what models say of examples that were made for others."""
    values = [value for i, row in enumerate(matrix) for j, value in enumerate(row) if i != j]
    return sum(values) / len(values)


def made_for(parts: Parts, number: int) -> Columns:
    """What was made for source `number` (from 1), and what came of it: `SOURCE`, a cost per part, and `ANSWERS`."""
    return {**parts.joined(f"sources/{number}"), **parts[f"answers/{number}"]}
