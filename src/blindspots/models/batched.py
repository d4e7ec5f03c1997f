"""Networks that take batches of certain sizes only, fed with batches of any size."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn


class Batched(nn.Module):
    """Feeds batches of any size to a network that was exported for `least` to `most` rows (None: any number).

    Longer batches are split, shorter ones are padded with copies of the last row, whose outputs are dropped.
    """

    def __init__(self, net: nn.Module, least: int, most: int | None) -> None:
        super().__init__()
        self.net, self.least, self.most = net, least, most

    def forward(self, x: Tensor) -> Any:
        return _joined([self._part(part) for part in torch.split(x, self.most or len(x))])

    def _part(self, x: Tensor) -> Any:
        missing = max(0, self.least - len(x))
        out = self.net(torch.cat([x, x[-1:].expand(missing, *x.shape[1:])]))
        return _each(lambda t: t[: len(x)], out)

    def extra_repr(self) -> str:
        return f"least={self.least}, most={self.most}"


def _joined(parts: list[Any]) -> Any:
    """Outputs of the same structure, concatenated by rows."""
    return parts[0] if len(parts) == 1 else _each(lambda *ts: torch.cat(ts), *parts)


def _each(f: Callable[..., Tensor], out: Any, *others: Any) -> Any:
    """`f` of corresponding tensors with rows in outputs of one structure; anything else is that of the first."""
    if isinstance(out, Mapping):
        return {key: _each(f, value, *(o[key] for o in others)) for key, value in out.items()}
    if isinstance(out, tuple | list):
        return [_each(f, *values) for values in zip(out, *others, strict=True)]
    return f(out, *others) if isinstance(out, Tensor) and out.ndim else out
