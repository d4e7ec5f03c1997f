"""Proves a detection run again: the stored detectors are asked anew, and every figure is computed by other code."""

import statistics
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import binomtest, norm, rankdata
from scipy.stats.mstats import mquantiles
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score, roc_curve
from torch import Tensor

from blindspots.ball import Ball, parse_ball
from blindspots.data import ArrayData, Dataset
from blindspots.experiments.detect.config import DetectConfig
from blindspots.experiments.detect.detectors.catalogue import DETECTORS as KINDS
from blindspots.experiments.detect.detectors.catalogue import parse_detector
from blindspots.experiments.detect.detectors.detector import Fitted
from blindspots.experiments.detect.loading import fitted_of, pair_of
from blindspots.experiments.detect.score import scored
from blindspots.experiments.detect.verdict import (
    DETECTORS,
    EXAMPLES,
    OVERHEAD,
    PAIRS,
    ROWS,
    SCORES,
    TRAINING,
    DetectorRecord,
    DetectVerdict,
)
from blindspots.models.model import Model
from blindspots.naming import numbered
from blindspots.packing import unpack_inputs
from blindspots.runs.again import EDGE, SLACK, UNIT_ROUNDOFF, share
from blindspots.runs.columns import check_columns
from blindspots.runs.experiment import Check
from blindspots.runs.metric import numbers_of
from blindspots.runs.store import Parts, Run
from blindspots.runs.verify import differing, note
from blindspots.runs.world import World

Array = NDArray[Any]
Problems = Iterator[str]
_SAME_SCORES = 1e-4  # of the spread of the scores: what other batch sizes and machines move them by
_RADII = (0.5, 1.0, 2.0)
_RATES = {"0.01": 0.01, "0.05": 0.05}
_SMALLEST = {"linf": "fmn", "l2": "ddn", "l1": "fmn", "l0": "fmn"}
_SIZES, _SHARES, _LEVEL = (5, 10, 20, 50), (1.0, 0.5, 0.2), 0.05
_POINTS, _BINS = 200, 40


def checks(config: DetectConfig, verdict: DetectVerdict, parts: Parts, world: World) -> Iterator[Check]:
    """What `verify` looks at. Areas and curves are scikit-learn's, intervals scipy's: not what the run used."""
    proof = _Proof(config, verdict, parts, world)
    yield Check("all parts have all their columns, and no row plays two roles", list(proof.shapes()))
    yield differing("every number of the verdict follows from the parts", numbers_of(verdict), proof.numbers())
    yield from proof.rows_of_the_data()
    yield Check("the runs inside were made as the settings say", list(proof.runs_inside()))
    if not world.same.get("model"):
        return
    yield Check("test examples lie where they may, and the model says of them what was stored", list(proof.examples()))
    yield Check("every detector gives the stored scores, and thresholds and costs follow from it", list(proof.scores()))


def inside(run: Run[DetectConfig, DetectVerdict], part: str, world: World) -> Mapping[str, Any]:
    """The model, or the pair, and the rows that a run inside the run was given."""
    what, _, name = part.partition("/")
    model, rows = world.named("model"), run.parts["rows"]
    names = run.manifest.world["test" if "test" in run.manifest.world else "data"]["class_names"]
    n = run.config.distortion_rows if what == "distortion" else None
    data = ArrayData(unpack_inputs(rows["x"])[:n], rows["y"][:n], "measured rows", class_names=names)
    return {"model": model if name in ("", "bare") else pair_of(run.parts, model, name), "data": data}


