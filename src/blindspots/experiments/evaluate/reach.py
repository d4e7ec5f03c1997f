"""How far an adversary moves a model of numbers within smaller radii, and how far noise of the same size does."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from blindspots.ball import Ball
from blindspots.engine.cascade import Stage
from blindspots.engine.result import Result
from blindspots.errors import InputError
from blindspots.experiments.evaluate.asking import endpoint_of
from blindspots.experiments.evaluate.config import EvaluateConfig
from blindspots.experiments.evaluate.count import spread
from blindspots.experiments.evaluate.setup import goal_of, threat_of
from blindspots.experiments.evaluate.verdict import EvaluateVerdict, Reach, Reached
from blindspots.findings import Finding
from blindspots.goals import Above, Below, Regress, To
from blindspots.oracle import Oracle
from blindspots.packing import unpacked_text
from blindspots.protocols import Protocol
from blindspots.random import keys, normal
from blindspots.records import Share
from blindspots.report.words import count
from blindspots.rows import Around, col
from blindspots.runs.experiment import Columns, Part, shards
from blindspots.runs.store import Parts
from blindspots.runs.world import World
from blindspots.threat import Threat

Array = NDArray[Any]
RADII, DRAWS = 3, 8  # smaller radii, and draws of noise at each radius, where nobody says otherwise
MULTIPLES = (0.25, 0.5, 1.0, 2.0, 4.0)  # of the goal's tolerance: how often each is exceeded
_FURTHER = 1 + 1e-6  # times as far: more than rounding
_NOISE = -2  # tells the draws of noise from those of the attacks
_NAMED = (Above, Below, To)  # goals that name a value, not how large a change counts


def asked(config: EvaluateConfig, world: World) -> int:
    """How many smaller radii are searched.

    Raises InputError: radii were asked for, and the run has nothing to vary or must not spend more.
    """
    lacks = _lacks(config, world)
    if lacks and config.radii:
        raise InputError(f"expected radii=0 {lacks}, got {config.radii}: leave it out")
    usual = 0 if world.model.service else RADII  # every query of a service counts
    return 0 if lacks else usual if config.radii is None else config.radii


def _lacks(config: EvaluateConfig, world: World) -> str:
    """Why there is no curve; "" where there is one."""
    goal, threat = goal_of(world, config), threat_of(world)
    if not isinstance(goal, Regress):
        return "for a goal that is not about numbers"
    if not isinstance(threat, Ball) or not threat.radius:
        return "for a threat without a radius to make smaller"
    if endpoint_of(world):
        return "for an endpoint, whose every query counts"
    if (config.draws or 1) > 1:
        return "for a randomised model"
    limits = (config.max_forwards, config.max_backwards, config.max_seconds)
    return "" if limits == (None, None, None) else "where the run has a budget"


def fractions(radii: int) -> tuple[float, ...]:
    """Of the radius, ascending; the last one is 1."""
    return tuple((i + 1) / (radii + 1) for i in range(radii + 1))


def parts_of(config: EvaluateConfig, world: World) -> list[Part]:
    """A search for every smaller radius, and the noise."""
    if not config.radii:
        return []
    searches = [Part(_name(i), run=("evaluate", _within(config, world, i))) for i in range(config.radii)]
    return [*shards("noise", len(world.data), config.shard_rows or 1), *searches]


def _name(i: int) -> str:
    return f"radii/{i}"


def _within(config: EvaluateConfig, world: World, i: int) -> EvaluateConfig:
    """Models, rows and the threat with all its tensors are given, so no setting makes them once more."""
    changes: dict[str, Any] = dict.fromkeys(("where", "scale", "padding", "through", "features"))
    changes |= {"radii": 0, "stages": (), "limits": ""}
    return config.model_copy(update={**changes, "threat": _smaller(config, world, i).spec})


def _smaller(config: EvaluateConfig, world: World, i: int) -> Threat:
    threat = threat_of(world)
    assert isinstance(threat, Ball)
    assert threat.radius is not None
    return replace(threat, radius=threat.radius * fractions(config.radii or 0)[i])


def inside(config: EvaluateConfig, world: World, part: Part, protocol: Protocol) -> Mapping[str, Any]:
    """What the search within a smaller radius is given: only the first stage is run there."""
    given = {"goal": world.given["goal"]} if "goal" in world.given else {}
    threat = _smaller(config, world, int(part.name.rpartition("/")[2]))
    short = replace(protocol, stages=protocol.stages[:1])
    return {"model": world.model, "data": world.data, "threat": threat, "protocol": short, **given}


# ------------------------------------------------------------------ noise


def noise_columns(config: EvaluateConfig, world: World, part: Part) -> Columns:
    """`noise` (n, radii, draws): what the goal's measure comes to after noise of every radius."""
    goal, threat, model = goal_of(world, config), threat_of(world), world.model
    assert isinstance(goal, Regress)
    assert isinstance(threat, Ball)
    x, y = (t.to(model.device) for t in world.data.rows(part.rows.start, part.rows.stop))
    id = torch.arange(part.rows.start, part.rows.stop, device=x.device)
    oracle = Oracle(model, channels_last=config.channels_last, chunk=config.chunk or 1, goal=goal)
    threat, found = threat.to(x.device), []
    with oracle.session():
        clean = oracle.logits(x)
        for fraction in fractions(config.radii or 0):
            each = [noise(threat, x, fraction, _key(config.seed, id, i)) for i in range(DRAWS)]
            said = [goal.measures(oracle.logits(moved), y, clean)[goal.reach] for moved in each]
            found.append(torch.stack(said, 1))
    cost = torch.tensor([oracle.forwards, oracle.backwards])
    return {"noise": torch.stack(found, 1).float().cpu(), "noise_cost": cost}


