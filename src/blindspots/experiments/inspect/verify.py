"""A look into a model, proved again: its parts are runs, and each is proved for itself."""

from collections.abc import Iterator, Mapping
from typing import Any

from blindspots.experiments.inspect.config import InspectConfig
from blindspots.experiments.inspect.verdict import InspectVerdict
from blindspots.runs.experiment import Check
from blindspots.runs.metric import numbers_of
from blindspots.runs.store import Parts, Run
from blindspots.runs.verify import differing
from blindspots.runs.world import World


def checks(config: InspectConfig, verdict: InspectVerdict, parts: Parts, world: World) -> Iterator[Check]:
    """What `verify` looks at."""
    told = {name: parts.run(name).verdict.metrics() for name in parts}
    again = {name: {key: m.model_dump(mode="json") for key, m in numbers.items()} for name, numbers in told.items()}
    yield differing("every number is that of its part", numbers_of(verdict), {"parts": again})


def inside(run: Run[InspectConfig, InspectVerdict], part: str, world: World) -> Mapping[str, Any]:
    """Models and data of every part."""
    rows = {name: world.rows[name] for name in run.config.handed(part) if name in world.rows}
    return {name: world.named(name) for name in run.config.models()} | rows
