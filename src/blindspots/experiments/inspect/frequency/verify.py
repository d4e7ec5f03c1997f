"""A study of rates, proved again: intervals by other formulas, some draws again, examples shown to the model."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from blindspots.experiments.inspect.frequency.config import FrequencyConfig
from blindspots.experiments.inspect.frequency.verdict import FrequencyVerdict
from blindspots.experiments.inspect.frequency.verify_model import Array, Problems, Shown
from blindspots.experiments.inspect.frequency.verify_rates import (
    FEW,
    chance,
    flatness,
    or_none,
    rate_of,
    remembers,
    totals,
)
from blindspots.random import keys, uniform
from blindspots.runs.again import share
from blindspots.runs.experiment import Check
from blindspots.runs.metric import numbers_of
from blindspots.runs.store import Parts
from blindspots.runs.verify import differing, note
from blindspots.runs.world import World


def checks(config: FrequencyConfig, verdict: FrequencyVerdict, parts: Parts, world: World) -> Iterator[Check]:
    """What `verify` looks at."""
    proof = _Proof(config, parts, world)
    yield Check("all parts are there, with all their columns, and counts that fit together", list(proof.shapes()))
    stored, again = numbers_of(verdict), proof.numbers()
    yield differing("every number of the verdict follows from the parts", stored, again)
    yield differing("rates below 1e-3 do so in their logarithms", _logarithmic(stored), _logarithmic(again))
    if "certified" in world.given:
        yield Check("certified radii are those that the study of stability proves", list(proof.certified()))
    elif config.certified:
        yield note("Certified radii are taken as they are stored.")
    if not (world.same.get("model") and world.same.get("data")):
        yield note("Model or data are not at hand, so no draws were counted again and no examples shown to the model.")
        return
    yield Check("the rows are those of the data, and wrong where it is said", list(proof.rows()))
    yield Check("every nearest error is one, at the distance that is stored", list(proof.nearest()))
    yield Check(f"the draws of {len(proof.again)} rows came out again", list(proof.redrawn()))
    yield Check(f"the planes of {len(proof.again)} rows are those that touch the boundary", list(proof.planes()))


class _Proof(Shown):
    """What has to be true of the parts, and the verdict that follows from them."""

    def shapes(self) -> Problems:
        key = keys(self.config.seed, torch.arange(self.parts.begun.manifest.world["data"]["rows"]), 1)
        order = uniform(key, torch.zeros_like(key), 0, (1,))[:, 0].argsort(stable=True)
        if self.own["id"].tolist() != sorted(order[: self.config.frequency_rows].tolist()):
            yield "expected the rows that the lot chose, found others"
        for law in self.config.law:
            yield from self._counts(law, {name: t.numpy() for name, t in self.rates[law].items()})

    def certified(self) -> Problems:
        again = self.world.given["certified"][self.own["id"]]
        if not torch.allclose(again, self.own["certified"], rtol=1e-9):
            yield "expected radii that follow from bounds and scores, found others"

    def _counts(self, law: str, c: dict[str, Array]) -> Problems:
        """Draws and points that were asked, from what was counted."""
        m, few = self.config, np.isnan(c["proved"]) & (c["hits"] < FEW)
        radius = math.inf if law == "noise" else self.threat.radius or 0.0
        proved = np.where(self.own["certified"].numpy() >= radius, c["wrong"].astype(float), np.nan)
        if not np.array_equal(proved, c["proved"], equal_nan=True):
            yield f"expected rates to be proved where certified radii cover the law, found others: {law}"
        if ((c["rounds"] > 0) != (few & m.splitting)).any() or (
            c["draws"] != np.where(np.isnan(c["proved"]), m.draws, 0)
        ).any():
            yield f"expected draws of rows that are not proved, and runs of those with few hits, found others: {law}"
        ends = c["arrived"][np.arange(len(c["rounds"])), c["rounds"] - 1]  # of the last round
        if c["arrived"][c["rounds"] == 0].any() or (c["level"][ends.all(1) & (c["rounds"] > 0)] <= 0).any():
            yield f"expected runs that arrived to end among errors, found others: {law}"
        for i in np.flatnonzero(c["rounds"]):
            yield from self._rounds(law, int(i), {name: t[i].tolist() for name, t in c.items() if name != "cost"})
        unsplit = 1 + c["draws"]
        if (c["asked"] != unsplit)[c["rounds"] == 0].any():
            yield f"expected as many points as draws in rows that are not split, found others: {law}"

    def _rounds(self, law: str, i: int, row: dict[str, Any]) -> Problems:
        """Points that were asked, from kills and steps; another round where clones remembered, and only there."""
        m, made = self.config, row["rounds"]
        walked = [m.walk * 2**k * (sum(row["kills"][k]) + m.particles * row["stuck"][k]) for k in range(made)]
        asked = 1 + row["draws"] + made * m.replicates * m.particles + sum(walked)
        still = [
            sum(not kills and not ended for kills, ended in zip(row["kills"][k], row["arrived"][k], strict=True))
            for k in range(made)
        ]  # runs that were stuck before all particles had been clones: after how many kills is not stored
        unknown = sum(m.walk * 2**k * m.particles * min(still[k], row["stuck"][k]) for k in range(made))
        if not asked - unknown <= row["asked"] <= asked:
            yield f"expected as many points as draws, particles and steps of clones, found others in row {i}: {law}"
        stuck = [n > 0 for n in row["stuck"]]
        again = [k == 0 if stuck[k] else remembers(row, k) for k in range(made)]
        if not all(again[:-1]) or (again[-1] and made < len(row["kills"])) or any(map(any, row["kills"][made:])):
            yield f"expected another round where steps were too few and nowhere else, found otherwise in row {i}: {law}"
        for k in range(made):
            if not row["stuck"][k] and not math.isclose(row["chance"][k], chance(row["kills"][k]), rel_tol=1e-9):
                yield f"expected chance to move tau by {chance(row['kills'][k]):.4g}, found others in row {i}: {law}"

    # -------------------------------------------------------------- the verdict

    def numbers(self) -> dict[str, Any]:
        costs = [self.parts[name]["cost"].numpy() for name in self.parts if not name.startswith("rows/")]
        forwards, backwards = np.sum(costs, 0).tolist()
        return {"tables": list(map(self._table, self.config.law)), "forwards": forwards, "backwards": backwards}

    def _table(self, law: str) -> dict[str, Any]:
        m, rows = self.config, [self._row(law, i) for i in range(len(self.y))]
        lines = [self._line(law, row) for row in rows]
        judged = [line["broken"] for line in lines if line["broken"] is not None]
        means = [line["mean"] for line in lines if line["mean"] is not None]
        right = [row for row in rows if not row["wrong"]]
        return {
            "law": law, "about": self._words(law), "lines": lines,
            "broken": share(sum(judged), len(judged)) if judged else None,
            "mean": sum(means) / len(means) if means else None,
            "totals": totals(rows, m.draws, m.particles),
            "standing": totals(right, m.draws, m.particles) if right else None,
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
        last, split = row["rounds"] - 1, row["rounds"] > 0
        reached = row["distance"] <= (self.threat.radius or 0.0)
        seen = row["wrong"] or row["hits"] > 0 or any(map(any, row["arrived"])) or reached
        rate = rate_of(row, self.config.particles)
        return {
            "id": row["id"], "wrong": row["wrong"], "broken": None if law == "noise" else bool(seen),
            "distance": 0.0 if row["wrong"] else or_none(row["distance"]), "mean": or_none(row["mean"]),
            "error": or_none(row["error"]), "rate": rate, "split": split,
            "steps": self.config.walk * 2**last if split else 0, "remembering": split and remembers(row, last),
            "stuck": row["stuck"][last] if split else 0,
            "flat": flatness(row["plane"], rate)
            if not row["wrong"] and math.isnan(row["proved"]) and 0 < row["plane"] < 0.5
            else None,
        }  # fmt: skip


def _logarithmic(value: Any) -> Any:
    """Numbers below 1e-3 as their logarithms, which rates of 1e-20 differ in."""
    if isinstance(value, dict):
        return {name: _logarithmic(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_logarithmic(one) for one in value]
    return math.log(value) if isinstance(value, float) and 0 < value < 1e-3 else value
