"""DataFree: the perturbation that excites a network most, found without a single image."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from blindspots.errors import InputError
from blindspots.experiments.universal.losses import Sum
from blindspots.experiments.universal.methods.sgd import SGD, Descent, random_numbers
from blindspots.experiments.universal.parametrisation import Parametrisation
from blindspots.experiments.universal.task import Batch, Task
from blindspots.experiments.universal.verdict import Pass
from blindspots.models.model import Model

_LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)


@dataclass(frozen=True)
class DataFree(SGD):
    """Mopuri et al. 2018 (TPAMI, arXiv 1801.08092), GD-UAP: a perturbation that makes all activations large.

    What is made large is the sum over layers of log |activations|, here of every convolution's and linear
    layer's positive part: a network need not name its nonlinearities. Inputs are random images of the range alone (the
    paper's "range prior"); their labels, and those of any data, are not used. The last layer, whose outputs are the
    scores, does not count.

    Args: those of `SGD`. Its loss is not used.
    """

    data_free: ClassVar[bool] = True

    @property
    def targeted(self) -> bool:
        return False

    def check_model(self, model: Model) -> None:
        if len(_layers(model)) < 2:
            raise InputError(
                f"expected a network with at least 2 convolutional or linear layers, got {len(_layers(model))} in "
                f"{model.name}, so there are no activations to make large: use a method that looks at data"
            )

    def begin(self, space: Parametrisation, seed: int, updates: int) -> Descent:
        """From random signs: at zero no direction excites more than its opposite."""
        descent = super().begin(space, seed, updates)
        return replace(descent, p=random_numbers(space, seed, 1.0))

    def enough(self, history: Sequence[Pass]) -> bool:
        """Never: nothing is known of how many inputs are fooled."""
        return False

    def step(self, task: Task, state: Any, batch: Batch) -> tuple[Descent, Tensor]:
        slope = task.slope_of_surrogate(state.p, batch, Sum(torch.full((len(batch.y),), -1.0, device=batch.y.device)))
        return self.descend(task, state, slope.grad, batch.group), torch.zeros_like(batch.y, dtype=torch.bool)


def _layers(model: Model) -> list[nn.Module]:
    return [m for m in model.net.modules() if isinstance(m, _LAYERS)]


class Activations(nn.Module):
    """A network whose output is log |positive part| of what each of its layers gives, but the last: (B, layers)."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model, self.net = model, model.net  # whose parameters are those of this module

    def forward(self, x: Tensor) -> Tensor:
        seen: list[Tensor] = []
        hooks = [m.register_forward_hook(lambda _, __, out: seen.append(out)) for m in _layers(self.model)]
        try:
            self.model.logits(x)
        finally:
            for hook in hooks:
                hook.remove()
        sizes = [layer.relu().flatten(1).square().sum(1).clamp_min(1e-12).log() / 2 for layer in seen[:-1]]
        return torch.stack(sizes, 1)
