"""Looks at the one point that a solver has computed: the nearest adversarial example, where there is any."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from blindspots.attacks.attack import Attack, Facts, State, zeros
from blindspots.problem import Job, Need, Problem, Seen


@dataclass(frozen=True)
class Exact(Attack[State]):
    """For models that are simple enough: trees and their ensembles, linear models, nearest neighbours.

    A solver (`blindspots.exact`) computes the nearest adversarial example, or proves that there is none; it never asks
    the model. Here the model is asked about that point, so that it counts only if the model itself is wrong there.

    Args:
        nodes: of the solver's search tree, per row; beyond that the row is left open, between two bounds.
    """

    nodes: int = 20_000

    facts: ClassVar[Facts] = Facts(
        paper="Kantchelian, Tygar, Joseph: Evasion and Hardening of Tree Ensemble Classifiers",
        year=2016,
        family="proofs",
        cost="1 forward",
        use="trees, linear models and nearest neighbours: proves the smallest distance of every row, or that it stands",
    )
    need: ClassVar[Need] = Need.LABEL
    threats: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1", "l0")
    minimal: ClassVar[bool] = True
    targeted: ClassVar[bool] = False
    begins: ClassVar[Literal["clean", "other", "proved"]] = "proved"

    @property
    def looks(self) -> int:
        return 1

    def init(self, problem: Problem, job: Job) -> State:
        return State(job.start, zeros(job))

    def step(self, problem: Problem, job: Job, state: State, seen: Seen) -> State:
        return State(state.probe, state.t + 1)
