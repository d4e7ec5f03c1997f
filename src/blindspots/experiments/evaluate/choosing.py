"""Which protocol is run where none is named, whether one that is named fits, and what is said of it."""

from collections.abc import Iterator, Mapping, Sequence

from blindspots.attacks import parse_attack
from blindspots.engine.cascade import Stage
from blindspots.errors import InputError
from blindspots.experiments.evaluate.asking import endpoint_of
from blindspots.experiments.evaluate.config import Batched, EvaluateConfig
from blindspots.experiments.evaluate.setup import threat_of
from blindspots.experiments.evaluate.shard_exact import proves
from blindspots.findings import Finding
from blindspots.fit import ACCESS, affords, check_fit
from blindspots.goals import DENSE
from blindspots.models.model import Model
from blindspots.models.trees.model import TreeModel
from blindspots.objective import Objective
from blindspots.problem import Need
from blindspots.protocols import (
    USUAL,
    USUAL_OF_PARTS,
    USUAL_OF_TABLES,
    USUAL_OF_TEXTS,
    USUAL_OF_VALUES,
    Protocol,
)
from blindspots.protocols import protocol as named_protocol
from blindspots.runs.world import World
from blindspots.tables.threat import TableThreat
from blindspots.texts.recipes import recipe
from blindspots.texts.threats import TextThreat
from blindspots.threat import Threat


def chosen(config: EvaluateConfig, world: World, model: Model) -> Protocol:
    """The protocol that is named or given, else the one that says most of such a model, goal and threat.

    Raises InputError: one of its attacks does not fit the threat, or needs more than the model shows.
    """
    threat = threat_of(world)
    given = world.given.get("protocol", config.protocol)
    usual = _usual(config, world, threat)
    if config.recipe and given in (None, config.recipe):
        given = _of_recipe(config.recipe)
    solved = proves(config, world, model, threat) is not None
    # Of tables and numbers the usual one says more than how near the nearest example is.
    more = isinstance(threat, TableThreat) or config.of_values or "goal" in world.given
    given = "exact" if given is None and solved and not more else given
    found = given if isinstance(given, Protocol) else named_protocol(given or usual[_useful(model)], threat)
    if not found.stages:
        raise InputError("expected a protocol of at least one stage, got none: nothing would be searched")
    for stage in found.stages:
        _check_access(stage, given, model, usual)
        check_fit(stage.attack, threat, model.access, stage.objective, solved)
    return found


def _usual(config: Batched, world: World, threat: Threat) -> Mapping[Need, str]:
    """The protocol that is taken where none is named, by what the model shows."""
    if isinstance(threat, TextThreat):
        return USUAL_OF_TEXTS
    if isinstance(threat, TableThreat):
        return USUAL_OF_TABLES
    if str(config.goal).partition(":")[0] in DENSE:
        return USUAL_OF_PARTS
    goes_on = config.of_values and endpoint_of(world) is None  # past a success, which nobody wants to pay for
    return USUAL_OF_VALUES if goes_on else USUAL


def _of_recipe(name: str) -> Protocol:
    """Its search as the only stage."""
    found = recipe(name)
    attack = parse_attack(found.search)
    return Protocol(name, (Stage("recipe", attack, f"every row: {found.about}", Objective(loss=attack.loss)),))


def _useful(model: Model) -> Need:
    return Need.VALUE if model.flat else model.access


def _check_access(stage: Stage, given: object, model: Model, usual: Mapping[Need, str]) -> None:
    if isinstance(given, str) and not affords(model.access, stage.attack):
        raise InputError(
            f"expected a protocol for a model that gives {ACCESS[model.access]} alone, got {given!r}, whose stage "
            f"{stage.name!r} needs {ACCESS[stage.attack.need]}: use {usual[model.access]!r}, which is taken where none "
            "is named"
        )


def depends_on_classes(protocol: Protocol) -> bool:
    """Whether a loss may be undefined, for a model of few classes."""
    return not protocol.literal and any(stage.objective.loss == "dlr" for stage in protocol.stages)


# ------------------------------------------------------------------ what is said of it


def why(config: EvaluateConfig, world: World) -> Iterator[Finding]:
    """Why another protocol than the first that comes to mind was run."""
    solver = proves(config, world, world.model, threat_of(world))
    if config.protocol == "exact" and solver is not None:
        yield _proofs(solver.about)
    elif _useful(world.model) not in (Need.GRAD, Need.SLOPES):
        gives = _usual(config, world, threat_of(world))
        yield _instead(str(config.protocol), gives.get(Need.SLOPES) or gives[Need.GRAD], world.model)


def _instead(protocol: str, usual: str, model: Model) -> Finding:
    more = "Where its weights are at hand, evaluate those, too: gradients find more."
    return Finding(
        code="protocol-chosen",
        severity="note",
        saw=f"The model gives no gradients, or none but 0, so protocol {protocol!r} was run in place of {usual!r}.",
        do="Nothing to do: trees have none." if isinstance(model, TreeModel) else more,
    )


def _proofs(how: str) -> Finding:
    return Finding(
        code="protocol-chosen",
        severity="note",
        saw=f"The model is simple enough for proofs, so protocol 'exact' was run: {how}.",
        do="Nothing to do: attacks find no more than this. To compare them, name a protocol.",
    )


def replaced(stages: Sequence[str], classes: int) -> Finding:
    """That these stages have another loss, as there are so few classes."""
    form = "its untargeted form" if classes == 3 else "the margin"
    needed = "The targeted DLR loss needs 4 classes" if classes == 3 else "The DLR loss needs 3 classes"
    return Finding(
        code="loss-replaced",
        severity="note",
        saw=f"{needed} and the model has {classes}, so {form} took its place in {', '.join(stages)}.",
        do="Nothing to do: what was run stands under stages, with the loss of each.",
    )
