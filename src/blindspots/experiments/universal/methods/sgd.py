"""SGD: descent on a clamped loss, one batch after the other."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from blindspots.errors import InputError
from blindspots.experiments.universal.losses import SharedLoss, clamped
from blindspots.experiments.universal.methods.method import Candidate, Method
from blindspots.experiments.universal.parametrisation import Parametrisation
from blindspots.experiments.universal.task import Batch, Task
from blindspots.experiments.universal.transformations import parse_transformations
from blindspots.experiments.universal.verdict import Pass
from blindspots.geometry import TINY
from blindspots.random import keys, sign
from blindspots.rows import col, pick

Optimizer = Literal["sign", "adam"]
_ACROSS = 4.0  # radii: twice the way that all steps together have to be able to make, since they shrink evenly


@dataclass(frozen=True)
class Descent:
    """The shared numbers and what an optimiser remembers."""

    p: Tensor  # (groups, ...)
    first: Tensor  # like p: moving mean of directions
    second: Tensor  # like p: moving mean of their squares
    t: Tensor  # (groups,) updates of each group
    updates: Tensor  # () int64: updates that there will be, of all groups together
    made: Tensor  # () int64: updates made


@dataclass(frozen=True)
class SGD(Method):
    """Shafahi et al. 2020 (AAAI, arXiv 1811.11304): stochastic gradients of a clamped cross-entropy.

    The paper's steps are signs of the gradient or Adam's. Here signs are those of a moving mean of
    normalised gradients, and steps shrink to nothing: in the last passes the perturbation settles. Where there are few
    updates, they are longer: all together they always lead across the ball.

    Args:
        passes: over the fit rows.
        batch: rows per update.
        stride: the longest step, as a share of the radius, of at least 40 updates.
        momentum: of the moving mean; 0 for the paper's.
        most: where the loss of a row is clamped.
        loss: "ce", "margin" or "cosine" (between scores with and without the perturbation; Zhang et al. 2021).
        optimizer: "sign" or "adam".
        views: random transformations of the inputs, joined by "+": flip, crop; "none".
        period: of the perturbation in pixels, see `Additive`; 0: it does not repeat itself.
        patience: the search ends when so many passes have fooled no more fit rows than one before them, once there
            are any.
    """

    passes: int = 10
    batch: int = 16
    stride: float = 0.1
    momentum: float = 0.9
    most: float = 9.0
    loss: SharedLoss = "ce"
    optimizer: Optimizer = "sign"
    views: str = "none"
    period: int = 0
    patience: int = 3

    @property
    def targeted(self) -> bool:
        return self.loss != "cosine"

    def check(self, shape: tuple[int, ...]) -> None:
        super().check(shape)
        parse_transformations(self.views)
        if self.period < 0:
            raise InputError(f"expected a period of at least 1, or 0 for none, got {self.period}: change it")
        if self.period and len(shape) < 2:
            raise InputError(f"expected images where there is a period, got inputs of shape {shape}: leave it out")

    def enough(self, history: Sequence[Pass]) -> bool:
        rates = [p.fooled_fit for p in history]
        before, lately = rates[: -self.patience], rates[-self.patience :]
        return bool(before) and 0 < max(before) >= max(lately)

    def begin(self, space: Parametrisation, seed: int, updates: int) -> Descent:
        cosine = self.loss == "cosine"  # at zero it is the largest there is, so it has no slope
        p = random_numbers(space, seed, self.stride) if cosine else space.blank()
        return Descent(
            p, torch.zeros_like(p), torch.zeros_like(p), torch.zeros(len(p)), torch.tensor(updates), torch.tensor(0)
        )

    def candidates(self, shape: tuple[int, ...]) -> list[Candidate]:
        return [Candidate(self.period or None)]

    def step(self, task: Task, state: Descent, batch: Batch) -> tuple[Descent, Tensor]:
        seen = task.changed(batch, parse_transformations(self.views), int(state.made))
        slope = task.slope(state.p, seen, clamped(self.loss, self.most))
        return self.descend(task, state, slope.grad, seen.group), slope.fooled

    def descend(self, task: Task, state: Descent, grad: Tensor, group: Tensor) -> Descent:
        """One step against the gradient, for the groups that are in the batch."""
        size = col(grad.flatten(1).abs().mean(1).clamp_min(TINY), grad)
        first = self._mean(state.first, -grad / size, self.momentum)
        second = self._mean(state.second, (grad / size).square(), 0.99)
        t = state.t + 1
        stride = (_ACROSS / (state.updates + 1)).clamp_min(self.stride)
        length = stride * task.space.reach * (1 - state.made / state.updates)
        moved = task.space.project(state.p + length * self._direction(task.space, first, second, t))
        here = torch.zeros(len(grad), dtype=torch.bool, device=grad.device).index_fill(0, group, True)
        new = (moved, first, second, t)
        old = (state.p, state.first, state.second, state.t)
        p, first, second, t = (pick(here, n, o) for n, o in zip(new, old, strict=True))
        return Descent(p, first, second, t, state.updates, state.made + 1)

    def _mean(self, mean: Tensor, new: Tensor, kept: float) -> Tensor:
        return kept * mean + (1 - kept) * new

    def _direction(self, space: Parametrisation, first: Tensor, second: Tensor, t: Tensor) -> Tensor:
        if self.optimizer == "sign":
            return space.steepest(first)
        t = col(t, first)
        mean, square = first / (1 - self.momentum**t), second / (1 - 0.99**t)
        return space.unit(mean / square.sqrt().clamp_min(TINY))


def random_numbers(space: Parametrisation, seed: int, share: float) -> Tensor:
    """Where a search begins that cannot begin at zero: random signs, as large as a share of the radius."""
    blank = space.blank()
    key = keys(seed, torch.arange(len(blank)))
    drawn = sign(key, torch.zeros_like(key), 0, blank.shape[1:])
    return space.project(drawn * share * space.reach)
