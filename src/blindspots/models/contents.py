"""What a network consists of: what its digest covers."""

import re
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

_UNSTABLE = re.compile(r" at 0x[0-9a-f]+|___torch_mangle_\d+\.?")  # differs between two loads of one network


def structure_of(net: nn.Module) -> bytes:
    """Its layers, and the code of TorchScript and exported modules, the same for every load."""
    return "".join(_UNSTABLE.sub("", text) for text in (repr(net), *_code(net))).encode()


def _code(net: nn.Module) -> Iterator[str]:
    """The code of TorchScript and exported modules, which their repr does not show."""
    for module in net.modules():
        code = getattr(module, "inlined_code", None) or getattr(module, "code", None)
        if isinstance(code, str):
            yield code


def tensors_of(net: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Named parameters, buffers, and constants that a network keeps elsewhere."""
    yield from net.named_parameters()
    yield from net.named_buffers()
    for module in net.modules():
        if isinstance(module, torch.fx.GraphModule):
            yield from ((k, v) for k, v in vars(module).items() if isinstance(v, Tensor))
        if isinstance(module, torch.jit.ScriptModule) and hasattr(module, "inlined_graph"):
            yield from _script_constants(module.inlined_graph)


def _script_constants(graph: Any) -> Iterator[tuple[str, Tensor]]:
    for i, node in enumerate(graph.findAllNodes("prim::Constant")):
        if node.hasAttribute("value") and node.kindOf("value") == "t":
            yield f"constant {i}", node.t("value")


def raw_bytes(tensor: Tensor) -> memoryview:
    """The bytes of its numbers."""
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data
