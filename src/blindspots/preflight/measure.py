"""The forward and backward passes that yield a `Sample`."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from blindspots.errors import InputError
from blindspots.models.foreign import own_randomness, told
from blindspots.models.model import Model
from blindspots.models.precision import full_precision
from blindspots.objective import margin
from blindspots.preflight.sample import Gradients, Sample, largest, rounding_unit
from blindspots.problem import Need
from blindspots.random import keys, sign, uniform

# Three repetitions: a coin tossed once per batch goes unnoticed 1 time in 8.
REPEATS = 3
# Gradients are compared with the network NEAR a row, over a STEP; both are shares of the bounds' width. Together they
# stay below half a grey level, or a network that rounds its input would look smooth. On deep networks, steps five times
# as long deviate two to five times as much, and steps of 0.5/255 by up to 0.6 of the change.
NEAR = 0.49 / 255
STEP = 0.025 / 255
# Differences of logits below this many units in the last place of the largest one are taken for rounding: 2.5 times
# what was measured.
ROUNDING = 16


class Network:
    """The model, with its passes counted."""

    def __init__(self, model: Model) -> None:
        self.model, self.forwards, self.backwards = model, 0, 0

    def __call__(self, x: Tensor) -> Tensor:
        self.forwards += len(x)
        return self.model.logits(x)

    def gradient(self, values: Tensor, x: Tensor) -> Tensor:
        """The gradient of every row's value (n,) at the rows x (n, *shape). The graph is kept."""
        if not values.requires_grad:
            raise InputError("no differentiable path leads from its input to its output")
        gradient = self.model.gradient(values.sum(), x, retain_graph=True)
        self.backwards += len(x)
        return gradient


class AutogradCalls(TorchFunctionMode):
    """Counts the calls of autograd made inside the context."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        self.count += func.__name__ in ("grad", "backward")
        return func(*args, **(kwargs or {}))


def measure(model: Model, x: Tensor, y: Tensor, seed: int) -> tuple[Sample, Network]:
    """Run all passes; the `Network` returned has counted them."""
    network, in_training = Network(model), _in_training(model.net)
    with model.borrowed(), own_randomness(model.device, seed), full_precision(model.device):
        with torch.no_grad():
            logits, *again = (network(x) for _ in range(REPEATS))
            with AutogradCalls() as calls:
                again.append(network(x))
            elsewhere = [network(x.flip(0)).flip(0), network(_first_half_twice(x))[: (len(x) + 1) // 2]]
        gradients, refusal = _gradients(network, x, seed) if model.access is Need.GRAD else (None, "")
    return Sample(model, x, y, in_training, logits, again, elsewhere, calls.count, gradients, refusal), network


def _first_half_twice(x: Tensor) -> Tensor:
    """Other rows beside each row, in a batch of the same size: some exported networks take no other size."""
    half = x[: (len(x) + 1) // 2]
    return torch.cat([half, half])[: len(x)]


def _gradients(network: Network, x: Tensor, seed: int) -> tuple[Gradients | None, str]:
    try:
        x = x.detach().requires_grad_()
        logits = network(x)
        predicted = logits.argmax(1)
        ce = network.gradient(F.cross_entropy(logits, predicted, reduction="none"), x)
        of_margin = network.gradient(margin(logits, predicted), x)
        return Gradients(ce, of_margin, _deviation(network, x.detach(), seed)), ""
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, ValueError, TypeError) as error:
        return None, told(error.__cause__ or error)


def _deviation(network: Network, x: Tensor, seed: int) -> Tensor:
    """Compare the margin's gradient with central differences: (n, 2), see `Gradients`.

    At a random point beside each row, not at the row itself: equal neighbouring pixels (a black background) put many
    networks exactly on their kinks.
    """
    lo, hi = network.model.bounds
    key = keys(seed, torch.arange(len(x), device=x.device))
    clock = torch.zeros_like(key)
    inner = lo + (hi - lo) * (0.25 + 0.5 * uniform(key, clock, 0, x.shape[1:]))
    step = (hi - lo) * STEP  # stays inside the box, whose nearest face is NEAR / 4 away
    beside = x.lerp(inner, NEAR).requires_grad_()
    logits = network(beside)
    pair = logits.topk(2).indices
    gradient = network.gradient(_lead(logits, pair), beside)
    noise = ROUNDING * rounding_unit(network.model, logits) * largest(logits)
    columns = []
    for direction, order in ((gradient.sign(), 1), (sign(key, clock, 1, x.shape[1:]), 2)):
        with torch.no_grad():
            ahead, behind = (_lead(network(beside + s * step * direction), pair) for s in (1, -1))
        slope = (gradient * direction).flatten(1).sum(1)
        typical = 2 * step * gradient.flatten(1).norm(p=order, dim=1)
        off = (ahead - behind - 2 * step * slope).abs()
        seen = (typical > 0) & (typical.maximum(off) > noise)
        columns.append(torch.where(seen, (off / typical).clamp_max(1), torch.nan))
    return torch.stack(columns, dim=1)


def _lead(logits: Tensor, pair: Tensor) -> Tensor:
    """The first class's logit less the second's: (n,). `pair`: (n, 2)."""
    first, second = logits.gather(1, pair).unbind(1)
    return first - second


def _in_training(net: nn.Module) -> list[str]:
    """Modules in training mode whose forward pass depends on the mode, as "Dropout 'head.1'"."""
    training = [(name, m) for name, m in net.named_modules() if getattr(m, "training", False)]  # frozen scripts lack it
    return [f"{type(m).__name__} '{name}'" for name, m in training if _depends_on_mode(m)]


def _depends_on_mode(module: nn.Module) -> bool:
    code = getattr(getattr(type(module), "forward", None), "__code__", None)
    return "training" in getattr(code, "co_names", ())
