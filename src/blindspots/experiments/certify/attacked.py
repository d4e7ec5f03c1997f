"""The other side of a certificate: how near an attack on the smoothed classifier comes.

Salman et al. 2019 (arXiv 1906.04584): PGD on the cross entropy of the mean probabilities under noise, which is that of
`Smoothed` as a model. What it finds is judged by a vote under other draws.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from blindspots.attacks import PGD
from blindspots.ball import L2
from blindspots.batching import ANSWERS
from blindspots.crafting import Plan, craft
from blindspots.experiments.certify.bounds import ABSTAINS, voted
from blindspots.experiments.certify.noise import JUDGING
from blindspots.experiments.certify.smoothed import Smoothed
from blindspots.objective import Objective
from blindspots.oracle import Oracle
from blindspots.random import keys


@dataclass(frozen=True)
class Found:
    """Of K rows attacked: which fell, with what (K, *shape), judged by which votes (K, C)."""

    fell: Tensor
    moved: Tensor
    votes: Tensor
    forwards: int
    backwards: int


def attack(
    smoothed: Smoothed, x: Tensor, y: Tensor, ids: Tensor, radius: float, steps: int, judged: int, alpha: float
) -> Found:
    """Every row of x (K, *shape), right at first, within an L2 ball and the bounds, to the end of the search.

    A row fell if another class than its label is returned by `predict` with `judged` draws: abstaining is no success,
    since it happens inside a certified radius, too.
    """
    plan = Plan(L2(radius).within(*smoothed.bounds), Objective(), None, 1, smoothed.seed, len(y), len(y))
    made = craft(Oracle(smoothed, chunk=max(1, ANSWERS // smoothed.draws)), PGD(steps), plan, x, y)
    with smoothed.asked(tuple(x.shape[1:])) as oracle:
        ballots = zip(made.moved, y.tolist(), keys(smoothed.seed, ids, JUDGING), strict=True)
        votes = torch.stack([_judged(smoothed, oracle, row, label, key, judged, alpha) for row, label, key in ballots])
    said = torch.tensor([voted(v.numpy(), alpha) for v in votes])
    forwards = made.forwards * smoothed.draws + oracle.forwards
    return Found((said != y) & (said != ABSTAINS), made.moved, votes, forwards, made.backwards * smoothed.draws)


def _judged(smoothed: Smoothed, oracle: Oracle, x: Tensor, y: int, key: Tensor, judged: int, alpha: float) -> Tensor:
    """Votes (C,) on one find; those of the first quarter where they already say the label."""
    glance = smoothed.votes(oracle, x, key, max(judged // 4, 1))
    return glance if voted(glance.numpy(), alpha) == y else smoothed.votes(oracle, x, key, judged)
