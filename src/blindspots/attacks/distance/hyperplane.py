"""Linearised boundaries between classes: where they are, their nearest point in the box, and the way back to them."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from blindspots.attacks.attack import full
from blindspots.ball import Ball
from blindspots.problem import Job, Problem, Seen
from blindspots.rows import Rows, col, pick

_TINY, _HUGE = torch.finfo(torch.float32).tiny, torch.finfo(torch.float32).max
_BEHIND = 0.02  # of the way from a boundary to a point behind it: on the boundary there is a tie, which is no success
_NEARER = 0.99  # share of the way to evaluate where a plane is useless: a class other than its own is predicted


@dataclass(frozen=True)
class Plane(Rows):
    """{z : value + <normal, z - point> = 0}, a boundary linearised at `point`; value > 0 on the label's side."""

    point: Tensor  # (B, ...)
    value: Tensor  # (B,)
    normal: Tensor  # (B, ...)

    def at(self, x: Tensor) -> Tensor:
        """The linearised value at `x` (B, ...): (B,)."""
        return self.value + _dot(self.normal, x - self.point)

    def distance(self, threat: Ball) -> Tensor:
        """From `point`, if there were no box: (B,)."""
        return self.value.abs() / threat.dual(self.normal).clamp_min(_TINY)


@dataclass(frozen=True)
class Nearest(Rows):
    """The nearest adversarial point that an attack has seen, and where the boundary on the way there may be."""

    point: Tensor  # (B, ...) the clean input until there is one
    norm: Tensor  # (B,) its distance; inf until there is one
    share: Tensor  # (B,) of the way from the clean input to it

    @classmethod
    def none(cls, job: Job) -> "Nearest":
        return cls(job.x, full(job, math.inf), full(job, 0))

    @property
    def known(self) -> Tensor:
        return self.norm.isfinite()

    def update(self, problem: Problem, job: Job, won: Tensor, plane: Plane, tried: Tensor) -> "Nearest":
        """After an evaluation of `plane.point`, which is the `shortened` one where `tried` (B,).

        A nearer success sets the share by Newton's method; where the shortened point is none, half of the rest is left.
        """
        way = plane.point - job.x
        norm = problem.threat.norm(way)
        nearer = won & (norm < self.norm)
        slope = _dot(plane.normal, way).clamp_max(-_TINY)
        newton = (1 - (1 - _BEHIND) * plane.value / slope).clamp_min(0)
        newton = torch.where(plane.value < 0, newton, _NEARER)
        return Nearest(
            pick(nearer, plane.point, self.point),
            torch.where(nearer, norm, self.norm),
            torch.where(nearer, newton, torch.where(tried, (1 + self.share) / 2, self.share)),
        )

    def shortened(self, job: Job) -> Tensor:
        """The point at the share of the way."""
        return job.x + col(self.share, job.x) * (self.point - job.x)


def compared(problem: Problem, job: Job, most: int) -> Tensor:
    """The goal's own class, and those that it is compared with: (B, K), K at most `most`.

    The others are the likeliest ones on the clean input, or the target alone where the goal is directed.
    """
    objective = problem.objective
    if objective.directed and not objective.targeted:
        return torch.stack([job.y, job.target], 1)
    one = job.target if objective.targeted else job.y
    count = min(most, job.scores.shape[1]) - 1
    others = job.scores.scatter(1, one[:, None], -torch.inf).topk(count, dim=1).indices
    return torch.cat([one[:, None], others], 1)


def boundary(problem: Problem, probe: Tensor, classes: Tensor, seen: Seen) -> Plane:
    """The one that decides, linearised at `probe`, from the gradients of `classes` (see `compared`).

    Untargeted it is the nearest, or behind the boundaries the one crossed deepest; a target has to beat every other
    class, so there it is the farthest.
    """
    assert seen.grad is not None
    threat, side = problem.threat, -1 if problem.objective.targeted else 1
    scores = seen.logits.gather(1, classes)
    lead, normals = scores[:, :1] - scores[:, 1:], seen.grad[:, :1] - seen.grad[:, 1:]
    slopes = threat.dual(normals.flatten(0, 1)).view_as(lead).clamp_min(_TINY)
    first = (lead / slopes).argmin(1)
    row = torch.arange(len(first), device=first.device)
    return Plane(probe, side * lead[row, first], side * normals[row, first])


def to_plane(threat: Ball, x: Tensor, normal: Tensor, value: Tensor) -> Tensor:
    """The d (B, ...) of least norm with value + <normal, d> = 0 and x + d in the box; `x` lies in it.

    Where no point of the box is on the plane, x + d is a corner nearest to it; normal_i = 0 always gives d_i = 0.
    Every component goes against the sign of value * normal_i, and the norm says how the way is shared among them:
    equally (linf), in proportion to |normal_i| (l2), or the steepest first (l1), each as far as the box lets it
    (Croce and Hein 2020, arXiv 1907.02044).
    """
    way = -normal.sign() * col(value.sign(), normal)
    steep = normal.abs().flatten(1)
    peak = steep.amax(1, keepdim=True).clamp_min(_TINY)
    steep, wanted = steep / peak, (value.abs()[:, None] / peak).clamp_max(_HUGE)
    room = torch.where(way > 0, threat.hi - x, x - threat.lo).flatten(1) * (steep > 0)
    size = _greedy(steep, room, wanted) if threat.p == 1 else _together(threat, steep, room, wanted)
    return way * size.view_as(x)


def _together(threat: Ball, steep: Tensor, room: Tensor, wanted: Tensor) -> Tensor:
    """min(t speed, room) at the t where its product with `steep` is `wanted`, for rows (B, D).

    The product is concave in t, so Newton's method comes from below, and it ends when no more components are stopped.
    """
    speed = torch.ones_like(steep) if threat.p == math.inf else steep
    slope, stop = steep * speed, torch.where(room > 0, room / speed.clamp_min(_TINY), 0)
    t, count = torch.zeros_like(wanted), torch.full_like(wanted, -1)
    while True:
        free = stop > t
        stopped = (~free).sum(1, keepdim=True).to(t.dtype)
        more = stopped > count
        if not bool(more.any()):
            return (t * speed).minimum(room)
        left = wanted - (steep * room).masked_fill(free, 0).sum(1, keepdim=True)
        newton = (left / (slope * free).sum(1, keepdim=True).clamp_min(_TINY)).clamp_max(_HUGE)
        t, count = torch.where(more, newton.maximum(t), t), stopped.maximum(count)


def _greedy(steep: Tensor, room: Tensor, wanted: Tensor) -> Tensor:
    """The whole room of the steepest components, and what is still missing of the next one, for rows (B, D)."""
    order = steep.argsort(dim=1, descending=True, stable=True)
    gain = (steep * room).double().gather(1, order)
    missing = wanted - (gain.cumsum(1) - gain)
    size = (missing / steep.gather(1, order).double().clamp_min(_TINY)).clamp_min(0).to(room.dtype)
    return torch.zeros_like(room).scatter(1, order, size).minimum(room)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).flatten(1).sum(1)
