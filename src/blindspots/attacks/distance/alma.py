"""ALMA: an augmented Lagrangian with a multiplier and a penalty of its own for every row."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from blindspots.attacks.attack import Attack, Facts, State, full, zeros
from blindspots.attacks.directions import unit
from blindspots.ball import Ball
from blindspots.objective import LossName
from blindspots.problem import Job, Need, Problem, Seen
from blindspots.rows import col

_TOLERANCE = 1e-4  # added to the scaled margin: a tie is no success
_IMPROVED = 0.95  # a check is passed if the margin fell to this share of what it was at the last one
_LARGEST = 1e9  # multiplier and slope, so that squares of gradients stay finite
_LEAST, _TINY = 1e-6, 1e-8


@dataclass(frozen=True)
class ALMAState(State):
    velocity: Tensor  # (B, ...) of the scaled gradients
    square: Tensor  # (B, ...) moving average of the squared gradient
    rate: Tensor  # (B,) learning rate before it falls
    scale: Tensor  # (B,) what the loss is divided by
    multiplier: Tensor  # (B,) mu
    penalty: Tensor  # (B,) rho
    checked: Tensor  # (B,) the scaled margin at the last check
    found: Tensor  # (B,) int64: clock of the first success; later than any step before it


@dataclass(frozen=True)
class ALMA(Attack[ALMAState]):
    """Rony et al. 2021 (arXiv 2011.11857), algorithm 1 with the penalty P2: smallest l2 or l1 distance.

    Differs from the paper in four points. The first step goes half-way to the linearised boundary, at most `longest`
    far, so the attack does not depend on the size of distances; the authors take one length for all inputs. In l1 the
    norm is lowered by its proximal map instead of a gradient, which never makes a component zero. The penalty doubles
    every 3 steps without success (paper: by 1.2 every 10), and averages forget faster (paper: 0.9), since
    theirs are too slow for a hundred steps. And with another loss than DLR, the margin is divided by the distance
    between the first and the third score of the clean input; for two classes, where DLR is not defined, choose the
    margin.

    Args:
        steps: gradients per row.
        longest: the longest first step, in units of the input.
        end: the learning rate at the end, in units of the first; it falls once a row has succeeded.
        smooth: weight of the past in the averages, also the momentum.
        every: steps between checks of the margin.
        growth: factor of the penalty at a check that failed.
    """

    steps: int = 100
    longest: float = 2.0
    end: float = 0.01
    smooth: float = 0.8
    every: int = 3
    growth: float = 2.0

    facts: ClassVar[Facts] = Facts(
        paper="Rony et al.: Augmented Lagrangian Adversarial Attacks",
        year=2021,
        family="gradient, smallest distance",
        cost="steps + 1 forwards, steps backwards",
        use="small l2 or l1 distances with many steps",
    )
    need: ClassVar[Need] = Need.GRAD
    threats: ClassVar[tuple[str, ...]] = ("l2", "l1")
    minimal: ClassVar[bool] = True
    loss: ClassVar[LossName] = "dlr"

    @property
    def looks(self) -> int:
        return self.steps + 1

    def init(self, problem: Problem, job: Job) -> ALMAState:
        scale = full(job, 1.0) if problem.objective.loss == "dlr" else _spread(job.scores)
        still, one, never = torch.zeros_like(job.x), full(job, 1.0), zeros(job) + self.looks
        return ALMAState(
            job.start, zeros(job), still, torch.ones_like(still), one, scale, one, one, full(job, torch.inf), never
        )

    def step(self, problem: Problem, job: Job, state: ALMAState, seen: Seen) -> ALMAState:
        assert seen.grad is not None
        d = state.probe - job.x
        unit_of_margin = _spread(seen.logits) if problem.objective.loss == "dlr" else state.scale
        y = seen.margin / unit_of_margin + _TOLERANCE
        penalty, checked = self._check(state, y)
        multiplier = self._multiplier(state, _slope(y, penalty, state.multiplier))
        g = seen.grad * col(_slope(y, penalty, multiplier) / state.scale, d)
        g = g + unit(d) if problem.threat.p == 2 else g
        found = torch.where(seen.won, state.found.minimum(state.t), state.found)
        square = state.square.lerp(g.square(), 1 - self.smooth)
        size = square.sqrt() + _TINY
        rate = torch.where(
            state.t == 0, self._first(problem.threat, y, seen.grad / col(state.scale, d), g / size), state.rate
        )
        velocity = self.smooth * state.velocity + g / size
        falling = self.end ** ((state.t - found).clamp_min(0) / (self.steps - found).clamp_min(1))
        d = d - col(rate * falling, d) * velocity
        if problem.threat.p == 1:  # as much as momentum makes of a gradient of the norm
            drop = col(rate * falling, d) / (1 - self.smooth) / size
            d = d.sign() * (d.abs() - drop).clamp_min(0)
        probe = problem.threat.clip(job.x + d, job)
        return ALMAState(probe, state.t + 1, velocity, square, rate, state.scale, multiplier, penalty, checked, found)

    def _check(self, state: ALMAState, y: Tensor) -> tuple[Tensor, Tensor]:
        """The penalty grows where neither a success was found nor the margin has fallen since the last check."""
        due = state.t % self.every == 0
        stuck = due & (state.found > self.steps) & (y >= _IMPROVED * state.checked)
        penalty = torch.where(stuck, self.growth * state.penalty, state.penalty).clamp_max(_LARGEST)
        return penalty, torch.where(due, y, state.checked)

    def _multiplier(self, state: ALMAState, wanted: Tensor) -> Tensor:
        after = state.multiplier.lerp(wanted, 1 - self.smooth).clamp(_LEAST, _LARGEST)
        return torch.where(state.t == 0, state.multiplier, after)

    def _first(self, threat: Ball, y: Tensor, slope: Tensor, way: Tensor) -> Tensor:
        """The learning rate whose step against `way` ends half-way to the boundary, if `y` falls with `slope`."""
        boundary = y.abs() / threat.dual(slope).clamp_min(1e-12)
        return (boundary / 2).clamp_max(self.longest) / threat.norm(way).clamp_min(1e-12)


def _spread(scores: Tensor) -> Tensor:
    """The distance between the first and the third score, or the second of two: (B,)."""
    top = scores.topk(min(3, scores.shape[1]), dim=1).values
    return (top[:, 0] - top[:, -1]).clamp_min(_LEAST)


def _slope(y: Tensor, penalty: Tensor, multiplier: Tensor) -> Tensor:
    """Derivative of P2 (Birgin, Castillo, Martinez 2005) by its first argument."""
    above = multiplier + 2 * multiplier * penalty * y + penalty.square() * y.square() / 2
    return torch.where(y >= 0, above, multiplier / (1 - penalty * y.clamp_max(0)).square()).clamp_max(_LARGEST)
