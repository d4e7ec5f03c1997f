"""For verification: norms of modules and what follows from them, by matrices written out and by iteration."""

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from blindspots.experiments.inspect.stability.verdict import WEIGHTED
from blindspots.models.model import Model
from blindspots.packing import unpacked_text
from blindspots.random import normal
from blindspots.runs.store import Parts

Problems = Iterator[str]
Array = np.ndarray[Any, Any]
_DENSE = 1 << 21  # numbers of a layer's matrix that is written out
_LARGE, _TURNS = 3, 60  # layers that are iterated instead, and how often
_NEAR = 0.95  # of a lower bound, which iteration reaches at least
_CLOSE, _FLOAT = 1e-6, 1e-3  # between float64 and float64, and between float64 and float32
_AVERAGING = (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d, nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d)
_PLAIN = (
    nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d,
    *_AVERAGING,
)  # fmt: skip
_NORMALISING = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_MOVING = ("alias", "view", "reshape", "flatten")
_SLOPES = {nn.ReLU: 1.0, nn.ReLU6: 1.0, nn.Tanh: 1.0, nn.Sigmoid: 0.25, nn.Softplus: 1.0, nn.Hardtanh: 1.0}
_POOLS = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)


class Bounds:
    """The stored bounds of a network's operations, and the products that follow from them."""

    def __init__(self, parts: Parts) -> None:
        graph, norms = parts["graph"], list(parts.below("norms"))
        self.names, self.ops = (unpacked_text(graph[k]).split("\n") for k in ("names", "ops"))
        self.upper, self.lower, joint = (
            np.concatenate([c[k].numpy() for c in norms]) for k in ("upper", "lower", "joint")
        )
        self.notes = [line for c in norms for line in unpacked_text(c["notes"]).split("\n")]
        self.reads = [[r for r in row if r >= 0] for row in graph["reads"].tolist()]
        self.products = self._products(joint)
        self.eclipse, self.margins = float(parts["whole"]["eclipse_fast"]), parts["whole"]["margins"].numpy()
        self.best = min(self.products[-1], math.inf if math.isnan(self.eclipse) else self.eclipse)

    def _products(self, joint: Array) -> list[float]:
        """Bounds up to every operation, by what it reads: the input first."""
        made = [1.0]
        for read, gains, squares in zip(self.reads[1:], self.upper, joint, strict=True):
            ways = np.array([g * made[r] if g and made[r] else 0.0 for g, r in zip(gains, read, strict=False)])
            made.append(float(np.sqrt((ways**2).sum()) if squares else ways.sum()))
        return made

    def order(self) -> Problems:
        for name, low, high in zip(self.names[1:], self.lower, self.upper, strict=True):
            if not low <= np.nanmax(high, initial=0.0) * (1 + _CLOSE):
                yield f"expected the norm of {name} between its bounds, found {low:g} above {np.nanmax(high):g}"


def seen_by(model: Model, x: Tensor, names: Sequence[str]) -> dict[str, list[tuple[Tensor, Tensor]]]:
    """What modules read and return, once for every time that they run."""
    modules, found = dict(model.net.named_modules()), {name: list[tuple[Tensor, Tensor]]() for name in names}

    def keep(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, out: Any) -> None:
            if args and isinstance(args[0], Tensor) and isinstance(out, Tensor):
                found[name].append((args[0].detach().clone(), out.detach().clone()))

        return hook

    with ExitStack() as stack:
        for name in names:
            stack.callback(modules[name].register_forward_hook(keep(name)).remove)
        stack.enter_context(model.borrowed())
        stack.enter_context(torch.no_grad())
        model.logits(x.to(model.device))
    return found


# ------------------------------------------------------------------ layers


def norms(b: Bounds, model: Model, x: Tensor) -> Problems:
    """Of the modules that are linear, and the constants of those that are not, at a row x (1, *shape)."""
    iterated = 0
    for i, apply, shape in _maps(b, model, x):
        low, high, inputs = float(b.lower[i - 1]), float(b.upper[i - 1, 0]), math.prod(shape)
        with torch.no_grad():
            outputs = apply(torch.zeros(1, *shape, dtype=torch.float64)).numel()
        dense = inputs * outputs <= _DENSE
        iterated += not dense
        if not dense and iterated > _LARGE:
            continue
        again = _written_out(apply, shape) if dense else _iterated(apply, shape)
        if not low * ((1 - _CLOSE) if dense else _NEAR) <= again <= high * (1 + 1e-9):
            yield f"expected the norm of {b.names[i]}, {again:.6g}, between {low:.6g} and {high:.6g}"
    yield from _constants(b, model, x)


def _constants(b: Bounds, model: Model, x: Tensor) -> Problems:
    """Of activations, and of max pooling: the root of how many windows share an input."""
    modules = dict(model.net.named_modules())
    known = [i for i, name in enumerate(b.names) if type(modules.get(name)) in (*_SLOPES, *_POOLS)]
    seen = seen_by(model, x, [b.names[i] for i in known])
    for i in known:
        module: Any = modules[b.names[i]]
        if len(seen[b.names[i]]) == 1 and getattr(module, "dilation", 1) == 1:
            again = _SLOPES.get(type(module)) or _shared(module, *seen[b.names[i]][0]) ** 0.5
            if not math.isclose(again, float(b.upper[i - 1, 0]), rel_tol=_CLOSE):
                yield f"expected {b.names[i]} to stretch by {again:.6g} at most, found {float(b.upper[i - 1, 0]):.6g}"