class _Proof:
    def __init__(self, config: DetectConfig, verdict: DetectVerdict, parts: Parts, world: World) -> None:
        self.config, self.verdict, self.parts, self.world = config, verdict, parts, world
        self.threat: Ball = world.given.get("threat") or parse_ball(config.threat)
        self.radii = [share * float(self.threat.radius or 0) for share in _RADII]
        self.attacks, self.fits = (
            [name.removeprefix(folder) for name in parts if name.startswith(folder)]
            for folder in ("examples/", "detectors/")
        )
        self.detectors = [name for name in self.fits if len(parts[f"detectors/{name}"]["file"])]
        kinds = list(map(parse_detector, config.detector or KINDS))
        self.kinds = dict(zip(numbered(kind.name for kind in kinds), kinds, strict=True))
        self.rows = parts["rows"]
        self.x, self.y = unpack_inputs(self.rows["x"]), self.rows["y"].numpy()
        self.right = self.rows["prediction"].numpy() == self.y
        self.fooled = np.stack([(self._made(a)["prediction"] != self.rows["y"]).numpy() for a in self.attacks])
        self.bare, self.smallest = self._shards("bare"), self._norms("bare")

    def _made(self, attack: str) -> dict[str, Tensor]:
        return self.parts[f"examples/{attack}"]

    def _shards(self, name: str) -> dict[str, Array]:
        columns = self.parts.run(name).parts.joined("shards")
        return {name: columns[name].numpy() for name in ("right", "won", "norm")}

    def _norms(self, name: str) -> Array:
        found = self._shards(f"distortion/{name}")
        return np.where(found["right"], found["norm"], np.float32(0))

    def _model(self) -> Model:
        return self.world.named("model")

    # -------------------------------------------------------------- the parts

    def shapes(self) -> Problems:
        tables = {"training": TRAINING, "rows": ROWS}
        folders = {"examples": EXAMPLES, "detectors": DETECTORS, "scores": SCORES, "pairs": PAIRS, "overhead": OVERHEAD}
        for name in self.parts:
            table = tables.get(name) or folders.get(name.partition("/")[0])
            if table:
                check_columns(self.parts[name], table, name)
        places = [self.rows[name].tolist() for name in ("fit_at", "threshold_at", "measured_at")]
        if "test" in self.parts.begun.manifest.world:
            places = places[:2]  # the measured rows are others
        at = [place for some in places for place in some]
        if len(set(at)) != len(at):
            yield f"expected every row in one role, found {len(at) - len(set(at))} in two"
        if [d.name for d in self.verdict.detectors] != self.detectors:
            yield f"expected a record of {', '.join(self.detectors)}, found others"

    def runs_inside(self) -> Problems:
        """Each with its protocol, the seed and the threat of this run; their rows are given to their own checks."""
        c, smallest = self.config, self.threat.name
        expected = {"bare": (c.bare_protocol, c.threat), "distortion/bare": ("smallest", smallest)}
        expected |= {f"adaptive/{name}": (c.protocol, c.threat) for name in self.detectors}
        expected |= {f"distortion/{name}": ("smallest", smallest) for name in self.detectors}
        for name, (protocol, threat) in expected.items():
            found = self.parts.run(name).config
            said = (Path(found.protocol).stem, found.threat, found.seed, found.chunk)
            if said != (Path(protocol).stem, threat, c.seed, c.chunk):
                yield f"expected {name} by {protocol} within {threat} with seed {c.seed}, found another run"

    def rows_of_the_data(self) -> Iterator[Check]:
        """The stored rows are those of the data, as far as these are at hand."""
        measured = "test" if "test" in self.parts.begun.manifest.world else "data"
        roles = (("measured", measured, "measured_at", "x", "y"),
                 ("threshold", "data", "threshold_at", "threshold_x", "threshold_y"))  # fmt: skip
        for role, source, at, x, y in roles:
            if self.world.same.get(source):
                told = list(self._rows(role, self.world.rows[source], at, x, y))
                yield Check(f"the {role} rows are those of {source}", told)
            elif source not in self.world.same:
                yield note(f"The {role} rows were taken as they are stored.")

    def _rows(self, role: str, data: Dataset, *columns: str) -> Problems:
        at, x, y = (self.rows[name] for name in columns)
        for i, (place, stored, label) in enumerate(zip(at.tolist(), unpack_inputs(x), y.tolist(), strict=True)):
            found, own = data.rows(place, place + 1)
            if int(own[0]) != label or not torch.equal(found[0], stored):
                yield f"expected the {role} row {i} to be row {place} of {data.name} with its label, found another"

    # -------------------------------------------------------------- from the model

    def examples(self) -> Problems:
        yield from self._same("the measured rows", self.x, self.rows["prediction"])
        threat = self.threat.within(*self._model().bounds)
        for name in self.attacks:
            self.world.say(f"asking the model about what {name} made")
            made = self._made(name)
            for radius, moved, prediction in zip(self.radii, made["adversarial"], made["prediction"], strict=True):
                far = threat.distance(moved, self.x) > radius * (1 + SLACK) + UNIT_ROUNDOFF * threat.norm(moved)
                outside = (moved.flatten(1).amin(1) < threat.lo) | (moved.flatten(1).amax(1) > threat.hi)
                if beyond := int((far | outside).sum()):
                    yield f"expected what {name} made within {threat.name}:{radius:g}, found {beyond} rows beyond"
                yield from self._same(f"what {name} made", moved, prediction)

    def _same(self, what: str, x: Tensor, prediction: Tensor) -> Problems:
        """The model's predictions, but where rounding decides."""
        model, chunk = self._model(), self.config.chunk or 1
        with model.borrowed(), torch.no_grad():
            logits = torch.cat([model.logits(part.to(model.device)).float().cpu() for part in torch.split(x, chunk)])
        stored = logits.gather(1, prediction[:, None])[:, 0]
        wrong = logits.amax(1) - stored > EDGE * logits.abs().amax(1)
        if bool(wrong.any()):
            yield f"expected the model to say of {what} what was stored, got something else on {int(wrong.sum())} rows"

    def scores(self) -> Problems:
        made = torch.stack([self._made(name)["adversarial"] for name in self.attacks])
        for name in self.detectors:
            self.world.say(f"asking {name} again")
            fitted, stored = fitted_of(self.parts, self._model(), name), self.parts[f"scores/{name}"]
            found = {
                "clean": (stored["clean"], self.x),
                "bare": (stored["bare"], self._attacked("bare")),
                "attacks": (stored["attacks"].flatten(), made.flatten(0, 2)),
                "adaptive": (self.parts[f"pairs/{name}"]["score"], self._passing(name)),
            }
            near = _SAME_SCORES * float(stored["clean"].std())
            for what, (before, x) in found.items():
                same = torch.isclose(scored(fitted, x, self.config.chunk or 1), before, rtol=_SAME_SCORES, atol=near)
                if strange := int((~same).sum()):
                    yield f"expected the {what} scores of {name} as stored, got others on {strange} rows"
            yield from self._threshold(name, fitted, near)
            yield from self._costs(name, fitted)

    def _threshold(self, name: str, fitted: Fitted, near: float) -> Problems:
        """As many clean rows above it as were allowed, and no more than that, but where rounding decides."""
        limit, scale = self.parts[f"scores/{name}"]["pair"].tolist()
        clean = np.sort(scored(fitted, unpack_inputs(self.rows["threshold_x"]), self.config.chunk or 1).numpy())
        expected = float(clean[-1 - _alarms(self.config.fpr, len(clean))])
        if abs(expected - limit) > near + _SAME_SCORES * abs(limit):
            yield f"expected the threshold {expected:g} for {name}, as its clean scores give it, found {limit:g}"
        if scale != float(fitted.scale):
            yield f"expected the scale {float(fitted.scale):g} for {name}, as it was fitted, found {scale:g}"

    def _costs(self, name: str, fitted: Fitted) -> Problems:
        stored = self.parts[f"overhead/{name}"]
        nets = (self._model().net, fitted)
        size = [sum(t.nbytes for t in (*net.parameters(), *net.buffers())) for net in nets]
        learned = [self._model().parameters, fitted.numbers]
        if (stored["bytes"].tolist(), stored["parameters"].tolist()) != (size, learned):
            yield f"expected the sizes of the model and of {name} as they are, found others"

    def _passing(self, name: str) -> Tensor:
        """The examples (k, ...) that fool model and detector together."""
        return self.parts.run(f"adaptive/{name}").parts.joined("shards")["adversarial"]

    def _attacked(self, name: str) -> Tensor:
        """The example (n, ...) of each broken row, the clean input of every other one."""
        x = self.x.clone()
        columns = self.parts.run(name).parts.joined("shards")
        x[columns["won"]] = columns["adversarial"]
        return x

    # -------------------------------------------------------------- every number

    def numbers(self) -> dict[str, Any]:
        """The verdict, computed a second time."""
        records = [self._detector(name) for name in self.detectors]
        best = records[0]
        for record in records[1:]:
            if (record["adaptive_accuracy"], record["auc"]) > (best["adaptive_accuracy"], best["auc"]):
                best = record
        own = self.radii[_RADII.index(1.0)]
        return {
            "detector": best["name"],
            "auc": best["auc"],
            "auc_interval": best["auc_interval"],
            "tpr_at_fpr": {c["attack"]: c["tpr_at_fpr"] for c in best["cells"] if c["radius"] == own},
            "adaptive_accuracy": best["adaptive_accuracy"],
            "adaptive_interval": best["adaptive_interval"],
            "overhead": best["overhead"],
            "rows": len(self.y),
            "clean": _share(self.right),
            "robust": _share(self.bare["right"] & ~self.bare["won"]),
            "detectors": records,
        }

    def _detector(self, name: str) -> dict[str, Any]:
        stored = self.parts[f"scores/{name}"]
        limit, scale = stored["pair"].tolist()
        at = _RADII.index(1.0)
        pair, together = self._pair(name, limit), self._side(name, range(len(self.attacks)), at)
        kind = self.kinds[name]
        return {
            "name": name,
            "title": kind.title,
            "paper": kind.paper,
            "spec": repr(kind),
            "learns_from_attacks": kind.learns_from_attacks,
            "smooth": kind.smooth,
            "threshold": limit,
            "scale": scale,
            **_areas(*together, "auc_interval"),
            "tpr": _share(_caught(*together[:2], 0.05)),
            "adaptive_accuracy": pair["adaptive"]["share"],
            "adaptive_interval": pair["adaptive"]["interval"],
            "pair": pair,
            "cells": [
                self._cell(name, a, r, limit, pair["adaptive"]["share"])
                for a in range(len(self.attacks))
                for r in range(len(self.radii))
            ],
            "histogram": self._histogram(name, *together[:2]),
            "batches": self._batches(name),
            "distortion": self._distortion(name, limit),
            "overhead": self._overhead(name),
        }

    def _side(self, name: str, attacks: Any, radius: int) -> tuple[Array, Array, Array, Array]:
        """Scores of clean rows, scores of examples, and which rows these and those are of."""
        stored, clean = self.parts[f"scores/{name}"]["attacks"].numpy(), self.parts[f"scores/{name}"]["clean"].numpy()
        places = np.flatnonzero(self.right)
        pairs = [(a, i) for a in attacks for i in places if self.fooled[a, radius, i]]
        positives = np.array([stored[a, radius, i] for a, i in pairs], np.float64)
        return clean[places].astype(np.float64), positives, places, np.array([i for _, i in pairs], np.int64)

    def _cell(self, name: str, attack: int, radius: int, limit: float, adaptive: float) -> dict[str, Any]:
        low, high, *rows = self._side(name, [attack], radius)
        known = len(low) > 0 and len(high) > 0
        curves = _curves(low, high) if known else ([], [])
        areas = _areas(low, high, rows[0], rows[1], "interval") if known else {}
        return {
            "attack": self.attacks[attack],
            "radius": self.radii[radius],
            "fooled": _share(self.fooled[attack, radius][self.right]),
            **(areas or dict.fromkeys(("auc", "interval", "average_precision"))),
            "tpr_at_fpr": {text: _share(_caught(low, high, rate)) for text, rate in _RATES.items()} if known else {},
            "detected": _share(high > limit),
            "adaptive_accuracy": adaptive,
            "roc": curves[0],
            "precision_recall": curves[1],
        }

    def _pair(self, name: str, limit: float) -> dict[str, Any]:
        """Row by row: what passes and is wrong."""
        stored = {column: t.tolist() for column, t in self.parts[f"scores/{name}"].items()}
        own, at = self._shards(f"adaptive/{name}"), _RADII.index(1.0)
        counts: dict[str, list[bool]] = {kind: [] for kind in ("clean", "rejected", "unaware", "evaluated", "adaptive")}
        for i in range(len(self.y)):
            passes = [stored["attacks"][a][at][i] <= limit for a in range(len(self.attacks))]
            fell = any(self.fooled[a, at, i] and ok for a, ok in enumerate(passes))
            fell = fell or bool(self.bare["won"][i] and stored["bare"][i] <= limit)
            right, won = bool(own["right"][i]), bool(own["won"][i])
            counts["clean"].append(right)
            counts["rejected"].append(stored["clean"][i] > limit)
            counts["unaware"].append(right and not fell)
            counts["evaluated"].append(right and not won)
            counts["adaptive"].append(right and not won and not fell)
        return {kind: _share(np.array(hits)) for kind, hits in counts.items()}

    def _histogram(self, name: str, low: Array, high: Array) -> dict[str, Any]:
        """Counted within the stored edges, which are computed again: rounding decides no bin."""
        adaptive = self.parts[f"pairs/{name}"]["score"].numpy()
        ends = mquantiles(np.concatenate([low, high, adaptive]), [0.005, 0.995], alphap=1, betap=1)
        first, last = float(ends[0]), float(ends[1] if ends[1] > ends[0] else ends[0] + 1)
        edges = np.array(self._record(name).histogram.edges)

        def counts(values: Array) -> list[int]:
            place = np.digitize(values, edges[1:-1]).astype(np.int64)
            return [int(n) for n in np.bincount(place, minlength=_BINS)]

        again = [first + (last - first) * i / _BINS for i in range(_BINS + 1)]
        return {"edges": again, "clean": counts(low), "unaware": counts(high), "adaptive": counts(adaptive)}

    def _record(self, name: str) -> DetectorRecord:
        return next(d for d in self.verdict.detectors if d.name == name)

    def _batches(self, name: str) -> list[dict[str, Any]]:
        if f"batches/{name}" not in self.parts:
            return []
        columns = {kind: p.numpy() for kind, p in self.parts[f"batches/{name}"].items()}
        kinds = ["clean", *sorted(kind for kind in columns if kind != "clean")]
        found = []
        for kind in kinds:
            shares = _SHARES if len(columns[kind]) > 1 else (0.0,)
            for adversarial, by_size in zip(shares, columns[kind], strict=True):
                for size, p in zip(_SIZES, by_size, strict=True):
                    if not np.isnan(p).any():
                        found.append(_power(kind, adversarial, size, p))
        return found

    def _distortion(self, name: str, limit: float) -> dict[str, Any]:
        pair, own = self._norms(name), self._shards(f"adaptive/{name}")["norm"]
        clean = self.parts[f"scores/{name}"]["clean"].numpy()
        rows = [i for i in range(len(pair)) if self.right[i] and clean[i] <= limit]
        alone = [min(float(self.smallest[i]), float(self.bare["norm"][i])) for i in rows]
        both = [min(float(pair[i]), float(own[i])) for i in rows]
        middle_alone, middle_both = _median(alone), _median(both)
        return {
            "attack": _SMALLEST[self.threat.name],
            "rows": len(rows),
            "median_model": middle_alone,
            "median_pair": middle_both,
            "factor": middle_both / middle_alone if middle_both and middle_alone else None,
            "not_found": _share(np.array([value == np.inf for value in both])),
        }

    def _overhead(self, name: str) -> dict[str, Any]:
        stored = {column: t.tolist() for column, t in self.parts[f"overhead/{name}"].items()}
        return {
            "parameters_model": stored["parameters"][0],
            "parameters_detector": stored["parameters"][1],
            "bytes_model": stored["bytes"][0],
            "bytes_detector": stored["bytes"][1],
            "forwards": stored["forwards"],
        }


