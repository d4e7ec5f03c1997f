"""One epoch of training: batches, an adversary, a step of the weights, on Lightning Fabric."""

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from blindspots.ball import Ball
from blindspots.errors import InputError
from blindspots.experiments.harden.adversaries import make_adversary
from blindspots.experiments.harden.adversaries.adversary import Adversary, Mode, Networks, radii
from blindspots.experiments.harden.batches import Batch, Split, augmented, batches, fitting, steps_per_epoch
from blindspots.experiments.harden.objectives import Net
from blindspots.experiments.harden.recipe import Optimizer, Recipe
from blindspots.experiments.harden.rows import generator
from blindspots.experiments.harden.weights import Average, perturbed
from blindspots.models.model import Model
from blindspots.models.texts import TokenModel
from blindspots.random import keys
from blindspots.rows import Around
from blindspots.texts.threats import TextThreat
from blindspots.threat import Threat

MOST_UNDONE = 8  # steps in a row
_LIMITS = (0.5, 0.75)  # of the schedule "steps"
_EPOCH, _NEARBY = 300, 301  # what keys are for


class DivergedError(Exception):
    """So many steps in a row had to be undone that the weights themselves are lost."""


class Classifier(nn.Module):
    """A model as a module: inputs (B, *shape) in its bounds to float32 logits (B, C), preprocessing inside."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.net, self.model = model.net, model

    def forward(self, x: Tensor) -> Tensor:
        return self.model.head(self.model.embed(x), x)


@dataclass(frozen=True)
class Trained:
    """What an epoch came to."""

    loss: float
    rate: float
    radius: float
    undone: int  # steps whose loss or gradient was not finite
    seconds: float


class Trainer:
    """Moves the weights of `model` in place.

    Args:
        fabric: device, precision and processes; launched.
        parts: rows in memory.
        threat: what is trained against, with a radius.
        seed: decides the order of rows, all noise, dropout.
    """

    def __init__(self, fabric: Fabric, model: Model, parts: Split, threat: Threat, recipe: Recipe, seed: int) -> None:
        self.fabric, self.parts, self.threat, self.seed = fabric, parts, read_by(threat, model), seed
        self.module = Classifier(model)
        lay_out(self.module, torch.channels_last)  # convolutions take up to a quarter less time
        self._mode = Mode(self.module)
        self._moving = [p for p in self.module.parameters() if p.requires_grad]
        wrapped = fabric.setup(self.module, _optimizer(recipe.optimizer, self._moving))
        self._learning, self._optimizer = wrapped
        self.average = Average(recipe.weights, self.module)
        self.nets = Networks(self._learning, self._look, self.module, self._sum)
        self.step, self.epoch, self.rate_scale, self._undone = 0, 0, 1.0, 0
        self.follow(recipe)

    def follow(self, recipe: Recipe) -> None:
        """Go on by another recipe, whose optimiser and average are the same."""
        self.recipe = recipe
        self.adversary: Adversary = make_adversary(recipe, self.threat, self.seed)
        world = self.fabric.world_size
        self.batch = max(fitting(recipe.batch, len(self.parts.training)) // world, 1) * world  # equal parts for all
        per_epoch = steps_per_epoch(self.parts, self.batch, recipe.extra)
        self.steps = max(1, recipe.epochs * per_epoch * self.adversary.replays)

    @property
    def done(self) -> float:
        """The share of the training that lies behind."""
        return min(self.step / self.steps, 1.0)

    @property
    def radius(self) -> float:
        """The share of the threat's radius that is trained against now."""
        grows = self.recipe.curriculum
        if grows is None:
            return 1.0
        if not grows.share:
            return grows.end
        return grows.start + (grows.end - grows.start) * min(self.done / grows.share, 1.0)

    def run_epoch(self) -> Trained:
        """Every row once (or as often as the adversary replays it). Raises DivergedError."""
        began, total, steps, undone = time.monotonic(), 0.0, 0, 0
        recipe = self.recipe
        with self._drawing():
            self._mode.set(True)
            for batch in batches(self.parts, self.batch, recipe.extra, self.seed, self.epoch):
                mine = augmented(self._own_part(batch).to(self.fabric.device), recipe.augmentation)
                for _ in range(self.adversary.replays):
                    loss = self._step(mine)
                    undone += loss is None
                    total, steps = total + (loss or 0.0), steps + (loss is not None)
            self._mode.set(False)
        self.epoch += 1
        self.average.after_epoch(self.done)
        seconds = time.monotonic() - began
        return Trained(total / max(steps, 1), self._rate(), self.radius, undone, seconds)

    def _own_part(self, batch: Batch) -> Batch:
        """This process's rows of a batch that all processes share."""
        rank, world = self.fabric.global_rank, self.fabric.world_size
        if world == 1:
            return batch
        size = len(batch.y) // world
        return Batch(*(t[rank * size : (rank + 1) * size] for t in (batch.x, batch.y, batch.key)))

    def _step(self, batch: Batch) -> float | None:
        """Move the weights once; the mean loss, or None where the step had to be undone."""
        kept = [b.clone() for b in self.module.buffers()]
        for group in self._optimizer.param_groups:
            group["lr"] = self._rate()
        with self._mode.evaluation():  # once for all looks
            forms = self.adversary.perturb(self.nets, batch, self.radius)
        self._optimizer.zero_grad()

        def loss() -> Tensor:
            return self.adversary.losses(self.nets, batch, forms).mean()

        with perturbed(self.module, self.recipe.weights.perturbation, loss):
            total = loss() + self._misalignment(batch)
            self.fabric.backward(total)
        self.step += 1
        return self._moved(float(total.detach()), batch, kept)

    def _moved(self, loss: float, batch: Batch, kept: list[Tensor]) -> float | None:
        if not math.isfinite(float(self._clipped())):  # of all processes, so all decide alike
            self._undo(kept)
            return None
        self._optimizer.step()
        self.average.after_step()
        self.adversary.learn(self.nets, batch, self.radius)
        self._undone = 0
        return loss

    def _clipped(self) -> Tensor:
        """The gradient's length before it was clipped."""
        longest = self.recipe.optimizer.clip
        length = get_total_norm([p.grad for p in self._moving if p.grad is not None])
        if longest:
            clip_grads_with_norm_(self._moving, longest, length)
        return length

    def _undo(self, kept: list[Tensor]) -> None:
        """Leave the weights as they are, bring running statistics back, and go on at half the rate."""
        with torch.no_grad():
            for buffer, before in zip(self.module.buffers(), kept, strict=True):
                buffer.copy_(before)
        self.rate_scale /= 2
        self._undone += 1
        if self._undone >= MOST_UNDONE:
            self._undone = 0
            raise DivergedError

    def _misalignment(self, batch: Batch) -> Tensor | float:
        """GradAlign: the weight times 1 - cos of the gradients at a row and at a random point near it.

        Only the second one is differentiated through, as in the published code.
        """
        weight = self.recipe.objective.gradalign
        if not weight:
            return 0.0
        assert isinstance(self.threat, Ball)
        near = self.threat.sample(Around(batch.x, radii(self.threat, batch, self.radius)), keys(0, batch.key, _NEARBY))
        here = _slope(self._look, batch.x, batch.y, through=False)
        there = _slope(self._look, near, batch.y, through=True)
        return weight * (1 - F.cosine_similarity(here, there, 1).mean())

    def _rate(self) -> float:
        how = self.recipe.optimizer
        return how.rate * self.rate_scale * schedule(how, min((self.step + 1) / self.steps, 1.0))

    def _look(self, x: Tensor) -> Tensor:
        with self._mode.evaluation(), self.fabric.autocast():
            return self.module(x)  # type: ignore[no-any-return]

    def _sum(self, x: Tensor) -> Tensor:
        return self.fabric.all_reduce(x, reduce_op="sum")  # type: ignore[return-value]

    @contextmanager
    def _drawing(self) -> Iterator[None]:
        """Dropout and its like draw from a generator that hangs on seed and epoch; the caller gets its own back."""
        cuda = [self.fabric.device] if self.fabric.device.type == "cuda" else []
        with torch.random.fork_rng(cuda), torch.enable_grad():
            torch.manual_seed(generator(self.seed, _EPOCH, self.epoch, self.fabric.global_rank).initial_seed())
            yield

    def state(self) -> dict[str, Tensor]:
        """Copies of everything that the next epoch depends on, by name."""
        parts: dict[str, Mapping[str, Tensor]] = {
            "net": self.module.state_dict(),
            "optimizer": _flat(self._optimizer),
            "average": self.average.state(),
            "adversary": self.adversary.memory,
            "clock": {"numbers": torch.tensor([self.step, self.epoch, self.rate_scale], dtype=torch.float64)},
        }
        return {f"{part}/{k}": copied(v) for part, of in parts.items() for k, v in of.items()}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Be as when `state` was taken."""

        def part(name: str) -> dict[str, Tensor]:
            return {k.removeprefix(f"{name}/"): v.clone() for k, v in state.items() if k.startswith(f"{name}/")}

        self.module.load_state_dict(part("net"))
        _unflatten(self._optimizer, part("optimizer"))
        self.average.restore(part("average"))
        self.adversary.restore(part("adversary"))
        step, epoch, self.rate_scale = part("clock")["numbers"].tolist()
        self.step, self.epoch = int(step), int(epoch)


def read_by(threat: Threat, model: Model) -> Threat:
    """A threat of texts with the slopes of this model, whose candidates stay as they are; another one as it is."""
    if not isinstance(threat, TextThreat):
        return threat
    return replace(threat, candidates=threat.builder, reader=model if isinstance(model, TokenModel) else None)


def lay_out(module: nn.Module, order: torch.memory_format) -> None:
    """Keep the weights of two-dimensional convolutions in this order in memory."""
    for p in module.parameters():
        if p.ndim == 4:
            p.data = p.data.to(memory_format=order)


def copied(t: Tensor) -> Tensor:
    """A copy of its own, row by row in memory as files want it."""
    return t.detach().clone(memory_format=torch.contiguous_format)


def schedule(how: Optimizer, done: float) -> float:
    """The share of the highest rate when the share `done` of all steps is behind."""
    if how.schedule == "constant":
        return 1.0
    if how.schedule == "steps":
        return float(0.1 ** sum(done > limit for limit in _LIMITS))
    if done < how.rise:
        return done / how.rise
    left = (done - how.rise) / (1 - how.rise) if how.rise < 1 else 1.0
    return 1 - left if how.schedule == "one-cycle" else (1 + math.cos(math.pi * left)) / 2


def _optimizer(how: Optimizer, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    if not parameters:
        raise InputError(
            "expected a network with parameters that can be trained, got none: pass one whose parameters require "
            "gradients"
        )
    if how.name == "sgd":
        return torch.optim.SGD(
            parameters, how.rate, momentum=how.momentum, weight_decay=how.weight_decay, nesterov=how.momentum > 0
        )
    return torch.optim.AdamW(parameters, how.rate, weight_decay=how.weight_decay, fused=True)


def _slope(net: Net, x: Tensor, y: Tensor, *, through: bool) -> Tensor:
    """Gradients (B, D) of the rows' cross-entropy, with a graph of their own if one differentiates `through` them."""
    x = x.detach().requires_grad_()
    loss = F.cross_entropy(net(x), y, reduction="sum")
    (gradient,) = torch.autograd.grad(loss, x, create_graph=through)
    return gradient.flatten(1)


def _flat(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    held = optimizer.state_dict()["state"]
    return {f"{i}/{name}": t for i, of in held.items() for name, t in of.items() if isinstance(t, Tensor)}


def _unflatten(optimizer: torch.optim.Optimizer, flat: Mapping[str, Tensor]) -> None:
    """Give the optimiser its state back in the weights' order in memory: a fused step takes both as they lie."""
    held: dict[int, dict[str, Tensor]] = {}
    weights = [p for group in optimizer.param_groups for p in group["params"]]
    for name, t in flat.items():
        i, _, what = name.partition("/")
        same = t.shape == weights[int(i)].shape
        held.setdefault(int(i), {})[what] = torch.empty_like(weights[int(i)], dtype=t.dtype).copy_(t) if same else t
    optimizer.load_state_dict({**optimizer.state_dict(), "state": held})
