"""Blended noise: random images, each brought as near to the clean input as the label allows."""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch

from blindspots.attacks.labels.start import OWN, LabelSearch, LineState, Turn, choose, noise
from blindspots.problem import Job, Problem, Seen

NEXT = OWN


@dataclass(frozen=True)
class BlendedNoise(LabelSearch):
    """Many random images, and from each one a line to the clean input, until the queries are spent.

    The idea is Foolbox's LinearSearchBlendedUniformNoiseAttack, which follows the line of the first random image that
    wins, in 1,000 steps from the clean end. Here bisection takes about ten, and every further image is first looked
    at where it would be nearer than all before: only then is it worth a line. In linf and l1 the line leads along
    projections to smaller balls, not straight.

    Args:
        queries: looks per row, all of them.
        tries: random images looked at until the first one wins.
    """

    threats: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1")
    begins: ClassVar[Literal["clean", "other"]] = "clean"

    def dress(self, problem: Problem, job: Job, state: LineState) -> LineState:
        return state

    def turns(self) -> dict[int, Turn]:
        return {NEXT: self._look}

    def arrive(self, problem: Problem, job: Job, state: LineState) -> LineState:
        return self._next(problem, job, replace(state, phase=torch.full_like(state.phase, NEXT)))

    def _next(self, problem: Problem, job: Job, state: LineState) -> LineState:
        far = noise(problem, job, state.tried)
        nearer = problem.threat.project(far, job.x, state.high * (1 - self.tolerance(job)))
        return replace(state, probe=nearer, far=far, tried=state.tried + 1)

    def _look(self, problem: Problem, job: Job, state: LineState, seen: Seen) -> LineState:
        nearer = state.high * (1 - self.tolerance(job))
        return choose(seen.won, self.aim(problem, job, state, state.far, nearer), self._next(problem, job, state))