# ------------------------------------------------------------------ statistics of other people


def _share(hits: Array) -> dict[str, Any]:
    return share(int(np.count_nonzero(hits)), len(hits))


def _alarms(fpr: float, rows: int) -> int:
    """The most of so many rows that are no larger a share than `fpr`, which is a decimal number."""
    return max(k for k in range(rows + 1) if k <= fpr * rows + 1e-9)


def _caught(low: Array, high: Array, rate: float) -> Array:
    """Which examples are above the lowest threshold that at most that share of the clean scores is above."""
    above: Array = high > np.sort(low)[-1 - _alarms(rate, len(low))]
    return above


def _labelled(low: Array, high: Array) -> tuple[Array, Array]:
    return np.r_[np.zeros(len(low)), np.ones(len(high))], np.r_[low, high]


def _areas(low: Array, high: Array, low_rows: Array, high_rows: Array, interval: str) -> dict[str, Any]:
    truth, said = _labelled(low, high)
    area = float(roc_auc_score(truth, said))
    return {
        "auc": area,
        interval: _interval(area, low, high, low_rows, high_rows),
        "average_precision": float(average_precision_score(truth, said)),
    }


def _interval(area: float, low: Array, high: Array, low_rows: Array, high_rows: Array) -> list[float]:
    """Obuchowski 1997, with the placements out of midranks (Sun and Xu 2014)."""
    m, n = len(high), len(low)
    if area in (0.0, 1.0):
        pairs = min(len(set(low_rows.tolist())), len(set(high_rows.tolist())))
        exact = binomtest(round(area * pairs), pairs).proportion_ci(method="exact")
        return [float(exact.low), float(exact.high)]
    ranks = rankdata(np.r_[high, low])
    above = (ranks[:m] - rankdata(high)) / n - area
    below = 1 - (ranks[m:] - rankdata(low)) / m - area
    up, down = _by_row(high_rows, above), _by_row(low_rows, below)
    if min(len(up), len(down)) < 2:
        return [0.0, 1.0]
    rows = set(up) | set(down)
    own = _corrected(len(up), sum(v**2 for v in up.values()) / m**2)
    own += _corrected(len(down), sum(v**2 for v in down.values()) / n**2)
    shared = _corrected(len(rows), sum(up.get(r, 0.0) * down.get(r, 0.0) for r in rows) / (m * n))
    half = float(norm.isf(0.025)) * max(own + 2 * shared, 0.0) ** 0.5
    return [max(area - half, 0.0), min(area + half, 1.0)]


