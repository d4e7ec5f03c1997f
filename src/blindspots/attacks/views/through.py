"""An attack that sees its probes through random views: for transfer, and for randomised models."""

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from blindspots.attacks.attack import Attack, Facts, State, zeros
from blindspots.attacks.gradient.pgd import PGD
from blindspots.attacks.images import pulled
from blindspots.attacks.views.views import Noise, Translations, View
from blindspots.errors import InputError
from blindspots.objective import LossName
from blindspots.problem import Aim, Job, Need, Problem, Seen
from blindspots.random import keys
from blindspots.rows import Rows, col, pick, tree

_INNER = PGD(10, stride=0.2, momentum=0.75, random_start=False)


@dataclass(frozen=True)
class Sums(Rows):
    """What was seen at the current probe of the inner attack, added up."""

    count: Tensor  # (B,) int64: evaluations
    logits: Tensor  # (B, C)
    loss: Tensor  # (B,)
    grad: Tensor  # (B, ...) in the inner probe


@dataclass(frozen=True)
class ThroughState(State):
    inner: State  # the inner attack's
    sums: Sums


@dataclass(frozen=True)
class Through(Attack[ThroughState]):
    """Runs `attack` on the average over views: expectation over transformation (Athalye et al. 2018, arXiv 1707.07397).

    For every probe of the inner attack it evaluates `copies` views of it, T(x), pulls the gradients back through T,
    and passes on the means of scores, loss and gradient. The views are applied one after the other. Without views the
    copies are evaluations of the same point, for randomised models. Views may lie outside the ball; only plain probes,
    unchanged, are sure to count, and the last probe of the inner attack always is one.

    On the model under attack this costs strength; it pays where the points are meant for another model, of which the
    one at hand is a surrogate: from a CIFAR-10 ResNet-20 to a ResNet-32 and a smaller one, in a linf ball of 4/255, the
    default fools 73 % and 56 % of 100 rows, its inner attack alone 59 % and 36 %. There the search has to run to its
    end, not to its first success.

    Args:
        attack: a gradient attack that searches for any point of a ball.
        views: e.g. (GradientKernel(), InputDiversity()) is TI-DIM.
        copies: views of each probe.
        plain: also evaluate each probe itself, and include its gradient in the mean: every probe counts then.
    """

    attack: Attack = _INNER
    views: tuple[View, ...] = (Translations(), Noise())
    copies: int = 4
    plain: bool = False

    facts: ClassVar[Facts] = Facts(
        paper="Athalye et al.: Synthesizing Robust Adversarial Examples (and DI, TI, SI)",
        year=2018,
        family="gradient, fixed radius",
        cost="the inner attack's, times copies",
        use="transfer to a hidden model from a surrogate; randomised models",
    )
    need: ClassVar[Need] = Need.GRAD
    threats: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1")
    even: ClassVar[bool] = True
    loss: ClassVar[LossName] = "ce"
    __pydantic_config__: ClassVar[dict[str, bool]] = {"arbitrary_types_allowed": True}  # attacks and views are objects

    def __post_init__(self) -> None:
        inner = self.attack
        if inner.need is not Need.GRAD or inner.minimal:
            raise InputError(f"expected an attack by gradients in a ball, got {inner!r}: use e.g. PGD() or APGD()")
        if self.copies < 1:
            raise InputError(f"expected copies of at least 1, got {self.copies}: give a positive number")
        for name in ("threats", "loss", "targeted", "begins"):
            object.__setattr__(self, name, getattr(inner, name))  # it can do what the inner attack can

    @property
    def looks(self) -> int:
        return (self.attack.looks - 1) * self._per_probe + 1

    @property
    def _per_probe(self) -> int:
        return self.copies + self.plain

    def aim_of(self, state: ThroughState) -> Aim | None:
        return self.attack.aim_of(state.inner)

    def ahead(self, state: ThroughState) -> Tensor:
        """The other views of the inner attack's probe."""
        return torch.where(self.attack.final(state.inner), 0, self._per_probe - 1 - state.sums.count)

    def exhausted(self, state: ThroughState) -> Tensor:
        return self.attack.exhausted(state.inner)

    def final(self, state: ThroughState) -> Tensor:
        return self.attack.final(state.inner)

    def unstarted(self, state: ThroughState) -> Tensor:
        return self.attack.unstarted(state.inner)

    def init(self, problem: Problem, job: Job) -> ThroughState:
        inner, t = self.attack.init(problem, job), zeros(job)
        sums = Sums(t, torch.zeros_like(job.scores), torch.zeros_like(job.r), torch.zeros_like(job.x))
        return ThroughState(self._probe(problem, job, inner, t), t, inner, sums)

    def step(self, problem: Problem, job: Job, state: ThroughState, seen: Seen) -> ThroughState:
        sums = self._add(state.sums, seen, self._pull(problem, job, state, seen))
        due = (sums.count >= self._per_probe) | self.attack.final(state.inner)
        moved = self.attack.step(problem, job, state.inner, _mean(problem, job, sums))
        inner = tree(partial(pick, due), moved, state.inner)
        sums = tree(lambda t: pick(due, torch.zeros_like(t), t), sums)
        return ThroughState(self._probe(problem, job, inner, sums.count), state.t + 1, inner, sums)

    def _probe(self, problem: Problem, job: Job, inner: State, count: Tensor) -> Tensor:
        view = self._view(problem, job, inner, count, inner.probe)
        return pick(self._is_plain(inner, count), inner.probe, view)

    def _is_plain(self, inner: State, count: Tensor) -> Tensor:
        return (count >= self.copies) | self.attack.final(inner)

    def _view(self, problem: Problem, job: Job, inner: State, count: Tensor, x: Tensor) -> Tensor:
        number = inner.t * self.copies + count
        for i, view in enumerate(self.views):
            x = view(x, keys(i, job.key), number, problem.threat)
        return x

    def _pull(self, problem: Problem, job: Job, state: ThroughState, seen: Seen) -> Tensor:
        """The gradient at the view as one at the inner probe."""
        assert seen.grad is not None
        inner, count = state.inner, state.sums.count
        if not self.views:
            return seen.grad
        with torch.enable_grad():
            x = inner.probe.detach().requires_grad_()
            grad = pulled(self._view(problem, job, inner, count, x), x, seen.grad)
        return pick(self._is_plain(inner, count), seen.grad, grad)

    def _add(self, sums: Sums, seen: Seen, grad: Tensor) -> Sums:
        return Sums(sums.count + 1, sums.logits + seen.logits, sums.loss + seen.loss, sums.grad + grad)


def _mean(problem: Problem, job: Job, sums: Sums) -> Seen:
    logits = sums.logits / col(sums.count, sums.logits)
    margin = problem.objective.margin(logits, job.y, job.target)
    grad, answered = sums.grad / col(sums.count, sums.grad), torch.zeros_like(margin, dtype=torch.bool)
    return Seen(logits, sums.loss / sums.count, margin, margin < 0, grad, answered)
