"""Layers of a network whose outputs can be read, and put in the place of what was computed."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn

from blindspots.experiments.harden.objectives import Net

_ACTIVATIONS = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish, nn.Softplus, nn.Sigmoid, nn.Tanh,
    nn.Hardtanh, nn.Hardswish, nn.PReLU,
)  # fmt: skip
_WEIGHTED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


def hidden_layers(module: nn.Module, net: Net, x: Tensor) -> list[nn.Module]:
    """Modules of `module` that are activations and run once in net(x), in the order in which they run.

    Without any, weighted layers.
    The last weighted layer gives the scores and is none of them. Exported graphs have no modules: the list is empty.
    """
    seen = _order(module, net, x)
    once = [m for m, calls in Counter(seen).items() if calls == 1]
    found: list[nn.Module] = [m for m in once if isinstance(m, _ACTIVATIONS)]
    weighted: list[nn.Module] = [m for m in once if isinstance(m, _WEIGHTED)]
    return found or weighted[:-1]


def outputs(net: Net, layers: Sequence[nn.Module], x: Tensor) -> list[Tensor]:
    """What each of the layers returns in net(x), x (B, *shape)."""
    found: dict[nn.Module, Tensor] = {}
    with ExitStack() as stack, torch.no_grad():
        for layer in layers:
            handle = layer.register_forward_hook(lambda m, args, out: found.update({m: out.detach()}))
            stack.callback(handle.remove)
        net(x)
    return [found[layer] for layer in layers]


@contextmanager
def replaced(layer: nn.Module, output: Tensor) -> Iterator[None]:
    """Inside, `layer` returns `output`, whatever comes in: what lies below has no part in the scores."""
    handle = layer.register_forward_hook(lambda m, args, out: output.to(out.dtype))
    try:
        yield
    finally:
        handle.remove()


def _order(module: nn.Module, net: Net, x: Tensor) -> list[nn.Module]:
    calls: list[nn.Module] = []
    with ExitStack() as stack, torch.no_grad():
        for layer in module.modules():
            if isinstance(layer, _ACTIVATIONS + _WEIGHTED):
                handle = layer.register_forward_hook(lambda m, args, out: calls.append(m))
                stack.callback(handle.remove)
        net(x)
    return calls
