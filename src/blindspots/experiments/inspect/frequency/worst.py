"""The worst case: the nearest error that an attack of the smallest distance finds."""

from dataclasses import dataclass

import torch
from torch import Tensor

from blindspots.attacks import FAB
from blindspots.ball import BALLS, Ball
from blindspots.crafting import Plan, craft, fitting
from blindspots.experiments.inspect.frequency.laws import Bounds, Law
from blindspots.experiments.inspect.frequency.scoring import error_score, wrong
from blindspots.objective import Objective
from blindspots.oracle import Oracle
from blindspots.problem import Need, Problem, Question

_ATTACK = FAB(
    steps=50, restarts=2
)  # the second run begins at a random point: a gradient of 0 at the row ends the first


@dataclass(frozen=True)
class Found:
    """Of B rows: the nearest errors, the rows themselves where none was found; distances; the way out of the boundary.

    The way is the gradient there of max_j z_j - z_y. Where a model has no gradients it is that from the row to its
    nearest error in l2, unless the bounds took part in that; NaN where there is none.
    """

    nearest: Tensor  # (B, ...)
    distance: Tensor  # (B,) float64
    outwards: Tensor  # (B, ...)


def nearest(oracle: Oracle, law: Law, bounds: Bounds, x: Tensor, y: Tensor, first: int, seed: int) -> Found:
    """Errors within the bounds near rows x (B, ...) with labels y (B,), the first of them in this place of the data.

    Distances are in the norm of the law, of noise in l2.

    The attack is FAB, or for a model that is known by its answers the first that needs no more than these. Distance is
    0 for rows that are errors as they are, infinite where none was found.
    """
    threat = BALLS[law.norm or "l2"]().within(*bounds)
    attack = fitting(_ATTACK, threat, oracle.model.access, Objective())
    plan = Plan(threat, Objective(), None, 1, seed, len(y), len(y))
    before = _wrong(oracle, x, y)
    moved = craft(oracle, attack, plan, x, y, first).moved
    after = _wrong(oracle, moved, y)
    found = torch.where(after, threat.distance(moved, x).double(), torch.inf)
    return Found(moved, torch.where(before, 0.0, found), _outwards(oracle, law, threat, moved, x, y))


def _wrong(oracle: Oracle, x: Tensor, y: Tensor) -> Tensor:
    with oracle.session():
        return wrong(error_score(oracle, y.to(oracle.device)), x.to(oracle.device)).cpu()


def _outwards(oracle: Oracle, law: Law, threat: Ball, at: Tensor, x: Tensor, y: Tensor) -> Tensor:
    if oracle.model.access is not Need.GRAD:
        return at - x if law.box is None else torch.full_like(x, torch.nan)
    with oracle.session():
        y = y.to(oracle.device)
        seen = oracle.look(Problem(Objective(), threat), Question(y, y), at.to(oracle.device), Need.GRAD)
    assert seen.grad is not None
    return -seen.grad.cpu()
