"""GeoDA: the nearest point of a flat boundary whose normal is estimated from labels."""

from dataclasses import dataclass, replace
from typing import ClassVar

from torch import Tensor

from blindspots.attacks.attack import Facts
from blindspots.attacks.labels.poll import GAIN, PollSearch, PollState
from blindspots.attacks.labels.start import LineState, choose
from blindspots.geometry import TINY
from blindspots.problem import Job, Problem, Seen
from blindspots.rows import col

_FAR = 1e3  # widths of the box: the distance from which a point is projected to the end of the ball in its direction


@dataclass(frozen=True)
class GeoDA(PollSearch[PollState]):
    """Rahmati et al. 2020 (arXiv 2003.06468), algorithms 1 and 2: smallest linf, l2 or l1 distance.

    The candidate is the point of ball and box that goes furthest along the estimated normal: this is the paper's
    sign(w) in linf, w in l2, and in l1 the largest components of w, each as far as the box allows. Differs from the
    paper in three points. A direction is tried just inside the best distance so far: one query tells whether it is
    worth a bisection, so that the distance never grows. Polls are equally large, and the ones before are remembered.
    Instead of noise from a fixed low-frequency subspace alone, at first half of the steps are smooth, later fewer: the
    rest of the space stays in reach.

    Args:
        queries: queries per row, in total.
        tries: random images evaluated for a start.
        batch: queries of a poll.
        reach: length of a poll's steps, in units of the Euclidean distance to the clean input.
        memory: weight of the polls before.
        coarse: at first half of the steps are smooth over this many pixels, as gradients of images are; 1: none.
    """

    batch: int = 50

    facts: ClassVar[Facts] = Facts(
        paper="Rahmati et al.: GeoDA: A Geometric Framework for Black-box Adversarial Attacks",
        year=2020,
        family="labels",
        cost="queries forwards",
        use="the one for labels in l1; also l2 and linf",
    )
    threats: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1")

    def dress(self, problem: Problem, job: Job, state: LineState) -> PollState:
        return PollState(**self.polled(job, state))

    def move(self, problem: Problem, job: Job, state: PollState) -> PollState:
        far = job.x + self._outward(problem, state.normal)
        return replace(state, far=far, probe=problem.threat.project(far, job.within(state.high * (1 - GAIN))))

    def moved(self, problem: Problem, job: Job, state: PollState, seen: Seen) -> PollState:
        nearer = self.aim(problem, job, state, state.far, state.high * (1 - GAIN))
        return choose(seen.won, nearer, self.ask(problem, job, state))

    def _outward(self, problem: Problem, normal: Tensor) -> Tensor:
        peak = normal.flatten(1).abs().amax(1).clamp_min(TINY)
        return normal * col(_FAR * problem.threat.span / peak, normal)
