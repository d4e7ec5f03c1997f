"""A model as this study asks it: classes with confidences, and slopes of the score of one class against another's."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from blindspots.ball import L2
from blindspots.models.model import Model
from blindspots.objective import Objective
from blindspots.oracle import Oracle
from blindspots.problem import Need, Problem, Question


class Sight:
    """Answers to rows of any number, on the CPU. Inputs may lie outside of the box where the model has gradients."""

    def __init__(self, model: Model, chunk: int) -> None:
        self.oracle = Oracle(model, chunk=chunk)
        self.problem = Problem(Objective(directed=True, loss="margin"), L2().within(*model.box))

    @contextmanager
    def session(self) -> Iterator["Sight"]:
        """See `Oracle.session`."""
        with self.oracle.session():
            yield self

    def scores(self, x: Tensor) -> Tensor:
        """(B, C)"""
        return self.oracle.logits(x.to(self.oracle.device)).cpu()

    def labels(self, x: Tensor) -> Tensor:
        """(B,) int64"""
        return self.scores(x).argmax(1) if len(x) else torch.zeros(0, dtype=torch.int64)

    def slopes(self, x: Tensor, y: Tensor, other: Tensor) -> Tensor:
        """Gradients (B, D) of z_y - z_other at x."""
        device = self.oracle.device
        seen = self.oracle.look(self.problem, Question(y.to(device), other.to(device)), x.to(device), Need.GRAD)
        assert seen.grad is not None
        return seen.grad.cpu().flatten(1)


def has_gradients(model: Model) -> bool:
    """Whether slopes can be asked for."""
    return model.access is Need.GRAD
