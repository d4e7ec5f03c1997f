"""Goals of models with an answer for every pixel, or for every object of a picture.

Both count parts of a row, pixels or objects, of which so many have to be lost. A part has a margin of its own, and the
margin of the row is that of the part that decides: negative exactly where enough others are, too. Its gradient would
move one part alone, so that of a smooth loss over many parts takes its place.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from blindspots.errors import InputError
from blindspots.goals.goal import Goal, Measures

IGNORED = 255  # the usual label of pixels that do not count; negative ones do not either
_WRONG = 0.25  # SegPGD's weight of pixels that are wrong already: the mean of its schedule from 0 to 0.5
_TINY = 1e-12


@dataclass(frozen=True)
class Pixels(Goal):
    """Less than a share of the pixels keep their label: outputs (B, C, ...) are scores of classes, truths (B, ...).

    Its ways are the four losses of SEA (Croce, Singh and Hein 2024, Towards reliable evaluation and fast training of
    robust semantic segmentation models), so a protocol that tries every way tries all of them, and a row counts as
    fallen if any does it. Of SegPGD's loss (Gu et al. 2022) the weight is the mean of its schedule. SEA's schedule of
    radii is left out.

    Args:
        least: of the pixels that count (label from 0 to C - 1; 255 and below 0 do not), above 0 and at most 1.
    """

    least: float

    name: ClassVar[str] = "pixels"
    ways: ClassVar[tuple[str, ...]] = ("cross-entropy of right pixels", "SegPGD", "Jensen-Shannon", "spherical")

    def __post_init__(self) -> None:
        if not 0 < self.least <= 1:
            raise InputError(f"expected a share of pixels above 0 and at most 1, got {self.least}: write pixels:0.5")

    @property
    def spec(self) -> str:
        return f"{self.name}:{self.least!r}"

    @property
    def kept(self) -> str:
        return f"is right on at least {self.least:.0%} of the pixels"

    def scores(self, output: Tensor, truth: Tensor) -> Tensor:
        scores, label, counts = _pixels(output, truth)
        margins = _margins(scores, label).masked_fill(~counts, torch.inf)
        decides = _nth(margins, _needed(counts.sum(1), self.least))
        ways = [_with_slope_of(decides, loss) for loss in _losses(scores, label, counts, margins)]
        return torch.stack([torch.zeros_like(decides), *(-way for way in ways)], 1)

    def measures(self, output: Tensor, y: Tensor, clean: Tensor) -> Measures:
        """`right pixels`: their share."""
        scores, label, counts = _pixels(output, y)
        right = (_margins(scores, label) >= 0) & counts
        return {"right pixels": right.sum(1) / counts.sum(1)}

    def check(self, output: Tensor, y: Tensor, rows: Tensor) -> None:
        if output.ndim < 3 or output.shape[2:] != y.shape[1:] or output.shape[1] < 2 or y.is_floating_point():
            raise InputError(
                "expected scores (B, classes, ...) and whole labels (B, ...) of the same pixels, got "
                f"{tuple(output.shape)} and {y.dtype} {tuple(y.shape)}: give every pixel of every row a label"
            )
        strange = ((y >= output.shape[1]) & (y != IGNORED)).flatten(1).any(1)
        empty = ~((y >= 0) & (y != IGNORED)).flatten(1).any(1)
        for bad, what in ((strange, f"a label beyond its {output.shape[1]} classes"), (empty, "no pixel that counts")):
            if bool(bad.any()):
                row = int(rows[bad.nonzero()[0, 0]])
                raise InputError(f"expected labels of the model's classes, got {what} in row {row}: leave it out")


@dataclass(frozen=True)
class Missed(Goal):
    """At least a share of the objects of a picture are missed: no candidate of their class overlaps enough.

    Outputs (B, K, 4 + C): K candidates, each with the corners x1, y1, x2, y2 of a box and a score in [0, 1] for every
    class. Truths (B, M, 5): boxes with the number of their class, -1 in rows that only fill up.

    Args:
        share: of the objects of a row, above 0 and at most 1.
        overlap: intersection over union, at least.
        score: of the class, at least.
    """

    share: float
    overlap: float = 0.5
    score: float = 0.5

    name: ClassVar[str] = "missed"
    ways: ClassVar[tuple[str, ...]] = ("missed",)

    def __post_init__(self) -> None:
        if not (0 < self.share <= 1 and 0 < self.overlap <= 1 and 0 < self.score <= 1):
            raise InputError(
                "expected a share of objects, an overlap and a score above 0 and at most 1, got "
                f"{self.share}, {self.overlap}, {self.score}: write missed:1 or missed:1,0.5,0.5"
            )

    @property
    def spec(self) -> str:
        return f"{self.name}:{self.share!r},{self.overlap!r},{self.score!r}"

    @property
    def kept(self) -> str:
        return f"finds more than {1 - self.share:.0%} of the objects"

    def scores(self, output: Tensor, truth: Tensor) -> Tensor:
        margins, counts = self._found(output, truth)
        decides = _nth(margins, (self.share * counts.sum(1) - _TINY).ceil().long().clamp_min(1))
        held = counts & (margins >= 0)
        slope = _mean(margins.masked_fill(~counts, 0.0), torch.where(held.any(1, keepdim=True), held, counts))
        lowest = _with_slope_of(decides, slope)
        return torch.stack([torch.zeros_like(lowest), -lowest], 1)

    def measures(self, output: Tensor, y: Tensor, clean: Tensor) -> Measures:
        """`missed objects`: their share."""
        margins, counts = self._found(output, y)
        return {"missed objects": ((margins < 0) & counts).sum(1) / counts.sum(1)}

    def check(self, output: Tensor, y: Tensor, rows: Tensor) -> None:
        if output.ndim != 3 or output.shape[2] < 5 or y.ndim != 3 or y.shape[2] != 5:
            raise InputError(
                "expected candidates (B, K, 4 + classes) and objects (B, M, 5), each a box and then scores or its "
                f"class, got {tuple(output.shape)} and {tuple(y.shape)}: bring both to this form"
            )
        classes = y[..., 4]
        strange = (classes >= output.shape[2] - 4).any(1) | (classes < 0).all(1)
        if bool(strange.any()):
            row = int(rows[strange.nonzero()[0, 0]])
            raise InputError(
                f"expected at least one object of the model's {output.shape[2] - 4} classes in every row, got none or "
                f"another class in row {row}: leave it out"
            )

    def _found(self, output: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
        """How surely every object is found (B, M), below 0 where it is missed, and which are objects (B, M)."""
        boxes, said = output[..., :4], output[..., 4:]
        objects, classes = truth[..., :4].to(boxes.dtype), truth[..., 4].long()
        counts = classes >= 0
        own = said.gather(2, classes.clamp_min(0)[:, None].expand(-1, said.shape[1], -1))  # (B, K, M)
        each = torch.minimum(own - self.score, _overlap(boxes, objects) - self.overlap)
        return each.amax(1).masked_fill(~counts, torch.inf), counts


def _overlap(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of boxes (B, K, 4) and (B, M, 4): (B, K, M)."""
    low = torch.maximum(a[:, :, None, :2], b[:, None, :, :2])
    high = torch.minimum(a[:, :, None, 2:], b[:, None, :, 2:])
    both = (high - low).clamp_min(0).prod(-1)
    return both / (_area(a)[:, :, None] + _area(b)[:, None] - both).clamp_min(_TINY)


