"""HopSkipJump: the boundary's normal from labels, a long step along it, and back to the boundary by bisection."""

import math
from dataclasses import dataclass, replace
from typing import ClassVar

from torch import Tensor

from blindspots.attacks.attack import Facts, full
from blindspots.attacks.labels.poll import PollSearch, PollState, aside
from blindspots.attacks.labels.start import LineState, choose
from blindspots.problem import Job, Problem, Seen
from blindspots.rows import col


@dataclass(frozen=True)
class HopSkipJumpState(PollState):
    size: Tensor  # (B,) length of the step along the normal


@dataclass(frozen=True)
class HopSkipJump(PollSearch[HopSkipJumpState]):
    """Chen, Jordan and Wainwright 2020 (arXiv 1904.02144), algorithm 2: smallest l2 or linf distance.

    Differs from the paper in four points, each of which needs fewer queries for the same distance. The first poll
    has 30 queries instead of 100, and polls remember earlier ones. Their steps are a tenth of the distance long, so
    that bisection may end earlier than at the paper's D^-3/2; at first half of them are smooth. In l2 they, and the
    step that follows, are orthogonal to the line to the clean input: that component is known, and it would drown the
    others near the end. In linf the step along the signs is as long as the distance, not shortened by the square root
    of the poll's number.

    Args:
        queries: queries per row, in total.
        tries: random images evaluated for a start.
        batch: queries of the first poll; poll k has sqrt(k) times as many.
        reach: length of a poll's steps, in units of the Euclidean distance to the clean input.
        memory: weight of the polls before.
        coarse: at first half of the steps are smooth over this many pixels, as gradients of images are; 1: none.
    """

    facts: ClassVar[Facts] = Facts(
        paper="Chen, Jordan, Wainwright: HopSkipJumpAttack: A Query-Efficient Decision-Based Attack",
        year=2020,
        family="labels",
        cost="queries forwards",
        use="the default for labels in l2; linf too",
    )
    threats: ClassVar[tuple[str, ...]] = ("linf", "l2")

    def dress(self, problem: Problem, job: Job, state: LineState) -> HopSkipJumpState:
        return HopSkipJumpState(**self.polled(job, state), size=full(job, 0))

    def directed(self, problem: Problem, u: Tensor, d: Tensor) -> Tensor:
        return aside(u, d) if problem.threat.p == 2 else super().directed(problem, u, d)

    def enough(self, state: HopSkipJumpState) -> Tensor:
        return self.batch * state.number.float().sqrt()

    def move(self, problem: Problem, job: Job, state: HopSkipJumpState) -> HopSkipJumpState:
        shorter = 1.0 if problem.threat.p == math.inf else state.number.float().rsqrt()
        return self._jump(problem, job, replace(state, size=shorter * problem.threat.distance(state.base, job.x)))

    def moved(self, problem: Problem, job: Job, state: HopSkipJumpState, seen: Seen) -> HopSkipJumpState:
        back = self.aim(problem, job, state, state.probe, problem.threat.distance(state.probe, job.x))
        return choose(seen.won, back, self._jump(problem, job, replace(state, size=state.size / 2)))

    def _jump(self, problem: Problem, job: Job, state: HopSkipJumpState) -> HopSkipJumpState:
        way = self.directed(problem, state.normal, state.base - job.x)
        way = way.sign() if problem.threat.p == math.inf else way
        probe = problem.threat.clip(state.base + col(state.size, way) * way, job)
        return replace(state, probe=probe)
