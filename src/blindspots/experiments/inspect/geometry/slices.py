"""Two-dimensional slices of decision regions ("church windows", Warde-Farley and Goodfellow 2016)."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from blindspots.ball import Ball
from blindspots.experiments.inspect.geometry.regions import Array, drawn
from blindspots.experiments.inspect.geometry.sight import Sight, has_gradients
from blindspots.experiments.inspect.geometry.verdict import REACH
from blindspots.runs.experiment import Columns

BEYOND = -1  # the class of points that nobody may ask about
_SMALL = 1e-4  # of a direction's length: what is left of it after projection is rounding


@dataclass(frozen=True)
class Plane:
    """x + a u + b v: u and v are orthogonal and equally long, so that angles and lengths are those of the inputs."""

    x: Tensor  # (*shape)
    u: Tensor  # to the end of the first way
    v: Tensor

    def points(self, a: Tensor, b: Tensor) -> Tensor:
        """Inputs (k, *shape) at coordinates (k,)."""
        wide = [-1, *[1] * self.x.ndim]
        return self.x + a.view(wide) * self.u + b.view(wide) * self.v


def plane(x: Tensor, first: Tensor, second: Tensor, spare: Tensor) -> Plane:
    """Through x and the ends of two ways (*shape); `spare`: two directions (2, *shape) for ways that lead nowhere."""
    u = first - x
    u = u if float(u.norm()) > 0 else spare[0]
    v = _orthogonal(second - x, u)
    if float(v.norm()) <= _SMALL * float(u.norm()):
        v = _orthogonal(spare[1], u)
    return Plane(x, u, v * (u.norm() / v.norm().clamp_min(1e-30)))


def _orthogonal(v: Tensor, u: Tensor) -> Tensor:
    for _ in range(2):  # the second time takes away what rounding left
        v = v - ((v * u).sum() / u.square().sum()) * u
    return v


def slice_through(sight: Sight, threat: Ball, at: Plane, cells: int) -> Columns:
    """The classes around x in a plane, on a grid of (cells + 1)^2 points.

    Models with gradients are asked about points outside of the box, too; others are not, and these points are `BEYOND`.
    """
    ticks = torch.linspace(-REACH, REACH, cells + 1)
    size, valid = _measured(threat, at, ticks)
    free = has_gradients(sight.oracle.model)
    asked_of = [0]

    def ask(places: Array) -> tuple[Array, Array]:
        label, confidence = np.full(len(places), BEYOND), np.zeros(len(places), np.float32)
        may = np.ones(len(places), bool) if free else valid[places[:, 0], places[:, 1]]
        if may.any():
            i, j = torch.from_numpy(places[may]).T
            p = sight.scores(at.points(ticks[i], ticks[j])).softmax(1)
            label[may], confidence[may] = p.argmax(1).numpy(), p.amax(1).numpy()
        asked_of[0] += int(may.sum())
        return label, confidence

    made = drawn(ask, cells)
    return {
        "x": at.x, "u": at.u, "v": at.v, "label": torch.from_numpy(made.label),
        "confidence": torch.from_numpy(made.confidence), "asked": torch.from_numpy(made.asked),
        "size": torch.from_numpy(size), "valid": torch.from_numpy(valid), "forwards": torch.tensor(asked_of),
    }  # fmt: skip


def _measured(threat: Ball, at: Plane, ticks: Tensor) -> tuple[Array, Array]:
    """How large the change at every point is, in radii, and whether it lies in the box: (G, G) each."""
    assert threat.radius is not None
    rows = [_row(threat, at, a, ticks) for a in ticks]
    return tuple(torch.stack(part).numpy() for part in zip(*rows, strict=True))  # type: ignore[return-value]


def _row(threat: Ball, at: Plane, a: Tensor, ticks: Tensor) -> tuple[Tensor, Tensor]:
    x = at.points(a.expand(len(ticks)), ticks)
    assert threat.radius is not None
    slack = 1e-6 * threat.span
    inside = (x - threat.whole.clip(x)).abs().flatten(1).amax(1) <= slack
    return threat.norm(x - at.x) / threat.radius, inside


def coordinates(at: Plane, ends: Tensor) -> Tensor:
    """Where inputs (k, *shape) of the plane lie in it: (k, 2)."""
    basis = torch.stack([at.u, at.v]).flatten(1).double()
    far = (ends - at.x).flatten(1).double()
    return (far @ basis.T / basis.square().sum(1)).float()
