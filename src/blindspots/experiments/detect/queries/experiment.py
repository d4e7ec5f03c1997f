"""A guard of queries is judged by whom it refuses: users, attacks, and attacks that know it.

It has no score of a single input, so nothing is fitted and no threshold is set: its rows are queries, and the order in
which they are asked decides. Everything else is as for detectors: attacks without it, attacks past it, and those that
know it.
"""

from collections.abc import Mapping
from typing import Any

import torch

from blindspots.attacks import Attack, parse_attack
from blindspots.ball import Ball, parse_ball
from blindspots.data import part_of
from blindspots.engine.cascade import Stage
from blindspots.errors import InputError
from blindspots.experiments.detect.config import DetectConfig
from blindspots.experiments.detect.queries.conclude import conclude
from blindspots.experiments.detect.queries.findings import findings
from blindspots.experiments.detect.queries.users import pairs, shares
from blindspots.experiments.detect.queries.verdict import QueriesVerdict
from blindspots.experiments.evaluate.config import EvaluateConfig
from blindspots.findings import Finding
from blindspots.fit import check_fit
from blindspots.models.guarded_queries import GuardedQueries
from blindspots.naming import numbered
from blindspots.objective import Objective
from blindspots.packing import pack_inputs, packed_text, unpack_inputs
from blindspots.problem import Need
from blindspots.protocols import Protocol
from blindspots.runs.experiment import Columns, Experiment, Part
from blindspots.runs.store import Parts
from blindspots.runs.world import Progress, World
from blindspots.sizes import check_radius

# What asks about a row: random search, estimated gradients, labels, and two that know the guard, by scores and labels.
ATTACKS = (
    "square:steps={n}", "nes:queries={n}", "hopskipjump:queries={n}", "oars:queries={n}", "oarslabels:queries={n}",
)  # fmt: skip
_ROWS, _USERS, _PAIRS = 100, 2000, 200  # at most: rows that are attacked, that users ask about, and ask about twice
_UNREAD = ("detector", "train_attack")


class DetectQueries(Experiment[DetectConfig, QueriesVerdict]):
    name = "detect"
    Config, Verdict = DetectConfig, QueriesVerdict

    def fitted(self, config: DetectConfig, world: World) -> DetectConfig:
        _guarded(world)
        if given := [name for name in _UNREAD if getattr(config, name)]:
            raise InputError(
                f"expected a guard of queries alone, got --{given[0].replace('_', '-')} besides: it learns nothing and "
                "is measured alone, so leave that out"
            )
        threat = _threat(world)
        check_radius(threat.within(*world.model.bounds), world.data.shape)
        found = config.model_copy(
            update={"test_attack": config.test_attack or _usual(config, threat), "chunk": config.chunk or 16}
        )
        _attacks(found, world)  # what does not fit is refused before anything is asked
        return found

    def parts(self, config: DetectConfig, world: World) -> list[Part]:
        return [
            Part("users"),
            *(
                Part(f"{side}/{name}", ("users",), run=("evaluate", _inner(config, world, side)))
                for name in _attacks(config, world)
                for side in ("bare", "guarded")
            ),
        ]

    def make(self, config: DetectConfig, world: World, part: Part, needs: Parts, kept: Columns | None) -> Columns:
        world.tell(Progress("users", "asking the guard what users ask"))
        model, data, guard = world.model, _attacked(world), _guarded(world).guard
        lo, hi = model.box.like(data.rows(0, 1)[0])
        x, y = data.rows(0, min(config.rows or _ROWS, len(data)))
        asked = (world.data.rows(0, min(config.fit or _USERS, len(world.data)))[0] - lo) / (hi - lo)
        kinds, near = zip(*pairs(guard, asked[:_PAIRS], config.seed), strict=True)
        return {
            "x": pack_inputs(x), "y": y, "shared": shares(guard, asked), "near": torch.stack(near),
            "kinds": packed_text("\n".join(kinds)),
        }  # fmt: skip

    def inside(self, config: DetectConfig, world: World, part: Part, needs: Parts) -> Mapping[str, Any]:
        side, _, name = part.name.partition("/")
        x, y = unpack_inputs(needs["users"]["x"]), needs["users"]["y"]
        guarded, source = _guarded(world), _attacked(world)
        model = guarded.model if side == "bare" else guarded
        return {"model": model, "data": part_of(source, x, y, source.name), "protocol": _alone(name, config, world)}

    def conclude(self, config: DetectConfig, world: World, parts: Parts) -> QueriesVerdict:
        specs = {name: repr(attack) for name, attack in _attacks(config, world).items()}
        return conclude(parts, specs, _guarded(world).guard)

    def findings(self, config: DetectConfig, world: World, verdict: QueriesVerdict, parts: Parts) -> list[Finding]:
        return [*check_radius(_threat(world).within(*world.model.bounds), world.data.shape), *findings(verdict)]


def _guarded(world: World) -> GuardedQueries:
    assert isinstance(world.model, GuardedQueries)  # as its name says
    return world.model


def _threat(world: World) -> Ball:
    threat: Ball = world.thing("threat", parse_ball)
    if not threat.radius:
        raise InputError(f"expected a threat with a radius, got {threat.spec!r}: write {threat.name}:RADIUS")
    return threat


def _attacked(world: World) -> Any:
    """The data whose rows are attacked."""
    return world.rows.get("test", world.data)


def _usual(config: DetectConfig, threat: Ball) -> tuple[str, ...]:
    """Attacks that have the whole budget. Raises InputError: none of them searches in this threat."""
    words = [one.format(n=config.queries) for one in ATTACKS]
    found = tuple(one for one in words if threat.name in parse_attack(one).threats)
    if not found:
        raise InputError(f"expected attacks for {threat.name}, got none: name them with --test-attack")
    return found


def _attacks(config: DetectConfig, world: World) -> dict[str, Attack]:
    """By their names. Raises InputError: one does not fit."""
    said: Any = world.thing("test_attack", lambda words: words or _usual(config, _threat(world)))
    found = [parse_attack(a) if isinstance(a, str) else a for a in said]
    for attack in found:
        check_fit(attack, _threat(world), Need.VALUE, Objective())
    return dict(zip(numbered(type(a).__name__.lower() for a in found), found, strict=True))


def _alone(name: str, config: DetectConfig, world: World) -> Protocol:
    """One attack, which leaves a row as soon as it has fallen: every query counts."""
    attack = _attacks(config, world)[name]
    stage = Stage(name, attack, "whom the guard lets pass", Objective(loss=attack.loss), stop_early=True)
    return Protocol(name, (stage,))


def _inner(config: DetectConfig, world: World, side: str) -> EvaluateConfig:
    """Rows one by one, each with a guard of its own, as if it was another client's."""
    guarded = _guarded(world)
    return EvaluateConfig(
        whole=True,
        model=(guarded.model if side == "bare" else guarded).name,
        data=_attacked(world).name,
        threat=config.threat,
        protocol="alone",
        seed=config.seed,
        chunk=1 if side == "bare" else config.chunk,
        shard_rows=1,
        row_budget=1 + config.queries,
    )
