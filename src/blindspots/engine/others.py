"""Other images as starting points, for attacks that have no scores to follow."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from blindspots.engine.jobs import Samples, Starts, fixed
from blindspots.objective import Objective
from blindspots.records import REJECTED
from blindspots.rows import pick


@dataclass(frozen=True)
class OtherImages:
    """For each row the nearest (l2) row of its shard that is predicted as the goal wants, else its own clean input.

    Args:
        samples: the rows of a shard; the choice depends on which rows these are, never on their order.
        prediction: (N,) int64 on their clean inputs; rows that are `REJECTED` do not qualify.
        goal: wants the target, or any class but the label.
    """

    samples: Samples
    prediction: Tensor
    objective: Objective

    def __call__(self, at: Tensor, target: Tensor) -> Tensor:
        s = self.samples
        wanted = target[:, None] == self.prediction if self.objective.targeted else s.y[at][:, None] != self.prediction
        wanted = wanted & (self.prediction != REJECTED)
        distance = torch.stack([(s.x - x).flatten(1).square().sum(1) for x in s.x[at]])
        nearest = distance.masked_fill(~wanted, torch.inf).argmin(1)
        return pick(wanted.any(1), s.x[nearest], s.x[at])


def starts(
    begins: Literal["clean", "other", "proved"], samples: Samples, prediction: Tensor, objective: Objective
) -> Starts:
    """Where searches begin: at the clean inputs, or at other images that are predicted (N,) as the goal wants."""
    return OtherImages(samples, prediction, objective) if begins == "other" else fixed(samples.x)
