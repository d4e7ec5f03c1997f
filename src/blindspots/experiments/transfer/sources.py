"""For whom examples are made, and how: what a configuration leaves open is filled in, or it is refused."""

from collections.abc import Iterator, Sequence

from blindspots.attacks import Attack, parse_attack
from blindspots.ball import Ball, parse_ball
from blindspots.batching import rows_in_flight, rows_per_call
from blindspots.crafting import fitting
from blindspots.data import Dataset
from blindspots.engine.targets import RandomClass, Targets, parse_targets
from blindspots.errors import InputError
from blindspots.experiments.transfer.adapt import adapted, classes_of, matched
from blindspots.experiments.transfer.config import Source, TransferConfig
from blindspots.experiments.transfer.models import opened, plain
from blindspots.experiments.transfer.words import parse_sizes
from blindspots.models.adapted import Adapted
from blindspots.models.first_look import first_look
from blindspots.models.model import Model
from blindspots.naming import numbered
from blindspots.objective import Objective
from blindspots.problem import Need
from blindspots.runs.world import World
from blindspots.sizes import check_radius

_ACCESS = {Need.LABEL: "labels", Need.VALUE: "scores"}


def check_amplified(amplify: float | None, threat: Ball) -> None:
    """Refuse changes that would leave the ball."""
    if amplify is not None and (threat.radius is not None or not amplify > 0):
        raise InputError(
            f"expected a positive root mean square to amplify to, and a threat without a radius, got {amplify} and "
            f"{threat.spec}: amplified changes leave every ball, so write {threat.name} alone"
        )


def fitting_models(config: TransferConfig, world: World, data: Dataset) -> TransferConfig:
    """With what makes the models fit together, and the rows per call."""
    given = plain(config, world, data.shape)
    names = numbered(model.name for model in given)
    labels = config.labels if config.split else matched(given, names, data, config.labels)
    models = adapted(given, names, data, parse_sizes(config.resize), labels)
    check_radius(world.thing("threat", parse_ball).within(*models[0].bounds), data.shape)
    device = next((m.device for m in models if m.device.type != "cpu"), models[0].device)
    chunk = rows_per_call("search", data.shape, device, config.chunk)
    return config.model_copy(
        update={
            "sizes": tuple(m.size if isinstance(m, Adapted) else None for m in models),
            "outputs": tuple(tuple(m.labels) if isinstance(m, Adapted) and m.labels else None for m in models),
            "bounds": models[0].bounds,
            "class_count": classes_of(models[0], data.rows(0, 1)[0]),
            "chunk": chunk,
            "slots": rows_in_flight(data.shape, device, chunk, config.slots),
        }
    )


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
    shown = "gradients of a substitute" if queries else _ACCESS.get(access, "gradients")
    return Source(name=name, members=members, attack=repr(attack), access=shown, queries=queries)


def attack_of(config: TransferConfig, world: World, access: Need) -> Attack:
    """For a model that gives this access."""
    asked = world.thing("attack", lambda words: parse_attack(words) if words else None)
    threat = world.thing("threat", parse_ball).within(*config.bounds)
    return fitting(asked, threat, access, goal_of(config))


def goal_of(config: TransferConfig) -> Objective:
    """Away from the label, or towards a class."""
    return Objective(config.targeted, config.targets is not None and not config.targeted)


def targets_of(config: TransferConfig) -> Targets | None:
    """The rule that the configuration names, if any."""
    if config.targets == "random" or (config.targeted and config.targets is None):
        return RandomClass(config.seed)
    return parse_targets(config.targets) if config.targets else None
