"""A step length that halves where progress stalls: what APGD and ACG share."""

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Self

import torch
from torch import Tensor

from blindspots.attacks.attack import full, zeros
from blindspots.problem import Job
from blindspots.rows import Rows


def checkpoints(steps: int) -> list[int]:
    """The clocks at which progress is judged: w_0 = 0, 0.22 steps, then windows shorter by 0.03, at least 0.06."""
    window, shorter, least = (max(int(share * steps), 1) for share in (0.22, 0.03, 0.06))
    clocks = [0]
    while clocks[-1] + window <= steps:
        clocks.append(clocks[-1] + window)
        window = max(window - shorter, least)
    return clocks


@dataclass(frozen=True)
class Progress(Rows):
    """Croce and Hein 2020 (arXiv 2003.01690), section 3: conditions 1 and 2 at the checkpoints."""

    best: Tensor  # (B,) lowest loss so far
    last: Tensor  # (B,) loss of the iterate before
    checked: Tensor  # (B,) lowest loss at the last checkpoint
    gains: Tensor  # (B,) int64: steps since then that lowered the loss
    length: Tensor  # (B,) step length
    halved: Tensor  # (B,) bool: the last checkpoint halved it

    @classmethod
    def begin(cls, job: Job) -> Self:
        never, none = full(job, torch.inf), zeros(job)
        return cls(never, never, never, none, 2 * job.r, none.bool())

    def seen(self, loss: Tensor) -> Self:
        gains = self.gains + ((loss < self.last) & self.last.isfinite())
        return replace(self, best=self.best.minimum(loss), last=loss, gains=gains)

    def judged(self, t: Tensor, steps: int, rho: float) -> tuple[Self, Tensor]:
        """After the evaluation at clock `t`; and rows (B,) bool whose length was halved, to go on from their best."""
        clocks = checkpoints(steps)
        windows = torch.tensor([0] + [b - a for a, b in pairwise(clocks)], device=t.device)
        at = torch.searchsorted(torch.tensor(clocks, device=t.device), t)
        due = torch.isin(t, torch.tensor(clocks[1:], device=t.device))
        oscillates = self.gains <= rho * windows[at.clamp_max(len(clocks) - 1)]
        stalls = ~self.halved & (self.best >= self.checked)
        halve = due & (oscillates | stalls)
        judged = replace(
            self,
            length=torch.where(halve, self.length / 2, self.length),
            halved=torch.where(due, halve, self.halved),
            checked=torch.where(due, self.best, self.checked),
            gains=torch.where(due, 0, self.gains),
        )
        return judged, halve
