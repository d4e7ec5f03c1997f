"""What a configuration asks for as objects: the threat, within the model's bounds, and the goal."""

from dataclasses import replace
from typing import Any

from torch import Tensor

from blindspots.ball import Ball
from blindspots.errors import InputError
from blindspots.experiments.evaluate.config import Batched
from blindspots.experiments.evaluate.features import mask_from, unit_from
from blindspots.experiments.evaluate.tables import table_of, table_threat
from blindspots.experiments.evaluate.texts import bound, check_kinds
from blindspots.goals import Classify, Goal, parse_goal
from blindspots.runs.world import World
from blindspots.tables.threat import Cost
from blindspots.texts.threats import TextThreat
from blindspots.threat import Threat
from blindspots.threats import parse_threat


def threat_of(world: World) -> Threat:
    """Within the model's bounds."""
    return world.once("threat", lambda: _threat(world))


def _threat(world: World) -> Threat:
    """With the units and the mask that were asked for besides."""
    threat: Threat = world.thing("threat", parse_threat)
    check_kinds(threat, world.named("model"), getattr(world.data, "unit", ""))
    if isinstance(threat, TextThreat):
        return bound(threat, world)
    if (table := table_of(world.data)) is not None:
        return table_threat(threat, table, world)
    if isinstance(threat, Cost):
        raise InputError(
            "expected prices for a threat of costs, got no feature file: say what each column costs, as in --features "
            "features.toml with cost = 1.0, or use linf, l2, l1 or l0"
        )
    where, scale = (getattr(world.config, name, None) for name in ("where", "scale"))
    if not isinstance(threat, Ball):
        return threat
    more: dict[str, Any] = {} if where is None else {"where": mask_from(where, world.data.shape)}
    padding = getattr(world.config, "padding", None)
    padding = threat.padding if padding is None else padding
    more["padding"] = getattr(world.data, "padding", None) if padding is None else padding
    if scale is not None:
        more["unit"] = unit_from(scale, world.data)
    if (where is not None and threat.where is not None) or (scale is not None and threat.unit is not None):
        raise InputError("expected units and a mask once, got them in the threat and as a setting: leave one out")
    return replace(threat, **more).within(*world.named("model").box)


def goal_of(world: World, config: Batched) -> Goal:
    """What counts as a success."""
    if "goal" in world.given:
        given: Goal = world.given["goal"]
        return given
    return parse_goal(config.goal) if config.goal else Classify(world.named("model").rejects)


def in_units(config: Batched, world: World) -> dict[str, Any]:
    """A goal whose tolerance counts standard deviations of y, in the units of y."""
    if not config.goal or "goal" in world.given or not config.goal.endswith("sd"):
        return {}
    y = world.data.rows(0, len(world.data))[1].double()
    name, _, count = config.goal.removesuffix("sd").partition(":")
    try:
        return {"goal": parse_goal(f"{name}:{float(count) * float(y.std())!r}").spec}
    except ValueError as error:
        raise InputError(f"expected a goal such as move:0.5sd, got {config.goal!r}: {error}") from error


def check_box(x: Tensor, threat: Threat, first: int) -> None:
    """Raises InputError: inputs (n, ...) from row `first` on lie outside of what the model's bounds allow."""
    if not isinstance(threat, Ball):
        return
    strange = (~threat.to(x.device).whole.holds(x) & ~x.isnan().flatten(1).any(1)).nonzero()[:, 0]
    if len(strange):
        row = x[strange[0]]
        raise InputError(
            f"expected inputs within the model's bounds, got values from {float(row.min()):g} to {float(row.max()):g} "
            f"in row {first + int(strange[0])}: pass the range of every feature, "
            "bs.Model(net, bounds=(x.min(0), x.max(0)))"
        )
