"""Models of other frameworks as a pair of functions of arrays: what they say, and how its slope is pulled back."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from blindspots.arguments import checked
from blindspots.box import Numbers
from blindspots.errors import InputError
from blindspots.models.foreign import call
from blindspots.models.model import Model, Output

Value = Callable[[Any], Any]
Pullback = Callable[[Any, Any], Any]


@checked()
def from_functions(
    value: Callable[..., Any],
    vjp: Callable[..., Any],
    bounds: tuple[Numbers, Numbers] = (0.0, 1.0),
    output: Output = "auto",
    name: str | None = None,
    class_names: Iterable[str] | None = None,
) -> Model:
    """A model of any framework (JAX, Keras, TensorFlow, numpy) with gradients, from two functions of numpy arrays.

    Where only the first is there, use `BlackBox(value)`: score-based attacks run on it. Checks before an evaluation
    compare the slope with what small steps do, and find a wrong one (`gradient-misleads`).

    Args:
        value: from inputs (B, *shape), float32, to scores (B, C) or what else `output` says. A row of them depends on
            its own input alone.
        vjp: the vector-Jacobian product: from inputs x (B, *shape) and weights w (B, C), of the shape that `value`
            returns, both float32, to the gradient (B, *shape) of sum(w * value(x)) with respect to x.
        bounds: the smallest and the largest value an input can have, or arrays of them.
        output: what `value` returns, as in `Model`.
        name: its name in reports. Default: that of the function `value`.
        class_names: names of the classes, in order.

    Raises:
        InputError: a value above does not fit, or, when called, one of the functions returns another shape.
    """
    called = name or getattr(value, "__name__", type(value).__name__)
    return Model(Pair(value, vjp), bounds, output=output, name=called, class_names=class_names)


class Pair(nn.Module):
    """A function of arrays as a network, with the gradient that another function gives."""

    def __init__(self, value: Value, vjp: Pullback) -> None:
        super().__init__()
        self.value, self.vjp = value, vjp

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = _Called.apply(x, self.value, self.vjp)  # type: ignore[no-untyped-call]
        return out

    def extra_repr(self) -> str:
        return ", ".join(getattr(f, "__qualname__", type(f).__qualname__) for f in (self.value, self.vjp))


class _Called(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, value: Value, vjp: Pullback) -> Tensor:
        ctx.save_for_backward(x)
        ctx.vjp = vjp
        return _tensor(value(_array(x)), x)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, weights: Tensor) -> tuple[Tensor, None, None]:
        (x,) = ctx.saved_tensors
        pulled = call(lambda w: ctx.vjp(_array(x), _array(w)), weights, "a vector-Jacobian product")
        gradient = _tensor(pulled, x)
        if gradient.shape != x.shape:
            raise InputError(
                f"expected a gradient of shape {tuple(x.shape)} from vjp, got {tuple(gradient.shape)}: let vjp(x, w) "
                "return the gradient of sum(w * value(x)) with respect to x"
            )
        return gradient, None, None


def _array(x: Tensor) -> Any:
    """A copy, which a function may write into."""
    return x.detach().cpu().float().numpy().copy()


def _tensor(found: Any, like: Tensor) -> Tensor:
    array = np.asarray(found)
    if array.dtype.kind not in "fiub":
        raise InputError(f"expected an array of numbers, got {array.dtype}: let the functions return numpy arrays")
    return torch.from_numpy(np.array(array, np.float32)).to(like.device)
