"""A shard whose run is proved again, and what the model says of its rows today."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from blindspots.ball import Ball
from blindspots.box import to_8bit
from blindspots.data import Dataset
from blindspots.experiments.evaluate.config import Batched
from blindspots.experiments.evaluate.verify_values import Reader
from blindspots.models.model import Model
from blindspots.packing import unpack_inputs
from blindspots.records import REJECTED
from blindspots.runs.again import EDGE
from blindspots.runs.experiment import Columns
from blindspots.sounds import DEPTHS, Depth
from blindspots.tables.threat import TableThreat

Array = NDArray[Any]
Problems = Iterable[str]


class Shard:
    """A shard whose columns have the right shapes, and what the model says of its rows today."""

    def __init__(
        self,
        name: str,
        start: int,
        columns: Columns,
        config: Batched,
        threat: Ball | TableThreat,
        model: Model,
        data: Dataset | None,
        reader: Reader | None = None,
    ) -> None:
        self.reader = reader
        self.name, self.start, self.columns, self.config, self.threat = name, start, columns, config, threat
        self.ball = threat.ball if isinstance(threat, TableThreat) else threat
        self.model, self.data = model, data
        self.on_edge = self.again = self.undecided = 0

    def __getitem__(self, name: str) -> Array:
        column: Array = self.columns[name].numpy()
        return column

    def __len__(self) -> int:
        return len(self["id"])

    @cached_property
    def x(self) -> Tensor:
        return unpack_inputs(self.columns["x"])

    @cached_property
    def id(self) -> Array:
        return np.arange(self.start, self.start + len(self))

    def of_broken(self, values: Array) -> Array:
        at: Array = values[self["broken"]]
        return at

    @cached_property
    def scores(self) -> "Scores":
        return self.look(self.x, np.arange(len(self)))

    @cached_property
    def adversarial_scores(self) -> "Scores":
        return self.look(self.columns["adversarial"], self["broken"])

    @cached_property
    def nearest_scores(self) -> "Scores":
        return self.look(self.columns["nearest"], self["broken"])

    @cached_property
    def rounded_scores(self) -> "Scores":
        points, depth = self.columns["adversarial"], self.config.depth
        if depth is None:
            return self.look(to_8bit(points, self.ball.whole), self["broken"])
        kept = _kept(points.numpy(), self.of_broken(self.x.numpy()), DEPTHS[depth])
        return self.look(torch.from_numpy(kept), self["broken"])

    def look(self, x: Tensor, rows: Array) -> "Scores":
        """What is said of points (m, ...) of the rows at the places `rows` (m,)."""
        output, y = self.outputs(x), self["y"][rows]
        if self.reader is None:
            return Scores(
                output if len(output) else np.zeros((0, 2 + self.model.rejects), np.float32), y, self.model.rejects
            )
        scores, edge = self.reader.scores(output, self["truth"][rows], self.clean_outputs[rows])
        return Scores(scores, y, False, edge)

    @cached_property
    def clean_outputs(self) -> Array:
        return self.outputs(self.x)

    def outputs(self, x: Tensor) -> Array:
        """In calls of as many rows as when the run was made, the last one filled up, so that the bits agree."""
        size, parts = self.config.chunk or 1, []
        for part in (x[i : i + size] for i in range(0, len(x), size)):
            filled = torch.cat([part, part[-1:].expand(size - len(part), *part.shape[1:])])
            if self.config.channels_last and x.ndim == 4:
                filled = filled.contiguous(memory_format=torch.channels_last)
            parts.append(self.model.logits(filled)[: len(part)].cpu())
        found: Array = torch.cat(parts).numpy() if parts else self.clean_outputs[:0]
        return found

    def told(self, bad: Any, id: Array, expected: str, found: str) -> Iterator[str]:
        """One sentence on the rows `id` that are `bad`."""
        if bad.any():
            count, first = int(bad.sum()), int(id[int(bad.argmax())])
            rows = f"row {first}" if count == 1 else f"{count:,} rows, the first of them row {first}"
            yield f"expected {expected}, found {found} in {rows} ({self.name})"


def _kept(points: Array, x: Array, depth: Depth) -> Array:
    """What files hold of `points`: the next levels on the side of the sounds `x`, which lie on levels themselves."""
    if depth.floating:
        return points
    k = points.astype(np.float64) * depth.half
    levels = np.where(points > x, np.floor(k), np.ceil(k)).clip(-depth.half, depth.half - 1)
    kept: Array = (levels / depth.half).astype(np.float32)
    return kept


@dataclass(frozen=True)
class Scores:
    """What the model says today: logits (m, C) of rows with labels y (m,); (m, C + 1) where the last one rejects."""

    logits: Array
    y: Array
    rejects: bool = False
    rounding: Array | None = None  # (m,) where the scores are read from other numbers

    @cached_property
    def edge(self) -> Array:
        """How much rounding may move a difference of two scores: (m,)."""
        if self.rounding is not None:
            return self.rounding
        edge: Array = EDGE * np.abs(self.logits).max(1, initial=0, where=np.isfinite(self.logits))
        return edge

    @property
    def classes(self) -> int:
        return int(self.logits.shape[1]) - self.rejects

    @cached_property
    def fits(self) -> Array:
        """(m,) whether the label is a class of the model."""
        fits: Array = (self.y >= 0) & (self.y < self.classes)
        return fits

    @cached_property
    def margin(self) -> Array:
        """(m,) score of the label, or of rejection if that is larger, minus the largest one of another class."""
        label = np.where(self.fits, self.y, 0)[:, None]
        held = np.take_along_axis(self.logits, label, 1)[:, 0]
        held = np.maximum(held, self.logits[:, -1]) if self.rejects else held
        others = self.logits[:, : self.classes].copy()
        np.put_along_axis(others, label, -np.inf, 1)
        margin: Array = held - others.max(1)
        return margin

    @cached_property
    def confidence(self) -> Array:
        """(m,) the largest probability."""
        confidence: Array = torch.from_numpy(self.logits).softmax(1).amax(1).numpy()
        return confidence

    def predicts(self, classes: Array) -> tuple[Array, Array]:
        """(m,) rows of which these classes are the prediction, and rows of which they may be, but for rounding."""
        first, rejected = self.logits.argmax(1), (classes == REJECTED) & self.rejects
        column = np.where(rejected, self.classes, classes)
        inside = rejected | ((classes >= 0) & (classes < self.classes))
        score = np.take_along_axis(self.logits, np.where(inside, column, 0)[:, None], 1)[:, 0]
        close = inside & (self.logits.max(1, initial=-np.inf) - score <= self.edge)
        same = inside & (first == column)
        return same, close & ~same
