"""SGA: many small gradients are gathered before one step is taken."""

from dataclasses import dataclass

import torch
from torch import Tensor

from blindspots.data.splits import shuffled
from blindspots.experiments.universal.losses import clamped
from blindspots.experiments.universal.methods.method import Method
from blindspots.experiments.universal.parametrisation import Parametrisation
from blindspots.experiments.universal.task import Batch, Task


@dataclass(frozen=True)
class Gathered:
    """The shared numbers and the updates made."""

    p: Tensor  # (groups, ...)
    t: Tensor  # () int64


@dataclass(frozen=True)
class SGA(Method):
    """Liu et al. 2023 (ICCV, arXiv 2308.06015): stochastic gradient aggregation.

    A perturbation of its own goes ahead from small batch to small batch; the gradients that it meets are added up, and
    the sign of their sum (in l2 its direction) is the step of the real one. So single gradients do not vanish behind
    signs, and the perturbation does not follow any small batch. As the published code, with one difference: it draws
    every small batch anew from the large one, here each of `rounds` goes through all its rows once.

    Args:
        passes: over the fit rows; each looks `rounds` times at every row.
        batch: rows per step; paper: 250.
        small: rows per gradient; paper: 10.
        rounds: through a batch; paper: 4.
        stride: of both steps, as a share of the radius.
        most: where the cross-entropy of a row is clamped.
    """

    passes: int = 20
    batch: int = 250
    small: int = 10
    rounds: int = 4
    stride: float = 0.1
    most: float = 9.0

    def begin(self, space: Parametrisation, seed: int, updates: int) -> Gathered:
        return Gathered(space.blank(), torch.tensor(0))

    def step(self, task: Task, state: Gathered, batch: Batch) -> tuple[Gathered, Tensor]:
        ahead, total = state.p, torch.zeros_like(state.p)
        fooled = torch.zeros(len(batch.y), dtype=torch.bool, device=batch.y.device)
        for number in range(self.rounds):
            order = shuffled(len(batch.y), task.seed, int(state.t) * self.rounds + number).to(batch.y.device)
            for places in torch.split(order, self.small):
                slope = task.slope(ahead, batch.at(places), clamped("ce", self.most))
                ahead, total = self._against(task, ahead, slope.grad), total + slope.grad
                fooled[places] = slope.fooled
        return Gathered(self._against(task, state.p, total), state.t + 1), fooled

    def _against(self, task: Task, p: Tensor, grad: Tensor) -> Tensor:
        length = self.stride * task.space.reach
        return task.space.project(p - length * task.space.steepest(grad))
