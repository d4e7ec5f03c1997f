"""The models of a run, in the order of its matrix: as its parts ask them, and as its proof does."""

from collections.abc import Sequence

from blindspots.experiments.transfer.config import Matched, Source
from blindspots.experiments.transfer.networks import Architecture, parse_architecture
from blindspots.models.adapted import Adapted
from blindspots.models.ensemble import Ensemble
from blindspots.models.model import Model
from blindspots.models.training import alone
from blindspots.runs.experiment import Columns
from blindspots.runs.world import World

HALVES = ("P1", "P2")


def plain(config: Matched, world: World, shape: tuple[int, ...], weights: Sequence[Columns] = ()) -> list[Model]:
    """The models as they were named; with --split the networks for inputs of this shape, untrained without weights."""
    if not config.split:
        return [world.named(name) for name in config.models()]
    networks = zip(split(config.model), weights or [None] * 2 * len(config.model), strict=True)
    return [_network(*network, shape, config.class_count, of) for network, of in networks]


def opened(config: Matched, world: World, shape: tuple[int, ...], weights: Sequence[Columns] = ()) -> list[Model]:
    """All models, taking the rows of the data as they are, and answering with their labels."""
    models = plain(config, world, shape, weights)
    given = zip(models, config.sizes, config.outputs, strict=True)
    return [Adapted(m, size, labels) if size or labels else m for m, size, labels in given]


def owner(source: Source, models: Sequence[Model]) -> Model:
    """Who is to be fooled: a model, or the average of several."""
    members = [models[i] for i in source.members]
    return members[0] if len(members) == 1 else Ensemble(members)


def split(architectures: Sequence[str]) -> list[tuple[Architecture, str]]:
    """Every architecture on one half of the training rows, then every one on the other."""
    named = [parse_architecture(text) for text in architectures]
    return [(architecture, half) for half in HALVES for architecture in named]


def _network(
    architecture: Architecture, half: str, shape: tuple[int, ...], classes: int, weights: Columns | None
) -> Model:
    model = restored(architecture, shape, classes, weights)
    model.name = f"{architecture.spec} on {half}"
    return model


def restored(architecture: Architecture, shape: tuple[int, ...], classes: int, weights: Columns | None) -> Model:
    """The network with these weights, as `weights_of` gives them; None: untrained."""
    with alone(0):
        model = architecture.build(shape, classes)
    if weights is not None:
        model.net.load_state_dict(weights)
    model.net.eval()
    return model


def weights_of(model: Model) -> Columns:
    """Parameters and buffers, each with memory of its own."""
    return {name: tensor.detach().cpu().clone() for name, tensor in model.net.state_dict().items()}
