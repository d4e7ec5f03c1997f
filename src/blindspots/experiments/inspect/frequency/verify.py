"""A study of rates, proved again: intervals by other formulas, some draws again, examples shown to the model."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import gammaincc, ndtri
from scipy.stats import beta, binomtest, gamma, norm
from scipy.stats import t as student
from torch import Tensor

from blindspots.experiments.certify.noise import block_of, gaussian
from blindspots.experiments.inspect.frequency.config import LAWS, FrequencyConfig
from blindspots.experiments.inspect.frequency.verdict import NEAREST, RATES, ROWS, FrequencyVerdict
from blindspots.packing import unpack_inputs
from blindspots.problem import Need
from blindspots.random import keys, uniform
from blindspots.runs.again import EDGE, NORM_ROUNDING, share
from blindspots.runs.columns import check_columns
from blindspots.runs.experiment import Check, Columns
from blindspots.runs.metric import numbers_of
from blindspots.runs.store import Parts
from blindspots.runs.verify import differing, note
from blindspots.runs.world import World
from blindspots.threats import parse_threat

Problems = Iterator[str]
Array = NDArray[Any]
_AGAIN = 3  # rows whose draws are made again
_FEW = 10  # hits, below which a row is split
_TILTED = 20_000  # points that say how rare a plane in a linf ball is
_CLOSE = 0.05  # standard deviations that a plane may be off: draws, and a saddle point instead of them
_BEYOND = 10.0  # standard deviations by which examples under noise may leave the bounds
_FIT = 1e-3  # relative, of gradients and scores that another number of rows per call gave


def checks(config: FrequencyConfig, verdict: FrequencyVerdict, parts: Parts, world: World) -> Iterator[Check]:
    """What `verify` looks at."""
    proof = _Proof(config, parts, world)
    yield Check("all parts are there, with all their columns, and counts that fit together", list(proof.shapes()))
    stored, again = numbers_of(verdict), proof.numbers()
    yield differing("every number of the verdict follows from the parts", stored, again)
    yield differing("rates below 1e-3 do so in their logarithms", _logarithmic(stored), _logarithmic(again))
    if config.certified:
        yield note("Certified radii are taken as they are stored.")
    if not (world.same.get("model") and world.same.get("data")):
        yield note("Model or data are not at hand, so no draws were counted again and no examples shown to the model.")
        return
    yield Check("the rows are those of the data, and wrong where it is said", list(proof.rows()))
    yield Check("every nearest error is one, at the distance that is stored", list(proof.nearest()))
    yield Check(f"the draws of {len(proof.again)} rows came out again", list(proof.redrawn()))
    yield Check(f"the planes of {len(proof.again)} rows are those that touch the boundary", list(proof.planes()))


class _Proof:
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

    def shapes(self) -> Problems:
        key = keys(self.config.seed, torch.arange(self.parts.begun.manifest.world["data"]["rows"]), 1)
        order = uniform(key, torch.zeros_like(key), 0, (1,))[:, 0].argsort(stable=True)
        if self.own["id"].tolist() != sorted(order[: self.config.frequency_rows].tolist()):
            yield "expected the rows that the lot chose, found others"
        for law in self.config.law:
            yield from self._counts(law, {name: t.numpy() for name, t in self.rates[law].items()})

    def _counts(self, law: str, c: dict[str, Array]) -> Problems:
        """Draws and points that were asked, from what was counted."""
        m, few = self.config, np.isnan(c["proved"]) & (c["hits"] < _FEW)
        radius = math.inf if law == "noise" else self.threat.radius or 0.0
        proved = np.where(self.own["certified"].numpy() >= radius, c["wrong"].astype(float), np.nan)
        if not np.array_equal(proved, c["proved"], equal_nan=True):
            yield f"expected rates to be proved where certified radii cover the law, found others: {law}"
        if (c["split"] != (few & m.splitting)).any() or (
            c["draws"] != np.where(np.isnan(c["proved"]), m.draws, 0)
        ).any():
            yield f"expected draws of rows that are not proved, and runs of those with few hits, found others: {law}"
        started = c["split"] * m.replicates * m.particles
        asked = 1 + c["draws"] + started + m.walk * (c["kills"].sum(1) + m.particles * c["stuck"])
        if ((c["asked"] != asked) & (c["stuck"] == 0)).any() or (c["asked"] > asked).any():
            yield f"expected as many points as draws, particles and steps of clones, found others: {law}"
        if c["arrived"][~c["split"]].any() or (c["level"][c["arrived"].all(1) & c["split"]] <= 0).any():
            yield f"expected runs that arrived to end among errors, found others: {law}"

    # -------------------------------------------------------------- the verdict

    def numbers(self) -> dict[str, Any]:
        costs = [self.parts[name]["cost"].numpy() for name in self.parts if not name.startswith("rows/")]
        forwards, backwards = np.sum(costs, 0).tolist()
        return {"tables": list(map(self._table, self.config.law)), "forwards": forwards, "backwards": backwards}

    def _table(self, law: str) -> dict[str, Any]:
        rows = [self._row(law, i) for i in range(len(self.y))]
        lines = [self._line(law, row) for row in rows]
        judged = [line["broken"] for line in lines if line["broken"] is not None]
        means = [line["mean"] for line in lines if line["mean"] is not None]
        right = [row for row in rows if not row["wrong"]]
        return {
            "law": law, "about": self._words(law), "lines": lines,
            "broken": share(sum(judged), len(judged)) if judged else None,
            "mean": sum(means) / len(means) if means else None,
            "totals": self._totals(rows), "standing": self._totals(right) if right else None,
        }  # fmt: skip

    def _row(self, law: str, i: int) -> dict[str, Any]:
        near = {name: self.near[law][name][i].item() for name in ("distance", "plane")}
        told = {name: t[i].tolist() for name, t in self.rates[law].items() if name != "cost"}
        return {"id": int(self.own["id"][i]), **near, **told}

    def _words(self, law: str) -> str:
        low, high = self.parts.begun.manifest.world["model"]["bounds"]
        radius, within = self.threat.radius or 0.0, f"[{low:g}, {high:g}]"
        return {
            "linf": f"uniform in the linf ball of radius {radius:g}, within the bounds {within}",
            "l2": f"uniform in the l2 ball of radius {radius:g}, reflected at the bounds {within}",
            "sphere": f"uniform on the sphere of radius {radius:g}, reflected at the bounds {within}",
            "noise": f"normal noise of standard deviation {self.config.noise or 0:g}",
        }[self.threat.name if law == "ball" else law]

    def _line(self, law: str, row: dict[str, Any]) -> dict[str, Any]:
        reached = row["distance"] <= (self.threat.radius or 0.0)
        seen = row["wrong"] or row["hits"] > 0 or any(row["arrived"]) or reached
        rate = self._rate(row, 0.95)
        return {
            "id": row["id"], "wrong": row["wrong"], "broken": None if law == "noise" else bool(seen),
            "distance": 0.0 if row["wrong"] else _or_none(row["distance"]), "mean": _or_none(row["mean"]),
            "error": _or_none(row["error"]), "rate": rate, "split": row["split"], "stuck": row["stuck"],
            "flat": _flatness(row["plane"], rate)
            if not row["wrong"] and math.isnan(row["proved"]) and 0 < row["plane"] < 0.5
            else None,
        }  # fmt: skip

    def _rate(self, row: dict[str, Any], sure: float) -> dict[str, Any]:
        if not math.isnan(row["proved"]):
            return _said(row["proved"], [row["proved"]] * 2, "proved")
        if row["split"]:
            return _of_runs(row["kills"], row["arrived"], self.config.particles, (1 + sure) / 2)
        return _of_draws(row["hits"], row["draws"], sure)

    def _totals(self, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        drawn = [row for row in rows if math.isnan(row["proved"])]
        proved = sum(row["proved"] for row in rows if not math.isnan(row["proved"]))
        shares = [row["hits"] / row["draws"] if math.isnan(row["proved"]) else row["proved"] for row in rows]
        mean = float(np.mean(shares))
        population = _said(mean or None, _betting(shares), "counted" if mean else "at most")
        if not drawn:
            return {"rows": _said(proved / len(rows), [proved / len(rows)] * 2, "proved"), "population": population}
        hits = sum(row["hits"] for row in drawn)
        part = _of_draws(hits, len(drawn) * self.config.draws, 0.95) if hits >= _FEW else self._mean(drawn)
        low, high = ((proved + len(drawn) * end) / len(rows) for end in part["interval"])
        p = None if part["p"] is None else (proved + len(drawn) * part["p"]) / len(rows)
        return {"rows": _said(p, [low, min(1.0, high)], part["how"]), "population": population}

    def _mean(self, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        every = [self._rate(row, 1 - 0.05 / len(rows)) for row in rows]
        ends = np.mean([rate["interval"] for rate in every], 0).tolist()
        known = [rate["p"] for rate in every if rate["p"] is not None]
        order = ("at most", "replicates", "poisson", "counted", "proved")
        how = next(how for how in order if any(rate["how"] == how for rate in every))
        return _said(sum(known) / len(rows) if known else None, ends, how)

    # -------------------------------------------------------------- from the model

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
        told = {"mean": float(finite.mean()), "error": float(finite.std()) / math.sqrt(int(row["draws"]))}
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


# ------------------------------------------------------------------ rates, by other formulas


def _said(p: float | None, interval: Sequence[float], how: str, dispersion: float | None = None) -> dict[str, Any]:
    return {"p": p, "interval": list(interval), "how": how, "dispersion": dispersion}


def _or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _of_draws(hits: int, draws: int, sure: float) -> dict[str, Any]:
    ends = binomtest(hits, draws).proportion_ci(sure, method="exact")
    return _said(hits / draws if hits else None, [float(ends.low), float(ends.high)], "counted" if hits else "at most")


def _poisson(kills: int, particles: int, sure: float) -> tuple[float, float]:
    """Garwood's, by the gamma distribution."""
    most = float(gamma.isf((1 - sure) / 2, kills + 1))
    least = float(gamma.ppf((1 - sure) / 2, kills)) if kills else 0.0
    return math.exp(-most / particles), math.exp(-least / particles)


