"""BIM: small steepest steps from the clean input."""

from dataclasses import dataclass
from typing import ClassVar

from blindspots.attacks.attack import Attack, Facts
from blindspots.attacks.gradient.pgd import PGD, PGDState
from blindspots.objective import LossName
from blindspots.problem import Job, Need, Problem, Seen


@dataclass(frozen=True)
class BIM(Attack[PGDState]):
    """Kurakin, Goodfellow, Bengio 2017 (arXiv 1607.02533), section 2.2: PGD without a random start (I-FGSM).

    In the paper steps and stride are coupled: 1.25 radii in all (4 pixel values more than the radius, if that is
    less). Its "least likely class" is this attack towards `LeastLikely()`.

    Args:
        steps: gradient steps; a row costs `steps` gradients and one last evaluation.
        stride: length of a step in radii; None: 2.5 / steps, twice the paper's, which succeeds more often.
    """

    steps: int = 10
    stride: float | None = None

    facts: ClassVar[Facts] = Facts(
        paper="Kurakin, Goodfellow, Bengio: Adversarial Examples in the Physical World",
        year=2017,
        family="gradient, fixed radius",
        cost="steps + 1 forwards, steps backwards",
        use="PGD without randomness: one answer that anybody can repeat",
    )
    need: ClassVar[Need] = Need.GRAD
    threats: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1")
    loss: ClassVar[LossName] = "ce"

    def _pgd(self) -> PGD:
        return PGD(self.steps, self.stride, random_start=False)

    @property
    def looks(self) -> int:
        return self.steps + 1

    def init(self, problem: Problem, job: Job) -> PGDState:
        return self._pgd().init(problem, job)

    def step(self, problem: Problem, job: Job, state: PGDState, seen: Seen) -> PGDState:
        return self._pgd().step(problem, job, state, seen)
