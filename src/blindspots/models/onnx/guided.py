"""Scores of one network with the gradients of another: for graphs that round, which have no slope of their own."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn


class Guided(nn.Module):
    """What `asked` answers, to the last bit, with the gradients of `guide`, which computes nearly the same."""

    def __init__(self, asked: nn.Module, guide: nn.Module) -> None:
        super().__init__()
        self.asked, self.guide = asked, guide

    def forward(self, x: Tensor) -> Any:
        with torch.no_grad():
            answers = self.asked(x)
        return _sloped(self.guide(x), answers) if torch.is_grad_enabled() and x.requires_grad else answers


def _sloped(guide: Any, answers: Any) -> Any:
    if isinstance(answers, Mapping):
        return {key: _sloped(guide[key], value) for key, value in answers.items()}
    return _Answered.apply(guide, answers)  # type: ignore[no-untyped-call]


class _Answered(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, guide: Tensor, answers: Tensor) -> Tensor:
        return answers.clone()

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None]:
        return slope, None
