"""A look inside of a network while it runs: outputs of its layers, whatever it is written as.

Layers are found as calls of torch's functions, in the order of a forward pass, rather than as modules with hooks: so
functional code, a module that is used twice, and exported graphs, which have no modules, are seen all the same.
TorchScript is not: it calls torch from within.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from blindspots.batching import ANSWERS
from blindspots.errors import InputError
from blindspots.experiments.detect.detectors.detector import Detector, Fitted
from blindspots.models.batched import Batched
from blindspots.models.model import Model

HEAD = -1  # stands for what enters the last layer with weights
_LINEAR = {"linear", "addmm", "mm", "matmul", "__matmul__"}
_CONVOLUTION = {"conv1d", "conv2d", "conv3d", "convolution"}
_ACTIVATION = {
    "relu", "relu6", "leaky_relu", "prelu", "elu", "celu", "selu", "gelu", "silu", "mish", "hardswish", "softplus",
    "tanh", "sigmoid", "hardtanh", "hardsigmoid",
}  # fmt: skip
_PROBE = (2, 3)  # rows: a layer's first axis has to be that of the rows both times


@dataclass(frozen=True)
class Layer:
    """One call in a forward pass; `place` counts them from 0, `shape` is that of one row's output."""

    place: int
    kind: str
    shape: tuple[int, ...]
    rowwise: bool

    @property
    def weighs(self) -> bool:
        """Whether it has weights."""
        return self.kind in _LINEAR | _CONVOLUTION


@dataclass(frozen=True)
class Look:
    """What a forward pass showed: logits (B, C), and of each place that was asked for a tensor (B, ...) float32."""

    logits: Tensor
    seen: tuple[Tensor, ...]


See = Callable[[int, str, Tensor, Tensor], None]


def name_of(function: Any) -> str:
    """Of a torch function or operator, without its overload and the underscore of the one in place."""
    name = str(getattr(function, "__name__", "")).partition(".")[0]
    return name if name.startswith("__") else name.rstrip("_")


