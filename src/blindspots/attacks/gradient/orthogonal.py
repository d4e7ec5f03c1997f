"""Orthogonal projected gradient descent: a step for one of two terms that leaves the other one alone."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from blindspots.attacks.attack import Facts
from blindspots.attacks.directions import unit
from blindspots.attacks.gradient.terms import OPEN, OTHER, TermsDescent
from blindspots.problem import Job
from blindspots.rows import col, pick

_LEAST = 1e-3  # of a gradient: where less is left, the two pull along one line, and what is left is rounding


@dataclass(frozen=True)
class Orthogonal(TermsDescent):
    """Bryniarski et al. 2021 (arXiv 2106.15023): evade a detector without giving up what fools the classifier.

    Every step serves one term: the classifier's until a wrong class is predicted, then the detector's. "selective"
    steps along its gradient, "orthogonal" along what is left of it without the component along the other term's
    gradient. As in the published code, the projection comes before the gradient becomes a steepest step. Unlike there,
    steps shorten, a term is satisfied as soon as it is negative (the code wants a wrong class to lead by 0.05), and two
    gradients along one line are not projected: nothing would be left. On a model that never rejects it is a descent on
    the goal's loss.

    Args:
        steps: steps; a row costs 2 steps + 1 evaluations ("selective": steps + 1), all but the last with a gradient.
        stride: first length of a step in radii, cosine down to 0.
        random_start: begin at a random point of the ball, else at the job's start.
        variant: "orthogonal" or "selective".
    """

    variant: Literal["orthogonal", "selective"] = "orthogonal"

    facts: ClassVar[Facts] = Facts(
        paper=(
            "Bryniarski et al.: Evading Adversarial Example Detection Defenses with Orthogonal "
            "Projected Gradient Descent"
        ),
        year=2021,
        family="gradient, fixed radius",
        cost="2 steps + 1 forwards, 2 steps backwards; the selective variant half of it",
        use="models that reject: classifier first, then the detector without giving that up",
    )

    @property
    def terms(self) -> tuple[int, ...]:
        return (OPEN,) if self.variant == "selective" else (OPEN, OTHER)

    def served(self, job: Job, first: Tensor, second: Tensor) -> Tensor:
        return first if self.variant == "selective" else _without(first, second)


def _without(g: Tensor, other: Tensor) -> Tensor:
    """`g`, of unit length, without its component along `other`; `g` itself where hardly anything would be left."""
    g, along = unit(g), unit(other)
    rest = g - col((g * along).flatten(1).sum(1), g) * along
    return pick(rest.flatten(1).square().sum(1) > _LEAST**2, rest, g)
