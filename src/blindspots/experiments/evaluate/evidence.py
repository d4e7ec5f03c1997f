"""What a finished evaluation left, read back: one table over all rows, and single inputs on demand."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from blindspots.ball import Ball
from blindspots.errors import InputError
from blindspots.experiments.evaluate.config import Batched
from blindspots.experiments.evaluate.features import restored, unit_words, where_words
from blindspots.experiments.evaluate.verdict import EvaluateVerdict
from blindspots.goals import Goal, Score, parse_goal
from blindspots.packing import unpack_inputs, unpacked_text
from blindspots.records import REJECTED
from blindspots.report.words import ThreatWords
from blindspots.runs.experiment import Columns
from blindspots.runs.store import Run
from blindspots.sounds import DEPTHS, Depth
from blindspots.tables.features import Features
from blindspots.tables.threat import TableThreat
from blindspots.texts.codes import as_texts
from blindspots.texts.lattice import Lattice, unpacked
from blindspots.texts.threats import TEXTS
from blindspots.texts.validity.validity import Validity

Array = NDArray[Any]
ALREADY_TARGET = 6


@dataclass(frozen=True)
class Table:
    """One entry per row of the run, (N,) each; the inputs themselves stay on disk."""

    id: Array
    y: Array
    prediction: Array  # `REJECTED` where the model refused an answer
    confidence: Array
    right: Array
    result: Array  # see `OUTCOMES`
    norm: Array  # of the nearest adversarial example, inf where not broken
    margin: Array  # the lowest that was seen: logit of the label minus the strongest other
    forwards: Array
    adversarial_prediction: Array  # -1 where not broken
    adversarial_confidence: Array  # NaN where not broken
    prediction_8bit: Array  # `REJECTED` where the rounded example is refused; -1 where not broken
    shard: Array  # which file the row is in,
    at: Array  # at which position,
    adversarial_at: Array  # and where its adversarial example is; -1 where not broken

    def __len__(self) -> int:
        return len(self.id)

    @property
    def broken(self) -> Array:
        return self.adversarial_at >= 0

    @property
    def stood(self) -> Array:
        stood: Array = self.right & ~self.broken & (self.result != ALREADY_TARGET)
        return stood

    @classmethod
    def joined(cls, parts: list[Self]) -> Self:
        return cls(*(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(cls)))


class Evidence:
    """The rows of a finished evaluation.

    Attributes:
        rows: one entry for every row; the inputs themselves are read when they are asked for.
    """

    def __init__(self, run: Run[Batched, EvaluateVerdict]) -> None:
        self.run, self.verdict, self.config = run, run.verdict, run.config
        self._world = run.manifest.world
        self._names = [name for name in run.parts if name.startswith("shards/")]
        self._open: tuple[int, Columns] | None = None  # the last shard that was read
        self._read: tuple[int, list[Lattice]] | None = None  # and its lattices

    @cached_property
    def rows(self) -> Table:
        return Table.joined([_table(self._shard(i), i) for i in range(len(self._names))])

    @property
    def name(self) -> str:
        return str(self._world["model"]["name"])

    @property
    def bounds(self) -> tuple[float, float]:
        low, high = self._world["model"]["bounds"]
        return low, high

    @property
    def shape(self) -> Sequence[int]:
        return tuple(self._world["data"]["shape"])

    @property
    def class_names(self) -> list[str] | None:
        if self.goal is not None:
            return list(self.goal.class_names)
        names: list[str] | None = self._world["data"]["class_names"]
        return names

    @cached_property
    def goal(self) -> Goal | None:
        """What counted as a success where the model does not classify."""
        if not self.config.of_values:
            return None
        words = str(self.config.goal)
        try:
            return parse_goal(words)
        except InputError:  # a function from Python, of which the name is left
            return Score(lambda output, truth: output, words)

    @property
    def texts(self) -> bool:
        """Whether the rows are texts."""
        return self.config.threat.partition(":")[0] in TEXTS

    @cached_property
    def checks(self) -> Validity:
        """What changed texts had to pass."""
        return Validity.from_json(unpacked_text(self.run.parts["preflight"]["validity"]))

    def fails(self, row: int) -> list[str]:
        """The checks that the adversarial text of a broken row does not pass."""
        at = int(self.rows.adversarial_at[row])
        values = self._shard(int(self.rows.shard[row]))["checked"][at].numpy()
        pairs = zip(self.checks.checks.items(), values, strict=True)
        limits = self.checks.thresholds
        return [name for (name, check), value in pairs if not check.passes(value[None], limits[name].value).all()]

    def path(self, row: int) -> list[tuple[int, int, float]]:
        """Places, candidates and the label's probability after every exchange of a broken row's text."""
        columns = self._shard(int(self.rows.shard[row]))
        mine = columns["path_of"] == int(self.rows.adversarial_at[row])
        return list(zip(*(columns[f"path_{n}"][mine].tolist() for n in ("place", "choice", "score")), strict=True))

    def text(self, row: int) -> str:
        """The text of a row."""
        return as_texts(torch.from_numpy(self.clean(row)[None]))[0]

    def adversarial_text(self, row: int) -> str:
        """What a broken row's text was changed to."""
        return as_texts(torch.from_numpy(self.adversarial(row)[None]))[0]

    def lattice(self, row: int) -> Lattice:
        """What could change of a text."""
        shard = int(self.rows.shard[row])
        if self._read is None or self._read[0] != shard:
            self._read = shard, unpacked(self._shard(shard)["lattices"].numpy().tobytes())
        return self._read[1][int(self.rows.at[row])]

    @property
    def threat(self) -> ThreatWords:
        if self.texts:
            return ThreatWords(self.config.threat, self.bounds, candidates=self.config.candidates or "")
        ball, c = self.ball, self.config
        unit = unit_words(ball, c.scale) or ("in the unit of each column" if self.table else "")
        return ThreatWords(c.threat, self.bounds, unit, where_words(ball, self.shape))

    @cached_property
    def allowed(self) -> Ball | TableThreat:
        """The threat of rows of numbers, with its tensors as the run kept them."""
        return restored(self.config.threat, self.bounds, self.run.parts["preflight"])

    @property
    def ball(self) -> Ball:
        """Whatever has to hold besides."""
        return self.allowed.ball if isinstance(self.allowed, TableThreat) else self.allowed

    @property
    def table(self) -> Features | None:
        """What a feature file said of the columns."""
        return self.allowed.table if not self.texts and isinstance(self.allowed, TableThreat) else None

    @property
    def rate(self) -> int | None:
        """Samples per second, where the rows are sounds."""
        return self.config.rate

    @property
    def depth(self) -> Depth | None:
        """What files keep of a sample, where the rows are sounds."""
        return DEPTHS[self.config.depth] if self.config.depth else None

    def clean(self, row: int) -> Array:
        """The input of a row, float32 of the data's shape, as the model got it."""
        x = self._shard(int(self.rows.shard[row]))["x"][int(self.rows.at[row])]
        one: Array = unpack_inputs(x).numpy()
        return one

    @cached_property
    def may_be_pictures(self) -> bool:
        """Whether rows have axes, or are flat and come from 8 bits; others are rows of a table."""
        return len(self.shape) > 1 or self._shard(0)["x"].dtype == torch.uint8

    def adversarial(self, row: int) -> Array:
        """The adversarial example of a broken row, float32 of the data's shape."""
        one: Array = self._shard(int(self.rows.shard[row]))["adversarial"][int(self.rows.adversarial_at[row])].numpy()
        return one

    def outputs(self, row: int) -> tuple[float, float] | None:
        """Of a model of one number: what it says of the input of a broken row, and of its adversarial example."""
        shard, at = self._shard(int(self.rows.shard[row])), int(self.rows.at[row])
        names = unpacked_text(shard["measure_names"]).splitlines() if self.goal is not None else []
        if "output" not in names or self.threat.radius is None:  # without a radius the nearest example is kept
            return None
        column = names.index("output")
        return float(shard["measures"][at, column]), float(shard["worst_measures"][at, column])

    def size(self, row: int) -> float:
        """How far the adversarial example of a broken row is from its input, in the threat's norm."""
        return float(self.allowed.measured(self.adversarial(row)[None], self.clean(row)[None])[0])

    def class_name(self, label: int) -> str:
        if label == REJECTED:
            return "rejected"
        names = self.class_names
        return names[label] if names and 0 <= label < len(names) else str(label)

    def _shard(self, index: int) -> Columns:
        if self._open is None or self._open[0] != index:
            self._open = index, self.run.parts[self._names[index]]
        return self._open[1]


def _table(columns: Columns, shard: int) -> Table:
    c = {name: columns[name].numpy() for name in columns if name not in ("x", "adversarial", "nearest")}
    broken, rows = c["broken"], len(c["id"])

    def spread(values: Array, elsewhere: float) -> Array:
        column = np.full(rows, elsewhere, values.dtype)
        column[broken] = values
        return column

    found = {name: spread(c[name], -1) for name in ("adversarial_prediction", "prediction_8bit")}
    same = ("id", "y", "prediction", "confidence", "right", "result", "norm", "margin", "forwards")
    return Table(
        **{name: c[name] for name in same},
        **found,
        adversarial_confidence=spread(c["adversarial_confidence"], np.nan),
        shard=np.full(rows, shard),
        at=np.arange(rows),
        adversarial_at=spread(np.arange(len(broken)), -1),
    )
