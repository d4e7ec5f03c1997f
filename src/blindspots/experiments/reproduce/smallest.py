"""The smallest changes that fool a network, by box-constrained L-BFGS."""

import torch
from torch import Tensor

from blindspots.attacks import LBFGS
from blindspots.ball import L2
from blindspots.engine.targets import EveryClass, Given, Targets
from blindspots.experiments.attack.experiment import attack as run_attack
from blindspots.experiments.reproduce.config import Rule
from blindspots.models.model import Model
from blindspots.random import keys, randint

ATTACKS = (LBFGS(), LBFGS(steps=400, tries=40), LBFGS(steps=1000, tries=100, inner=100))


def smallest(model: Model, x: Tensor, y: Tensor, targets: Rule, classes: int, seed: int, threads: int) -> Tensor:
    """The nearest example of each row (N, ...) that is found; a row that is wrong stays as it is.

    What the usual number of steps does not solve is tried again with more, at last towards every wrong class on its own
    if none is given; what nothing solves stays as it is, too.
    """
    moved, left = x.clone(), torch.arange(len(x))
    chosen = random_targets(y, classes, seed)
    for attack in ATTACKS:
        run = run_attack(
            model, x[left], y[left], attack, threat=L2(), targeted=targets == "random",
            targets=_rule(targets, chosen[left], attack), seed=seed, threads=threads,
        )  # fmt: skip
        moved[left] = run.adversarial
        left = left[run.norms.isinf()]
        if not len(left):
            break
    return moved


def _rule(targets: Rule, chosen: Tensor, attack: LBFGS) -> Targets | None:
    if targets == "random":
        return Given(tuple(chosen.tolist()))
    return EveryClass() if attack is ATTACKS[-1] else None


def random_targets(y: Tensor, classes: int, seed: int) -> Tensor:
    """A wrong class for each row, the same for every network: (N,)."""
    key = keys(seed, torch.arange(len(y)))
    return (y + 1 + randint(key, torch.zeros_like(key), 0, classes - 1, (1,))[:, 0]) % classes
