"""JSMA: the pair of components whose change helps one class and hurts the others most, one pair after the other."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from blindspots.attacks.attack import Attack, Facts, State, zeros
from blindspots.problem import Job, Need, Problem, Seen


@dataclass(frozen=True)
class JSMAState(State):
    classes: Tensor  # (B, K) int64: the goal's own class (target or label), then the strongest others
    done: Tensor  # (B,) bool: a success, or nothing left to change


@dataclass(frozen=True)
class JSMA(Attack[JSMAState]):
    """Papernot et al. 2016 (arXiv 1511.07528), algorithms 2 and 3: few components, greedily.

    Of all pairs, the one with the largest product of what a class gains and what the others lose. Differs from the
    paper in four points. Pairs are formed among the `top` best components, so memory grows with the input and not with
    its square. Components may go down as well as up (`both`), a change is rated by how far the box lets it go, and
    where no pair both helps and hurts, the best two single changes are taken. The others are the strongest scores
    only: what the weak ones lose does not help, and every class costs a gradient. Untargeted, the
    class is the strongest wrong one of the moment.

    Args:
        steps: pairs per row.
        theta: how far a chosen component moves, in units of the box.
        both: components may also go down (paper: up if theta is positive, down if it is negative).
        classes: scores whose gradients are taken.
        top: components among which pairs are formed.
    """

    steps: int = 100
    theta: float = 1.0
    both: bool = True
    classes: int = 2
    top: int = 64

    facts: ClassVar[Facts] = Facts(
        paper="Papernot et al.: The Limitations of Deep Learning in Adversarial Settings",
        year=2016,
        family="gradient, smallest distance",
        cost="steps + 1 forwards, classes x steps backwards",
        use="l0 by saliency, two components at a time; the historic baseline",
    )
    need: ClassVar[Need] = Need.JACOBIAN
    threats: ClassVar[tuple[str, ...]] = ("l0",)
    minimal: ClassVar[bool] = True

    @property
    def looks(self) -> int:
        return self.steps + 1

    def classes_of(self, state: JSMAState) -> Tensor:
        return state.classes

    def exhausted(self, state: JSMAState) -> Tensor:
        return (state.t >= self.looks) | state.done

    def init(self, problem: Problem, job: Job) -> JSMAState:
        return JSMAState(job.start, zeros(job), self._watched(problem, job, job.scores), zeros(job) > 0)

    def _watched(self, problem: Problem, job: Job, scores: Tensor) -> Tensor:
        own = job.target if problem.objective.targeted or problem.objective.directed else job.y
        first = scores.scatter(1, own[:, None], torch.inf)
        return first.topk(min(self.classes, scores.shape[1]), dim=1).indices

    def step(self, problem: Problem, job: Job, state: JSMAState, seen: Seen) -> JSMAState:
        change = self._changes(problem, job, state.probe.flatten(1))
        helped, hurt = self._slopes(problem, state, seen)
        gain, loss = (change * helped[:, None]).flatten(1), (-change * hurt[:, None]).flatten(1)
        allowed = (change != 0).flatten(1)
        pair = _best_pair(gain, loss, allowed, min(self.top, gain.shape[1]))
        picked = torch.zeros_like(allowed).scatter(1, pair, True) & allowed
        moved = state.probe + (change * picked.view_as(change)).sum(1).view_as(state.probe)
        probe = problem.threat.clip(moved, job)
        done = seen.won | ~picked.any(1) | (problem.threat.distance(probe, job.x) > job.r)
        return JSMAState(probe, state.t + 1, self._watched(problem, job, seen.logits), done)

    def _changes(self, problem: Problem, job: Job, x: Tensor) -> Tensor:
        """What may be added to each component, upwards and downwards: (B, 2, D). A change is never taken back."""
        lo, hi = problem.threat.box(job).like(job.x)
        lo, hi, clean, length = lo.flatten(1), hi.flatten(1), job.x.flatten(1), abs(self.theta) * problem.threat.span
        up = torch.where(x >= clean, (hi - x).clamp_max(length), 0) * (self.both or self.theta > 0)
        down = torch.where(x <= clean, (lo - x).clamp_min(-length), 0) * (self.both or self.theta < 0)
        return torch.stack([up, down], 1)

    def _slopes(self, problem: Problem, state: JSMAState, seen: Seen) -> tuple[Tensor, Tensor]:
        """Gradients of the score that shall grow and of the sum of those that shall fall: (B, D) each."""
        assert seen.grad is not None
        grads = seen.grad.flatten(2)
        if problem.objective.targeted or problem.objective.directed:
            helped = grads[:, 0]
        else:
            best = 1 + seen.logits.gather(1, state.classes)[:, 1:].argmax(1)
            helped = grads.gather(1, best[:, None, None].expand(-1, 1, grads.shape[2]))[:, 0]
        return helped, grads.sum(1) - helped


def _best_pair(gain: Tensor, loss: Tensor, allowed: Tensor, top: int) -> Tensor:
    """Places (B, 2) of the pair with the largest product of summed gain and summed loss; one place twice: no pair.

    Rows (B, N) hold each component twice, once for either direction; a component makes no pair with itself.
    """
    rated = gain / gain.abs().amax(1, keepdim=True).clamp_min(1e-30)
    rated = rated + loss / loss.abs().amax(1, keepdim=True).clamp_min(1e-30)
    at = rated.masked_fill(~allowed, -torch.inf).topk(top, dim=1).indices
    a, b, able = gain.gather(1, at), loss.gather(1, at), allowed.gather(1, at)
    alone = torch.eye(top, dtype=torch.bool, device=at.device)
    a, b = (torch.where(alone, v[:, :, None], v[:, :, None] + v[:, None]) for v in (a, b))
    component = at % (gain.shape[1] // 2)
    twice = (component[:, :, None] == component[:, None]) & ~alone
    apart = able[:, :, None] & able[:, None] & ~twice
    product = torch.where(apart & (a > 0) & (b > 0), a * b, -torch.inf)
    sum_ = torch.where(apart, a + b, -torch.inf)
    useful = (product > -torch.inf).flatten(1).any(1)
    best = torch.where(useful[:, None, None], product, sum_).flatten(1).argmax(1)
    return torch.stack([at.gather(1, (best // top)[:, None])[:, 0], at.gather(1, (best % top)[:, None])[:, 0]], 1)
