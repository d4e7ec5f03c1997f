"""The broken rows of a run, as its examples are made of them."""

from dataclasses import dataclass, fields

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


def _broken(c: Columns) -> Found:
    at = c["broken"]
    return Found(
        c["id"][at], unpack_inputs(c["x"])[at], c["y"][at], c["adversarial"], c["adversarial_prediction"],
        c["adversarial_confidence"], c["prediction_8bit"],
    )  # fmt: skip


def safe(word: str) -> str:
    """A word as part of a file name."""
    return "".join(c if c.isalnum() else "_" for c in word)[:40]