def _by_row(rows: Array, values: Array) -> dict[int, float]:
    sums: dict[int, float] = {}
    for row, value in zip(rows.tolist(), values.tolist(), strict=True):
        sums[row] = sums.get(row, 0.0) + value
    return sums


def _corrected(rows: int, value: float) -> float:
    return value * rows / (rows - 1)


def _curves(low: Array, high: Array) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
    """ROC, and recall with precision, both from the highest threshold down."""
    false, true, _ = roc_curve(*_labelled(low, high), drop_intermediate=False)
    precision, recall, _ = precision_recall_curve(*_labelled(low, high))
    return _thinned(false, true), _thinned(recall[-2::-1], precision[-2::-1])


def _thinned(x: Array, y: Array) -> list[tuple[float, float]]:
    places = dict.fromkeys(round(i) for i in np.linspace(0, len(x) - 1, _POINTS).tolist())
    return [(float(x[i]), float(y[i])) for i in places]


def _power(kind: str, share: float, size: int, p: Array) -> dict[str, Any]:
    """Of batches of clean rows and a share of examples, how many the test rejects."""
    rejected = [value <= _LEVEL for value in p.tolist()]
    missed = rejected.count(False) * round(share * size)
    return {
        "kind": kind, "share": share, "size": size, "rejected": _share(np.array(rejected)),
        "accuracy": 1 - missed / (len(p) * size),
    }  # fmt: skip


def _median(values: list[float]) -> float | None:
    middle = statistics.median_low(values) if values else np.inf
    return middle if middle < np.inf else None
