"""EAD: Carlini and Wagner's objective with an elastic net for the distance, so that few components change."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from blindspots.attacks.attack import Attack, Facts, State, cosine, full, zeros
from blindspots.ball import L1, L2
from blindspots.problem import Job, Need, Problem, Seen
from blindspots.rows import col

_MOST = 1e10  # the largest constant
_GROWTH = 1.2  # of the constant per step, until the first success
_BREATH = (0.2, 0.005)  # by how much it shrinks after a success and grows after a failure later, first and last
_BETA = {1: 20.0, 2: 0.001}
_SPARSE, _DENSE = L1(), L2()
_TINY = 1e-12


@dataclass(frozen=True)
class EADState(State):
    point: Tensor  # (B, ...) the iterate; the probe is ahead of it
    const: Tensor  # (B,) c, what a unit of margin is worth
    run: Tensor  # (B,) int64 steps since the last success, which the momentum grows with
    found: Tensor  # (B,) bool: there was a success


@dataclass(frozen=True)
class EAD(Attack[EADState]):
    """Chen et al. 2018 (arXiv 1709.04114), algorithm 1: smallest l1 or l2 distance by FISTA.

    Descended is c max(f + kappa, 0) + (beta |d|_1 + |d|_2^2) / (1 + beta). The threat is the decision rule: among the
    adversarial points on the way the one with the smallest norm in it counts.

    Differs from the paper in these points. Instead of nine searches of 1,000 steps there is one descent, in which c
    follows success: it begins at twice what balances distance and margin on a linear model, grows until the first
    success, is then balanced anew, and shrinks with every success and grows with every failure. Steps are long until
    the first success. The threshold is beta times the step, as the proximal operator has it; with the published one,
    which leaves the step out, the weight of |d|_1 grows as the step falls. Gradient and success are taken at the same
    point, the extrapolated one (one forward per step instead of two), and momentum begins again after a success.

    Args:
        steps: gradients per row.
        beta: weight of |d|_1 against |d|_2^2; None: 20 in l1, 0.001 in l2.
        stride: step size of the descent after the first success, as a share of the box; cosine down to a thousandth.
        leap: step size before the first success, as a share of the box.
        confidence: kappa, the margin of logits that is aimed at. The nearest adversarial point on the way counts all
            the same.
    """

    steps: int = 200
    beta: float | None = None
    stride: float = 0.1
    leap: float = 0.5
    confidence: float = 0.0

    facts: ClassVar[Facts] = Facts(
        paper="Chen et al.: EAD: Elastic-Net Attacks to Deep Neural Networks via Adversarial Examples",
        year=2018,
        family="gradient, smallest distance",
        cost="steps + 1 forwards, steps backwards",
        use="small l1 distances; few components change",
    )
    need: ClassVar[Need] = Need.GRAD
    threats: ClassVar[tuple[str, ...]] = ("l1", "l2")
    minimal: ClassVar[bool] = True

    @property
    def looks(self) -> int:
        return self.steps + 1

    def init(self, problem: Problem, job: Job) -> EADState:
        none = torch.zeros_like(job.y, dtype=torch.bool)
        return EADState(job.start, zeros(job), job.start, full(job, 0), zeros(job), none)

    def step(self, problem: Problem, job: Job, state: EADState, seen: Seen) -> EADState:
        assert seen.grad is not None
        threat, width = problem.threat, problem.threat.span
        d, short = (state.probe - job.x) / width, seen.margin + self.confidence >= 0
        sparse, dense = self._weights(threat.p)
        const = self._at_boundary(problem, state, seen, d, ~short)
        found = state.found | ~short
        rate = col(torch.where(found, cosine(state.t, self.steps, self.stride, self.stride / 1000), self.leap), d)
        moved = d - rate * (col(const * short * width, d) * seen.grad + 2 * dense * d)
        shrunk = moved.sign() * (moved.abs() - sparse * rate).clamp_min(0)
        point = threat.clip(job.x + width * shrunk, job)
        probe = threat.clip(point + col(state.run / (state.run + 3), d) * (point - state.point), job)
        breath = cosine(state.t, self.steps, *_BREATH)
        followed = const * torch.where(found, torch.where(short, 1 + breath, 1 - breath), _GROWTH)
        run = torch.where(short, state.run + 1, 0)
        return EADState(probe, state.t + 1, point, followed.clamp_max(_MOST), run, found)

    def _weights(self, p: float) -> tuple[float, float]:
        """Of |d|_1 and of |d|_2^2."""
        beta = _BETA[int(p)] if self.beta is None else self.beta
        return beta / (1 + beta), 1 / (1 + beta)

    def _at_boundary(self, problem: Problem, state: EADState, seen: Seen, d: Tensor, won: Tensor) -> Tensor:
        """The constant, set anew at the first step and at the first success so that it balances the two terms."""
        assert seen.grad is not None
        sparse, dense = self._weights(problem.threat.p)
        g = problem.threat.span * seen.grad
        steepest, slope = _SPARSE.dual(g).clamp_min(_TINY), _DENSE.dual(g).square().clamp_min(_TINY)
        first = 2 * sparse / steepest + 4 * dense * (seen.margin + self.confidence).abs() / slope
        const = torch.where(state.t == 0, first.clamp_max(_MOST), state.const)
        distance = sparse * _SPARSE.norm(d) + 2 * dense * _DENSE.norm(d).square()
        balance = 2 * distance / -(g * d).flatten(1).sum(1).clamp_max(-_TINY)
        return torch.where(won & ~state.found, const.minimum(balance), const)