def _of_runs(kills: Sequence[int], arrived: Sequence[bool], n: int, sure: float) -> dict[str, Any]:
    k, runs = np.array(kills, dtype=float), len(kills)
    mean, variance = k.mean(), k.var(ddof=1)
    index, p_value = (
        (variance / mean, gammaincc((runs - 1) / 2, (runs - 1) * variance / mean / 2)) if mean else (1.0, 1.0)
    )
    low, high = _poisson(int(k.sum()), n * runs, sure)
    if not all(arrived):
        each = [(1 - 1 / n) ** kill if ok else 0.0 for kill, ok in zip(kills, arrived, strict=True)]
        least = sum(each) / runs * (1 - sure) / 2
        return _said(sum(each) / runs if any(arrived) else None, [least, max(high, least)], "at most", index)
    scatters = p_value < 0.1
    reach = student.ppf((1 + sure) / 2, runs - 1)
    shifted = min(0.0, -mean / n + (variance - mean) / (2 * n * n))
    spans = [(-mean / n, math.sqrt(variance / runs) / n)]
    if scatters:
        spans.append((shifted, math.sqrt(variance / runs + variance**2 / (2 * (runs - 1) * n**2)) / n))
    low = min(low, *(math.exp(min(0.0, at - reach * by)) for at, by in spans))
    high = max(high, *(math.exp(min(0.0, at + reach * by)) for at, by in spans))
    p = math.exp(shifted) if scatters else (1 - 1 / (n * runs)) ** int(k.sum())
    return _said(p, [low, high], "replicates" if scatters else "poisson", float(index))


