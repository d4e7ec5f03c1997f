"""A study of training, proved again: what networks say is asked of them, and trends are fitted by other formulas."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from scipy.stats import t as student
from torch import Tensor

from blindspots.experiments.inspect.training.config import TrainingConfig
from blindspots.experiments.inspect.training.verdict import (
    ANSWERS,
    AUTOENCODER,
    EXAMPLES,
    ROWS,
    Trained,
    TrainingVerdict,
)
from blindspots.experiments.transfer.models import restored
from blindspots.experiments.transfer.networks import parse_architecture
from blindspots.models.model import Model
from blindspots.packing import unpack_inputs
from blindspots.runs.again import share
from blindspots.runs.columns import check_columns
from blindspots.runs.experiment import Check, Columns
from blindspots.runs.metric import numbers_of
from blindspots.runs.store import Parts
from blindspots.runs.verify import differing, note
from blindspots.runs.world import World
from blindspots.threats import parse_threat

Problems = Iterator[str]
_SLACK, _EDGE = 1e-5, 1e-4
_AXES = {"size": (1.0, math.log2), "noise": (0.0, lambda v: 10 * v), "width": (1.0, math.log2)}
_PER = {
    "size": "for every doubling of size",
    "noise": "for every 10 % of wrong labels",
    "width": "for every doubling of width",
}
_TOO_FEW = "too few networks have one"
_MEASURES = ("clean", "attacked", "distance", "fooled")


def checks(config: TrainingConfig, verdict: TrainingVerdict, parts: Parts, world: World) -> Iterator[Check]:
    """What `verify` looks at."""
    proof = _Proof(config, verdict, parts, world)
    yield Check("all parts are there, with all their columns", list(proof.shapes()))
    yield differing("every number of the verdict follows from the parts", numbers_of(verdict), proof.numbers())
    yield Check(
        "examples lie within the radius, and nearest ones at the distance that is stored", list(proof.distances())
    )
    yield Check("every network says what is stored", list(proof.asked()))
    yield Check("the autoencoder rebuilds what is shown", list(proof.rebuilt()))
    if not (world.same.get("data") and world.same.get("model")):
        yield note("Model or data are not at hand, so rows and what the model reads were taken as they are stored.")
        return
    yield Check("the judged rows are those of the data", list(proof.rows()))


class _Proof:
    def __init__(self, config: TrainingConfig, verdict: TrainingVerdict, parts: Parts, world: World) -> None:
        self.config, self.verdict, self.parts, self.world = config, verdict, parts, world
        self.judged = parts["rows"]
        self.y = self.judged["y"].numpy()
        self.x = unpack_inputs(self.judged["x"])
        self.names = [_key(n) for n in verdict.networks]

    def shapes(self) -> Problems:
        check_columns(self.judged, ROWS, "rows")
        for name in self.names:
            check_columns(self.parts[f"examples/{name}"], EXAMPLES, f"examples/{name}")
            check_columns(self.parts[f"answers/{name}"], ANSWERS, f"answers/{name}")
        own = {k: t for k, t in self.parts["autoencoder"].items() if not k.startswith("net/")}
        check_columns(own, AUTOENCODER, "autoencoder")
        found = {name.removeprefix("examples/") for name in self.parts if name.startswith("examples/")}
        if found != set(self.names):
            yield f"expected the parts of the verdict's networks, {sorted(found ^ set(self.names))} differ"

    # -------------------------------------------------------------- the verdict

    def numbers(self) -> dict[str, Any]:
        networks = [self._network(n) for n in self.verdict.networks]
        return {"networks": networks, "trends": list(self._trends(networks)), "autoencoder": self._autoencoder()}

    def _network(self, n: Trained) -> dict[str, Any]:
        name = _key(n)
        own = {k: t.numpy() for k, t in self.parts[f"examples/{name}"].items()}
        said = {k: t.numpy() for k, t in self.parts[f"answers/{name}"].items()}
        other = "baseline/1" if name == "baseline/0" else "baseline/0"
        right = own["clean"] == self.y
        both = right & (self.parts[f"examples/{other}"]["clean"].numpy() == self.y)
        reach = sorted(own["distance"][right])
        middle = reach[(len(reach) - 1) // 2] if reach else math.inf
        return {
            "factor": n.factor, "level": n.level, "repeat": n.repeat,
            "rows": int(self.parts[f"trained/{name}"]["rows"]), "clean": _share(right),
            "attacked": _share(right & (own["attacked"] == self.y)),
            "distance": float(middle) if math.isfinite(middle) else None,
            "fooled": _share((said["from_reference"] != self.y)[both]),
            "fools": _share((said["to_reference"] != self.y)[both]),
        }  # fmt: skip

    def _trends(self, networks: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        base = [n for n in networks if n["factor"] == "baseline"]
        for factor in dict.fromkeys(n["factor"] for n in networks if n["factor"] != "baseline"):
            of = [n for n in networks if n["factor"] == factor]
            for measure in _MEASURES:
                if factor in _AXES:
                    yield {"name": factor, "measure": measure, "per": _PER[factor], **_line(factor, measure, base, of)}
                else:
                    yield from _differences(factor, measure, base, of)

    def _autoencoder(self) -> dict[str, Any]:
        c = {k: t.numpy() for k, t in self.parts["autoencoder"].items()}
        way = 1 - c["towards"][:, 1] / np.maximum(c["towards"][:, 0], 1e-12)
        middles = {
            "code_noise": c["latent"][:, 0], "code_attacked": c["latent"][:, 1], "rebuilt_noise": c["rebuilt"][:, 0],
            "rebuilt_attacked": c["rebuilt"][:, 2], "nearer": way,
        }  # fmt: skip
        read = ("read_clean", "read_noise", "read_latent", "read_rebuilt")
        return {
            "error": float(c["error"][0]),
            **{name: float(np.sort(column)[(len(column) - 1) // 2]) for name, column in middles.items()},
            **{name: _share(c["said"][:, i] == self.y) for i, name in enumerate(read)},
        }

    # -------------------------------------------------------------- from the networks

    def distances(self) -> Problems:
        threat = parse_threat(str(self.config.threat))
        radius = float(threat.radius or 0)
        for name in self.names:
            made = self.parts[f"examples/{name}"]
            size = threat.measured(made["moved"].numpy().astype(np.float64), self.x.numpy().astype(np.float64))
            if (
                not (np.asarray(size) <= radius * (1 + _SLACK)).all()
                or made["moved"].min() < 0
                or made["moved"].max() > 1
            ):
                yield f"expected examples of {name} within {self.config.threat} and the box, found some outside"
            reach = (made["nearest"] - self.x).double().flatten(1).norm(dim=1).numpy()
            stored = made["distance"].numpy()
            finite = np.isfinite(stored) & (stored > 0)
            if not np.allclose(reach[finite], stored[finite], rtol=_EDGE, atol=_EDGE):
                yield f"expected the distance of the nearest examples of {name}, found another"
            if (stored[made["clean"].numpy() != self.y] != 0).any():
                yield f"expected a distance of 0 where {name} is wrong, found another"

    def _model(self, n: Trained) -> Model:
        words = n.level if n.factor == "network" else self.config.network
        made = {k.removeprefix("net/"): t for k, t in self.parts[f"trained/{_key(n)}"].items() if k != "rows"}
        if n.factor == "width":
            hidden = [len(made[k]) for k in sorted(made) if k.endswith("weight")][:-1]
            words = "fc:" + "-".join(map(str, hidden))
        return restored(parse_architecture(words), tuple(self.x.shape[1:]), self.config.class_count, made)

    def asked(self) -> Problems:
        models = {_key(n): self._model(n) for n in self.verdict.networks}
        for name, model in models.items():
            other = "baseline/1" if name == "baseline/0" else "baseline/0"
            own, others, said = (
                self.parts[f"{k}/{m}"] for k, m in (("examples", name), ("examples", other), ("answers", name))
            )
            found = torch.isfinite(own["distance"]) & (own["distance"] > 0)
            questions = [
                ("clean", model, self.x, own["clean"]), ("attacked", model, own["moved"], own["attacked"]),
                ("to_reference", models[other], own["moved"], said["to_reference"]),
                ("from_reference", model, others["moved"], said["from_reference"]),
            ]  # fmt: skip
            for what, asked, x, stored in questions:
                yield from _differ(asked, x, stored, f"{what} of {name}")
            if (
                found.any()
                and (_logits(model, own["nearest"][found]).argmax(1) == torch.from_numpy(self.y)[found]).any()
            ):
                yield f"expected {name} to be wrong on its nearest examples, found it right on some"

    def rebuilt(self) -> Problems:
        made = self.parts["autoencoder"]
        x = unpack_inputs(made["x"])
        w = {k.removeprefix("net/"): t for k, t in made.items() if k.startswith("net/")}
        again = _decoded(w, _coded(w, x)).view_as(x)
        if not torch.equal(x, self.x[: len(x)]) or not torch.allclose(again, made["shown"][:, 0], atol=_EDGE):
            yield "expected the autoencoder's reconstructions of the first judged rows, found others"
        whole = _decoded(w, _coded(w, self.x)).view_as(self.x)
        if not math.isclose(float((whole - self.x).double().square().mean()), float(made["error"]), rel_tol=_EDGE):
            yield f"expected the autoencoder's error, found {float(made['error']):g}"
        start = (whole - whole.roll(-1, 0)).flatten(1).norm(dim=1).double()
        if not torch.allclose(start, made["towards"][:, 0], rtol=_EDGE, atol=_EDGE):
            yield "expected the distances between reconstructions that attacks begin with, found others"
        if self.world.same.get("model"):
            yield from _differ(self.world.model, whole, made["said"][:, 0], "what the model reads in reconstructions")

    def rows(self) -> Problems:
        for i, x, y in zip(self.judged["id"].tolist(), self.x, self.y.tolist(), strict=True):
            found, label = self.world.data.rows(i, i + 1)
            if int(label[0]) != y or not torch.equal(found[0], x):
                yield f"expected row {i} as the data have it, found another"


def _key(n: Trained) -> str:
    level = n.factor if n.factor == "baseline" else f"{n.factor}-{n.level}".replace(":", "-")
    return f"{level}/{n.repeat}"


def _share(hits: Any) -> dict[str, Any]:
    return share(int(np.sum(hits)), len(hits))


def _logits(model: Model, x: Tensor) -> Tensor:
    with model.borrowed(), torch.no_grad():
        return torch.cat([model.logits(part.to(model.device)).cpu() for part in torch.split(x, 64)])


def _differ(model: Model, x: Tensor, stored: Tensor, what: str) -> Problems:
    """Predictions, but for rows where rounding decides between the two best scores."""
    logits = _logits(model, x)
    two = logits.topk(2, 1).values
    clear = two[:, 0] - two[:, 1] > _EDGE * logits.abs().amax(1)
    if bad := int(((logits.argmax(1) != stored) & clear).sum()):
        yield f"expected {what} as it is stored, found other answers in {bad} rows"


def _coded(w: Columns, x: Tensor) -> Tensor:
    hidden = (x.flatten(1) @ w["encoder.1.weight"].T + w["encoder.1.bias"]).clamp_min(0)
    return hidden @ w["encoder.3.weight"].T + w["encoder.3.bias"]


def _decoded(w: Columns, code: Tensor) -> Tensor:
    hidden = (code @ w["decoder.0.weight"].T + w["decoder.0.bias"]).clamp_min(0)
    pixels: Tensor = torch.special.expit(hidden @ w["decoder.2.weight"].T + w["decoder.2.bias"])
    return pixels


# ------------------------------------------------------------------ trends, by the formulas of the textbook


def _values(networks: Sequence[dict[str, Any]], measure: str) -> list[float | None]:
    return [n[measure]["share"] if isinstance(n[measure], dict) else n[measure] for n in networks]


def _line(factor: str, measure: str, base: list[dict[str, Any]], of: list[dict[str, Any]]) -> dict[str, Any]:
    zero, axis = _AXES[factor]
    at = [zero] * len(base) + [float(n["level"]) for n in of]
    pairs = [(axis(a), v) for a, v in zip(at, _values([*base, *of], measure), strict=True) if v is not None]
    if len(pairs) < 3 or len({a for a, _ in pairs}) < 2:
        return {"change": 0.0, "interval": _TOO_FEW}
    x, v = (np.array(c) for c in zip(*pairs, strict=True))
    design = np.stack([np.ones_like(x), x], 1)
    (_, slope), *_ = np.linalg.lstsq(design, v, rcond=None)
    left = v - design @ np.linalg.lstsq(design, v, rcond=None)[0]
    error = math.sqrt(float(left @ left) / (len(x) - 2) / float(((x - x.mean()) ** 2).sum()))
    reach = float(student.ppf(0.975, len(x) - 2)) * error
    return {"change": float(slope), "interval": [float(slope) - reach, float(slope) + reach]}


def _differences(
    factor: str, measure: str, base: list[dict[str, Any]], of: list[dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    for level in dict.fromkeys(n["level"] for n in of):
        ones = _values([n for n in of if n["level"] == level], measure)
        a, b = (np.array([v for v in some if v is not None]) for some in (ones, _values(base, measure)))
        name = f"{factor}-{level}".replace(":", "-")
        yield {"name": name, "measure": measure, "per": "than the baseline", **_welch(a, b)}


def _welch(a: Any, b: Any) -> dict[str, Any]:
    if min(len(a), len(b)) < 2:
        return {"change": 0.0, "interval": _TOO_FEW}
    change = float(a.mean() - b.mean())
    first, second = a.var(ddof=1) / len(a), b.var(ddof=1) / len(b)
    if first + second == 0:
        return {"change": change, "interval": [change, change]}
    freedom = (first + second) ** 2 / (first**2 / (len(a) - 1) + second**2 / (len(b) - 1))
    reach = float(student.ppf(0.975, freedom) * math.sqrt(first + second))
    return {"change": change, "interval": [change - reach, change + reach]}
