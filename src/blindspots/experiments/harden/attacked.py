"""One attack on the rows of a network, for controls and studies: what `attack` does, without its checks."""

import torch
from torch import Tensor

from blindspots.attacks import Attack
from blindspots.ball import Ball
from blindspots.batching import rows_in_flight, rows_per_call, rows_per_shard
from blindspots.engine.cascade import Cascade, Stage
from blindspots.engine.jobs import Samples
from blindspots.engine.loop import Settings
from blindspots.engine.shard import shard_columns
from blindspots.models.model import Model
from blindspots.objective import LossName, Objective
from blindspots.oracle import Oracle
from blindspots.protocols import Protocol
from blindspots.runs.experiment import Columns


def attacked(
    model: Model,
    x: Tensor,
    y: Tensor,
    attack: Attack,
    threat: Ball,
    seed: int,
    *,
    chunk: int | None = None,
    loss: LossName | None = None,
    restarts: int = 1,
) -> Columns:
    """What `attack` finds for the rows x (N, *shape) with their labels y (N,).

    Args:
        threat: with a radius, or without one for the smallest distance.
        chunk: rows per call; None: by the size of an input.
        loss: what is descended; None: the attack's own, as far as it is defined for the model's classes.

    Returns: `right` and `won` (N,) bool, `norm` (N,), and of the rows that fell `broken` (k,) int64 and `adversarial`
    (k, *shape).
    """
    shape, device = tuple(x.shape[1:]), model.device
    chunk = rows_per_call("search", shape, device, chunk)
    slots = rows_in_flight(shape, device, chunk)
    oracle = Oracle(model, chunk=chunk)
    patience = 1 if device.type == "cpu" else 4
    with oracle.session():
        stages = _stages(oracle, x[:1], attack, loss, restarts)
        cascade = Cascade(oracle, threat, stages, seed=seed, settings=Settings(slots, patience=patience))
        parts = [
            _shard(cascade, x[i : i + size], y[i : i + size], i)
            for size in (rows_per_shard(shape, slots),)
            for i in range(0, len(y), size)
        ]
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def _stages(oracle: Oracle, x: Tensor, attack: Attack, loss: LossName | None, restarts: int) -> tuple[Stage, ...]:
    objective = Objective(False, False, loss or attack.loss)
    stage = Stage(type(attack).__name__, attack, "the attack that was asked for", objective, None, restarts)
    if loss is not None or objective.loss != "dlr":
        return (stage,)
    classes = oracle.logits(x.to(oracle.device)).shape[1]
    return Protocol("custom", (stage,)).for_classes(classes).stages


def _shard(cascade: Cascade, x: Tensor, y: Tensor, first: int) -> Columns:
    oracle, radius = cascade.oracle, cascade.threat.radius
    x, y = x.to(oracle.device), y.to(oracle.device)
    radii = torch.full((len(y),), torch.inf if radius is None else float(radius), device=x.device)
    samples = Samples(torch.arange(first, first + len(y), device=x.device), x, y, radii)
    board, _ = cascade.run(samples)
    found = shard_columns(oracle, samples, board)
    return {
        "right": found["right"], "won": found["won"], "norm": found["norm"], "broken": found["broken"] + first,
        "adversarial": found["adversarial"],
    }  # fmt: skip
