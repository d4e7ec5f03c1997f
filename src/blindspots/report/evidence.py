"""What a finished run left on disk, read back: run.json, one table over all rows, and single inputs on demand."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from blindspots.engine.result import Result
from blindspots.errors import InputError
from blindspots.journal import read_run_file, shard_path, unfinished
from blindspots.records import REJECTED
from blindspots.threat import parse_threat
from blindspots.verdict import Manifest, ShardRecord, Verdict

Array = NDArray[Any]


@dataclass(frozen=True)
class Table:
    """One entry per row of the run, (N,) each; the inputs themselves stay on disk."""

    id: Array
    y: Array
    prediction: Array  # `REJECTED` where the model refused an answer
    confidence: Array
    right: Array
    result: Array  # see engine.result.Result
    norm: Array  # of the nearest adversarial example, inf where not broken
    margin: Array  # the lowest that was seen: logit of the label minus the strongest other
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
        stood: Array = self.right & ~self.broken & (self.result != Result.ALREADY_TARGET)
        return stood

    @classmethod
    def joined(cls, parts: list[Self]) -> Self:
        return cls(*(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(cls)))


@dataclass(frozen=True)
class Run:
    """A finished run folder."""

    folder: Path
    manifest: Manifest
    command: str | None
    started: str
    shards: list[ShardRecord]
    verdict: Verdict
    rows: Table

    def clean(self, row: int) -> Array:
        """The input of a row, float32 of the data's shape, as the model got it."""
        x = self._one("x", int(self.rows.shard[row]), int(self.rows.at[row]))
        return x / np.float32(255) if x.dtype == np.uint8 else x

    def adversarial(self, row: int) -> Array:
        """The adversarial example of a broken row, float32 of the data's shape."""
        return self._one("adversarial", int(self.rows.shard[row]), int(self.rows.adversarial_at[row]))

    def size(self, row: int) -> float:
        """How far the adversarial example of a broken row is from its input, in the threat's norm."""
        change = self.adversarial(row) - self.clean(row)
        return float(parse_threat(self.manifest.threat).norm(torch.from_numpy(change[None])))

    def _one(self, name: str, shard: int, at: int) -> Array:
        with _opened(shard_path(self.folder, self.shards[shard])) as file:
            one: Array = file.get_slice(name)[at : at + 1][0]
            return one

    def class_name(self, label: int) -> str:
        if label == REJECTED:
            return "rejected"
        names = self.manifest.data.class_names
        return names[label] if names and 0 <= label < len(names) else str(label)


def read_run(folder: Path) -> Run:
    """Read a finished run.

    Raises InputError when run.json is missing, unreadable or unfinished, or when a shard is missing or not the one
    that was recorded.
    """
    file = read_run_file(folder)
    if file.verdict is None:
        raise unfinished(folder, "evaluate")
    rows = Table.joined([_read_shard(folder, record, i) for i, record in enumerate(file.shards)] or [_no_rows()])
    if len(rows) != file.verdict.rows:
        raise InputError(
            f"expected the {file.verdict.rows:,} rows of the verdict in the shards of {folder}, found {len(rows):,}: "
            "the folder is not whole, so restore it or run again"
        )
    return Run(folder, file.manifest, file.command, file.started, file.shards, file.verdict, rows)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with safe_open(path, framework="numpy") as file:
            yield file
    except SafetensorError as error:
        raise InputError(
            f"expected a whole shard of a run at {path}, but it cannot be read ({error}): restore it or run again"
        ) from error


def _read_shard(folder: Path, record: ShardRecord, index: int) -> Table:
    path = shard_path(folder, record)
    if not path.is_file():
        raise InputError(f"expected the shard {path} that run.json lists, but it is missing: restore it or run again")
    with path.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != record.sha256:
            raise InputError(
                f"expected the bytes that run.json recorded in {path}, found others: restore it or run again"
            )
    with _opened(path) as tensors:
        return _table(tensors, index)


def _table(tensors: Any, shard: int) -> Table:
    broken = tensors.get_tensor("broken")
    rows = len(tensors.get_tensor("id"))

    def spread(values: Array, elsewhere: float) -> Array:
        column = np.full(rows, elsewhere, values.dtype)
        column[broken] = values
        return column

    found = {name: spread(tensors.get_tensor(name), -1) for name in ("adversarial_prediction", "prediction_8bit")}
    return Table(
        **{
            name: tensors.get_tensor(name)
            for name in ("id", "y", "prediction", "confidence", "right", "result", "norm", "margin")
        },
        **found,
        adversarial_confidence=spread(tensors.get_tensor("adversarial_confidence"), np.nan),
        shard=np.full(rows, shard),
        at=np.arange(rows),
        adversarial_at=spread(np.arange(len(broken)), -1),
    )


def _no_rows() -> Table:
    booleans, whole = np.zeros(0, bool), np.zeros(0, np.int64)
    return Table(**{f.name: booleans if f.name == "right" else whole for f in fields(Table)})
