"""What all updates of a search have in common: how a batch of rows is looked at."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from blindspots.attacks.views.views import View
from blindspots.ball import Ball
from blindspots.data.splits import Rows
from blindspots.experiments.universal.losses import Aimed
from blindspots.experiments.universal.parametrisation import Parametrisation
from blindspots.objective import Objective
from blindspots.oracle import Oracle
from blindspots.problem import Aim, Need, Problem, Question
from blindspots.random import keys

_KNOWN = 1 << 26  # scores of clean rows that are kept


@dataclass(frozen=True)
class Batch:
    """Some of the fit rows."""

    x: Tensor  # (B, *shape)
    scores: Tensor  # (B, C) of x
    y: Tensor  # (B,) what x is taken for
    group: Tensor  # (B,) which of the perturbations x gets
    key: Tensor  # (B,)

    def at(self, places: Tensor) -> "Batch":
        """Some of its rows."""
        return Batch(self.x[places], self.scores[places], self.y[places], self.group[places], self.key[places])


@dataclass(frozen=True)
class Slope:
    """What was seen with the perturbation on a batch."""

    fooled: Tensor  # (B,) bool
    grad: Tensor  # of the sum of the rows' losses in the shared numbers; to be descended


@dataclass
class Task:
    """What all updates of a search have in common.

    Args:
        space: how the shared numbers become changes of inputs.
        target: the class that all inputs are to be taken for; None: any but their own.
        surrogate: what is asked instead of the model where no data are: a network of activations' sizes.
    """

    oracle: Oracle
    space: Parametrisation
    threat: Ball
    target: int | None
    per_class: bool
    seed: int
    surrogate: Oracle | None = None
    known: dict[int, Tensor] = field(default_factory=dict)  # scores of clean rows by their place in the data

    @property
    def problem(self) -> Problem:
        return Problem(Objective(targeted=self.target is not None, loss="margin"), self.threat)

    def batch(self, rows: Rows, places: Tensor) -> Batch:
        """The rows at `places` with what the model makes of them."""
        x = rows.take(places)[0].to(self.oracle.device)
        scores = self._scores(rows.at[places], x)
        y = scores.argmax(1)
        key = keys(self.seed, rows.at[places].to(x.device))
        return Batch(x, scores, y, y if self.per_class else torch.zeros_like(y), key)

    def _scores(self, ids: Tensor, x: Tensor) -> Tensor:
        """Of clean rows, each looked at once as long as all fit in memory."""
        new = [i for i, id in enumerate(ids.tolist()) if id not in self.known]
        if new:
            answers = self.oracle.logits(x[new]).cpu()
            self.known.update(zip(ids[new].tolist(), answers, strict=True))
        scores = torch.stack([self.known[id] for id in ids.tolist()]).to(x.device)
        if len(self.known) * scores.shape[1] > _KNOWN:
            self.known.clear()
        return scores

    def changed(self, batch: Batch, views: Sequence[View], number: int) -> Batch:
        """The batch behind random transformations: new inputs, with what the model makes of them."""
        if not views:
            return batch
        x, t = batch.x, torch.full_like(batch.key, number)
        for view in views:
            x = view(x, batch.key, t, self.threat)
        scores = self.oracle.logits(x)
        y = scores.argmax(1)
        return Batch(x, scores, y, y if self.per_class else batch.group, batch.key)

    @property
    def forwards(self) -> int:
        return self.oracle.forwards + (self.surrogate.forwards if self.surrogate else 0)

    @property
    def backwards(self) -> int:
        return self.oracle.backwards + (self.surrogate.backwards if self.surrogate else 0)

    def targets(self, batch: Batch) -> Tensor:
        return batch.y if self.target is None else torch.full_like(batch.y, self.target)

    def counts(self, batch: Batch) -> Tensor:
        """Which rows say something of a perturbation: those that are not taken for the target as they are. (B,)."""
        return torch.ones_like(batch.y, dtype=torch.bool) if self.target is None else batch.y != self.target

    def slope(self, p: Tensor, batch: Batch, loss: Aimed) -> Slope:
        """One forward and one backward per row."""
        return self._slope(self.oracle, p, batch, loss(batch.scores))

    def slope_of_surrogate(self, p: Tensor, batch: Batch, aim: Aim) -> Slope:
        assert self.surrogate is not None
        return self._slope(self.surrogate, p, batch, aim)

    def _slope(self, oracle: Oracle, p: Tensor, batch: Batch, aim: Aim) -> Slope:
        painted = self.space.paint(p, batch.x, batch.group)
        y = batch.y if oracle is self.oracle else torch.zeros_like(batch.y)
        seen = oracle.look(self.problem, Question(y, self.targets(batch)), painted, Need.GRAD, aim=aim)
        assert seen.grad is not None
        return Slope(seen.won & self.counts(batch), self.space.pull_back(p, batch.x, batch.group, seen.grad))