def _key(seed: int, id: Tensor, draw: int) -> Tensor:
    return keys(seed, id, torch.full_like(id, draw), torch.full_like(id, _NOISE))


def noise(threat: Ball, x: Tensor, fraction: float, key: Tensor) -> Tensor:
    """Points (B, ...) at `fraction` of the radius from `x` in a random direction, in the box.

    All components of a change within linf are as large as allowed; one of l1 is; of l0 a random point is taken.
    """
    around = Around(x, fraction * threat.reach(x))
    if threat.p == 0:
        return threat.sample(around, key)
    drawn, free = normal(key, torch.zeros_like(key), 0, x.shape[1:]), threat.free(x)
    direction = threat.steepest(drawn if free is None else drawn.masked_fill(~free, 0))
    return threat.project(x + col(around.r, x) * direction, around)


# ------------------------------------------------------------------ what it comes to


def concluded(
    config: EvaluateConfig, world: World, verdict: EvaluateVerdict, parts: Parts, stages: Sequence[Stage]
) -> EvaluateVerdict:
    """The verdict with `reached` and, where smaller radii were searched, `reach`."""
    goal, threat = goal_of(world, config), threat_of(world)
    if not isinstance(goal, Regress):
        return verdict
    found = _found(config, goal, parts)
    more: dict[str, Any] = {"reached": _reached(goal, found[:, -1], verdict, stages)}
    if config.radii:
        more["reach_forwards"], more["reach_backwards"] = _cost(config, parts)
        radii = [float(threat.radius or 0) * fraction for fraction in fractions(config.radii)]
        more["reach"] = tuple(
            Reach(radius=radius, attacked=spread(found[:, i]), noise=spread(_drawn(parts)[:, i].ravel()))
            for i, radius in enumerate(radii)
        )
    return verdict.model_copy(update=more)


def _cost(config: EvaluateConfig, parts: Parts) -> tuple[int, int]:
    """Forwards and backwards of the searches within smaller radii, checks and padding included, and of the noise."""
    runs = [parts.run(_name(i)).verdict for i in range(config.radii or 0)]
    noise = [part["noise_cost"].tolist() for part in parts.below("noise")]
    forwards = sum(v.forwards + v.forwards_unbilled for v in runs) + sum(cost[0] for cost in noise)
    return forwards, sum(v.backwards + v.backwards_unbilled for v in runs) + sum(cost[1] for cost in noise)


