"""One perturbation, many inputs, random transformations: passes over the fit rows, one update per batch."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from blindspots.data.splits import Rows, shuffled
from blindspots.universal.methods.method import Method
from blindspots.universal.record import Pass
from blindspots.universal.task import Task


@dataclass
class Course:
    """How far a search has come: what a checkpoint holds."""

    state: Any
    passes: int = 0
    seconds: float = 0.0
    history: list[Pass] = field(default_factory=list)


Tell = Callable[[Course, int, int, int, int], None]  # of this pass: rows fooled, of so many that count, seen, in all


def run(
    task: Task, method: Method, rows: Rows, course: Course, passes: int, tell: Tell, save: Callable[[Course], None]
) -> Course:
    """Go on until `passes` passes are made, or until the method says that it is enough."""
    began = time.monotonic() - course.seconds
    while course.passes < passes and not method.enough(course.history):
        fooled = counted = seen = 0
        for places in torch.split(shuffled(len(rows), task.seed, course.passes), method.batch):
            batch = task.batch(rows, places)
            course.state, won = method.step(task, course.state, batch)
            counts = task.counts(batch)
            fooled, counted, seen = fooled + int((won & counts).sum()), counted + int(counts.sum()), seen + len(won)
            course.seconds = time.monotonic() - began
            tell(course, fooled, counted, seen, len(rows))
        course.passes += 1
        rate = rate_of(task, course.state.p, rows) if method.judged else fooled / max(counted, 1)
        course.seconds = time.monotonic() - began
        course.history.append(Pass(
            number=course.passes, fooled_fit=rate, seconds=course.seconds, forwards=task.forwards,
            backwards=task.backwards,
        ))  # fmt: skip
        save(course)
    return course


def rate_of(task: Task, p: Tensor, rows: Rows) -> float:
    """The share of rows that the perturbation fools, of those that were not the target before."""
    fooled = counted = 0
    for places in torch.split(torch.arange(len(rows)), 64):
        batch = task.batch(rows, places)
        logits = task.oracle.logits(task.space.paint(p, batch.x, batch.group))
        won, counts = task.problem.goal.margin(logits, batch.y, task.targets(batch)) < 0, task.counts(batch)
        fooled, counted = fooled + int((won & counts).sum()), counted + int(counts.sum())
    return fooled / max(counted, 1)
