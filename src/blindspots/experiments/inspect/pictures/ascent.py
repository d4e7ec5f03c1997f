"""Ascents: pictures that raise an objective, a block of rows after the other, each row for itself."""

from collections.abc import Generator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from blindspots.attacks.adam import Adam
from blindspots.box import Box
from blindspots.experiments.inspect.pictures.objectives import Group, answered, likeness
from blindspots.experiments.inspect.pictures.parametrisations import Parametrisation
from blindspots.experiments.inspect.pictures.transformations import Disturbance
from blindspots.models.model import Model
from blindspots.runs.experiment import Columns

_LOOKS = 16  # steps from one look at the pictures themselves to the next
_LEVELS = 255


@dataclass(frozen=True)
class Recipe:
    """How pictures are made.

    Args:
        rate: of Adam; of plain ascents, which go along the gradient of length 1, the length of a step.
        disturbed: what each look of a step goes through; None: nothing.
    """

    parametrisation: Parametrisation
    rate: float
    disturbed: Disturbance | None = None
    adam: bool = True


class Job(NamedTuple):
    """The rows of an ascent: their keys (N,), which objective each is for (N,), and how many of each there are.

    `alike` weighs how alike the pictures of one objective are against how much they raise it.
    """

    key: Tensor
    which: Tensor
    each: int = 1
    alike: float = 0.0


def pixels(levels: Tensor, box: Box) -> Tensor:
    """Inputs float32 of pictures of 8 bits (B, ...): level 0 is the lower bound, level 255 the upper one."""
    return box.lo + levels.float() / _LEVELS * box.width


def levels(image: Tensor) -> Tensor:
    """Pictures in [0, 1] as 8 bits."""
    return (image * _LEVELS).round().clamp(0, _LEVELS).to(torch.uint8)


class Ascent:
    """Pictures of `shape` that raise the objectives of a group, on a model.

    Args:
        shape: of inputs, (H, W) or (C, H, W).
        chunk: rows per call of the network, at least.
    """

    def __init__(self, model: Model, group: Group, recipe: Recipe, shape: tuple[int, ...], chunk: int) -> None:
        self.model, self.group, self.recipe, self.shape, self.chunk = model, group, recipe, shape, chunk
        self.picture = shape if len(shape) == 3 else (1, *shape)
        self.box = model.box.to(model.device)

    def run(self, job: Job, steps: int, kept: Columns | None) -> Generator[tuple[int, Columns], None, Columns]:
        """Yields how many steps are done, with the state that the ascent goes on from, and returns the last one.

        Its "best" (N, C, H, W) uint8 are of each row the best of the pictures looked at, without transformations and as
        8 bits, its "numbers" what stands for the last ones.
        """
        state = kept or self._first(job)
        for step in range(int(state["step"]), steps):
            parts = [self._step({k: v[at] for k, v in state.items() if k != "step"}, _at(job, at), step)
                     for at in self._blocks(job)]  # fmt: skip
            state = {k: torch.cat([p[k] for p in parts]) for k in parts[0]}
            if (step + 1) % _LOOKS == 0 or step + 1 == steps:
                state |= self._looked(state, job)
                state["step"] = torch.tensor(step + 1)
                yield step + 1, state
        return state

    def _first(self, job: Job) -> Columns:
        numbers = self.recipe.parametrisation.start(job.key, self.picture)
        blank = Adam.blank(numbers)
        best = torch.zeros(len(job.key), *self.picture, dtype=torch.uint8)
        return {
            "numbers": numbers, "mean": blank.mean, "square": blank.square, "weight": blank.weight, "best": best,
            "value": torch.full((len(best),), -torch.inf), "step": torch.tensor(0),
        }  # fmt: skip

    def _blocks(self, job: Job) -> list[slice]:
        """Pictures of one objective look at each other, so they share a call."""
        size = max(self.chunk // job.each, 1) * job.each
        return [slice(i, i + size) for i in range(0, len(job.key), size)]

    def _step(self, state: Columns, job: Job, step: int) -> Columns:
        recipe = self.recipe
        g = self._slope(state["numbers"], job, step)
        if not recipe.adam:
            length = g.flatten(1).norm(dim=1).clamp_min(1e-12)
            moved = state["numbers"] + recipe.rate * g / length.view(-1, *[1] * (g.ndim - 1))
            return {**state, "numbers": recipe.parametrisation.settled(moved)}
        adam = Adam(state["mean"], state["square"], state["weight"]).take(g)
        moved = recipe.parametrisation.settled(state["numbers"] + recipe.rate * adam.direction)
        return {**state, "numbers": moved, "mean": adam.mean, "square": adam.square, "weight": adam.weight}

    def _slope(self, numbers: Tensor, job: Job, step: int) -> Tensor:
        """Of what is climbed in the numbers: of the model by its own rule, then back through what made its input."""
        numbers = numbers.to(self.model.device, copy=True).requires_grad_()
        with torch.enable_grad():
            image = self.recipe.parametrisation.image(numbers)
            if self.recipe.disturbed:
                image = self.recipe.disturbed(image, job.key, torch.full_like(job.key, step))
            seen = self._inputs(image)
        return torch.autograd.grad(seen, numbers, self._pull(seen.detach(), job))[0].cpu()

    def _pull(self, seen: Tensor, job: Job) -> Tensor:
        x = seen.requires_grad_()
        with self.model.borrowed(), torch.enable_grad():
            out = answered(self.model, self.group.layer, x)
            total = self.group.climbed(out, job.which.to(out.device)).sum()
            if job.each > 1:
                total = total - job.alike * likeness(self.group.by_unit(out), job.each).sum()
            return self.model.gradient(total, x)

    def _inputs(self, image: Tensor) -> Tensor:
        lo, width = self.box.lo, self.box.width
        return lo + image.view(-1, *self.shape) * width

    def _looked(self, state: Columns, job: Job) -> Columns:
        """The pictures themselves, where they are better than before."""
        with torch.no_grad():
            now = levels(self.recipe.parametrisation.image(state["numbers"]))
        value = torch.cat([self._valued(now[at], job.which[at]) for at in self._blocks(job)])
        better = value > state["value"]
        best = torch.where(better.view(-1, 1, 1, 1), now, state["best"])
        return {"best": best, "value": torch.where(better, value, state["value"])}

    def _valued(self, now: Tensor, which: Tensor) -> Tensor:
        with self.model.borrowed(), torch.no_grad():
            x = pixels(now.to(self.model.device).view(-1, *self.shape), self.box)
            out = answered(self.model, self.group.layer, x)
            return self.group.values(out).gather(1, which.to(out.device)[:, None])[:, 0].cpu()


def _at(job: Job, at: slice) -> Job:
    return job._replace(key=job.key[at], which=job.which[at])