def _found(config: EvaluateConfig, goal: Regress, parts: Parts) -> Array:
    """The goal's measure at the worst points within every radius: (N, radii).

    A point within a smaller radius is one within a larger one, and an adversary may take what noise has found.
    """
    worst = _searched(config, goal, parts)
    worst = np.fmax(worst, _drawn(parts).max(2)) if config.radii else worst
    return np.asarray(np.fmax.accumulate(worst, 1))


def _searched(config: EvaluateConfig, goal: Regress, parts: Parts) -> Array:
    """The goal's measure at the worst points of the searches: (N, radii)."""
    runs = [parts.run(_name(i)).parts for i in range(config.radii or 0)]
    return np.stack([_column(one, goal.reach) for one in (*runs, parts)], 1)


def _drawn(parts: Parts) -> Array:
    """The goal's measure after every draw of noise: (N, radii, draws)."""
    return torch.cat([part["noise"] for part in parts.below("noise")]).numpy().astype(np.float64)


def _column(parts: Parts, name: str) -> Array:
    """A measure of the worst points of all rows: (N,)."""
    shards = parts.below("shards")
    found = [s["worst_measures"].numpy()[:, unpacked_text(s["measure_names"]).splitlines().index(name)] for s in shards]
    return np.concatenate(found).astype(np.float64)


def _reached(goal: Regress, found: Array, verdict: EvaluateVerdict, stages: Sequence[Stage]) -> tuple[Reached, ...]:
    """How often each of several tolerances is exceeded, or the value that is named.

    Nothing is said of larger tolerances than the goal's where every search ends at its first success.
    """
    if isinstance(goal, _NAMED):
        fell = Share.of(verdict.counted - verdict.robust_of_right.hits, verdict.counted)
        return (Reached(tolerance=goal.threshold, share=fell),)
    return tuple(
        Reached(tolerance=goal.threshold * k, share=Share.of(int((found > goal.threshold * k).sum()), len(found)))
        for k in MULTIPLES
        if k <= 1 or any(stage.who == "all" and stage.stop_early is False for stage in stages)
    )


def missed(config: EvaluateConfig, world: World, parts: Parts) -> list[Finding]:
    """What the search within the whole radius did not find, and others did."""
    goal = goal_of(world, config)
    if not config.radii or not isinstance(goal, Regress):
        return []
    return [*_missed_nearer(config, parts), *_missed_by_noise(config, goal, parts)]


def _missed_by_noise(config: EvaluateConfig, goal: Regress, parts: Parts) -> list[Finding]:
    worst = np.fmax.accumulate(_searched(config, goal, parts), 1)[:, -1]
    rows = int((_drawn(parts).max((1, 2)) > worst * _FURTHER).sum())
    if not rows:
        return []
    return [
        Finding(
            code="noise-went-further", severity="warning",
            saw=f"Random noise moved {count(rows, 'row')} further than the search did.",
            do="The search is too weak for this model: name a stronger --protocol; the curve counts these points.",
        )
    ]  # fmt: skip


def _missed_nearer(config: EvaluateConfig, parts: Parts) -> list[Finding]:
    stood = torch.cat([s["result"] == Result.STOOD for s in parts.below("shards")])
    fell = torch.zeros_like(stood)
    for i in range(config.radii or 0):
        fell |= torch.cat([s["won"] for s in parts.run(_name(i)).parts.below("shards")])
    rows = int((stood & fell).sum())
    if not rows:
        return []
    return [
        Finding(
            code="missed-nearer", severity="warning",
            saw=f"{count(rows, 'row')} stood within the whole radius, but a search within a smaller one succeeded.",
            do="The search is too weak for this model: name a stronger --protocol; the curve counts these rows.",
        )
    ]  # fmt: skip
