"""A look into a model, proved again: its parts are runs, and each is proved for itself."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from blindspots.experiments.inspect.config import InspectConfig
from blindspots.experiments.inspect.verdict import InspectVerdict
from blindspots.runs.experiment import Check
from blindspots.runs.metric import numbers_of
from blindspots.runs.store import Parts, Run
from blindspots.runs.verify import differing
from blindspots.runs.world import World
from blindspots.threats import parse_threat


def checks(config: InspectConfig, verdict: InspectVerdict, parts: Parts, world: World) -> Iterator[Check]:
    """What `verify` looks at."""
    told = {name: parts.run(name).verdict.metrics() for name in parts}
    again = {name: {key: m.model_dump(mode="json") for key, m in numbers.items()} for name, numbers in told.items()}
    yield differing("every number is that of its part", numbers_of(verdict), {"parts": again})


def inside(run: Run[InspectConfig, InspectVerdict], part: str, world: World) -> Mapping[str, Any]:
    """Models and data of every part, and what one proved for another."""
    rows = {name: world.rows[name] for name in run.config.handed(part) if name in world.rows}
    given: dict[str, Any] = {name: world.named(name) for name in run.config.models()} | rows
    if run.config.is_certified(part):
        given["certified"] = _certified(run.parts.run("stability"), len(world.data))
    return given


def _certified(stability: Run[Any, Any], rows: int) -> Tensor:
    """Radii (rows,) within which stability proves that predictions stay, row by row."""
    around, margins = stability.parts.joined("around"), stability.parts["whole"]["margins"].tolist()
    found, threat = torch.zeros(rows, dtype=torch.float64), parse_threat(str(stability.config.threat))
    radius, d = threat.radius or 0.0, around["x"][0].numel() if threat.name == "linf" else 1
    for row, scores, steepest in zip(*(around[key].tolist() for key in ("id", "scores", "local")), strict=True):
        y = scores.index(max(scores))
        sure = 1e-4 * max(map(abs, scores))
        gaps = [(scores[y] - score - sure, margins[y][j]) for j, score in enumerate(scores) if j != y]
        ways = [0.0 if gap <= 0 else gap / pace if pace else math.inf for gap, pace in gaps]
        if min(gap for gap, _ in gaps) > math.sqrt(2 * d) * radius * steepest:
            found[row] = radius
        found[row] = max(float(found[row]), min(ways) / math.sqrt(d))
    return found