def enters(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Tensor | None:
    """The input of a layer's call; None if it is no layer."""
    given = [a for a in (*args, *kwargs.values()) if isinstance(a, Tensor)]
    if name in _LINEAR and len(given) > 1:  # a product of two activations, as in attention, has no weights
        entering, weight = given[-2:] if name == "addmm" else given[:2]
        return entering if weight.ndim == 2 else None
    return given[0] if name in _CONVOLUTION | _ACTIVATION and given else None


class _Watch(TorchFunctionMode):
    """Tells `see` of every layer: its place, kind, input and output."""

    def __init__(self, see: See) -> None:
        self.see, self.calls = see, 0

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kind = name_of(func)
        entering = enters(kind, args, kwargs or {})
        out = func(*args, **(kwargs or {}))
        if entering is not None:
            self.see(self.calls, kind, entering, out)
            self.calls += 1
        return out


def layers(model: Model, x: Tensor) -> tuple[Layer, ...]:
    """The layers of a model, for inputs like those in x (N, *shape); the last one with weights is the head.

    Raises InputError for a network that does not show any.
    """
    few, more = (_surveyed(model, _rows(x, rows)) for rows in _PROBE)
    if not any(layer.weighs for layer in few) or len(few) != len(more):
        raise _nothing_seen(model)
    return tuple(Layer(a.place, a.kind, a.shape, a.rowwise and b.rowwise) for a, b in zip(few, more, strict=True))


def hidden(model: Model, x: Tensor, most: int | None = None) -> tuple[int, ...]:
    """Places of the hidden layers: activation functions, else layers with weights, else HEAD.

    Args:
        most: so many of them, evenly spaced; None: all.
    """
    found = layers(model, x)
    head = max(layer.place for layer in found if layer.weighs)
    inner = [layer for layer in found if layer.place < head and layer.rowwise]
    chosen = [layer.place for layer in inner if not layer.weighs] or [layer.place for layer in inner] or [HEAD]
    at = torch.linspace(0, len(chosen) - 1, min(most or len(chosen), len(chosen))).round().long().tolist()
    return tuple(chosen[i] for i in at)


def checked(model: Model, x: Tensor, place: int) -> int:
    """`place`, if there is a layer whose rows can be told apart. Raises InputError that names all others."""
    found = {layer.place: layer for layer in layers(model, x) if layer.rowwise}
    if place not in found:
        words = ", ".join(f"{p} {layer.kind} {'x'.join(map(str, layer.shape))}" for p, layer in found.items())
        raise InputError(f"expected a layer of {model.name} by its number, got {place}: choose one of {words}")
    return place


def look(model: Model, x: Tensor, places: Sequence[int], pooled: bool = True) -> Look:
    """One forward pass of inputs x (B, *shape); keeps autograd.

    Args:
        places: of layers, or HEAD.
        pooled: take the mean over space, or over tokens, so that each tensor is (B, channels).
    """
    parts: list[Look] = [_look(model, part, rows, places, pooled) for part, rows in portions(model, x)]
    if len(parts) == 1:
        return parts[0]
    seen = (torch.cat(tensors) for tensors in zip(*(part.seen for part in parts), strict=True))
    return Look(torch.cat([part.logits for part in parts]), tuple(seen))


def gathered(model: Model, x: Tensor, places: Sequence[int]) -> Look:
    """As `look`, of any number of rows and without gradients, on the CPU."""
    with torch.no_grad():
        looks = [look(model, part, places) for part in torch.split(x, ANSWERS)]
    seen = (torch.cat(tensors).cpu() for tensors in zip(*(part.seen for part in looks), strict=True))
    return Look(torch.cat([part.logits for part in looks]).cpu(), tuple(seen))


class Inside(Fitted):
    """A detector that looks at layers of the model: one forward pass serves both."""

    pooled = True

    def __init__(
        self, detector: Detector, model: Model, shape: tuple[int, ...], learnt: Mapping[str, Tensor] | None = None
    ) -> None:
        super().__init__(detector, model, shape, learnt)
        self.at: tuple[int, ...] = tuple(self.get_buffer("places").tolist())

    @abstractmethod
    def judge(self, seen: Look) -> Tensor:
        """Scores (B,) of what a forward pass showed."""

    def beside(self, x: Tensor) -> tuple[Tensor, Tensor]:
        seen = look(self.model, x, self.at, self.pooled)
        return seen.logits, self.judge(seen)

    def forward(self, x: Tensor) -> Tensor:
        return self.beside(x)[1]


def _nothing_seen(model: Model) -> InputError:
    return InputError(
        f"expected a network whose layers can be seen, got {model.name}, which does not show them: give the network "
        "itself or its torch.export archive, or choose a detector of inputs such as network"
    )


def _rows(x: Tensor, rows: int) -> Tensor:
    return x[torch.arange(rows, device=x.device) % x.shape[0]]


def _surveyed(model: Model, x: Tensor) -> list[Layer]:
    found: list[Layer] = []

    def see(place: int, kind: str, entering: Tensor, out: Tensor) -> None:
        found.append(Layer(place, kind, tuple(out.shape[1:]), out.shape[0] == rows))

    part, _ = next(portions(model, x))
    rows = part.shape[0]
    with torch.no_grad(), _Watch(see):
        model.logits(part)
    return found


def portions(model: Model, x: Tensor) -> Iterator[tuple[Tensor, int]]:
    """The parts of x that the network takes in one call each, filled up where it has to be, and how many rows count."""
    net = model.net
    least, most = (net.least, net.most) if isinstance(net, Batched) else (0, None)
    for part in torch.split(x, most or max(1, x.shape[0])):
        missing = max(0, least - part.shape[0])
        yield torch.cat([part, part[-1:].expand(missing, *part.shape[1:])]) if missing else part, part.shape[0]


@torch.compiler.disable  # type: ignore[untyped-decorator]  # tracing is not made for modes
def _look(model: Model, x: Tensor, rows: int, places: Sequence[int], pooled: bool) -> Look:
    seen: dict[int, Tensor] = {}
    last = False  # whether channels are the last axis here, as after a linear layer

    def see(place: int, kind: str, entering: Tensor, out: Tensor) -> None:
        nonlocal last
        if kind in _LINEAR | _CONVOLUTION:
            last = kind in _LINEAR
            if HEAD in places:
                seen[HEAD] = _kept(entering, last, pooled)
        if place in places:
            seen[place] = _kept(out, last, pooled)

    with _Watch(see):
        logits = model.logits(x)
    if not seen.keys() >= set(places):
        raise _nothing_seen(model)
    return Look(logits[:rows], tuple(seen[place][:rows] for place in places))


def _kept(t: Tensor, channels_last: bool, pooled: bool) -> Tensor:
    if not pooled or t.ndim < 3:
        return t.float().clone()  # what comes next may change it in place
    return (t.flatten(1, -2).mean(1) if channels_last else t.flatten(2).mean(2)).float()
