"""NI-FGSM: MI-FGSM that takes its gradients where the sum is about to lead."""

from dataclasses import dataclass, replace
from typing import ClassVar

from torch import Tensor

from blindspots.attacks.attack import Facts
from blindspots.attacks.directions import descent
from blindspots.attacks.gradient.mifgsm import MIFGSM, MIState
from blindspots.problem import Job, Problem, Seen
from blindspots.rows import pick


@dataclass(frozen=True)
class NIFGSM(MIFGSM):
    """Lin et al. 2020 (arXiv 1908.06281), eqs. 6 to 8: Nesterov's accelerated gradient.

    The gradient is that at x + stride * decay * g, projected here (the published code leaves ball and box). As there,
    g holds gradients over their mean absolute value; over the l1 norm, as the paper writes, the point would hardly
    differ from x. Iterates are not evaluated, except for the last one.
    """

    facts: ClassVar[Facts] = Facts(
        paper="Lin et al.: Nesterov Accelerated Gradient and Scale Invariance for Adversarial Attacks",
        year=2020,
        family="gradient, fixed radius",
        cost="steps + 1 forwards, steps backwards",
        use="as MIFGSM, looking ahead",
    )
    threats: ClassVar[tuple[str, ...]] = ("linf", "l2")

    def step(self, problem: Problem, job: Job, state: MIState, seen: Seen) -> MIState:
        state = super().step(problem, job, state, seen)
        return replace(state, probe=pick(self.final(state), state.at, self._ahead(problem, job, state)))

    def _ahead(self, problem: Problem, job: Job, state: MIState) -> Tensor:
        return descent(problem, job, state.at, self.decay * state.momentum, self._length(job))
