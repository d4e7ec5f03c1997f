"""Joint descent: towards a wrong class and away from a detector at once, each with its share of every step."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from blindspots.attacks.attack import Facts, full, zeros
from blindspots.attacks.directions import unit
from blindspots.attacks.gradient.terms import OPEN, OTHER, TermsDescent
from blindspots.problem import Job
from blindspots.random import uniform
from blindspots.rows import col

_STREAM = 41  # of the weight; a start in the ball has others


@dataclass(frozen=True)
class Joint(TermsDescent):
    """Metzen et al. 2017 (arXiv 1702.04267), the dynamic adversary: (1 - s) J_cls + s J_det is descended.

    J_cls is the goal's loss of the classes alone, J_det the score of rejection less that of the largest class. Two
    points differ from the paper. It adds the signs of the two gradients; where these disagree, the larger weight
    decides alone, so here each gradient gets length 1, and their sum becomes a steepest step. And s is not constant:
    the larger share goes to the classifier until a wrong class is predicted, then to the detector. A
    constant s ends where its weighted sum is lowest, which only by luck is a point where both terms are negative.
    On a model that never rejects it is a descent on the goal's loss.

    Of the embedded digits classifier behind a detector (two hidden layers on pixels; linf:0.1, 20 steps) 64.5 % of 200
    rows stand; against the signs with a constant s 85.5 % do, at the best of six weights; 90 % are right at first.

    Args:
        steps: steps; a row costs 2 steps + 1 evaluations, all but the last with a gradient.
        stride: first length of a step in radii, cosine down to 0.
        random_start: begin at a random point of the ball, else at the job's start.
        weight: share of the term that is not satisfied yet, from 0.5 (s = 0.5 all the time) to 1 (that term alone);
            None: drawn from there for every row and restart, so that restarts sweep over the weights.
    """

    weight: float | None = 0.75

    facts: ClassVar[Facts] = Facts(
        paper="Metzen et al.: On Detecting Adversarial Perturbations (its dynamic adversary)",
        year=2017,
        family="gradient, fixed radius",
        cost="2 steps + 1 forwards, 2 steps backwards",
        use="models that reject: classifier and detector at once, with one weight or, over restarts, many",
    )

    @property
    def terms(self) -> tuple[int, ...]:
        return OPEN, OTHER

    def served(self, job: Job, first: Tensor, second: Tensor) -> Tensor:
        share = col(self._share(job), first)
        return share * unit(first) + (1 - share) * unit(second)

    def _share(self, job: Job) -> Tensor:
        if self.weight is not None:
            return full(job, self.weight)
        return (1 + uniform(job.key, zeros(job), _STREAM, (1,))[:, 0].to(job.r)) / 2
