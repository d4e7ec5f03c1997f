"""PDPGD: gradient steps on the loss, proximal steps on the norm, and a weight between them that follows success."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from blindspots.attacks.adam import Adam
from blindspots.attacks.attack import Attack, Facts, State, full, zeros
from blindspots.ball import L1, L2, Ball, Linf
from blindspots.problem import Job, Need, Problem, Seen
from blindspots.rows import Around, col

_STRIDE = {0: 1.0, 1: 0.5, 2: 0.1, math.inf: 0.1}  # where the norm is sparse, few components have to go far
_INNER = {1: 20, 2: 20, math.inf: 5}  # proximal iterations; more do not help in linf, and cost time
_FAR = 1e9  # no box for what is not an input
_LONGEST = math.log(1e6)  # the weights never differ by more than this factor
_MAXIMUM = Linf()
_DUAL: dict[float, Ball] = {2: L2(None, -_FAR, _FAR), math.inf: L1(None, -_FAR, _FAR)}


@dataclass(frozen=True)
class PDPGDState(State):
    adam: Adam  # of the loss's gradient
    stride: Tensor  # (B,) first step of every component, in units of the box
    dual: Tensor  # (B,) log of the loss's weight over the norm's
    share: Tensor  # (B,) the loss's share of both weights, a moving average


@dataclass(frozen=True)
class PDPGD(Attack[PDPGDState]):
    """Matyasko and Chau 2021 (arXiv 2106.01538), algorithm 2: smallest l0, l1, l2 or linf distance.

    The primal step is Adam's on the softplus of the loss, then the proximal map of the weighted norm in Adam's metric;
    the dual step follows the sign of the margin. Differs from the authors' code, which needs 500 steps and more, in
    five points. The proximal map in l0 is exact and in l1 the closed form of 20 iterations (the code: 5 iterations,
    ended early). In l2 and linf a row's first step goes no further than the linearised boundary. The dual step is
    shorter the more steps there are, and the last primal step too. And l0 counts components, not pixels.

    Args:
        steps: gradients per row.
        stride: first step of every component, in units of the box, falling to its 10 / steps; None: 1 in l0, 0.5 in
            l1, else at most 0.1.
        ratio: weight of the norm over that of the loss at first.
        travel: how far the log of the ratio could go in all steps if its first step stayed.
        memory: weight of the past in the average of the weights.
    """

    steps: int = 100
    stride: float | None = None
    ratio: float = 0.03
    travel: float = 30.0
    memory: float = 0.9

    facts: ClassVar[Facts] = Facts(
        paper="Matyasko, Chau: PDPGD: Primal-Dual Proximal Gradient Descent Adversarial Attack",
        year=2021,
        family="gradient, smallest distance",
        cost="steps + 1 forwards, steps backwards",
        use="small distances in every norm, above all l1",
    )
    need: ClassVar[Need] = Need.GRAD
    threats: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1", "l0")
    minimal: ClassVar[bool] = True

    @property
    def looks(self) -> int:
        return self.steps + 1

    @property
    def _end(self) -> float:
        return min(1.0, 10 / self.steps)

    def init(self, problem: Problem, job: Job) -> PDPGDState:
        stride = full(job, _STRIDE[problem.threat.p] if self.stride is None else self.stride)
        dual = full(job, -math.log(self.ratio))
        return PDPGDState(job.start, zeros(job), Adam.blank(job.x), stride, dual, dual.sigmoid())

    def step(self, problem: Problem, job: Job, state: PDPGDState, seen: Seen) -> PDPGDState:
        assert seen.grad is not None
        threat = problem.threat
        width, done = threat.span, state.t / self.steps
        stride = torch.where(state.t == 0, self._first(threat, state, seen), state.stride)
        adam = state.adam.take(seen.grad * col(seen.loss.sigmoid(), seen.grad))
        rate = col(width * stride * self._end**done, adam.size) / adam.size
        moved = threat.clip(state.probe - rate * adam.usual, job)
        nearer = _proximal(threat, moved - job.x, rate, (1 - state.share) / state.share)
        change = self.travel / self.steps * (1 - 0.9 * done)
        dual = (state.dual + torch.where(seen.won, -change, change)).clamp(-_LONGEST, _LONGEST)
        share = state.share.lerp(dual.sigmoid(), 1 - self.memory)
        probe = threat.clip(job.x + nearer, job)
        return PDPGDState(probe, state.t + 1, adam, stride, dual, share)

    def _first(self, threat: Ball, state: PDPGDState, seen: Seen) -> Tensor:
        """A step of Adam moves every component equally far at first, so the boundary is judged as in linf."""
        assert seen.grad is not None
        if threat.p < 2:
            return state.stride
        boundary = seen.margin.abs() / _MAXIMUM.dual(seen.grad).clamp_min(1e-12)
        return state.stride.minimum(boundary / threat.span)


def _proximal(threat: Ball, d: Tensor, rate: Tensor, weight: Tensor) -> Tensor:
    """What lowers weight * |z|_p + the squared distance of z from `d`, components divided by 2 `rate`: (B, ...)."""
    if threat.p == 0:
        return torch.where(d.square() < 2 * rate * col(weight, d), 0, d)
    least = rate.flatten(1).amin(1)
    steep, drop = col(least, d) / rate, least * weight
    if threat.p == 1:
        total = col(drop, d) * (1 - (1 - steep) ** _INNER[1]) / steep
        return d.sign() * (d.abs() - total).clamp_min(0)
    z = d
    for _ in range(_INNER[threat.p]):
        z = z - steep * (z - d)
        z = z - _DUAL[threat.p].project(z, Around(torch.zeros_like(z), drop))  # Moreau: what the dual ball leaves
    return z
