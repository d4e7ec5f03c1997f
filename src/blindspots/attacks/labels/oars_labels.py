"""OARS from labels: HopSkipJump for models that refuse what is too much like an earlier query."""

from dataclasses import dataclass, replace
from typing import ClassVar

from torch import Tensor

from blindspots.attacks.attack import Facts
from blindspots.attacks.labels.hopskipjump import HopSkipJump, HopSkipJumpState
from blindspots.attacks.labels.poll import Labels
from blindspots.attacks.labels.start import choose
from blindspots.problem import Job, Problem, Seen

_SHORTEST, _LONGEST = 0.01, 1.0  # reach of a poll


@dataclass(frozen=True)
class OARSLabels(HopSkipJump):
    """Feng et al. 2023 (arXiv 2303.06280), section 4: oracle-guided adaptive rejection sampling, with HopSkipJump.

    A refusal is no label: it does not count in a poll, and it ends a bisection at the nearest success so far, since
    points that are nearer to each other would be refused, too. The steps of a poll grow with every refusal and shrink
    with every answer, so that the share `share` is refused (paper: settled by bisection before the attack).

    Args:
        queries: queries per row, in total.
        tries: random images evaluated for a start.
        batch: queries of the first poll; poll k has sqrt(k) times as many.
        reach: length of a poll's first steps, in units of the Euclidean distance to the clean input.
        memory: weight of the polls before.
        coarse: at first half of the steps are smooth over this many pixels, as gradients of images are; 1: none.
        share: of a poll's queries that may be refused.
        rate: by how much a refusal lengthens steps.
    """

    reach: float = 0.3
    share: float = 0.05
    rate: float = 0.1

    facts: ClassVar[Facts] = Facts(
        paper="Feng et al.: Stateful Defenses for Machine Learning Models Are Not Yet Secure Against Black-box Attacks",
        year=2023,
        family="labels",
        cost="queries forwards",
        use="models that refuse queries like earlier ones, and tell labels alone",
    )

    def heard(self, state: HopSkipJumpState, seen: Seen) -> Labels:
        return choose(seen.refused, state.labels, super().heard(state, seen))

    def _poll(self, problem: Problem, job: Job, state: HopSkipJumpState, seen: Seen) -> HopSkipJumpState:
        reach = state.reach * (self.rate * (seen.refused.float() - self.share)).exp()
        return super()._poll(problem, job, replace(state, reach=reach.clamp(_SHORTEST, _LONGEST)), seen)

    def _halve(self, problem: Problem, job: Job, state: HopSkipJumpState, seen: Seen) -> HopSkipJumpState:
        return choose(seen.refused, self._settle(problem, job, state), super()._halve(problem, job, state, seen))

    def ahead(self, state: HopSkipJumpState) -> Tensor:
        """Nothing to do: every refusal moves what follows."""
        return super().ahead(state) * 0
