"""What the model says of a study of rates, asked again: rows, nearest errors, some draws, planes."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import ndtri
from scipy.stats import beta, norm
from torch import Tensor

from blindspots.experiments.certify.noise import block_of, gaussian
from blindspots.experiments.inspect.frequency.config import LAWS, FrequencyConfig
from blindspots.experiments.inspect.frequency.verdict import NEAREST, RATES, ROWS
from blindspots.packing import unpack_inputs
from blindspots.problem import Need
from blindspots.random import keys
from blindspots.runs.again import EDGE, NORM_ROUNDING
from blindspots.runs.columns import check_columns
from blindspots.runs.experiment import Columns
from blindspots.runs.store import Parts
from blindspots.runs.world import World
from blindspots.threats import parse_threat

Problems = Iterator[str]
Array = NDArray[Any]
_AGAIN = 3  # rows whose draws are made again
_TILTED = 20_000  # points that say how rare a plane in a linf ball is
_CLOSE = 0.05  # standard deviations that a plane may be off: draws, and a saddle point instead of them
_BEYOND = 10.0  # standard deviations by which examples under noise may leave the bounds
_FIT = 1e-3  # relative, of gradients and scores that another number of rows per call gave


class Shown:
    """The parts of a run, and what can be shown to the model again."""

    def __init__(self, config: FrequencyConfig, parts: Parts, world: World) -> None:
        self.config, self.parts, self.world = config, parts, world
        for name in parts:
            check_columns(parts[name], {"rows": ROWS, "nearest": NEAREST, "rates": RATES}[name.split("/")[0]], name)
        self.own = parts.joined("rows")
        self.y, self.x = self.own["y"], unpack_inputs(self.own["x"])
        self.near = {law: parts.joined(f"nearest/{law}") for law in config.law}
        self.rates = {law: parts.joined(f"rates/{law}") for law in config.law}
        n = len(self.y)
        self.again = sorted({0, n // 2, n - 1})[:_AGAIN]
        self.threat = parse_threat(str(config.threat))

    def _excess(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """max_j z_j - z_y of inputs (N, ...), and which of them (N,) rounding decides about."""
        model = self.world.model
        with model.borrowed(), torch.no_grad():
            scores = torch.cat([model.logits(part.to(model.device)).cpu() for part in torch.split(x.float(), 64)])
        own = scores.gather(1, y[:, None])[:, 0]
        excess = scores.scatter(1, y[:, None], -torch.inf).amax(1) - own
        return excess, excess.abs() <= EDGE * scores.abs().amax(1)

    def rows(self) -> Problems:
        for i, x, y in zip(self.own["id"].tolist(), self.x, self.y.tolist(), strict=True):
            found, label = self.world.data.rows(i, i + 1)
            if int(label[0]) != y or not torch.equal(found[0], x):
                yield f"expected row {i} as the data have it, found another"
        excess, edge = self._excess(self.x, self.y)
        for law, c in self.rates.items():
            if bad := int((((excess > 0) != c["wrong"]) & ~edge).sum()):
                yield f"expected the model to be wrong where it is said, found otherwise in {bad} rows: {law}"

    def nearest(self) -> Problems:
        low, high = self.world.model.bounds
        for law, c in self.near.items():
            wrong, found = self.rates[law]["wrong"], c["distance"].isfinite() & (c["distance"] > 0)
            if bool((c["distance"][wrong] != 0).any() | (c["distance"][~wrong] == 0).any()):
                yield f"expected a distance of 0 for rows that are wrong and for no other, found otherwise: {law}"
            moved, order = c["nearest"][found], math.inf if law != "noise" and self.threat.name == "linf" else 2
            size = np.linalg.norm((moved - self.x[found]).double().flatten(1).numpy(), ord=order, axis=1)
            if not np.allclose(size, c["distance"][found].numpy(), rtol=NORM_ROUNDING):
                yield f"expected nearest errors at the distances that are stored, found others: {law}"
            more = _BEYOND * (self.config.noise or 0.0) if law == "noise" else 0.0
            if len(moved) and not low - more <= float(moved.min()) <= float(moved.max()) <= high + more:
                yield f"expected nearest errors within the bounds, found others: {law}"
            excess, edge = self._excess(moved, self.y[found]) if len(moved) else (torch.ones(0), torch.ones(0).bool())
            if bad := int(((excess <= 0) & ~edge).sum()):
                yield f"expected the model to be wrong about nearest errors, found it right about {bad}: {law}"

    def redrawn(self) -> Problems:
        for law, c in self.rates.items():
            for i in self.again:
                if math.isnan(float(c["proved"][i])):
                    self.world.say(f"counting the draws of row {i:,} again")
                    yield from self._redrawn(law, {name: t[i] for name, t in c.items() if name != "cost"}, i)

    def _redrawn(self, law: str, row: Columns, i: int) -> Problems:
        seed = keys(0, keys(self.config.seed, self.own["id"][i : i + 1], 0, list(LAWS).index(law)))
        excess, edge = self._excess(*self._points(law, i, seed, int(row["draws"])))
        if abs(int((excess > 0).sum()) - int(row["hits"])) > int(edge.sum()):
            yield f"expected {int((excess > 0).sum())} hits, found {int(row['hits'])} in row {i}: {law}"
        finite = excess[excess.isfinite()].double()
        spread = float(finite.std()) if len(finite) > 1 else math.nan
        told = {"mean": float(finite.mean()), "error": spread / math.sqrt(int(row["draws"]))}
        for name, value in told.items():
            if not math.isnan(float(row[name])) and not math.isclose(value, float(row[name]), rel_tol=_FIT):
                yield f"expected {name} {value:.6g} of the scores, found {float(row[name]):.6g} in row {i}: {law}"
        if int(excess.isnan().sum()) != int(row["unreadable"]):
            yield f"expected {int(excess.isnan().sum())} points without a score, found others in row {i}: {law}"

    def _points(self, law: str, i: int, key: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """Points (count, ...) around a row, as a function of a key, and their labels."""
        n = self.x[i].numel() + 2 * (law == "ball" and self.threat.name == "l2")
        size = block_of((n,))
        z = torch.cat([
            gaussian(int(keys(0, key, k)), (min(size, count - k * size), n), torch.device("cpu"))
            for k in range(-(-count // size))
        ])  # fmt: skip
        return self._placed(law, self.x[i], z), self.y[i].expand(count)

    def _placed(self, law: str, x: Tensor, z: Tensor) -> Tensor:
        """Where normal numbers z (count, n) put points around x."""
        (low, high), radius = self.world.model.bounds, self.threat.radius or 0.0
        if law == "noise":
            return x + (self.config.noise or 0.0) * z.view(-1, *x.shape)
        if self.threat.name == "linf":
            bottom, top = (x - radius).clamp(min=low), (x + radius).clamp(max=high)
            u = torch.from_numpy(norm.cdf(z.double().numpy())).view(-1, *x.shape)
            return (bottom + (top - bottom) * u).float()
        way = (z / z.norm(dim=1, keepdim=True))[:, : x.numel()].view(-1, *x.shape)
        folded = torch.remainder(x + radius * way - low, 2 * (high - low))
        return low + torch.minimum(folded, 2 * (high - low) - folded)

    def planes(self) -> Problems:
        if self.world.model.access is not Need.GRAD:
            return
        for law, c in self.near.items():
            for i in self.again:
                if math.isfinite(float(c["reach"][i])):
                    yield from self._plane(law, i, c["nearest"][i], float(c["reach"][i]), float(c["plane"][i]))

    def _plane(self, law: str, i: int, at: Tensor, reach: float, stored: float) -> Problems:
        normal = self._normal(i, at)
        again = float((at - self.x[i]).double().flatten() @ normal)
        if not math.isclose(again, reach, rel_tol=_FIT, abs_tol=_FIT):
            yield f"expected a plane at {again:.6g}, found {reach:.6g} in row {i}: {law}"
        rate = self._beyond(law, i, normal, reach)
        if 0 < rate < 0.5 and abs(ndtri(rate) - ndtri(stored)) > _CLOSE * max(1.0, -float(ndtri(rate)) / 5):
            yield f"expected a rate of {rate:.3g} beyond the plane, found {stored:.3g} in row {i}: {law}"

    def _normal(self, i: int, at: Tensor) -> Tensor:
        """Of length 1, out of the region of the row's label."""
        model = self.world.model
        x = at[None].to(model.device).requires_grad_()
        with model.borrowed(), torch.enable_grad():
            scores = model.logits(x)[0]
            y = int(self.y[i])
            others = torch.cat([scores[:y], scores[y + 1 :]])
            grad = torch.autograd.grad(others.max() - scores[y], x)[0].cpu().double().flatten()
        unit: Tensor = grad / grad.norm()
        return unit

    def _beyond(self, law: str, i: int, normal: Tensor, reach: float) -> float:
        """The rate of the half-space."""
        if law == "noise":
            return float(norm.sf(reach / (self.config.noise or math.nan)))
        x, radius, d = self.x[i], self.threat.radius or 0.0, self.x[i].numel()
        low, high = self.world.model.bounds
        if self.threat.name == "linf":
            centre = x.flatten().double().numpy()
            ends = np.stack([np.maximum(centre - radius, low), np.minimum(centre + radius, high)]) - centre
            return _tilted(np.sort(normal.numpy() * ends, 0), reach)
        free = d + (2 if law == "ball" else 0)  # the part along an axis is one of a point on a sphere in so many
        height = reach / radius
        if bool(((x - radius < low) | (x + radius > high)).any()):
            key = keys(self.config.seed, self.own["id"][i : i + 1], 2, list(LAWS).index(law))
            z = gaussian(int(key), (min(1000, block_of((free,))), free), torch.device("cpu"))
            along = ((self._placed(law, x, z) - x).double().flatten(1) @ normal).numpy()
            height = (reach - along.mean()) / along.std(ddof=1) / math.sqrt(free)
        return float(beta.sf(height**2, 0.5, (free - 1) / 2) / 2) if height < 1 else 0.0


def _tilted(ends: Array, reach: float) -> float:
    """P(sum of uniforms between ends (2, d) > reach), from draws that are tilted so that it is reached on average."""
    low, width = ends[0], ends[1] - ends[0]
    low, width = low.astype(np.float64), np.maximum(width, 1e-300)
    if reach >= (low + width).sum():
        return 0.0

    def means(s: float) -> float:
        v = np.maximum(s * width, 1e-6)
        return float((low + width * (1 / -np.expm1(-v) - 1 / v)).sum())

    s = float(brentq(lambda s: means(s) - reach, 0.0, 4 * len(low) / ((low + width).sum() - reach)))
    v = np.maximum(s * width, 1e-6)
    u = np.random.default_rng(0).random((_TILTED, len(low)))
    sums = (low + width * (1 + np.log(u + (1 - u) * np.exp(-v)) / v)).sum(1)
    cumulant = float((s * low + v + np.log(-np.expm1(-v) / v)).sum())
    return float(np.mean(np.where(sums > reach, np.exp(cumulant - s * sums), 0.0)))
