"""One attack on a classifier whose answer is known: what the closed-form tests of all families run."""

import math

import torch
from torch import Tensor

from blindspots.attacks import Attack
from blindspots.ball import BALLS
from blindspots.engine.jobs import Jobs, Samples, fixed
from blindspots.engine.ledger import Ledger
from blindspots.engine.loop import Search, Settings
from blindspots.models.model import Model
from blindspots.objective import Objective
from blindspots.oracle import Oracle, one_hot_prediction
from blindspots.problem import Need, Problem
from blindspots.threat import Threat
from closed_form import Known


def search(
    attack: Attack,
    known: Known,
    threat: Threat,
    r: Tensor,
    objective: Objective | None = None,
    start: Tensor | None = None,
) -> Ledger:
    oracle, rows = Oracle(Model(known.net)), torch.arange(len(known.y))
    problem = Problem(objective or Objective(loss=attack.loss), threat)
    targets = (1 - known.y)[:, None] if problem.objective.targeted else None
    with oracle.session():
        logits = oracle.logits(known.x)
        scores = one_hot_prediction(logits) if attack.need is Need.LABEL else logits
        points = fixed(known.x if start is None else start)
        jobs = Jobs(Samples(rows, known.x, known.y, r), scores, points, targets, 1, 0, 0)
        ledger = Ledger.blank(known.x, problem.objective.margin(logits, known.y, 1 - known.y))
        settings = Settings(stop_early=not attack.minimal, lanes=1)  # on networks so small more only take time
        Search(attack, oracle, problem, jobs, ledger, rows, settings).run()
    return ledger


def unbounded(known: Known) -> Tensor:
    return torch.full((len(known.y),), math.inf)


def alternating(small: float, large: float, rows: int) -> Tensor:
    """One of two numbers for each of the rows (B,), in pairs, so that rows of both classes get either."""
    return torch.where(torch.arange(rows) % 4 < 2, small, large)


def kinds(attack: Attack) -> list[Threat]:
    return [BALLS[name]() for name in attack.threats]
