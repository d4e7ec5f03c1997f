"""Smooth: an attack whose changes are smooth along the last axis, as those of series and signals should be."""

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from blindspots.attacks.attack import Attack, Facts, State
from blindspots.attacks.gradient.pgd import PGD
from blindspots.ball import Ball
from blindspots.errors import InputError
from blindspots.objective import LossName
from blindspots.problem import Aim, Job, Need, Problem, Seen

_INNER = PGD(40)
_WIDTHS = (0.1, 0.3, 0.5, 0.7, 1.0)  # of the kernels, in units of the largest
_ROOM = 100.0  # on either side of the box, in units of its width
_REACH = 3  # standard deviations of a kernel on either side


def _wide(problem: Problem) -> Problem:
    """The same ball in a box that no theta meets: what leaves the box of the inputs may come back by smoothing."""
    threat = problem.threat
    assert isinstance(threat, Ball)
    room = _ROOM * threat.width
    return replace(problem, threat=threat.within(threat.lo - room, threat.hi + room))


@dataclass(frozen=True)
class SmoothState(State):
    inner: State  # the attack's own, which knows nothing of this


@dataclass(frozen=True)
class Smooth(Attack[SmoothState]):
    """Han et al. 2020 (Nature Medicine 26, 360-363): a change that is a mean of smoothed versions of one signal.

    The inner attack searches for theta in the ball, the model sees x + S(theta), and gradients are pulled back through
    S: the mean of five Gaussian blurs along the last axis, with zeros beyond both ends. A blur is a mean of shifts, so
    |S(theta)|_p <= |theta|_p for every p >= 1, and the ball holds for what is seen; an l0 ball has no such changes.
    The box holds for what is seen alone: theta may leave it. Where x + S(theta) would leave it, or change what may not
    change, values are clipped there, and only there the change is not smooth. Widths of the kernels are choices of
    ours: 0.1, 0.3, 0.5, 0.7 and 1 times `sigma`.

    Args:
        attack: a gradient attack that searches for any point of a ball.
        sigma: standard deviation of the widest kernel, in samples.
    """

    attack: Attack = _INNER
    sigma: float = 10.0

    facts: ClassVar[Facts] = Facts(
        paper="Han et al.: Deep learning models for electrocardiograms are susceptible to adversarial attack",
        year=2020,
        family="gradient, fixed radius",
        cost="the inner attack's",
        use="series and signals, where a rough change would be seen",
    )
    need: ClassVar[Need] = Need.GRAD
    threats: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1")
    loss: ClassVar[LossName] = "margin"
    __pydantic_config__: ClassVar[dict[str, bool]] = {"arbitrary_types_allowed": True}  # an attack is an object

    def __post_init__(self) -> None:
        inner = self.attack
        if inner.need is not Need.GRAD or inner.minimal or inner.begins == "other":
            raise InputError(f"expected an attack by gradients in a ball, got {inner!r}: use e.g. PGD() or APGD()")
        if not self.sigma > 0:
            raise InputError(f"expected sigma above 0 for Smooth, got {self.sigma}: give samples, as in sigma=10")
        for trait in ("loss", "targeted", "even"):
            object.__setattr__(self, trait, getattr(inner, trait))
        object.__setattr__(self, "threats", tuple(name for name in inner.threats if name != "l0"))

    @property
    def looks(self) -> int:
        return self.attack.looks

    def init(self, problem: Problem, job: Job) -> SmoothState:
        return self._around(problem, job, self.attack.init(_wide(problem), job))

    def step(self, problem: Problem, job: Job, state: SmoothState, seen: Seen) -> SmoothState:
        assert seen.grad is not None
        clipped = state.probe != job.x + self._smoothed(state.inner.probe - job.x)
        pulled = replace(seen, grad=self._smoothed(seen.grad.masked_fill(clipped, 0)))
        return self._around(problem, job, self.attack.step(_wide(problem), job, state.inner, pulled))

    def _around(self, problem: Problem, job: Job, inner: State) -> SmoothState:
        probe = problem.threat.clip(job.x + self._smoothed(inner.probe - job.x), job)
        return SmoothState(probe, inner.t, inner)

    def _smoothed(self, theta: Tensor) -> Tensor:
        """S(theta), which is its own transpose. Sums of shifts, so that no row's bits depend on its neighbours."""
        kernel = self._kernel(theta.shape[-1])
        out = kernel[0] * theta
        for shift, weight in enumerate(kernel[1:], 1):
            out[..., shift:] += weight * theta[..., :-shift]
            out[..., :-shift] += weight * theta[..., shift:]
        return out

    def _kernel(self, length: int) -> list[float]:
        """The weights of shifts by 0, 1, ... samples to either side; of all of them the sum is 1."""
        shifts = torch.arange(min(int(_REACH * self.sigma) + 1, length), dtype=torch.float64, device="cpu")
        each = []
        for width in _WIDTHS:
            weight = torch.exp(-(shifts / (width * self.sigma)).square() / 2)
            weight = weight * (shifts <= _REACH * width * self.sigma)
            each.append(weight / (2 * weight.sum() - weight[0]))
        mean: list[float] = torch.stack(each).mean(0).tolist()
        return mean

    def aim_of(self, state: SmoothState) -> Aim | None:
        return self.attack.aim_of(state.inner)

    def exhausted(self, state: SmoothState) -> Tensor:
        return self.attack.exhausted(state.inner)

    def final(self, state: SmoothState) -> Tensor:
        return self.attack.final(state.inner)

    def unstarted(self, state: SmoothState) -> Tensor:
        return self.attack.unstarted(state.inner)
