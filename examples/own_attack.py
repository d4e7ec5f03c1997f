"""Write an attack of your own, in about 40 lines.

`SignFlips` needs scores only: it begins at a random corner of the L-infinity ball and flips the signs of a few
components at a time, keeping what lowers the loss. The engine does the rest: it calls the model, checks every success,
counts the queries and lets a row leave once it is fooled.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

import blindspots as bs
from blindspots.attacks.attack import State, full, zeros
from blindspots.problem import Job, Need, Problem, Seen
from blindspots.random import sign, uniform
from blindspots.rows import col, pick


@dataclass(frozen=True)
class SignFlipsState(State):
    signs: Tensor  # (B, ...) of the probe
    best: Tensor  # (B, ...) the signs with the lowest loss so far
    loss: Tensor  # (B,) that loss


@dataclass(frozen=True)
class SignFlips(bs.attacks.Attack):
    """Random search over the corners of an L-infinity ball.

    Args:
        steps: queries per row.
        share: share of the components that a step flips.
    """

    steps: int = 200
    share: float = 0.1

    need: ClassVar[Need] = Need.VALUE
    threats: ClassVar[tuple[str, ...]] = ("linf",)

    @property
    def looks(self) -> int:
        return self.steps

    def init(self, problem: Problem, job: Job) -> SignFlipsState:
        signs = sign(job.key, zeros(job), 0, job.x.shape[1:])
        return SignFlipsState(self.corner(problem, job, signs), zeros(job), signs, signs, full(job, math.inf))

    def step(self, problem: Problem, job: Job, state: SignFlipsState, seen: Seen) -> SignFlipsState:
        best = pick(seen.loss < state.loss, state.signs, state.best)
        flip = uniform(job.key, state.t, 1, job.x.shape[1:]) < self.share
        signs = torch.where(flip, -best, best)
        loss = torch.minimum(seen.loss, state.loss)
        return SignFlipsState(self.corner(problem, job, signs), state.t + 1, signs, best, loss)

    def corner(self, problem: Problem, job: Job, signs: Tensor) -> Tensor:
        return problem.threat.project(job.x + signs * col(job.r, signs), job)


def main() -> None:
    model = bs.load_model("digits")
    x, y = bs.load_data("digits").rows(0, 50)
    for attack in (SignFlips(), bs.attacks.Square(steps=199)):
        result = bs.attack(model, x, y, attack, threat=bs.Linf(0.15))
        print(f"{attack!r}: robust accuracy {result.robust_accuracy:.0%}, {result.forwards} forward passes")


if __name__ == "__main__":
    main()
