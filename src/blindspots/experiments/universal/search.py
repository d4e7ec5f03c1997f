"""One perturbation, many inputs, random transformations: passes over the fit rows, one update per batch."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from blindspots.data.splits import Rows, shuffled
from blindspots.experiments.universal.methods.method import Method
from blindspots.experiments.universal.task import Task
from blindspots.experiments.universal.verdict import Pass


@dataclass
class SearchState:
    """How far a search has come: `state` is the method's own."""

    state: Any
    history: list[Pass] = field(default_factory=list)

    @property
    def passes(self) -> int:
        return len(self.history)


@dataclass(frozen=True)
class Stage:
    """What a search tells: in the pass in hand `fooled` of `counted` rows, `seen` of `rows` in all.

    In a search towards a class, rows that are taken for it as they are do not count.
    """

    name: str
    number: int  # of the pass, from 1
    passes: int
    seen: int
    rows: int
    fooled: int
    counted: int

    @property
    def said(self) -> str:
        """How far it is."""
        rate = f"{self.fooled / self.counted:.1%}" if self.counted else "none"
        which = "them" if self.counted == self.seen else f"the {self.counted:,} that count"
        return (
            f"{self.name}, pass {self.number} of at most {self.passes}: {self.seen:,} of {self.rows:,} rows, "
            f"{rate} of {which} fooled"
        )


Tell = Callable[[Stage], None]


def run(
    task: Task, method: Method, rows: Rows, at: SearchState, passes: int, name: str, tell: Tell
) -> Iterator[SearchState]:
    """Go on until `passes` passes are made, or until the method says that it is enough; yields after each of them."""
    while at.passes < passes and not method.enough(at.history):
        fooled = counted = seen = 0
        for places in torch.split(shuffled(len(rows), task.seed, at.passes), method.batch):
            batch = task.batch(rows, places)
            at.state, won = method.step(task, at.state, batch)
            counts = task.counts(batch)
            fooled, counted, seen = fooled + int((won & counts).sum()), counted + int(counts.sum()), seen + len(won)
            tell(Stage(name, at.passes + 1, method.passes, seen, len(rows), fooled, counted))
        rate = rate_of(task, at.state.p, rows) if method.judged else fooled / max(counted, 1)
        at.history.append(Pass(
            number=at.passes + 1, fooled_fit=rate, forwards=task.forwards, backwards=task.backwards
        ))  # fmt: skip
        yield at


def rate_of(task: Task, p: Tensor, rows: Rows) -> float:
    """The share of rows that the perturbation fools, of those that were not the target before."""
    fooled = counted = 0
    for places in torch.split(torch.arange(len(rows)), 64):
        batch = task.batch(rows, places)
        logits = task.oracle.logits(task.space.paint(p, batch.x, batch.group))
        won, counts = task.problem.objective.margin(logits, batch.y, task.targets(batch)) < 0, task.counts(batch)
        fooled, counted = fooled + int((won & counts).sum()), counted + int(counts.sum())
    return fooled / max(counted, 1)
