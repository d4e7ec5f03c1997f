"""What is done with weights besides descending: averages of them, and adversarial perturbations."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from blindspots.experiments.harden.recipe import Weights

_TINY = 1e-12


class Average:
    """Of the weights over the training, if the recipe asks for one: what is judged and kept in their place."""

    def __init__(self, how: Weights, module: nn.Module) -> None:
        self._how, self._module = how, module
        fn: Any = get_ema_multi_avg_fn(how.decay) if how.average == "ema" else None  # type: ignore[no-untyped-call]
        self._mean = AveragedModel(module, multi_avg_fn=fn, use_buffers=True) if how.average != "none" else None

    @property
    def module(self) -> nn.Module:
        """The network with the mean weights; the one in training where there is no mean yet."""
        begun = self._mean is not None and int(self._mean.n_averaged) > 0
        return self._mean.module if begun else self._module  # type: ignore[union-attr]

    def after_step(self) -> None:
        if self._mean is not None and self._how.average == "ema":
            self._mean.update_parameters(self._module)

    def after_epoch(self, done: float) -> None:
        """`done`: share of the training that lies behind."""
        if self._mean is not None and self._how.average == "swa" and done > self._how.after:
            self._mean.update_parameters(self._module)

    def state(self) -> dict[str, Tensor]:
        return {} if self._mean is None else dict(self._mean.state_dict())

    def restore(self, state: dict[str, Tensor]) -> None:
        if self._mean is not None:
            self._mean.load_state_dict(state)


@contextmanager
def perturbed(module: nn.Module, size: float, loss: Callable[[], Tensor]) -> Iterator[None]:
    """Weights moved up the loss, each layer's by `size` of its norm, while the body runs (Wu et al. 2020, AWP).

    Their code finds the direction by a step of a proxy network's optimiser; plain SGD's step, as theirs is, has the
    direction of the gradient, which is taken here. Vectors such as biases stay.
    """
    if not size:
        yield
        return
    moving = [p for p in module.parameters() if p.requires_grad and p.ndim > 1]
    steps = _uphill(moving, size, torch.autograd.grad(loss(), moving, allow_unused=True))
    _add(moving, steps, 1)
    try:
        yield
    finally:
        _add(moving, steps, -1)


def _uphill(moving: Sequence[Tensor], size: float, slopes: Sequence[Tensor | None]) -> list[Tensor]:
    return [
        torch.zeros_like(p) if g is None else size * p.detach().norm() * g / g.norm().clamp_min(_TINY)
        for p, g in zip(moving, slopes, strict=True)
    ]


def _add(moving: Sequence[Tensor], steps: Sequence[Tensor], sign: int) -> None:
    with torch.no_grad():
        for p, step in zip(moving, steps, strict=True):
            p.add_(step, alpha=sign)
