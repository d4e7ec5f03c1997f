"""Square: random windows pushed to the edge of the ball, kept when the loss falls. Scores only."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from blindspots.attacks.attack import Attack, Facts, State, full, zeros
from blindspots.attacks.scores.windows import Window, bumps, powers, unit_channels
from blindspots.attacks.starts import as_images
from blindspots.problem import Job, Need, Problem, Seen
from blindspots.random import sign
from blindspots.rows import col, pick

_HALVINGS = (11, 51, 201, 501, 1001, 2001, 4001, 6001, 8001)  # of 10,000 queries: where the window's area halves
_BEYOND = 4.0  # radii: how far an l2 step goes before it is projected


@dataclass(frozen=True)
class SquareState(State):
    base: Tensor  # (B, ...) the best point so far
    loss: Tensor  # (B,) its loss


@dataclass(frozen=True)
class Square(Attack[SquareState]):
    """Andriushchenko et al. 2020 (arXiv 1912.00049), algorithms 2 (linf) and 3 (l2); in l1 as AutoAttack's code has it
    (Croce and Hein 2021, arXiv 2103.01208).

    Every row draws its own window and signs (AutoAttack's code draws one window for the whole batch, and none that
    reaches the last line or column). A linf proposal that equals the best point takes the opposite signs instead: no
    query is wasted. In l2 a proposal is projected onto ball and box together, so it has the whole radius although the
    box stops some pixels (the published code cuts those off). Inputs without two spatial dimensions are taken as one
    row of pixels.

    Args:
        steps: queries per row, besides the first one.
        area: first share of the pixels in a window.
        stripes: begin at random vertical stripes (linf) or bumps (l2, l1), else at the job's start.
    """

    steps: int = 5000
    area: float = 0.8
    stripes: bool = True

    facts: ClassVar[Facts] = Facts(
        paper="Andriushchenko et al.: Square Attack: a Query-efficient Black-box Attack via Random Search",
        year=2020,
        family="scores",
        cost="steps + 1 forwards",
        use="models without useful gradients; a check on models that seem to hide theirs",
    )
    need: ClassVar[Need] = Need.VALUE
    threats: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1")

    @property
    def looks(self) -> int:
        return self.steps + 1

    def init(self, problem: Problem, job: Job) -> SquareState:
        x = self._first(problem, job) if self.stripes else job.start
        return SquareState(x, zeros(job), x, full(job, math.inf))

    def step(self, problem: Problem, job: Job, state: SquareState, seen: Seen) -> SquareState:
        better = seen.loss < state.loss
        base = pick(better, state.probe, state.base)
        propose = self._corner if problem.threat.p == math.inf else self._bump
        return SquareState(propose(problem, job, state.t, base), state.t + 1, base, state.loss.minimum(seen.loss))

    def _side(self, t: Tensor, image: Tensor) -> Tensor:
        """Side of the window at clock `t`, in pixels: (B,)."""
        halvings = torch.bucketize(t * 10_000 // self.steps, t.new_tensor(_HALVINGS), right=True)
        return (self.area * 0.5**halvings * image[0, 0].numel()).sqrt().round()

    def _first(self, problem: Problem, job: Job) -> Tensor:
        x = as_images(job.x)
        if problem.threat.p == math.inf:
            stripes = sign(job.key, zeros(job), 0, (x.shape[1], 1, x.shape[3]))
            return problem.threat.project((x + col(job.r, x) * stripes).view_as(job.x), job)
        return _on_surface(problem, job, bumps(job, x, problem.threat.p))

    def _corner(self, problem: Problem, job: Job, t: Tensor, base: Tensor) -> Tensor:
        """A square window goes to x - r or x + r, one sign per channel."""
        x, image, threat = as_images(job.x), as_images(base), problem.threat
        window = Window.draw(job, t, self._side(t, x), x, stream=1).inside
        box = threat.box(job).over(job.x, as_images)
        low, high = box.clip(x - col(job.r, x)), box.clip(x + col(job.r, x))
        up = sign(job.key, t, 5, (x.shape[1], 1, 1)) > 0
        changes = (torch.where(up, high, low) != image) & window
        up = up ^ ~changes.flatten(1).any(1).view(-1, 1, 1, 1)
        return torch.where(window, torch.where(up, high, low), image).view_as(base)

    def _bump(self, problem: Problem, job: Job, t: Tensor, base: Tensor) -> Tensor:
        """Mass moves from one window to another, where it takes the shape of two opposite bumps."""
        x, p = as_images(job.x), problem.threat.p
        d = as_images(base) - x
        side = self._side(t, x).clamp_min(3)
        side = side + (side % 2 == 0)
        to, source = (Window.draw(job, t, side, x, stream) for stream in (1, 3))
        free = col(job.r.pow(p), d) - powers(d, p).sum(1, keepdim=True)
        mass = (free.clamp_min(0) / x.shape[1] + powers(d * (to.inside | source.inside), p)).pow(1 / p)
        bump = to.bump(sign(job.key, t, 6, (1,)) > 0, p) * sign(job.key, t, 5, (x.shape[1], 1, 1))
        shape = unit_channels(bump + unit_channels(d * to.inside, p), p)
        excess = x.shape[1] if p == 1 else 1  # more than fits into an l1 ball: the projection leaves the peaks
        moved = torch.where(to.inside, excess * shape * mass, torch.where(source.inside, 0.0, d))
        return _on_surface(problem, job, moved)


def _on_surface(problem: Problem, job: Job, d: Tensor) -> Tensor:
    """`d` (B, C, H, W) made longer than the radius and projected: what the box takes away elsewhere is put to use.

    A long `d` is left as it is in l1, where the projection keeps the peaks.
    """
    scale = job.r / problem.threat.norm(d).clamp_min(1e-12)
    scale = scale.clamp_min(1) if problem.threat.p == 1 else _BEYOND * scale
    return problem.threat.project(job.x + col(scale, job.x) * d.view_as(job.x), job)
