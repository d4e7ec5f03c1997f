"""Rotations and shifts: small turns of the whole image."""

from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import ClassVar

import torch
from torch import Tensor

from blindspots.attacks.attack import Attack, Facts, State, cosine, zeros
from blindspots.attacks.images import pulled, sampled
from blindspots.attacks.starts import as_images
from blindspots.objective import LossName
from blindspots.problem import Job, Need, Problem, Seen
from blindspots.random import uniform


@dataclass(frozen=True)
class RotateState(State):
    move: Tensor  # (B, 3) turn, shift down, shift right, in shares of the limits: `probe` was made of it
    won: Tensor  # (B,) bool


@dataclass(frozen=True)
class RotateTranslate(Attack[RotateState]):
    """Engstrom et al. 2019 (arXiv 1712.02779): all of a grid of rotations and shifts, or some random ones.

    The limits are the attack's own, so it is usually run without a radius; with one, only points inside count. The grid
    is searched from small moves to large ones, and a row ends with its first success. Pixels from outside the image are
    at the lower bound of the box, as in the paper.

    Args:
        degrees: largest rotation.
        shift: largest shift, as a share of the side; paper: 3 pixels of 28 or 32.
        rotations, shifts: size of the grid; paper: 31 angles and 5 shifts along each axis, 775 moves.
        tries: try this many uniformly random moves instead of the grid ("worst of k").
    """

    degrees: float = 30.0
    shift: float = 0.1
    rotations: int = 31
    shifts: int = 5
    tries: int | None = None

    facts: ClassVar[Facts] = Facts(
        paper="Engstrom et al.: Exploring the Landscape of Spatial Robustness",
        year=2019,
        family="natural changes",
        cost="rotations x shifts x shifts forwards at most, or tries",
        use="rotations and shifts; run it without a radius",
    )
    need: ClassVar[Need] = Need.LABEL
    threats: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1")
    even: ClassVar[bool] = True
    minimal: ClassVar[bool] = True

    @property
    def looks(self) -> int:
        return len(_grid(self.rotations, self.shifts)) if self.tries is None else self.tries

    def ahead(self, state: RotateState) -> Tensor:
        """All that is left."""
        return self.looks - 1 - state.t

    def exhausted(self, state: RotateState) -> Tensor:
        return state.won | (state.t >= self.looks)

    def init(self, problem: Problem, job: Job) -> RotateState:
        t = zeros(job)
        return self._propose(problem, job, t, t.bool())

    def step(self, problem: Problem, job: Job, state: RotateState, seen: Seen) -> RotateState:
        return self._propose(problem, job, state.t + 1, _counts(problem, job, state, seen))

    def _propose(self, problem: Problem, job: Job, t: Tensor, won: Tensor) -> RotateState:
        move = self._move(job, t)
        return RotateState(moved(problem, job, move, self.degrees, self.shift), t, move, won)

    def _move(self, job: Job, t: Tensor) -> Tensor:
        if self.tries is not None:
            return 2 * uniform(job.key, t, 0, (3,)) - 1
        return _grid(self.rotations, self.shifts).to(job.r)[t.clamp_max(self.looks - 1)]


@dataclass(frozen=True)
class RotateTranslatePGD(Attack[RotateState]):
    """The first-order form of `RotateTranslate` (Engstrom et al. 2019): signed steps on angle and shifts.

    The paper finds the grid stronger, since the loss has many minima in three parameters; this is the cheap form. A row
    ends with its first success.

    Args:
        degrees, shift: as in `RotateTranslate`.
        steps: gradient steps; paper: 200.
        stride: first step as a share of the limits; it falls along half a cosine to 0.
        random_start: begin at a random move, else at none.
    """

    degrees: float = 30.0
    shift: float = 0.1
    steps: int = 40
    stride: float = 0.5
    random_start: bool = True

    facts: ClassVar[Facts] = Facts(
        paper="Engstrom et al.: Exploring the Landscape of Spatial Robustness (its first-order form)",
        year=2019,
        family="natural changes",
        cost="steps + 1 forwards, steps backwards at most",
        use="rotations and shifts in a few steps; run it without a radius",
    )
    need: ClassVar[Need] = Need.GRAD
    threats: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1")
    even: ClassVar[bool] = True
    minimal: ClassVar[bool] = True
    loss: ClassVar[LossName] = "ce"

    @property
    def looks(self) -> int:
        return self.steps + 1

    def exhausted(self, state: RotateState) -> Tensor:
        return state.won | (state.t >= self.looks)

    def init(self, problem: Problem, job: Job) -> RotateState:
        t = zeros(job)
        move = 2 * uniform(job.key, t, 0, (3,)) - 1 if self.random_start else torch.zeros_like(job.r)[:, None].tile(3)
        return self._propose(problem, job, t, move, t.bool())

    def step(self, problem: Problem, job: Job, state: RotateState, seen: Seen) -> RotateState:
        assert seen.grad is not None
        with torch.enable_grad():
            move = state.move.detach().requires_grad_()
            slope = pulled(moved(problem, job, move, self.degrees, self.shift), move, seen.grad)
        length = cosine(state.t, self.steps, self.stride, 0.0)[:, None]
        there = (state.move - length * slope.sign()).clamp(-1, 1)
        return self._propose(problem, job, state.t + 1, there, _counts(problem, job, state, seen))

    def _propose(self, problem: Problem, job: Job, t: Tensor, move: Tensor, won: Tensor) -> RotateState:
        return RotateState(moved(problem, job, move, self.degrees, self.shift), t, move, won)


def _counts(problem: Problem, job: Job, state: RotateState, seen: Seen) -> Tensor:
    """(B,) bool: a success that the engine counts."""
    return seen.won & problem.threat.holds(state.probe, job)


def moved(problem: Problem, job: Job, move: Tensor, degrees: float, shift: float) -> Tensor:
    """The clean input (B, ...) turned about its middle and shifted by `move` (B, 3), in shares of the limits."""
    threat, x = problem.threat, job.x
    height, width = as_images(x).shape[2:]
    angle = torch.deg2rad(degrees * move[:, 0])[:, None, None]
    down, right = ((shift * size * v)[:, None, None] for size, v in ((height, move[:, 1]), (width, move[:, 2])))
    line = torch.arange(height, device=x.device)[:, None] - (height - 1) / 2 - down
    column = torch.arange(width, device=x.device) - (width - 1) / 2 - right
    at_line = angle.cos() * line - angle.sin() * column + (height - 1) / 2
    at_column = angle.sin() * line + angle.cos() * column + (width - 1) / 2
    return threat.clip(threat.lo + sampled(x - threat.lo, at_line, at_column, "zeros"), job)


@lru_cache(maxsize=8)
def _grid(rotations: int, shifts: int) -> Tensor:
    """All moves of the grid (N, 3) but the one that is none, small ones first."""
    turns, ways = ([2 * i / (n - 1) - 1 for i in range(n)] if n > 1 else [0.0] for n in (rotations, shifts))
    moves = sorted(product(turns, ways, ways), key=lambda move: sum(v * v for v in move))
    return torch.tensor([move for move in moves if any(move)] or moves)
