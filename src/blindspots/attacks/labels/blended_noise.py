"""Blended noise: random images, each brought as near to the clean input as the label allows."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from blindspots.attacks.attack import Facts
from blindspots.attacks.labels.start import LabelSearch, LineState, Turn
from blindspots.problem import Job, Problem


@dataclass(frozen=True)
class BlendedNoise(LabelSearch[LineState]):
    """Many random images, and from each one a line to the clean input, until the queries are spent.

    The idea is Foolbox's LinearSearchBlendedUniformNoiseAttack, which follows the line of the first random image that
    succeeds, in 1,000 steps from the clean end. Here bisection takes about ten, and every further image is first
    evaluated where it would be 5 % nearer than all before: only a success there is worth a line. In linf and l1 the
    line leads along projections to smaller balls, not straight.

    Args:
        queries: queries per row, in total.
        tries: random images evaluated until the first one succeeds.
    """

    facts: ClassVar[Facts] = Facts(
        paper="Rauber, Brendel, Bethge: Foolbox (linear search blended uniform noise)",
        year=2017,
        family="labels",
        cost="queries forwards",
        use="a first distance from labels alone",
    )
    threats: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1")
    begins: ClassVar[Literal["clean", "other"]] = "clean"
    compares: ClassVar[int] = 1 << 62

    def dress(self, problem: Problem, job: Job, state: LineState) -> LineState:
        return state

    def arrive(self, problem: Problem, job: Job, state: LineState) -> LineState:
        return state

    def turns(self) -> dict[int, Turn[LineState]]:
        return {}
