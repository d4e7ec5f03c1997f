"""For whom examples are made, and how: what a configuration leaves open is filled in, or it is refused."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from blindspots.attacks import Attack, parse_attack
from blindspots.batching import TEXTS_PER_CALL, rows_in_flight, rows_per_call
from blindspots.crafting import fitting
from blindspots.data import Dataset
from blindspots.engine.targets import RandomClass, Targets, parse_targets
from blindspots.errors import InputError
from blindspots.experiments.evaluate.texts import check_kinds, named
from blindspots.experiments.transfer.adapt import adapted, classes_of, matched
from blindspots.experiments.transfer.config import Source, TransferConfig
from blindspots.experiments.transfer.models import opened, plain
from blindspots.experiments.transfer.texts import threat_of
from blindspots.experiments.transfer.words import parse_sizes
from blindspots.fit import check_lengths
from blindspots.models.adapted import Adapted
from blindspots.models.first_look import first_look
from blindspots.models.model import Model
from blindspots.naming import numbered
from blindspots.objective import Objective
from blindspots.problem import Need
from blindspots.runs.world import World
from blindspots.sizes import check_radius
from blindspots.texts.threats import TextThreat
from blindspots.threat import Threat
from blindspots.threats import absolute, parse_threat

_MEANINGLESS = ("amplify", "resize", "surrogate", "split", "ensemble")  # for texts
_ACCESS = {Need.LABEL: "labels", Need.VALUE: "scores"}


def check_amplified(amplify: float | None, threat: Threat) -> None:
    """Refuse changes that would leave the ball."""
    if amplify is not None and (threat.radius is not None or not amplify > 0):
        raise InputError(
            f"expected a positive root mean square to amplify to, and a threat without a radius, got {amplify} and "
            f"{threat.spec}: amplified changes leave every ball, so write {threat.name} alone"
        )


def fitting_models(config: TransferConfig, world: World, data: Dataset) -> TransferConfig:
    """With what makes the models fit together, and the rows per call."""
    given = plain(config, world, data.shape)
    _check_kind(config, absolute(world.thing("threat", parse_threat)), given, getattr(data, "unit", ""))
    names = numbered(model.name for model in given)
    labels = config.labels if config.split else matched(given, names, data, config.labels)
    models = adapted(given, names, data, parse_sizes(config.resize), labels)
    config = config.model_copy(update={"bounds": models[0].bounds})
    threat = threat_of(config, world)
    check_lengths(data, "transfer")
    check_radius(threat, data.shape)
    device = next((m.device for m in models if m.device.type != "cpu"), models[0].device)
    asked = config.chunk or (TEXTS_PER_CALL if isinstance(threat, TextThreat) else None)
    chunk = rows_per_call("search", data.shape, device, asked)
    return config.model_copy(
        update={
            "sizes": tuple(m.size if isinstance(m, Adapted) else None for m in models),
            "outputs": tuple(tuple(m.labels) if isinstance(m, Adapted) and m.labels else None for m in models),
            **_said_of_candidates(config, world),
            "class_count": classes_of(models[0], data.rows(0, 1)[0]),
            "chunk": chunk,
            "slots": rows_in_flight(data.shape, device, chunk, config.slots),
        }
    )


def _check_kind(config: TransferConfig, threat: Threat, models: Sequence[Model], unit: str) -> None:
    """Raises InputError: some are for texts and others not, or a setting means nothing for texts."""
    if isinstance(threat, TextThreat) and (asked := [name for name in _MEANINGLESS if getattr(config, name)]):
        raise InputError(
            f"expected no {' or '.join(asked)} for {threat.spec}, as texts have no size to scale and models of them no "
            f"average or substitute here, got {getattr(config, asked[0])}: leave it out"
        )
    for model in models:
        check_kinds(threat, model, unit)


def _said_of_candidates(config: TransferConfig, world: World) -> dict[str, str]:
    """What the configuration says of them: in words, and the digest of the files that they are from."""
    threat = threat_of(config, world)
    if not isinstance(threat, TextThreat):
        return {}
    given: Any = world.thing("threat", parse_threat)
    return {**named(threat), "candidates": replace(given, candidates=given.candidates or config.candidates).said}


def with_sources(config: TransferConfig, world: World, data: Dataset) -> TransferConfig:
    """With the models and averages for which examples are made."""
    models = [first_look(model, data) for model in opened(config, world, data.shape)]
    names = numbered(model.name for model in plain(config, world, data.shape))
    return config.model_copy(update={"sources": tuple(_sources(config, world, models, names))})


def _sources(config: TransferConfig, world: World, models: Sequence[Model], names: Sequence[str]) -> Iterator[Source]:
    """The models in their order, then their averages."""
    for i, (model, name) in enumerate(zip(models, names, strict=True)):
        queries = config.surrogate if model.access is not Need.GRAD else None
        yield _source(config, world, name, (i,), model.access, queries)
    if config.ensemble:
        members = tuple(i for i, model in enumerate(models) if model.access is Need.GRAD)
        for name, group in _averages(members, names):
            yield _source(config, world, name, group, Need.GRAD, None)


def _averages(members: tuple[int, ...], names: Sequence[str]) -> Iterator[tuple[str, tuple[int, ...]]]:
    if len(members) < 2:
        raise InputError(
            f"expected at least two models with gradients to average, got {len(members)}: leave --ensemble out"
        )
    yield f"average of {len(members)}", members
    if len(members) > 2:
        yield from ((f"all but {names[i]}", tuple(j for j in members if j != i)) for i in members)


def _source(
    config: TransferConfig, world: World, name: str, members: tuple[int, ...], access: Need, queries: int | None
) -> Source:
    attack = attack_of(config, world, access if queries is None else Need.GRAD)
    seen = attack.need if access is Need.SLOPES else access
    shown = "gradients of a substitute" if queries else _ACCESS.get(seen, "gradients")
    return Source(name=name, members=members, attack=repr(attack), access=shown, queries=queries)


def attack_of(config: TransferConfig, world: World, access: Need) -> Attack:
    """For a model that gives this access."""
    asked = world.thing("attack", lambda words: parse_attack(words) if words else None)
    return fitting(asked, threat_of(config, world), access, goal_of(config))


def goal_of(config: TransferConfig) -> Objective:
    """Away from the label, or towards a class."""
    return Objective(config.targeted, config.targets is not None and not config.targeted)


def targets_of(config: TransferConfig) -> Targets | None:
    """The rule that the configuration names, if any."""
    if config.targets == "random" or (config.targeted and config.targets is None):
        return RandomClass(config.seed)
    return parse_targets(config.targets) if config.targets else None
