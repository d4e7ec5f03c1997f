"""The broken rows of a run, as its examples are made of them."""

import csv
from collections.abc import Iterable
from dataclasses import dataclass, fields
from io import StringIO
from typing import Any

import torch
from torch import Tensor

from blindspots.packing import unpack_inputs
from blindspots.runs.experiment import Columns
from blindspots.runs.store import Parts


@dataclass(frozen=True)
class Found:
    """The broken rows of a run: k of them."""

    id: Tensor
    x: Tensor
    y: Tensor
    adversarial: Tensor
    prediction: Tensor
    confidence: Tensor
    prediction_8bit: Tensor

    @classmethod
    def of(cls, parts: Parts) -> "Found":
        broken = [_broken(columns) for columns in parts.below("shards")]
        return cls(*(torch.cat([getattr(part, f.name) for part in broken]) for f in fields(cls)))

    @property
    def tensors(self) -> dict[str, Tensor]:
        """By their names, as files keep them."""
        return {f.name: getattr(self, f.name).contiguous() for f in fields(self)}


def as_csv(head: Iterable[str], lines: Iterable[Iterable[Any]]) -> bytes:
    """A file with one line each."""
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(lines)
    return text.getvalue().encode()


def _broken(c: Columns) -> Found:
    at = c["broken"]
    return Found(
        c["id"][at], unpack_inputs(c["x"])[at], c["y"][at], c["adversarial"], c["adversarial_prediction"],
        c["adversarial_confidence"], c["prediction_8bit"],
    )  # fmt: skip


def safe(word: str) -> str:
    """A word as part of a file name."""
    return "".join(c if c.isalnum() else "_" for c in word)[:40]
