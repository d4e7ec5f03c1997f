"""One attack on all rows: an evaluation whose protocol is a single stage, and its examples as files."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from blindspots.arguments import checked
from blindspots.attacks import Attack as Search
from blindspots.attacks import Exact, as_attack, parse_attack
from blindspots.data import Data
from blindspots.engine.cascade import Stage, Start
from blindspots.engine.targets import RandomClass, Targets, as_targets, parse_targets
from blindspots.errors import InputError
from blindspots.experiments.attack.config import AttackConfig
from blindspots.experiments.attack.examples import example_files
from blindspots.experiments.attack.found import Found
from blindspots.experiments.attack.sounds import sound_files
from blindspots.experiments.evaluate.experiment import CUSTOM, Evaluation, Searches
from blindspots.experiments.evaluate.setup import goal_of, threat_of
from blindspots.experiments.evaluate.shard_exact import proves
from blindspots.experiments.evaluate.verdict import EvaluateVerdict
from blindspots.fit import check_fit
from blindspots.goals import Goal, as_goal, of_values
from blindspots.models.first_look import as_model
from blindspots.models.model import Model
from blindspots.objective import LossName, Objective
from blindspots.protocols import Protocol
from blindspots.runs.entry import begin, rows_of, unread
from blindspots.runs.run import Watch
from blindspots.runs.store import Parts
from blindspots.runs.world import World
from blindspots.sounds import DEPTHS
from blindspots.threat import Threat
from blindspots.threats import as_threat


@checked(threat=as_threat, attack=as_attack, targets=as_targets, model=as_model, goal=as_goal)
def attack(
    model: Model | nn.Module | Callable[[Tensor], Any],
    x: Any = None,
    y: Any = None,
    attack: Search | None = None,
    *,
    threat: Threat,
    goal: Goal | str | Callable[[Tensor, Tensor], Any] | None = None,
    data: Data | None = None,
    loss: LossName | None = None,
    targeted: bool = False,
    targets: Targets | None = None,
    restarts: int = 1,
    start: Start | None = None,
    to_the_end: bool = False,
    out: str | Path | None = None,
    resume: bool = False,
    engine: str | None = None,
    watch: Watch | None = None,
    command: str | None = None,
    **settings: Any,
) -> Evaluation:
    """Run one attack. A threat without a radius asks for the smallest distance.

    Args:
        attack: e.g. `PGD(steps=40)`, or in words, "pgd:steps=40".
        loss: what it descends; None: its own usual one.
        targeted: only the target class counts as a success. Otherwise `targets` direct the search, and any wrong
            class counts.
        targets: a rule such as `Closest()`, `LeastLikely()`, `RandomClass()`.
        restarts: how often each search is tried.
        start: where searches begin: "clean", or "other" for the nearest other image that the model takes for what is
            wanted; None: where the attack says.
        to_the_end: rows go on after their first success, as an example that is to fool other models has to. Searches
            for the smallest distance always do.

    The other arguments, the settings and the errors are those of `evaluate`. With `out`, pictures, tensors and a table
    of the examples are written to its folder `examples`.
    """
    if attack is None:
        raise InputError("expected an attack, got none: pass e.g. bs.attacks.PGD(steps=40)")
    if targeted and targets is None:
        raise InputError("expected targets for a targeted attack, got none: pass e.g. targets=Closest()")
    rows = rows_of(x, y, data, values=of_values(goal), features=settings.get("features"))
    given = {
        "model": model, "data": rows, "threat": threat, "goal": goal, "attack": attack, "loss": loss,
        "targeted": targeted, "targets": targets, "restarts": restarts, "start": start, "to_the_end": to_the_end,
        "examples": out is not None,
    }  # fmt: skip
    done = begin(
        "attack", given, unread(settings, rows), out=out, resume=resume, engine=engine, watch=watch, command=command
    )
    return Evaluation(**vars(done))


class Attack(Searches[AttackConfig]):
    name = "attack"
    Config = AttackConfig

    def protocol(self, config: AttackConfig, world: World, model: Model | None = None) -> Protocol:
        search: Search = world.thing("attack", parse_attack)
        targets = self._targets(config, world)
        objective = Objective(config.targeted, targets is not None and not config.targeted, config.loss or search.loss)
        stage = Stage(
            type(search).__name__, search, "the attack that was asked for", objective, targets, config.restarts,
            config.start, stop_early=False if config.to_the_end else None,
        )  # fmt: skip
        threat, model = threat_of(world), model or world.model
        solved = isinstance(search, Exact) and proves(config, world, model, threat) is not None
        check_fit(search, threat, model.access, objective, solved)
        return Protocol(CUSTOM, (stage,), literal=config.loss is not None)

    def exports(
        self, config: AttackConfig, world: World, verdict: EvaluateVerdict, parts: Parts
    ) -> Mapping[str, bytes]:
        if not config.examples:
            return {}
        goal = goal_of(world, config)
        names = world.data.class_names if goal.classifies else goal.class_names
        found, threat = Found.of(parts), threat_of(world)
        if config.rate is None or config.depth is None:
            files = example_files(found, world.model, threat, goal, names, config.pictures)
        else:
            depth = DEPTHS[config.depth]
            files = sound_files(found, world.data, config.rate, depth, threat, names, config.pictures)
        return {f"examples/{name}": content for name, content in files.items()}

    def _targets(self, config: AttackConfig, world: World) -> Targets | None:
        if "targets" in world.given:
            given: Targets = world.given["targets"]
            return given
        name = config.targets or ("runner-up" if config.targeted else None)
        if name == "random":
            return RandomClass(config.seed)
        return parse_targets(name) if name else None