def _flatness(plane: float, rate: dict[str, Any]) -> dict[str, Any]:
    """Where planes of these rates are under standard normal noise."""
    found = -float(ndtri(plane))
    near, implied, far = (
        None if p is None else -float(ndtri(p))
        for p in (rate["interval"][1], None if rate["how"] == "at most" else rate["p"], rate["interval"][0])
    )
    assert near is not None
    assert far is not None
    ratio, highest = (found / by if by is not None and by > 0 else None for by in (implied, near))
    return {
        "found": found, "implied": implied, "ratio": ratio, "ratio_interval": [found / far if far > 0 else 0.0, highest]
    }  # fmt: skip


def _betting(shares: Sequence[float]) -> list[float]:
    """Waudby-Smith and Ramdas's interval of a mean, value by value."""
    n, total, squares, bets = len(shares), 0.5, 0.25, []
    for i, value in enumerate(shares, 1):
        bets.append(math.sqrt(2 * math.log(2 / 0.05) / (n * squares / i)))
        total += value
        squares += (value - total / (i + 1)) ** 2

    def doubted(m: float) -> bool:
        up = sum(math.log1p((min(b, 0.5 / m) if m else b) * (v - m)) for b, v in zip(bets, shares, strict=True))
        down = sum(
            math.log1p(-(min(b, 0.5 / (1 - m)) if m < 1 else b) * (v - m)) for b, v in zip(bets, shares, strict=True)
        )
        return max(up, down) + math.log(0.5) >= math.log(1 / 0.05)

    return [_edge(doubted, end, sum(shares) / n) for end in (0.0, 1.0)]


def _edge(doubted: Any, outside: float, inside: float) -> float:
    if not doubted(outside):
        return outside
    for _ in range(200):
        middle = (outside + inside) / 2
        outside, inside = (middle, inside) if doubted(middle) else (outside, middle)
    return outside


def _logarithmic(value: Any) -> Any:
    """Numbers below 1e-3 as their logarithms, which rates of 1e-20 differ in."""
    if isinstance(value, dict):
        return {name: _logarithmic(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_logarithmic(one) for one in value]
    return math.log(value) if isinstance(value, float) and 0 < value < 1e-3 else value
