"""Sign-OPT: turn the direction to where the boundary comes nearer, by the signs of its slopes."""

from dataclasses import dataclass, replace
from typing import ClassVar

from torch import Tensor

from blindspots.attacks.attack import Facts, full
from blindspots.attacks.directions import unit
from blindspots.attacks.labels.poll import GAIN, MOVE, PollSearch, PollState, aside
from blindspots.attacks.labels.start import LineState, at_phase, choose
from blindspots.problem import Job, Problem, Seen
from blindspots.rows import col

_LEAST, _AGAIN = 0.05, 0.2  # the smallest turn that is tried, and the first one after the poll that follows


@dataclass(frozen=True)
class SignOPTState(PollState):
    turn: Tensor  # (B,) tangent of the angle


@dataclass(frozen=True)
class SignOPT(PollSearch[SignOPTState]):
    """Cheng et al. 2020 (arXiv 1909.10773), algorithm 1: smallest l2 distance, as a function of the direction.

    A label in a nearby direction is the sign of the distance's slope. Differs from the paper in three points. A turn
    is tried just inside the present distance, which takes one query, and only a success is worth a bisection; then
    it is doubled, else halved, and below 0.05 a new poll begins. Polls have 30 labels instead of 200, and the ones
    before are remembered. Their steps lie in the tangent plane, not on the sphere, whose curve would hide small slopes
    in many dimensions; at first half of them are smooth.

    Args:
        queries: queries per row, in total.
        tries: random images evaluated for a start.
        batch: queries of a poll.
        reach: length of a poll's steps, in units of the distance.
        memory: weight of the polls before.
        coarse: at first half of the steps are smooth over this many pixels, as gradients of images are; 1: none.
    """

    facts: ClassVar[Facts] = Facts(
        paper="Cheng et al.: Sign-OPT: A Query-Efficient Hard-label Adversarial Attack",
        year=2020,
        family="labels",
        cost="queries forwards",
        use="l2: as good as HopSkipJump, better early",
    )
    threats: ClassVar[tuple[str, ...]] = ("l2",)

    def dress(self, problem: Problem, job: Job, state: LineState) -> SignOPTState:
        return SignOPTState(**self.polled(job, state), turn=full(job, 0.5))

    def arrive(self, problem: Problem, job: Job, state: SignOPTState) -> SignOPTState:
        first = self.ask(problem, job, replace(state, base=self.reached(problem, job, state)))
        further = replace(state, base=first.base, turn=2 * state.turn)
        return choose(state.number == 0, first, self._try(problem, job, at_phase(further, MOVE)))

    def directed(self, problem: Problem, u: Tensor, d: Tensor) -> Tensor:
        return aside(u, d)

    def move(self, problem: Problem, job: Job, state: SignOPTState) -> SignOPTState:
        return self._try(problem, job, state)

    def moved(self, problem: Problem, job: Job, state: SignOPTState, seen: Seen) -> SignOPTState:
        nearer = self.aim(problem, job, state, state.far, problem.threat.distance(state.probe, job.x))
        less = self._try(problem, job, replace(state, turn=state.turn / 2))
        anew = self.ask(problem, job, replace(state, turn=full(job, _AGAIN)))
        return choose(seen.won, nearer, choose(less.turn < _LEAST, anew, less))

    def _try(self, problem: Problem, job: Job, state: SignOPTState) -> SignOPTState:
        d, threat = state.base - job.x, problem.threat
        distance = threat.norm(d)
        way = unit(unit(d) + col(state.turn, d) * aside(state.normal, d))
        far = threat.clip(job.x + col(distance, d) * way, job)
        return replace(state, far=far, probe=threat.project(far, job.within((1 - GAIN) * distance)))
