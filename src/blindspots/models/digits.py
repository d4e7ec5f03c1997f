"""Two small networks for scikit-learn's digits, trained on this machine when they are first used.

`digits` is trained as usual, `digits-robust` on adversarial examples of PGD (Madry et al. 2018), linf 0.15. Training
is deterministic: same machine, same bits. The result is kept in the cache folder (see `cache`).
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from blindspots.data import digits_arrays
from blindspots.models.cache import kept
from blindspots.models.model import Model
from blindspots.models.training import alone

Say = Callable[[str], None]


@dataclass(frozen=True)
class Recipe:
    """How a network was trained. `radius` 0: on clean inputs only."""

    epochs: int
    batch: int = 64
    learning_rate: float = 3e-3  # the peak of a one-cycle schedule
    radius: float = 0.0
    steps: int = 0
    stride: float = 0.0
    seed: int = 0


RECIPES = {
    "digits": Recipe(epochs=6),
    "digits-robust": Recipe(epochs=24, radius=0.15, steps=4, stride=0.075),
}


def network() -> nn.Sequential:
    """8x8 grey images to 10 logits, 151 k parameters."""
    return nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(32, 64, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(1024, 128),
        nn.ReLU(),
        nn.Linear(128, 10),
    )


def load_digits_model(name: str, say: Say | None = None) -> Model:
    """The network `name`, one of RECIPES, from the cache or freshly trained.

    Args:
        say: called now and then with a sentence on the progress of training; not called if the network is cached.
    """
    recipe = RECIPES[name]
    net = kept(name, recipe, network, lambda: train(recipe, lambda text: say(f"{name}: {text}") if say else None))
    return Model(net, name=name, spec=name)


def train(recipe: Recipe, say: Say = lambda _: None) -> nn.Sequential:
    """Train by the recipe on the 1297 training rows; the global generator and the thread count stay as they are."""
    x, y = digits_arrays("train")
    with alone(recipe.seed):
        net = network()
        batches = len(x) // recipe.batch
        optimizer = torch.optim.Adam(net.parameters())
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.learning_rate, recipe.epochs * batches)
        for epoch in range(recipe.epochs):
            say(f"training, epoch {epoch + 1} of {recipe.epochs}")
            for at in torch.randperm(len(x))[: batches * recipe.batch].view(batches, -1):
                _update(net, optimizer, _moved(net, x[at], y[at], recipe), y[at])
                schedule.step()
    return net


def _moved(net: nn.Module, x: Tensor, y: Tensor, recipe: Recipe) -> Tensor:
    """PGD in the linf ball and the box [0, 1], from a random start."""
    if not recipe.radius:
        return x
    moved = x + recipe.radius * (2 * torch.rand_like(x) - 1)
    for _ in range(recipe.steps):
        moved = moved.clamp(0, 1).requires_grad_()
        (gradient,) = torch.autograd.grad(F.cross_entropy(net(moved), y), moved)
        moved = moved.detach() + recipe.stride * gradient.sign()
        moved = moved.maximum(x - recipe.radius).minimum(x + recipe.radius)
    return moved.clamp(0, 1)


def _update(net: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor) -> None:
    optimizer.zero_grad()
    torch.autograd.backward(F.cross_entropy(net(x), y))
    optimizer.step()
