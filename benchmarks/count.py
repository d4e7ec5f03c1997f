"""What an attack costs, counted outside of it."""

from typing import Any

import torch
from torch import Tensor, nn


class _Tap(torch.autograd.Function):
    """The identity; counts the rows whose gradient passes."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, owner: "Counted") -> Tensor:
        ctx.owner = owner
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        ctx.owner.backwards += len(grads[0])
        return grads[0], None


class Counted(nn.Module):
    """A network that counts the rows it evaluates and the rows whose gradient it returns."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net.requires_grad_(False)
        self.forwards = self.backwards = 0
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        self.forwards += len(x)
        return self.net(_Tap.apply(x, self) if x.requires_grad else x)
