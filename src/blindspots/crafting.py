"""Examples for one model, of all rows, with no regard to whether the search succeeds: what is fed to others."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from blindspots.attacks import (
    FMN,
    MIFGSM,
    Attack,
    GeoDA,
    Greedy,
    HopSkipJump,
    OnePixel,
    RayS,
    SaltAndPepper,
    Sampling,
    Square,
)
from blindspots.ball import Ball
from blindspots.engine.jobs import Jobs, Samples, visible
from blindspots.engine.ledger import Ledger
from blindspots.engine.loop import Search, Settings, patience_of
from blindspots.engine.others import starts
from blindspots.engine.targets import Targets
from blindspots.errors import InputError
from blindspots.fit import check_answers, check_fit
from blindspots.models.foreign import seed_everything
from blindspots.objective import Objective
from blindspots.oracle import Oracle
from blindspots.problem import Need, Problem
from blindspots.random import keys
from blindspots.threat import Threat

# The first that fits what the threat asks for and the model shows.
WITH_GRADIENTS: tuple[Attack, ...] = (MIFGSM(), FMN())
WITHOUT: tuple[Attack, ...] = (Square(1000), OnePixel(1000), RayS(), HopSkipJump(), GeoDA(), SaltAndPepper())
ON_LATTICES: tuple[Attack[Any, Any], ...] = (Greedy(), Sampling())
NOBODY = -1  # the target of a row that has none


@dataclass(frozen=True)
class Plan:
    """How examples are made; the attack is the source's own."""

    threat: Threat
    objective: Objective
    targets: Targets | None
    restarts: int
    seed: int
    slots: int
    part_rows: int


@dataclass(frozen=True)
class Made:
    """Of N rows: what the search ended with, and the target classes (N,)."""

    moved: Tensor
    target: Tensor
    forwards: int
    backwards: int


def fitting(asked: Attack | None, threat: Threat, access: Need, objective: Objective) -> Attack:
    """The attack for a model that gives this `access`: the one that was asked for, else the first that fits.

    What was asked for is refused only where a model with gradients could not run it either.
    """
    if asked is not None:
        check_fit(asked, threat, Need.GRAD, objective)
    in_ball = WITH_GRADIENTS if access is Need.GRAD else WITHOUT
    usual: tuple[Attack[Any, Any], ...] = in_ball if isinstance(threat.plain, Ball) else ON_LATTICES
    for attack in (asked, *usual):
        if attack is not None and _fits(attack, threat, access, objective):
            return attack
    given = {Need.LABEL: "labels", Need.VALUE: "scores"}.get(access, "gradients")
    raise InputError(
        f"expected an attack on a model that gives {given} alone, for {threat.spec} and this goal, found none: name "
        "one with --attack, or give the model a substitute with --surrogate"
    )


def _fits(attack: Attack, threat: Threat, access: Need, objective: Objective) -> bool:
    try:
        check_fit(attack, threat, access, objective)
    except InputError:
        return False
    return True


def craft(oracle: Oracle, attack: Attack, plan: Plan, x: Tensor, y: Tensor, first: int = 0) -> Made:
    """Attack every row (N, ...) with its label (N,), each search to its end. `first`: place of the first of them.

    With a radius every row is searched, also one that the model gets wrong, and ends at the point of the ball where
    the margin was lowest; towards classes, a row that the model takes for its target anyway stays as it is. Without a
    radius a row ends at the nearest example; it stays as it is where none was found, or none was needed. Results are
    on the CPU.
    """
    check_answers(oracle.model, "examples that transfer")
    before = oracle.forwards, oracle.backwards
    plan = replace(plan, objective=replace(plan.objective, loss=attack.loss))
    with oracle.session():
        parts = [
            _part(oracle, attack, plan, x[i : i + plan.part_rows], y[i : i + plan.part_rows], first + i)
            for i in range(0, len(y), plan.part_rows)
        ]
    moved, target = (torch.cat(columns) for columns in zip(*parts, strict=True))
    return Made(moved, target, oracle.forwards - before[0], oracle.backwards - before[1])


def _part(oracle: Oracle, attack: Attack, plan: Plan, x: Tensor, y: Tensor, first: int) -> tuple[Tensor, Tensor]:
    x, y = x.to(oracle.device), y.to(oracle.device)
    samples = Samples.within(plan.threat, torch.arange(first, first + len(y), device=y.device), x, y)
    seed_everything(int(keys(plan.seed, samples.id[:1])[0]))  # inside the session: for models that answer at random
    logits = oracle.logits(x)
    plan = replace(plan, objective=plan.objective.defined(logits.shape[1]))
    plan.objective.check(logits.shape[1])
    ledger, problem = Ledger.blank(x, _first_margin(plan.objective, logits, y)), Problem(plan.objective, plan.threat)
    at = logits.isfinite().all(1).nonzero()[:, 0]
    targets = None
    if plan.targets is not None:
        targets = plan.targets.choose(oracle, problem, samples, logits, ledger, at)
    at = at[_to_search(plan, logits, y, targets)[at]]
    if len(at):
        begin = starts(attack.begins, samples, logits.argmax(1), plan.objective)
        jobs = Jobs(samples, visible(logits, attack.need), begin, targets, plan.restarts, plan.seed, 0)
        settings = Settings(plan.slots, stop_early=False, patience=patience_of(oracle.device))
        Search(attack, oracle, problem, jobs, ledger, at, settings).run()
    moved = ledger.best if plan.threat.radius is None else ledger.near
    return moved.cpu(), _target(plan.objective, y, targets).cpu()


def _first_margin(objective: Objective, logits: Tensor, y: Tensor) -> Tensor:
    """What a point has to fall below to be better than the clean one; towards a class, the first look decides."""
    return torch.full_like(logits[:, 0], torch.inf) if objective.targeted else Objective().margin(logits, y, y)


def _to_search(plan: Plan, logits: Tensor, y: Tensor, targets: Tensor | None) -> Tensor:
    if plan.objective.targeted:
        target = _target(plan.objective, y, targets)
        return (target != NOBODY) & (target != logits.argmax(1))
    wrong = Objective().margin(logits, y, y) < 0
    return ~wrong if plan.threat.radius is None else torch.ones_like(wrong)


def _target(objective: Objective, y: Tensor, targets: Tensor | None) -> Tensor:
    """Each row's target class; -1 where there is none, or the label is the target."""
    if not objective.targeted or targets is None:
        return torch.full_like(y, NOBODY)
    if targets.shape[1] != 1:
        raise InputError(
            f"expected a rule that gives every row one target class, got {targets.shape[1]} classes: use "
            "random, runner-up or least-likely, say"
        )
    return torch.where(targets[:, 0] == y, NOBODY, targets[:, 0])
