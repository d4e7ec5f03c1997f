"""What is found out before the first search: whether inputs, labels, outputs and budget allow a verdict."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from blindspots.batching import is_large
from blindspots.engine.cascade import Stage, check_classes
from blindspots.engine.shard import LOOKS_AFTER
from blindspots.errors import InputError
from blindspots.experiments.evaluate.asking import probed
from blindspots.experiments.evaluate.config import Batched
from blindspots.experiments.evaluate.setup import check_box, goal_of, threat_of
from blindspots.experiments.evaluate.texts import examined_texts
from blindspots.goals import check_labels
from blindspots.models.endpoints import Endpoint
from blindspots.models.first_look import LOOKED_AT
from blindspots.models.texts import TextModel
from blindspots.oracle import Oracle
from blindspots.preflight import NOT_EXAMINED, Preflight, examine
from blindspots.runs.world import World

PREFLIGHT_ROWS, PREFLIGHT_ROWS_LARGE = 64, 16  # a dozen forwards each: seconds on a photograph


def classes(config: Batched, world: World) -> int:
    """How many the model tells apart, asked once."""
    return world.once("classes", lambda: look_for_classes(config, world)[0])


def look_for_classes(config: Batched, world: World) -> tuple[int, int]:
    """How many classes the model tells apart, and the forwards that it took to see it."""
    oracle = Oracle(world.model, chunk=config.chunk or 1)
    x, y = (t.to(oracle.device) for t in world.data.rows(0, 1))
    goal = goal_of(world, config)
    with oracle.session():
        output = oracle.logits(x)
    return goal.scores(output, goal.truth(output, y)).shape[1], oracle.forwards


def examined(config: Batched, world: World, stages: Sequence[Stage]) -> Preflight:
    """What a few rows show. Raises InputError: they, or their labels, cannot be what the model is for."""
    model, data = world.model, world.data
    if isinstance(model.service, Endpoint):
        seen = probed(config, world, model.service)
        return replace(seen, findings=[NOT_EXAMINED, *seen.findings])
    if model.service:
        return Preflight([NOT_EXAMINED], 0, 0)
    if config.of_values:
        return _examined_values(config, world)
    if isinstance(model, TextModel):
        return examined_texts(world)
    rows = PREFLIGHT_ROWS_LARGE if is_large(data.shape) else PREFLIGHT_ROWS
    x, y = data.rows(0, min(rows, len(data)))
    if isinstance(model.box.lo, Tensor):
        check_box(x, threat_of(world), 0)
    seen = examine(model, x, y, seed=config.seed)
    check_labels(y, seen.classes, torch.arange(len(y)))  # a shard would, but then a folder is there
    check_classes(stages, seen.classes)
    first = min(LOOKED_AT, len(data))
    return replace(seen, forwards=seen.forwards + first, backwards=seen.backwards + first)


def _examined_values(config: Batched, world: World) -> Preflight:
    """The checks of classifiers say nothing of numbers: the goal is called on a few rows, and the box is compared."""
    model, goal = world.model, goal_of(world, config)
    x, y = world.data.rows(0, min(LOOKED_AT, len(world.data)))
    oracle = Oracle(model, chunk=config.chunk or 1, goal=goal)
    check_box(x, threat_of(world), 0)
    with oracle.session():
        y = y.to(oracle.device)
        output = oracle.logits(x.to(oracle.device))
        rows = torch.arange(len(y), device=y.device)
        goal.check(output, y, rows)
        goal.measures(output, y, output)
        classes = goal.scores(output, goal.truth(output, y)).shape[1]
    return Preflight([], oracle.forwards + len(x), len(x), classes)


def check_budget(config: Batched, rows: int) -> None:
    """Raises InputError: it is spent before anything was searched."""
    after = LOOKS_AFTER + config.of_values
    limit, needed = config.max_forwards, (config.draws or 1) * rows * (1 + after)
    if limit is not None and limit < needed:
        raise InputError(
            f"expected max_forwards of at least {needed} for {rows} rows, got {limit}: every row is evaluated once and "
            f"every success {after} times more, so raise it or take fewer rows"
        )
