"""For verification: what layers answer, read by hooks of its own."""

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from blindspots.models.model import Model

Array = np.ndarray[Any, Any]
_CHUNK = 64
_CHANNELS = ("Conv", "Pool", "BatchNorm", "InstanceNorm", "GroupNorm", "Upsampl", "Pad")  # in names of classes


def answered(model: Model, name: str, x: Tensor) -> Array:
    """What a layer answers to rows x (B, ...), as it is: (B, ...) float32."""
    found: list[Tensor] = []
    module = dict(model.net.named_modules())[name]
    hook = module.register_forward_hook(lambda m, args, out: found.append(_tensor(out).detach().cpu().clone()))
    _ask(model, x)
    hook.remove()
    return np.asarray(torch.cat(found).float().numpy())


def by_unit(model: Model, name: str, x: Tensor) -> Array:
    """The same with the axis of units behind that of rows: (B, units, *positions)."""
    return np.moveaxis(answered(model, name, x), 1 + unit_axis(model, name, x[:1]), 1)


def unit_axis(model: Model, name: str, x: Tensor) -> int:
    """Along which axis of a row's answers its units lie, as the nearest layer of that shape with a rule has it."""
    order: list[tuple[str, nn.Module, tuple[int, ...]]] = []

    def note(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, out: Any) -> None:
            if isinstance(_tensor(out), Tensor):
                order.append((name, module, tuple(_tensor(out).shape[1:])))

        return hook

    with ExitStack() as stack:
        for one, module in model.net.named_modules():
            stack.callback(module.register_forward_hook(note(one)).remove)
        _ask(model, x)
    at = [one for one, *_ in order].index(name)
    shape = order[at][2]
    near = sorted(range(len(order)), key=lambda i: (i > at, abs(i - at)))
    rules = [_rule(order[i][1], shape) for i in near if order[i][2] == shape]
    return next((rule for rule in rules if rule is not None), 1 if len(shape) == 2 else 0)


def _rule(module: nn.Module, shape: tuple[int, ...]) -> int | None:
    if any(word in base.__name__ for base in type(module).__mro__ for word in _CHANNELS):
        return 0
    features = getattr(module, "out_features", None) if isinstance(module, nn.Linear) else None
    if type(module).__name__ in ("LayerNorm", "RMSNorm"):
        (features, *others) = getattr(module, "normalized_shape", (None,))
        features = None if others else features
    return len(shape) - 1 if features == shape[-1] else None


def _tensor(out: Any) -> Any:
    """What a layer answers: of several results, as a recurrent one has them, the first."""
    return out[0] if isinstance(out, tuple) and out else out


def _ask(model: Model, x: Tensor) -> None:
    with model.borrowed(), torch.no_grad():
        for part in torch.split(x, _CHUNK):
            model.logits(part.to(model.device))
