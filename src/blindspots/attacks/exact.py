"""Looks at what a solver has computed: the nearest adversarial example, where there is any."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from blindspots.attacks.attack import Attack, Facts, State, zeros
from blindspots.problem import Job, Need, Problem, Seen
from blindspots.threat import Threat

RUNGS = 16  # points that are tried at most: rounding seldom hides as much as it can


@dataclass(frozen=True)
class ExactState(State):
    over: Tensor  # (B,) bool: the last point was an example, or there is no other


@dataclass(frozen=True)
class Exact(Attack[ExactState, Threat]):
    """For models that are simple enough: trees and their ensembles, linear models, naive Bayes, nearest neighbours.

    A solver (`blindspots.exact`) computes the nearest adversarial example, or proves that there is none; it never asks
    the model. Here the model is asked about that point, so that it counts only if the model itself is wrong there. On a
    boundary rounding decides, so of models that add up many numbers several points are tried, one beyond the other.

    Args:
        nodes: of the solver's search tree, per row; beyond that the row is left open, between two bounds.
    """

    nodes: int = 20_000

    facts: ClassVar[Facts] = Facts(
        paper="Kantchelian, Tygar, Joseph: Evasion and Hardening of Tree Ensemble Classifiers",
        year=2016,
        family="proofs",
        cost="1 forward, up to 16 where sums are rounded",
        use="trees, linear models, naive Bayes, neighbours: proves the smallest distance, or that there is none",
    )
    need: ClassVar[Need] = Need.LABEL
    threats: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1", "l0")
    minimal: ClassVar[bool] = True
    targeted: ClassVar[bool] = False
    begins: ClassVar[Literal["clean", "other", "proved"]] = "proved"

    @property
    def looks(self) -> int:
        return RUNGS

    def init(self, problem: Problem[Threat], job: Job) -> ExactState:
        return ExactState(_points(job)[:, 0], zeros(job), torch.zeros_like(job.y, dtype=torch.bool))

    def step(self, problem: Problem[Threat], job: Job, state: ExactState, seen: Seen) -> ExactState:
        points, row = _points(job), torch.arange(len(job.y), device=job.y.device)
        probe = points[row, (state.t + 1).clamp_max(points.shape[1] - 1)]
        same = (probe == state.probe).flatten(1).all(1)
        return ExactState(probe, state.t + 1, seen.won | same)

    def exhausted(self, state: ExactState) -> Tensor:
        return (state.t >= self.looks) | state.over

    def unfinished(self, state: ExactState) -> Tensor:
        """A point that fools nobody proves nothing: what stands does so by its bound."""
        return torch.ones_like(state.over)


def _points(job: Job) -> Tensor:
    """(B, K, ...), from the most hopeful one to the surest."""
    return job.start if job.start.ndim > job.x.ndim else job.start[:, None]
