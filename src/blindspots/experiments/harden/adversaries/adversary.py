"""What an adversary in training is, and the looks that all of them share."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from blindspots.attacks import Attack
from blindspots.ball import Ball
from blindspots.experiments.harden.batches import Batch
from blindspots.experiments.harden.objectives import Net, Slope, losses
from blindspots.experiments.harden.recipe import TrainingLoss
from blindspots.objective import Objective
from blindspots.problem import Job, Problem, Seen


@dataclass(frozen=True)
class Networks:
    """The network in training as those who need it see it.

    Args:
        learning: x -> scores (B, C), in training mode; its backward is shared between processes.
        looking: the same weights in evaluation mode, for adversaries: gradients of inputs alone.
        module: the bare module behind both.
        shared: the sum of a tensor over all processes.
    """

    learning: Net
    looking: Net
    module: nn.Module
    shared: Callable[[Tensor], Tensor]


class Adversary(ABC):
    """Makes the rows that are trained on. What it remembers between steps is in `memory`, so it can be saved."""

    def __init__(self, objective: TrainingLoss) -> None:
        self.objective, self.replays = objective, 1  # replays: steps that every batch takes
        self.memory: dict[str, Tensor] = {}

    @abstractmethod
    def perturb(self, nets: Networks, batch: Batch, radius: float) -> list[Tensor]:
        """Adversarial forms (B, *shape) of the batch within so many radii of the threat; none: the rows as they are."""

    def losses(self, nets: Networks, batch: Batch, forms: Sequence[Tensor]) -> Tensor:
        """What is to be made small, one number per row: (B,). `forms` is what `perturb` gave."""
        every = [losses(self.objective, nets.learning, batch.x, form, batch.y) for form in forms]
        every = every or [losses(self.objective, nets.learning, batch.x, None, batch.y)]
        return every[0] if len(every) == 1 else torch.stack(every).mean(0)

    def learn(self, nets: Networks, batch: Batch, radius: float) -> None:  # noqa: B027 (most have nothing to learn)
        """Called after the backward of the losses, for adversaries that take their gradients from it."""

    def restore(self, memory: Mapping[str, Tensor]) -> None:
        """Go on from what `memory` was."""
        self.memory = dict(memory)


class Nobody(Adversary):
    """Training on the rows as they are."""

    def perturb(self, nets: Networks, batch: Batch, radius: float) -> list[Tensor]:
        return []


def radii(threat: Ball, batch: Batch, share: float) -> Tensor:
    """(B,) the threat's radius times `share`."""
    assert threat.radius is not None
    return torch.full((len(batch.y),), share * threat.radius, device=batch.x.device)


def climb(attack: Attack, threat: Ball, batch: Batch, radius: Tensor, net: Net, slope: Slope) -> Tensor:
    """Where `attack` ends after all its gradients, in lockstep over the batch: (B, *shape).

    The engine's loop without judging, ledger and refill: in training every row takes every step, and the last look of
    an attack, which the engine judges by, is the look that the weights learn from.
    """
    problem, none = Problem(Objective(loss=attack.loss), threat), batch.x.new_zeros(len(batch.y), 0)
    job = Job(batch.x, radius, batch.x, batch.y, batch.y, batch.key, none)
    state = attack.init(problem, job)
    for _ in range(attack.looks - 1):
        seen = look(net, state.probe, slope)
        assert seen.grad is not None
        state = attack.step(problem, job, state, replace(seen, grad=threat.pulled(seen.grad, batch.x)))
    probe: Tensor = state.probe.detach()
    return probe


def look(net: Net, x: Tensor, slope: Slope) -> Seen:
    """Scores, `slope` and its gradient at x (B, *shape)."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        logits = net(x)
        loss = slope(logits)
        (gradient,) = torch.autograd.grad(loss, x, torch.ones_like(loss))
    loss = loss.detach()
    return Seen(logits.detach(), loss, loss, loss < 0, gradient, torch.zeros_like(loss, dtype=torch.bool))


def learns(layer: nn.Module) -> bool:
    """Whether training may change a layer: not if it has parameters of its own and all of them are frozen."""
    own = [p.requires_grad for p in layer.parameters(recurse=False)]
    return not own or any(own)


class Mode:
    """Switches a network between training and evaluation by its flags: exported modules refuse `train()`.

    Frozen layers stay in evaluation: a batch norm whose weights must not change keeps its statistics, too.
    """

    def __init__(self, module: nn.Module) -> None:
        self._modules = [(m, learns(m)) for m in module.modules() if hasattr(m, "training")]
        self._training = any(m.training for m, _ in self._modules)

    def set(self, training: bool) -> None:
        self._training = training
        for module, able in self._modules:
            if module.training != (training and able):
                module.training = training and able

    @contextmanager
    def evaluation(self) -> Iterator[None]:
        """For a while; one within another costs nothing."""
        if not self._training:
            yield
            return
        self.set(False)
        try:
            yield
        finally:
            self.set(True)
