"""What a run says of smaller radii and of noise, computed a second time by other code."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from blindspots.ball import Ball
from blindspots.decibels import Relative
from blindspots.experiments.evaluate.config import EvaluateConfig
from blindspots.experiments.evaluate.verify_values import Reader, spread
from blindspots.models.model import Model
from blindspots.packing import unpacked_text
from blindspots.random import keys, normal
from blindspots.runs.again import EDGE, share
from blindspots.runs.experiment import Check
from blindspots.runs.store import Parts
from blindspots.threats import parse_threat

Array = NDArray[Any]
_TIMES = (0.25, 0.5, 1.0, 2.0, 4.0)
_DRAWS, _NOISE, _ROWS = 8, -2, 3
_ROUNDED = 1e-9  # of a share, where it was said in decibels


class ReachProof:
    """`reached` and `reach` of a verdict, from the parts alone."""

    def __init__(self, config: Any, parts: Parts, reader: Reader | None, radius: float | None) -> None:
        self.config, self.parts, self.reader, self.radius = config, parts, reader, radius
        self.smaller = int(config.radii or 0) if isinstance(config, EvaluateConfig) else 0

    def numbers(self, counted: int, stand: int) -> dict[str, Any]:
        """What the verdict has to say; `counted` and `stand`: rows that count, and those among them that stood."""
        if self.reader is None or not self.reader.of_numbers or not isinstance(self.config, EvaluateConfig):
            return {"reach": [], "reach_forwards": 0, "reach_backwards": 0}
        found = self._found()
        reached = self._reached(self.reader, found[-1], counted, stand)
        if not self.smaller:
            return {"reached": reached, "reach": [], "reach_forwards": 0, "reach_backwards": 0}
        noise = self._drawn_noise()
        reach = [
            {"radius": self._radius(i), "attacked": spread(found[i]), "noise": spread(noise[i].reshape(-1))}
            for i in range(self.smaller + 1)
        ]
        forwards, backwards = (int(total) for total in np.sum(list(self._costs()), 0))
        return {"reached": reached, "reach": reach, "reach_forwards": forwards, "reach_backwards": backwards}

    def _costs(self) -> Iterator[Array]:
        """Forwards and backwards (2,), as every part inside counts them."""
        for name in self._noise:
            yield self.parts[name]["noise_cost"].numpy()
        for parts in (self.parts.run(f"radii/{i}").parts for i in range(self.smaller)):
            yield parts["preflight"]["cost"].numpy()
            for columns in (parts[name] for name in parts if name.startswith("shards/")):
                yield columns["unbilled"].numpy()
                yield np.asarray([columns["forwards"].sum(), columns["backwards"].sum()])

    def _drawn_noise(self) -> Array:
        """(radii, rows, draws)."""
        return np.concatenate([self.parts[name]["noise"].numpy() for name in self._noise]).swapaxes(0, 1)

    @property
    def _noise(self) -> list[str]:
        return [name for name in self.parts if name.startswith("noise/")]

    def _radius(self, i: int) -> float:
        return float(self.radius or 0) * (i + 1) / (self.smaller + 1)

    def _found(self) -> list[Array]:
        """The measure that counts within every radius, each at least as large as within the one before."""
        runs = [self.parts.run(f"radii/{i}").parts for i in range(self.smaller)]
        columns = [self._column(one) for one in (*runs, self.parts)]
        if self.smaller:  # an adversary may take what noise has found
            columns = [
                np.fmax(column, drawn.max(1)) for column, drawn in zip(columns, self._drawn_noise(), strict=True)
            ]
        return [np.fmax.reduce(columns[: i + 1]) for i in range(len(columns))]

    def _column(self, parts: Parts) -> Array:
        assert self.reader is not None
        found = []
        for name in (name for name in parts if name.startswith("shards/")):
            columns = parts[name]
            names = unpacked_text(columns["measure_names"]).split("\n")
            found.append(columns["worst_measures"].numpy()[:, names.index(self.reader.reach)].astype(np.float64))
        return np.concatenate(found)

    def _reached(self, reader: Reader, found: Array, counted: int, stand: int) -> list[dict[str, Any]]:
        named = reader.numbers[0]
        if reader.name in ("above", "below", "to"):
            return [{"tolerance": named, "share": share(counted - stand, counted)}]
        assert isinstance(self.config, EvaluateConfig)
        on = any("who='all'" in stage and "stop_early=False" in stage for stage in self.config.stages)
        times = [k for k in _TIMES if on or k <= 1]  # a search that ends at a success knows of nothing larger
        over = [sum(value > named * k for value in found.tolist()) for k in times]
        return [{"tolerance": named * k, "share": share(n, len(found))} for k, n in zip(times, over, strict=True)]

    # -------------------------------------------------------------- parts

    def checks(self, model: Model, asks: bool, threat: Ball) -> Iterator[Check]:
        """Whether the searches are of smaller radii on the same rows, and the noise is what the seed gives."""
        if not self.smaller:
            return
        yield Check("searches within smaller radii are of this model, these rows and this goal", list(self._same()))
        if asks:
            yield Check("noise was drawn again, and does what is stored", list(self._drawn(model, threat)))

    def _same(self) -> Iterator[str]:
        world = self.parts.begun.manifest.world
        for i in range(self.smaller):
            manifest = self.parts.run(f"radii/{i}").manifest
            threat, goal = parse_threat(str(manifest.config["threat"])), manifest.config["goal"]
            found = float(threat.radius or 0)
            if not math.isclose(found, self._radius(i), rel_tol=_ROUNDED * isinstance(threat, Relative)):
                yield f"expected the radius {self._radius(i):g} of radii/{i}, found {found:g}"
            if goal != self.config.goal:
                yield f"expected the goal {self.config.goal} of radii/{i}, found {goal}"
            for name in ("model", "data"):
                if manifest.world[name]["digest"] != world[name]["digest"]:
                    yield f"expected the {name} of this run in radii/{i}, found another"

    def _drawn(self, model: Model, threat: Ball) -> Iterator[str]:
        """Of the first rows of every part; of linf and l2, whose noise is written in one line."""
        assert self.reader is not None
        if threat.family not in ("linf", "l2"):
            return
        for noise, shard in zip(self._noise, (n for n in self.parts if n.startswith("shards/")), strict=True):
            stored, columns = self.parts[noise]["noise"].numpy()[:_ROWS], self.parts[shard]
            if stored.shape[1:] != (self.smaller + 1, _DRAWS):
                yield f"expected {self.smaller + 1} radii and {_DRAWS} draws in {noise}, found {stored.shape[1:]}"
                continue
            again, size = self._again(model, threat, columns)
            if not (np.abs(again - stored) <= 32 * EDGE * (np.abs(again) + size)).all():
                yield f"expected what noise does to the first rows of {noise}, found other numbers"

    def _again(self, model: Model, threat: Ball, columns: Any) -> tuple[Array, float]:
        assert self.reader is not None
        x, id = columns["x"][:_ROWS], columns["id"][:_ROWS]
        x = x.float() / 255 if x.dtype == torch.uint8 else x
        clean, truth = model.logits(x).numpy(), columns["truth"].numpy()[:_ROWS]
        place = ["error", "shift", "gain"].index(self.reader.reach)
        found = np.zeros((len(x), self.smaller + 1, _DRAWS))
        for draw in range(_DRAWS):
            key = keys(self.config.seed, id, torch.full_like(id, draw), torch.full_like(id, _NOISE))
            drawn = normal(key, torch.zeros_like(key), 0, tuple(x.shape[1:])).numpy().astype(np.float64)
            for i in range(self.smaller + 1):
                moved = torch.from_numpy(_moved(threat, x.numpy(), drawn, self._radius(i)))
                found[:, i, draw] = self.reader.measures(model.logits(moved).numpy(), truth, clean)[:, place]
        return found, float(np.abs(clean).max(initial=0))


def _moved(threat: Ball, x: Array, drawn: Array, radius: float) -> Array:
    """`x` (m, ...) moved by noise of size `radius`, in the units of the threat, and put back into the box."""
    unit = np.ones(1) if threat.unit is None else threat.unit.numpy()
    free = np.ones(1, bool) if threat.where is None else threat.where.numpy()
    if threat.padding is not None:
        free = free & ~_padding(x, float(threat.padding))
    direction, order = np.where(free, drawn * unit, 0.0), 2 if threat.family == "l2" else np.inf
    step = np.sign(direction) if order == np.inf else direction / _sizes(direction, order).clip(1e-300)
    size = radius * _sizes(x, order) if isinstance(threat, Relative) else radius
    lo, hi = (np.asarray(bound, np.float64) for bound in threat.whole)
    moved: Array = np.where(free, np.clip(x + size * step * unit, lo, hi), x).astype(np.float32)
    return moved


def _sizes(x: Array, order: float) -> Array:
    """The norm of each row, to divide or multiply it by."""
    norms: Array = np.linalg.norm(x.reshape(len(x), -1).astype(np.float64), ord=order, axis=1)
    return norms.reshape(-1, *[1] * (x.ndim - 1))


def _padding(x: Array, value: float) -> Array:
    """Where rows (m, ..., T) hold nothing but `value` up to the end."""
    other = (x != value).any(tuple(range(1, x.ndim - 1)), keepdims=True)
    ends: Array = np.arange(x.shape[-1]) > np.where(other, np.arange(x.shape[-1]), -1).max(-1, keepdims=True)
    return ends
