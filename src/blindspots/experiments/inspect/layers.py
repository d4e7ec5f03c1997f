"""Layers of a network by their names, and what they answer: never all rows in memory at once."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from blindspots.data import Dataset
from blindspots.errors import InputError
from blindspots.models.model import Model
from blindspots.models.texts import TextModel
from blindspots.naming import meant
from blindspots.problem import Need

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
WEIGHTED = (nn.Linear, *_CONVOLUTIONS)
_SHOWN = 12  # names in a sentence
_CHANNELS_FIRST = {
    f"torch.nn.modules.{kind}" for kind in ("conv", "pooling", "batchnorm", "instancenorm", "upsampling", "padding")
}


@dataclass(frozen=True)
class Layer:
    """A module that runs once for every input and returns a tensor (B, ...), or several of which this is the first.

    Attributes:
        name: as `named_modules` calls it.
        kind: its class.
        shape: of what it returns for one row.
        weighted: whether it multiplies by learned weights: its outputs come before any activation.
        axis: of `shape`, along which its units lie: 0 of channels (C, H, W), the last one of tokens (T, E).
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    weighted: bool
    axis: int

    @property
    def units(self) -> int:
        return self.shape[self.axis]

    def by_unit(self, out: Tensor) -> Tensor:
        """Outputs (B, *shape) as (B, units, *positions)."""
        return out.movedim(1 + self.axis, 1)

    def __str__(self) -> str:
        return f"{self.name} ({self.kind}, {' × '.join(map(str, self.shape))})"


def check_has_layers(model: Model) -> None:
    """Raises InputError: it reads texts, or only its answers are known."""
    if isinstance(model, TextModel):
        raise InputError(
            f"expected a model of numbers, got {model.name}, which reads texts: its layers see tokens, which this part "
            "does not treat"
        )
    if model.access is not Need.GRAD:
        raise InputError(
            f"expected a network whose layers can be read, got {model.name}, which is known by its answers alone: "
            "choose parts that need no layers, such as --part frequency"
        )


def layers_of(model: Model, x: Tensor) -> list[Layer]:
    """All layers of a network in the order in which they return, for inputs x (B, *shape); not the network itself.

    Raises InputError: there are none, as in an exported graph.
    """
    seen: dict[str, list[Tensor]] = {}
    with watched(model, [name for name, _ in model.net.named_modules() if name]) as outputs, model.borrowed():
        with torch.no_grad():
            model.logits(x)
        seen = {name: list(found) for name, found in outputs.items()}
    modules = dict(model.net.named_modules())
    once = {n: o[0] for n, o in seen.items() if len(o) == 1 and _is_layer(o[0], len(x))}
    if not once:
        raise InputError(
            f"expected a network of modules with names, got {model.name}, which shows none: pass the network itself, "
            "not one function, one layer or an exported graph, or choose other parts"
        )
    shapes = {name: tuple(out.shape[1:]) for name, out in once.items()}
    axes = _axes({name: modules[name] for name in once}, shapes)
    return [
        Layer(name, type(modules[name]).__name__, shape, isinstance(modules[name], WEIGHTED), axes[name])
        for name, shape in shapes.items()
    ]


def _is_layer(out: Tensor, rows: int) -> bool:
    return out.is_floating_point() and out.ndim >= 2 and out.shape[0] == rows


def _axes(modules: Mapping[str, nn.Module], shapes: Mapping[str, tuple[int, ...]]) -> dict[str, int]:
    """Along which axis of its shape the units of each layer lie, in the order in which they return.

    Where a module does not tell, as an activation or a block, the layer before it of the same shape does, else one
    behind it, else the shape: (T, E) are taken for tokens, anything longer for channels first.
    """
    told = {name: axis for name, module in modules.items() if (axis := _axis(module, shapes[name])) is not None}
    order, found = list(modules), dict[str, int]()
    for i, name in enumerate(order):
        near = [other for other in (*order[i::-1], *order[i:]) if other in told and shapes[other] == shapes[name]]
        found[name] = told[near[0]] if near else int(len(shapes[name]) == 2)
    return found


