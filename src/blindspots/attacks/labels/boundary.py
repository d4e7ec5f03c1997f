"""Boundary: a random walk along the decision boundary that comes nearer step by step."""

from dataclasses import dataclass, replace
from typing import ClassVar

from torch import Tensor

from blindspots.attacks.attack import Facts, full
from blindspots.attacks.directions import unit
from blindspots.attacks.labels.poll import aside, grain
from blindspots.attacks.labels.start import OWN, LabelSearch, LineState, Turn, at_phase
from blindspots.problem import Job, Problem, Seen
from blindspots.rows import col, pick

WALK = OWN
_ASIDE = 2.0  # a step of 2 sqrt(e) along the sphere goes with one of e towards the clean input
_SHARE, _RATE = 0.2, 0.1  # share of steps that should succeed; how fast their length follows
_SHORTEST, _LONGEST = 1e-9, 0.25


@dataclass(frozen=True)
class BoundaryState(LineState):
    base: Tensor  # (B, ...) the nearest success so far
    nearer: Tensor  # (B,) length of the step towards the clean input, in units of the distance


@dataclass(frozen=True)
class Boundary(LabelSearch[BoundaryState]):
    """Brendel, Rauber and Bethge 2018 (arXiv 1712.04248): smallest l2 distance.

    A step goes along the sphere around the clean input in a random direction, then towards the clean input. The paper
    adapts both lengths, each to its successes in the last hundred steps, and queries the label in between. Here one
    length decides: the step along the sphere is 2 sqrt(e), with e the one towards the clean input, as is right where
    the boundary is flat; and e grows or shrinks after every query, such that a fifth of them succeed. Half of the
    directions are smooth, as gradients of images are. The first image is bisected to the boundary.

    Args:
        queries: queries per row, in total.
        tries: random images evaluated for a start.
        nearer: first length of the step towards the clean input, in units of the distance.
        coarse: half of the directions are smooth over this many pixels; 1: none of them.
    """

    nearer: float = 0.02
    coarse: int = 2

    facts: ClassVar[Facts] = Facts(
        paper="Brendel, Rauber, Bethge: Decision-Based Adversarial Attacks",
        year=2018,
        family="labels",
        cost="queries forwards",
        use="l2; simple, strong with few queries",
    )
    threats: ClassVar[tuple[str, ...]] = ("l2",)

    def dress(self, problem: Problem, job: Job, state: LineState) -> BoundaryState:
        return BoundaryState(**vars(state), base=job.x, nearer=full(job, self.nearer))

    def turns(self) -> dict[int, Turn[BoundaryState]]:
        return {WALK: self._judge}

    def arrive(self, problem: Problem, job: Job, state: BoundaryState) -> BoundaryState:
        return self._walk(problem, job, at_phase(replace(state, base=self.reached(problem, job, state)), WALK))

    def _judge(self, problem: Problem, job: Job, state: BoundaryState, seen: Seen) -> BoundaryState:
        nearer = state.nearer * (_RATE * (seen.won.float() - _SHARE)).exp()
        base = pick(seen.won, state.probe, state.base)
        return self._walk(problem, job, replace(state, base=base, nearer=nearer.clamp(_SHORTEST, _LONGEST)))

    def _walk(self, problem: Problem, job: Job, state: BoundaryState) -> BoundaryState:
        d, threat = state.base - job.x, problem.threat
        distance, drawn = threat.norm(d), grain(job, state.t, self.coarse, full(job, 0.5))
        way = unit(unit(d) + col(_ASIDE * state.nearer.sqrt(), d) * aside(drawn, d))
        sphere = threat.clip(job.x + col(distance, d) * way, job)
        return replace(state, probe=threat.project(sphere, job.within((1 - state.nearer) * distance)))
