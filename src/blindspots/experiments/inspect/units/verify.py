"""A study of units, proved again: answers asked of the model, purities counted by other code."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from scipy.stats import entropy

from blindspots.experiments.inspect.units.config import UnitsConfig
from blindspots.experiments.inspect.units.verdict import ACTIVATIONS, COMPARED, LEARNED, SHEETS, UnitsVerdict
from blindspots.experiments.inspect.verify_layers import by_unit
from blindspots.random import keys, normal, uniform
from blindspots.runs.columns import check_columns
from blindspots.runs.experiment import Check
from blindspots.runs.metric import numbers_of
from blindspots.runs.store import Parts
from blindspots.runs.verify import differing, note
from blindspots.runs.world import World

Problems = Iterator[str]
Array = np.ndarray[Any, Any]
_NAMES = {"nmf": "NMF", "sae": "sparse autoencoder", "wide_sae": "sparse autoencoder, four times as wide"}
_SPACES, _PURER = ("centred", "whitened"), {"entropy": -1, "likeness": 1}
_AGAIN = 3  # random bases that are made again for every layer and space
_ASKED = 4  # rows whose answers are asked again
_RESAMPLED = 8  # random bases in every bootstrap sample
_EQUAL = 1e-9  # purities that differ by less are equal
_CLOSE = 1e-4  # answers of another number of rows per call, and sums in another order


def checks(config: UnitsConfig, verdict: UnitsVerdict, parts: Parts, world: World) -> Iterator[Check]:
    """What `verify` looks at."""
    proof = _Proof(config, parts)
    yield Check("all parts are there, with all their columns", list(proof.shapes()))
    yield Check("the purity of every unit follows from its answers", list(proof.units()))
    yield Check(f"{_AGAIN} random bases of every layer came out again", list(proof.bases()))
    yield Check("the rows on the sheets are those that excite the directions most", list(proof.sheets()))
    yield differing("every number of the verdict follows from the parts", numbers_of(verdict), proof.numbers(verdict))
    if not (world.same.get("model") and world.same.get("data")):
        yield note("Model or data are not at hand, so no answers were asked again.")
        return
    yield Check(f"the layers answer {_ASKED} rows as it is stored", list(proof.answers(world)))


class _Proof:
    def __init__(self, config: UnitsConfig, parts: Parts) -> None:
        self.config, self.parts = config, parts
        self.columns = parts["activations"]
        self.y, n = self.columns["y"].numpy(), len(self.columns["y"])
        key = keys(config.seed, torch.arange(n), 1)
        order = uniform(key, torch.zeros_like(key), 0, (1,))[:, 0].argsort(stable=True).numpy()
        self.judged = order[n // 2 :] if config.dictionary else order
        self.embedded = self.columns["embedded"].double().numpy()[self.judged]

    def shapes(self) -> Problems:
        expected = self.parts.begun.manifest.world["data"]["rows"]
        if len(self.y) != expected:
            yield f"expected {expected} rows, as many as the data have, found {len(self.y)}"
        views = {f"view/{i}": f"(n, m{i}) float32" for i in range(len(self.config.layers))}
        check_columns(self.columns, {**ACTIVATIONS, **views}, "activations")
        for name in self.parts:
            kind = name.partition("/")[0]
            tables = {"compared": COMPARED, "learned": LEARNED, "sheets": SHEETS}
            if kind in tables:
                check_columns(self.parts[name], tables[kind], name)

    # -------------------------------------------------------------- purities

    def _basis(self, view: int, space: str) -> tuple[Array, Array]:
        """Live units, and their answers to the judging rows (n, m) in that space."""
        answers = self.columns[f"view/{view}"].double().numpy()[self.judged]
        live = np.flatnonzero(answers.max(0) > answers.min(0))
        centred = answers[:, live] - answers[:, live].mean(0)
        if space == "centred" or len(live) < 2:
            return live, centred
        left, sizes, right = np.linalg.svd(centred, full_matrices=False)
        kept = sizes**2 > 1e-6 * sizes[0] ** 2
        return live, np.asarray((left[:, kept] @ right[kept]) * np.sqrt(len(centred)))

    def _entropy(self, values: Array) -> Array:
        y = self.y[self.judged]
        tops = np.argsort(-values, 0)[: self.config.top]
        counts = [np.bincount(y[tops[:, j]], minlength=y.max() + 1) for j in range(values.shape[1])]
        return np.array([entropy(c, base=2) for c in counts])

    def _likeness(self, values: Array) -> Array:
        """Pair by pair, as the paper's code sums."""
        cosines = self.embedded @ self.embedded.T
        np.fill_diagonal(cosines, 0)
        scaled = (values - values.min(0)) / np.maximum(values.max(0) - values.min(0), 1e-12)
        alike, total = ((cosines @ scaled) * scaled).sum(0), scaled.sum(0) ** 2
        pairs = total - (scaled**2).sum(0)
        return np.asarray(np.where(pairs > 1e-6 * total, alike / np.maximum(pairs, 1e-12), 0))  # 0: of one row alone

    def _views(self) -> Iterator[tuple[int, str, dict[str, Array], Array, Array]]:
        for i in range(len(self.config.layers)):
            for space in _SPACES:
                made = {k: t.numpy() for k, t in self.parts[f"compared/{i}/{space}"].items()}
                yield i, space, made, *self._basis(i, space)

    def units(self) -> Problems:
        for i, space, made, live, basis in self._views():
            where = f"compared/{i}/{space}"
            if int(made["live"][0]) != len(live):
                yield f"expected {len(live)} live units in {where}, found {int(made['live'][0])}"
            if len(made["chosen"]):
                values = basis[:, np.searchsorted(live, made["chosen"])]
                yield from self._differ(values, made, where)

    def _differ(self, values: Array, made: dict[str, Array], where: str) -> Problems:
        tied = _ties(values, self.config.top)
        if not np.allclose(self._entropy(values)[~tied], made["entropy"][~tied], atol=_CLOSE):
            yield f"expected the entropy of the units' top rows in {where}, found another"
        if not np.allclose(self._likeness(values), made["likeness"], atol=_CLOSE):
            yield f"expected the monosemanticity of the units in {where}, found another"

    def bases(self) -> Problems:
        for i, space, made, live, basis in self._views():
            for b in range(min(_AGAIN, len(made["null_entropy"]))):
                key = keys(self.config.seed, torch.tensor([b]), i)
                drawn = normal(key, torch.zeros_like(key), 0, (len(live), len(made["chosen"])))[0].double().numpy()
                q, r = np.linalg.qr(drawn)
                values = basis @ (q * np.sign(np.diag(r)))
                again = self._entropy(values).mean(), self._likeness(values).mean()
                if not np.allclose(again, (made["null_entropy"][b], made["null_likeness"][b]), atol=0.02):
                    yield f"expected the purity of random basis {b} in compared/{i}/{space}, found another"

    def sheets(self) -> Problems:
        for i in range(len(self.config.layers)):
            made = self.parts[f"sheets/{i}"]
            answers, place = self.columns[f"view/{i}"].numpy(), set(self.judged.tolist())
            for unit, rows, y in zip(*(made[k].tolist() for k in ("units", "unit_rows", "unit_y")), strict=True):
                best = np.sort(answers[self.judged, unit])[::-1][: len(rows)]
                if not (place.issuperset(rows) and np.allclose(answers[rows, unit], best, atol=_CLOSE)):
                    yield f"expected the rows that excite unit {unit} most in sheets/{i}, found others"
                if self.y[rows].tolist() != y:
                    yield f"expected the labels of its rows for unit {unit} in sheets/{i}, found others"

    # -------------------------------------------------------------- the verdict

    def numbers(self, verdict: UnitsVerdict) -> dict[str, Any]:
        n, top, y = len(self.y), self.config.top, self.y[self.judged]
        groups = y[: len(y) // top * top].reshape(-1, top)
        by_lot = [entropy(np.bincount(g, minlength=y.max() + 1), base=2) for g in groups]
        named = self.parts.begun.manifest.world.get("against", {}).get("name", "")
        return {
            "rows": len(self.judged), "fitted": n - len(self.judged), "by_lot": float(np.mean(by_lot)),
            "independent": named, "views": self._told(),
        }  # fmt: skip

    def _told(self) -> list[dict[str, Any]]:
        told = [self._view(i) for i in range(len(self.config.layers))]
        for name in [f"{space}/{statistic}" for space in _SPACES for statistic in _PURER]:
            found = sorted((v["comparisons"][name] for v in told if name in v["comparisons"]), key=lambda c: c["p"])
            running = 0.0
            for c, left in zip(found, range(len(found), 0, -1), strict=True):
                running = c["holm"] = max(running, min(1.0, left * c["p"]))
        return told

    def _view(self, i: int) -> dict[str, Any]:
        layer, _, answers = self.config.layers[i].rpartition(":")
        made = {space: self.parts[f"compared/{i}/{space}"] for space in _SPACES}
        chosen = len(made["centred"]["chosen"])
        learned = self.parts[f"learned/{i}"] if self.config.dictionary else {}
        return {
            "layer": layer, "answers": answers, "units": self.columns[f"view/{i}"].shape[1],
            "live": int(made["centred"]["live"]), "judged": chosen,
            "comparisons": {
                f"{space}/{name}": _comparison({k: t.numpy() for k, t in made[space].items()}, name, sign)
                for space in _SPACES for name, sign in _PURER.items() if chosen
            },
            "dictionaries": [
                _dictionary(said, learned[f"{key}_entropy"].numpy(), learned[f"{key}_likeness"].numpy())
                for key, said in _NAMES.items() if learned and len(learned[f"{key}_entropy"])
            ],
        }  # fmt: skip

    def answers(self, world: World) -> Problems:
        for row in sorted({0, len(self.y) // 3, len(self.y) // 2, len(self.y) - 1})[:_ASKED]:
            x, y = world.data.rows(row, row + 1)
            if int(y[0]) != int(self.y[row]):
                yield f"expected the label {int(y[0])} of the data, found {int(self.y[row])} in row {row}"
            for i, view in enumerate(self.config.layers):
                name, _, when = view.rpartition(":")
                out = by_unit(world.model, name, x)[0]
                out = np.maximum(out, 0) if when == "post" else out
                said = self.columns[f"view/{i}"][row].numpy()
                if not np.allclose(out.reshape(len(out), -1).mean(1), said, atol=_CLOSE, rtol=_CLOSE):
                    yield f"expected what {name} answers to row {row}, found other numbers"


def _ties(values: Array, top: int) -> Array:
    """Where rounding or equal answers decide which row is among the top."""
    ordered = -np.sort(-values, 0)
    return np.asarray(ordered[top - 1] - ordered[top] <= 1e-5 * np.abs(ordered[0]).clip(1e-12))


def _comparison(c: dict[str, Array], name: str, sign: int) -> dict[str, Any]:
    units, null = float(np.mean(c[name])), c[f"null_{name}"]
    spread, random = float(np.std(null, ddof=1)), float(np.mean(null))
    told = {
        "units": units, "random": random, "spread": spread, "effect": None, "interval": None,
        "p": (1 + int(np.sum(sign * (null - units) >= -_EQUAL))) / (1 + len(null)),
    }  # fmt: skip
    if spread <= _EQUAL:
        return told
    effect = sign * (units - random) / spread
    same_bases = sign * (units - float(np.mean(null[:_RESAMPLED]))) / spread
    low, high = np.quantile(sign * c[f"resampled_{name}"] / spread, [0.025, 0.975]) - same_bases
    return {**told, "effect": effect, "interval": [effect - float(high), effect - float(low)]}


def _dictionary(said: str, entropies: Array, likenesses: Array) -> dict[str, Any]:
    live = np.isfinite(entropies)
    return {
        "name": said, "directions": len(entropies), "live": int(live.sum()),
        "entropy": float(entropies[live].mean()) if live.any() else None,
        "likeness": float(likenesses[live].mean()) if live.any() else None,
    }  # fmt: skip