def _axis(module: nn.Module, shape: tuple[int, ...]) -> int | None:
    """What a module itself tells of it; None: nothing."""
    last = len(shape) - 1
    if isinstance(module, nn.Linear) and module.out_features == shape[-1]:
        return last
    if type(module) in (nn.LayerNorm, nn.RMSNorm) and module.normalized_shape == shape[-1:]:
        return last
    if isinstance(module, nn.GroupNorm) or any(base.__module__ in _CHANNELS_FIRST for base in type(module).__mro__):
        return 0
    return None if last else 0


def named(layers: Sequence[Layer], names: Sequence[str]) -> list[Layer]:
    """The layers of these names. Raises InputError: there is none of a name."""
    known = {layer.name: layer for layer in layers}
    for name in names:
        if name not in known:
            raise InputError(f"expected a layer among {_listed(layers)}, got {name!r}{meant(name, known)}: choose one")
    return [known[name] for name in names]


def _listed(layers: Sequence[Layer]) -> str:
    more = f" and {len(layers) - _SHOWN} others" if len(layers) > _SHOWN else ""
    return ", ".join(map(str, layers[:_SHOWN])) + more


def hidden(layers: Sequence[Layer], most: int) -> list[Layer]:
    """Weighted layers but the last, which gives the scores: all of them, or `most` spread evenly up to the last one."""
    found = [layer for layer in layers if layer.weighted][:-1] or list(layers[:-1])
    if len(found) <= most:
        return found
    step = (len(found) - 1) / max(most - 1, 1)
    return [found[round(i * step)] for i in range(most)] if most > 1 else found[-1:]


def has_hidden(model: Model, x: Tensor) -> bool:
    """Whether a network has layers with names before its scores, for inputs x (B, *shape)."""
    try:
        return bool(hidden(layers_of(model, x.to(model.device)), 1))
    except InputError:
        return False


@contextmanager
def watched(model: Model, names: Sequence[str]) -> Iterator[dict[str, list[Tensor]]]:
    """What these modules returned since, by name, in the order in which they returned first. Keeps autograd.

    As copies: a ReLU behind them may work in place.
    """
    modules, outputs = dict(model.net.named_modules()), dict[str, list[Tensor]]()

    def keep(name: str) -> Callable[[nn.Module, object, object], None]:
        def hook(module: nn.Module, args: object, out: object) -> None:
            found = out[0] if isinstance(out, tuple) and out else out  # recurrent layers also return their states
            if isinstance(found, Tensor):
                outputs.setdefault(name, []).append(found.clone())

        return hook

    with ExitStack() as stack:
        for name in names:
            stack.callback(modules[name].register_forward_hook(keep(name)).remove)
        yield outputs


def outputs(model: Model, layers: Sequence[Layer], x: Tensor) -> list[Tensor]:
    """What the layers return for x (B, *shape), each (B, *layer.shape), float32."""
    with watched(model, [layer.name for layer in layers]) as seen:
        model.logits(x)
    return [seen[layer.name][0].float() for layer in layers]


def streamed(model: Model, layers: Sequence[Layer], data: Dataset, chunk: int) -> Iterator[tuple[Tensor, list[Tensor]]]:
    """Labels (B,) and what the layers return, `chunk` rows after the other, without gradients."""
    for first in range(0, len(data), chunk):
        x, y = data.rows(first, min(first + chunk, len(data)))
        with model.borrowed(), torch.no_grad():
            yield y, outputs(model, layers, x.to(model.device))


def pooled(layer: Layer, out: Tensor, *, rectified: bool = False) -> Tensor:
    """One number for every unit: outputs (B, *shape) averaged over positions, (B, units); `rectified`: after a ReLU."""
    found = layer.by_unit(out.relu() if rectified else out)
    return found.mean(tuple(range(2, found.ndim))) if found.ndim > 2 else found
