"""The searches to run: rows of a shard, and for each of them its jobs, one after the other."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from blindspots.goals import Goal
from blindspots.oracle import Oracle, one_hot_prediction
from blindspots.problem import Job, Need
from blindspots.random import keys
from blindspots.rows import Rows
from blindspots.threat import Threat


@dataclass(frozen=True)
class Samples(Rows):
    """The rows of a shard."""

    id: Tensor  # (N,) int64: the row's index in the data, which decides its randomness
    x: Tensor  # (N, ...) float32
    y: Tensor  # (N,) int64 label of the scores that the goal reads; before that, what the data say of the row
    r: Tensor  # (N,) radius, inf for the smallest distance
    own: Rows | None = None  # what the threat allows each row alone
    against: Tensor | None = None  # (N, ...) what the goal compares outputs with; None: the label

    @property
    def truth(self) -> Tensor:
        return self.y if self.against is None else self.against

    @classmethod
    def within(cls, threat: Threat, id: Tensor, x: Tensor, y: Tensor) -> "Samples":
        """Rows that are all searched in the same threat, before a goal has seen them: y are the data's."""
        return cls(id, x, y, threat.reach(x), threat.limits(x))

    def draws(self, oracle: Oracle, seed: int, first: int) -> Tensor | None:
        """(N, 2) int64: keys and numbers of the first draws that the oracle shows of its scene; None without one."""
        if oracle.scene is None:
            return None
        return torch.stack([keys(seed, self.id), torch.full_like(self.id, first)], 1)

    def judged(self, goal: Goal, output: Tensor) -> "Samples":
        """The same rows as the goal sees them, with `output` (N, ...), what the model says of their clean inputs."""
        truth = goal.truth(output, self.y)
        return replace(self, against=truth, y=goal.label(truth))


def visible(scores: Tensor, need: Need) -> Tensor:
    """Scores (N, C) as far as an attack may see them: of the predicted class alone where it sees labels."""
    return one_hot_prediction(scores) if need is Need.LABEL else scores


Starts = Callable[[Tensor, Tensor], Tensor]


def fixed(points: Tensor) -> Starts:
    """Every search of a sample begins at its entry of `points` (N, ...), whatever its target."""
    return lambda at, target: points[at]


@dataclass(frozen=True)
class Jobs:
    """For each sample: restarts x targets, in that order. A sample's next job begins when the last one has failed.

    So once a job succeeds, the rest of its group is never run; and that depends on its own sample alone.

    Args:
        samples: the rows.
        scores: (N, C) on the clean inputs, as the attack may see them.
        start: where the searches of the samples at the places (B,) with the targets (B,) begin: (B, ...).
        targets: (N, K) int64 target classes, or None for searches without a target.
        restarts: how often every target is tried, each time with its own randomness.
        seed, stream: decide the randomness; `stream` differs between the stages of a protocol.
    """

    samples: Samples
    scores: Tensor
    start: Starts
    targets: Tensor | None
    restarts: int
    seed: int
    stream: int

    @property
    def per_sample(self) -> int:
        return self.restarts * (1 if self.targets is None else self.targets.shape[1])

    def fetch(self, at: Tensor, number: Tensor) -> Job:
        """The jobs `number` (B,) of the samples at the places `at` (B,)."""
        s = self.samples[at]
        target = (
            s.y if self.targets is None else self.targets[at].gather(1, (number % self.targets.shape[1])[:, None])[:, 0]
        )
        key = keys(self.seed, s.id, number, torch.full_like(number, self.stream))
        return Job(s.x, s.r, self.start(at, target), s.y, target, key, self.scores[at], s.truth, own=s.own)
