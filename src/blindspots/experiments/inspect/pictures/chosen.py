"""Which pictures are drawn: kinds, layers, channels and classes; and what is refused."""

from zlib import crc32

import torch
from torch import Tensor

from blindspots.data.splits import shuffled
from blindspots.errors import InputError
from blindspots.experiments.inspect.layers import Layer, has_hidden, hidden, layers_of, named
from blindspots.experiments.inspect.pictures.config import PicturesConfig
from blindspots.experiments.inspect.pictures.objectives import Group, answered
from blindspots.experiments.inspect.units.bases import rotations
from blindspots.models.blackbox import BlackBox
from blindspots.models.model import Model
from blindspots.models.texts import TextModel
from blindspots.pictures import is_image
from blindspots.problem import Need
from blindspots.runs.world import World


def check_pictures(world: World) -> None:
    """Raises InputError: inputs are no pictures."""
    model = world.named("model")
    if isinstance(model, TextModel) or not is_image(world.data.shape):
        got = "texts" if isinstance(model, TextModel) else f"inputs of shape {tuple(world.data.shape)}"
        raise InputError(
            f"expected pictures of shape (H, W), (1, H, W) or (3, H, W), got {got}: leave out --part pictures, or say "
            "what the axes mean with --layout"
        )


def class_count(world: World) -> int:
    """Of the model, and of all others that it was named with. Raises InputError: they differ."""
    return world.once("classes", lambda: _class_count(world))


def _class_count(world: World) -> int:
    models = [world.seen(name) for name in world.config.models()]
    counts = [_scores(model, world.data.rows(0, 1)[0]) for model in models]
    for model, count in zip(models, counts, strict=True):
        if count != counts[0]:
            raise InputError(
                f"expected models of the same {counts[0]} classes as {models[0].name}, got {model.name} with {count}: "
                "name one that answers the same question"
            )
    return counts[0]


def _scores(model: Model, x: Tensor) -> int:
    with model.borrowed(), torch.no_grad():
        scores = model.logits(x.to(model.device))
    if bool(scores.isnan().any()):
        failed = f" ({model.failure})" if isinstance(model, BlackBox) and model.failure else ""
        raise InputError(f"expected scores of {model.name} for the first row, got NaN{failed}: check the model")
    return scores.shape[1] - model.rejects


def check_answers(config: PicturesConfig, world: World) -> None:
    """Of a model without gradients images can be evolved, as long as it says how sure it is.

    Raises InputError: something else was asked for, or it says its labels alone.
    """
    model = world.model
    if config.layer or config.picture or config.beside:
        raise InputError(
            f"expected a network with gradients for pictures of its layers and classes, got {model.name}, which is "
            "known by its answers alone: leave out layer, picture and beside, and fooling images are evolved"
        )
    if model.access is Need.LABEL or not config.fooling:
        raise InputError(
            f"expected a network with gradients, or a model that answers with scores to evolve fooling images for, got "
            f"{model.name}: wrap its scores, or leave out --part pictures"
        )


def _layers(world: World) -> list[Layer]:
    return world.once("layers", lambda: layers_of(world.model, world.data.rows(0, 2)[0].to(world.model.device)))


def groups_of(config: PicturesConfig, world: World) -> tuple[str, ...]:
    """ "channel@conv1", ..., "class": where layers are named these alone, where classes are, these alone."""
    both = not (config.layer or config.class_)
    channels = bool(config.layer) or (both and has_hidden(world.model, world.data.rows(0, 2)[0]))
    kinds = config.picture or (("channel",) * channels + ("class",) * bool(both or config.class_))
    layers = _wanted(config, world) if set(kinds) - {"class"} else []
    return tuple(f"{kind}@{layer.name}" for kind in kinds if kind != "class" for layer in layers) + (
        ("class",) if "class" in kinds else ()
    )


def _wanted(config: PicturesConfig, world: World) -> list[Layer]:
    every = _layers(world)
    return named(every, config.layer) if config.layer else hidden(every, config.picture_layers)


def chosen(config: PicturesConfig, world: World, i: int) -> tuple[str, Layer | None, Tensor]:
    """Kind, layer, and channels, classes, rows or places of directions, (T,)."""
    kind, _, name = config.groups[i].partition("@")
    place = number_of(config.groups[i])
    if kind == "class":
        return kind, None, torch.tensor(config.numbers)
    layer = named(_layers(world), [name])[0]
    if kind == "direction":
        return kind, layer, torch.arange(min(config.picture_units, layer.units))
    if kind == "caricature":
        return kind, layer, shuffled(len(world.data), config.seed, place)[: config.picture_units]
    return kind, layer, _channels(config, layer, place)


def _channels(config: PicturesConfig, layer: Layer, place: int) -> Tensor:
    asked = list(dict.fromkeys(int(word) for word in config.unit))
    for unit in asked:
        if unit >= layer.units:
            raise InputError(f"expected a channel of {layer.name} from 0 to {layer.units - 1}, got {unit}: choose one")
    by_lot = shuffled(layer.units, config.seed, place)[: config.picture_units]
    return torch.tensor(asked) if asked else by_lot.sort().values


def number_of(group: str) -> int:
    """That its draws depend on, so that nothing else that is drawn changes its pictures."""
    return crc32(group.encode())


def count_of(config: PicturesConfig, world: World, i: int) -> int:
    """Objectives of a group."""
    return len(chosen(config, world, i)[2])


def group_of(config: PicturesConfig, world: World, i: int) -> Group:
    """What is raised."""
    kind, layer, at = chosen(config, world, i)
    if layer is not None and kind == "direction":
        return Group(kind, layer, next(rotations(config.seed, number_of(config.groups[i]), 1, layer.units, len(at))).T)
    if kind == "caricature":
        x = torch.cat([world.data.rows(row, row + 1)[0] for row in at.tolist()])
        with world.model.borrowed(), torch.no_grad():
            out = answered(world.model, layer, x.to(world.model.device)).flatten(1).cpu()
        return Group(kind, layer, out / out.norm(dim=1, keepdim=True).clamp_min(1e-12))
    return Group(kind, layer, at)


def check_slopes(config: PicturesConfig, world: World) -> None:
    """Raises InputError: from what is to be drawn no gradient reaches the inputs."""
    model = world.model
    x = world.data.rows(0, 1)[0].to(model.device).clone().requires_grad_()
    layers = {layer.name: layer for i in range(len(config.groups)) if (layer := chosen(config, world, i)[1])}
    for layer in layers.values():
        with model.borrowed(), torch.enable_grad():
            if not answered(model, layer, x).requires_grad:
                raise InputError(
                    f"expected a layer with gradients, got {layer}, whose answers are cut off from the inputs: choose "
                    "another"
                )
    if config.beside and world.seen("beside").access is not Need.GRAD:
        raise InputError(
            f"expected a network with gradients beside {model.name}, got {world.seen('beside').name}, which has none: "
            "name another"
        )