def _area(boxes: Tensor) -> Tensor:
    return (boxes[..., 2:] - boxes[..., :2]).clamp_min(0).prod(-1)


# ------------------------------------------------------------------ parts of a row


def _pixels(output: Tensor, truth: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Scores (B, C, P), labels (B, P) that are 0 where they do not count, and where they do."""
    label = truth.flatten(1)
    counts = (label >= 0) & (label != IGNORED)
    return output.flatten(2), label.masked_fill(~counts, 0).long(), counts


def _margins(scores: Tensor, label: Tensor) -> Tensor:
    """Of every pixel, the score of its label minus the largest other one: (B, P)."""
    own = scores.gather(1, label[:, None])
    return (own - scores.scatter(1, label[:, None], -torch.inf).amax(1, keepdim=True))[:, 0]


def _needed(parts: Tensor, least: float) -> Tensor:
    """How many of so many parts (B,) have to be lost, so that less than a share is left."""
    return parts - (least * parts - _TINY).ceil().long() + 1


def _nth(margins: Tensor, n: Tensor) -> Tensor:
    """The n-th smallest (B,) of margins (B, P), from 1."""
    return margins.sort(1).values.gather(1, (n - 1)[:, None])[:, 0]


def _with_slope_of(value: Tensor, smooth: Tensor) -> Tensor:
    """To the last bit `value` (B,), with the gradient of `smooth` (B,)."""
    return value.detach() + (smooth - smooth.detach())


def _mean(values: Tensor, where: Tensor) -> Tensor:
    return (values * where).sum(1) / where.sum(1).clamp_min(1)


def _losses(scores: Tensor, label: Tensor, counts: Tensor, margins: Tensor) -> Sequence[Tensor]:
    """What each way descends: (B,) each."""
    right = counts & (margins >= 0)
    entropy = F.cross_entropy(scores, label, reduction="none")
    weight = torch.where(right, 1 - _WRONG, _WRONG) * counts
    spherical = scores.gather(1, label[:, None])[:, 0] / scores.norm(dim=1).clamp_min(_TINY)
    return (
        -_mean(entropy, right),
        -(entropy * weight).sum(1) / counts.sum(1),
        -_mean(_jensen_shannon(scores, label), counts),
        _mean(spherical, right),
    )


def _jensen_shannon(scores: Tensor, label: Tensor) -> Tensor:
    """Between what is said of every pixel and its label: (B, P), at most ln 2."""
    own = scores.log_softmax(1).gather(1, label[:, None])[:, 0]
    p = own.exp()
    half = torch.log1p(p)  # ln 2m of the label's class, m = (p + 1) / 2; of any other class 2m = p
    return math.log(2) + (p * (own - half) - half) / 2