def _shared(pool: Any, read: Tensor, out: Tensor) -> float:
    """The most windows that share an input: the product over the axes."""
    sizes, counts = read.shape[2:], out.shape[2:]
    settings = [np.broadcast_to(v, len(sizes)) for v in (pool.kernel_size, pool.stride, pool.padding)]
    most = 1.0
    for n, m, k, s, p in zip(sizes, counts, *settings, strict=True):
        ahead = np.arange(n) - (np.arange(m) * s - p)[:, None]
        most *= ((ahead >= 0) & (ahead < k)).sum(0).max()
    return most


def _maps(b: Bounds, model: Model, x: Tensor) -> Iterator[tuple[int, Callable[[Tensor], Tensor], tuple[int, ...]]]:
    """Linear maps of inputs (1, *shape) and that shape, of layers that are plain modules; with normalisation behind."""
    modules = dict(model.net.named_modules())
    linear = [
        op in WEIGHTED or "avg_pool" in op for op in b.ops
    ]  # others are made by a module beside these, as padding
    names = [n for n, one in zip(b.names, linear, strict=True) if one and type(modules.get(n)) in _PLAIN]
    seen = seen_by(model, x, names)
    for name in names:
        i = b.names.index(name)
        chain = [modules[name]]
        behind = modules.get(b.names[i + 1]) if i + 1 < len(b.names) else None
        if isinstance(behind, _NORMALISING) and b.ops[i + 1] == "alias":
            chain.append(behind)
        if len(seen[name]) == 1:
            yield i, _linear(chain), tuple(seen[name][0][0].shape[1:])


def _linear(chain: Sequence[nn.Module]) -> Callable[[Tensor], Tensor]:
    copied = nn.Sequential(*(copy.deepcopy(module).double().cpu().eval() for module in chain))

    def apply(v: Tensor) -> Tensor:
        found: Tensor = copied(v) - copied(torch.zeros_like(v))
        return found

    return apply


@torch.no_grad()
def _written_out(apply: Callable[[Tensor], Tensor], shape: Sequence[int]) -> float:
    every = torch.eye(math.prod(shape), dtype=torch.float64).view(-1, *shape)
    return float(np.linalg.norm(apply(every).flatten(1).numpy(), 2))


def _iterated(apply: Callable[[Tensor], Tensor], shape: Sequence[int]) -> float:
    """Power iteration from noise: at most the norm."""
    key = torch.tensor([7])
    v = normal(key, torch.zeros_like(key), 0, shape).double()
    size = 0.0
    for _ in range(_TURNS):
        v = (v / torch.linalg.vector_norm(v)).detach().requires_grad_()
        out = apply(v)
        size = float(torch.linalg.vector_norm(out.detach()))
        (v,) = torch.autograd.grad(out, v, out.detach())
    return size


# ------------------------------------------------------------------ the whole


def network(b: Bounds, model: Model) -> Problems:
    """Margins, and ECLipsE-Fast where a network is written as plain linear layers and ReLUs."""
    modules = dict(model.net.named_modules())
    head = modules.get(b.names[-1])
    wanted = np.full_like(b.margins, math.sqrt(2) * b.best)
    plain = b.ops[-1] == "linear" and type(head) is nn.Linear
    if plain:
        w = _weight(head)
        read = max(b.reads[-1])
        apart = np.sqrt(((w[:, None] - w) ** 2).sum(2))
        wanted = np.minimum(wanted, apart * b.products[read] * (1 + 1e-9)) if b.products[read] < math.inf else wanted
    np.fill_diagonal(wanted, 0)
    if (plain or b.ops[-1] not in WEIGHTED) and not np.allclose(b.margins, wanted, rtol=_CLOSE):
        yield "expected the bounds of differences of scores as they follow from the last layer, found others"
    steps = [(n, op) for n, op in zip(b.names[1:], b.ops[1:], strict=True) if op not in _MOVING]
    if {op for _, op in steps} <= {"linear", "relu"} and all(
        type(modules.get(n)) is nn.Linear for n, op in steps if op == "linear"
    ):
        again = _eclipse([_weight(modules[n]) for n, op in steps if op == "linear"])
        if not math.isclose(again, b.eclipse, rel_tol=_FLOAT):
            yield f"expected ECLipsE-Fast to give {again:.6g}, found {b.eclipse:.6g}"


def _weight(module: Any) -> Array:
    return np.asarray(module.weight.detach().cpu().double().numpy())


def _eclipse(weights: Sequence[Array]) -> float:
    x = np.eye(weights[0].shape[1])
    for w in weights[:-1]:
        m = w @ np.linalg.solve(x, w.T)
        step = 2 / np.linalg.norm(m, 2)
        x = step * np.eye(len(m)) - step**2 / 4 * m
    return float(np.sqrt(np.linalg.norm(weights[-1] @ np.linalg.solve(x, weights[-1].T), 2)))
