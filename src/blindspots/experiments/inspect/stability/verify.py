"""A study of stability, proved again: norms of the modules themselves, slopes and growth asked of the model."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from scipy.stats import binom
from torch import Tensor, nn

from blindspots.experiments.inspect.stability.config import StabilityConfig
from blindspots.experiments.inspect.stability.verdict import (
    AROUND,
    GRAPH,
    HIDDEN,
    INPUT,
    MOVED,
    NORMS,
    WEIGHTED,
    WHOLE,
    StabilityVerdict,
)
from blindspots.experiments.inspect.stability.verify_bounds import Bounds, network, seen_by
from blindspots.experiments.inspect.stability.verify_bounds import norms as norms_of_modules
from blindspots.models.model import Model
from blindspots.packing import unpack_inputs, unpacked_text
from blindspots.random import keys, normal, uniform
from blindspots.runs.again import SLACK, UNIT_ROUNDOFF, norms, predictions, share
from blindspots.runs.columns import check_columns
from blindspots.runs.experiment import Check, Columns
from blindspots.runs.metric import numbers_of
from blindspots.runs.store import Parts
from blindspots.runs.verify import differing, note
from blindspots.runs.world import World

Problems = Iterator[str]
Array = np.ndarray[Any, Any]
_ASKED = 2  # rows whose slopes and perturbations are asked again
_SCORES = 128  # more scores have no Jacobian written out
_CLOSE, _FLOAT = 1e-6, 1e-3  # between float64 and float64, and between float64 and float32
_NUDGE = 1e-6  # by which a point is moved to see whether it lies on an edge between slopes


def checks(config: StabilityConfig, verdict: StabilityVerdict, parts: Parts, world: World) -> Iterator[Check]:
    """What `verify` looks at."""
    proof = _Proof(config, parts)
    yield Check("all parts are there, with all their columns", list(proof.shapes()))
    yield differing("every number of the verdict follows from the parts", numbers_of(verdict), proof.numbers())
    yield Check("every bound is above what it bounds, and points lie where they may", list(proof.order()))
    if not (world.same.get("model") and world.same.get("data")):
        yield note("Model or data are not at hand, so norms and slopes were not asked again.")
        return
    yield Check("the rows are those of the data", list(proof.rows(world)))
    yield Check(
        "norms of the modules lie between their bounds", list(norms_of_modules(proof.bounds, world.model, proof.row))
    )
    yield Check("bounds of the network follow from its weights", list(network(proof.bounds, world.model)))
    yield note(
        "Bounds in balls around rows were not computed again: they were compared with the steepest points found there."
    )
    yield Check("the model is as steep as it is stored, and its predictions are those", list(_slopes(proof, world)))
    yield Check(f"perturbations of {_ASKED} rows grow as it is stored", list(_growth(proof, world)))


class _Proof:
    def __init__(self, config: StabilityConfig, parts: Parts) -> None:
        self.config, self.parts = config, parts
        self.around, self.moved = parts.joined("around"), parts.joined("moved")
        self.bounds, graph = Bounds(parts), parts["graph"]
        self.followed, self.followed_ops = (unpacked_text(graph[k]).split("\n") for k in ("followed", "followed_ops"))

    @property
    def row(self) -> Tensor:
        """One input, (1, ...)."""
        return unpack_inputs(self.around["x"])[:1]

    def shapes(self) -> Problems:
        tables = {"graph": GRAPH, "norms": NORMS, "whole": WHOLE, "around": AROUND, "moved": MOVED, "hidden": HIDDEN}
        for name in self.parts:
            check_columns(self.parts[name], tables[name.partition("/")[0]], name)
        rows = self.parts.begun.manifest.world["data"]["rows"]
        key = keys(self.config.seed, torch.arange(rows), 1)
        order = uniform(key, torch.zeros_like(key), 0, (1,))[:, 0].argsort(stable=True)
        wanted = {"around": (self.around, self.config.bounded), "moved": (self.moved, self.config.perturbed)}
        hidden = {f"hidden/{k}": (self.parts.joined(f"hidden/{k}"), self.config.perturbed) for k in self._hidden}
        for name, (made, count) in (wanted | hidden).items():
            if made["id"].tolist() != order[:count].tolist():
                yield f"expected {min(count, rows)} rows by lot in {name}, found others"
        if len(self.bounds.names) != len(self.bounds.upper) + 1:
            yield f"expected norms of {len(self.bounds.names) - 1} operations, found {len(self.bounds.upper)}"

    @property
    def _hidden(self) -> range:
        return range(len(self.config.begun))

    # -------------------------------------------------------------- the verdict

    def numbers(self) -> dict[str, Any]:
        a, m = self.around, self.moved
        changed = int((m["clean"].numpy() != m["attacked"].numpy()).sum())
        starts = [self._start(INPUT, "moved")]
        starts += [self._start(name, f"hidden/{k}") for k, name in enumerate(self.config.begun)]
        return {
            "bounded": len(a["id"]), "attacked": share(changed, len(m["id"])), "layers": list(self._layers()),
            "product": _finite(self.bounds.products[-1]), "eclipse_fast": _finite(self.bounds.eclipse),
            "local": _finite(float(a["local"].max())), "found": float(a["found"].max()),
            "found_in_box": float(a["found_in_box"].max()), "gradient": float(a["gradient"].numpy().mean()),
            "proved": _middle(self._proved()), "starts": starts, "lower_half": _middle(self._halves()),
        }  # fmt: skip

    def _layers(self) -> Iterator[dict[str, Any]]:
        for i, name in enumerate(self.bounds.names[1:]):
            upper = [_finite(float(g)) for g in self.bounds.upper[i] if not math.isnan(g)]
            yield {
                "name": name, "op": self.bounds.ops[i + 1], "lower": float(self.bounds.lower[i]), "upper": upper,
                "product": _finite(self.bounds.products[i + 1]), "note": self.bounds.notes[i],
            }  # fmt: skip

    def _proved(self) -> Array:
        margins = self.parts["whole"]["margins"].numpy()
        radii = []
        for z in self.around["scores"].numpy():
            top = int(z.argmax())
            others = np.arange(len(z)) != top
            with np.errstate(all="ignore"):
                radii.append(np.min((z[top] - z[others]) / margins[top, others]))
        return np.array(radii)

    def _start(self, at: str, part: str) -> dict[str, Any]:
        made = self.parts.joined(part)
        steps = next(iter(self.parts.below(part)))["steps"].tolist()
        told = []
        for k, i in enumerate(steps):
            adversarial, noise = made["adversarial"][:, k].numpy(), made["noise"][:, k].numpy()
            with np.errstate(all="ignore"):
                middles = {"adversarial": adversarial, "noise": noise, "ratio": adversarial / noise}
            told.append({"layer": self.followed[i], "op": self.followed_ops[i],
                         **{name: _middle(v) for name, v in middles.items()}})  # fmt: skip
        return {"at": at, "layers": told}

    def _halves(self) -> Array:
        steps = next(iter(self.parts.below("moved")))["steps"].tolist()
        weighted = [k for k, i in enumerate(steps) if self.followed_ops[i] in WEIGHTED]
        half = len(weighted) // 2
        if half == 0:
            return np.zeros(0)
        with np.errstate(all="ignore"):
            ratio = np.log2(self.moved["adversarial"].numpy() / self.moved["noise"].numpy())
        below, whole = ratio[:, weighted[half - 1]], ratio[:, weighted[-1]]
        return np.asarray(below / half - (whole - below) / (len(weighted) - half))

    # -------------------------------------------------------------- what has to hold

    def order(self) -> Problems:
        yield from self.bounds.order()
        chain = [self.around[k].numpy() for k in ("gradient", "found", "local")]
        chain.append(np.full_like(chain[0], self.bounds.best))
        for (low, high), said in zip(pairwise(chain), ("found", "local", "global"), strict=True):
            if not (low <= high * (1 + _CLOSE)).all():
                yield f"expected the {said} number above the one below it in every row, found it lower"
        if not (self.around["found"] <= self.around["found_in_box"]).all():
            yield "expected the steepest point of the box above that of the ball, found it lower"
        yield from self._inside()

    def _inside(self) -> Problems:
        norm, _, radius = str(self.config.threat).partition(":")
        low, high = self.parts.begun.manifest.world["model"]["bounds"]
        reach = _number(radius)
        for made, point in ((self.around, "point"), (self.moved, "moved")):
            x, moved = unpack_inputs(made["x"]).double().numpy(), made[point].double().numpy()
            edge = max(abs(low), abs(high)) * UNIT_ROUNDOFF * (1 if norm == "linf" else math.sqrt(x[0].size))
            if not (norms(norm, moved - x) <= reach * (1 + SLACK) + 2 * edge).all():
                yield f"expected {point} within {self.config.threat} of its row, found some outside"
        for made, point in ((self.around, "point"), (self.around, "point_in_box"), (self.moved, "moved")):
            if float(made[point].min()) < low - UNIT_ROUNDOFF or float(made[point].max()) > high + UNIT_ROUNDOFF * high:
                yield f"expected {point} between {low:g} and {high:g}, found some outside"

    def rows(self, world: World) -> Problems:
        for made, name in ((self.around, "around"), (self.moved, "moved")):
            for i, x in zip(made["id"].tolist(), unpack_inputs(made["x"]), strict=True):
                if not torch.equal(world.data.rows(i, i + 1)[0][0], x):
                    yield f"expected row {i} in {name} as the data have it, found another"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _number(words: str) -> float:
    above, _, below = words.partition("/")
    return float(above) / float(below or 1)


def _middle(values: Array) -> dict[str, Any]:
    kept = np.sort(values[np.isfinite(values)])
    n = len(kept)
    k = max((k for k in range(n // 2 + 1) if 2 * binom.cdf(k - 1, n, 0.5) <= 0.05), default=0)
    return {
        "median": float(np.median(kept)) if n else None, "rows": n,
        "interval": [float(kept[k - 1]), float(kept[n - k])] if k else None,
    }  # fmt: skip


# ------------------------------------------------------------------ asked of the model


def _slopes(proof: _Proof, world: World) -> Problems:
    a, model = proof.around, world.model
    steepest = {int(a[k].argmax()) for k in ("found", "found_in_box")}
    for row in sorted({*steepest, *range(min(_ASKED, len(a["id"])))}):
        points = {
            "gradient": unpack_inputs(a["x"])[row],
            "found": a["point"][row],
            "found_in_box": a["point_in_box"][row],
        }
        for what, point in points.items():
            slope, (low, high) = float(a[what][row]), _steepness(model, point)
            if not low * (1 - _FLOAT) <= slope <= high * (1 + _FLOAT):
                yield f"expected {what} of row {int(a['id'][row])} to be {low:.5g}, found {slope:.5g}"
    with model.borrowed(), torch.no_grad():
        scores = model.logits(unpack_inputs(a["x"]).to(model.device)).cpu().double()
    if not torch.allclose(scores, a["scores"], rtol=_FLOAT, atol=_FLOAT * float(scores.abs().amax())):
        yield "expected the scores of the rows in around as the model has them now, found others"
    for what, x, stored in (("clean", unpack_inputs(proof.moved["x"]), proof.moved["clean"]),
                            ("attacked", proof.moved["moved"], proof.moved["attacked"])):  # fmt: skip
        said, edge = predictions(model, x, 32, proof.config.seed)
        if bad := int(((said != stored) & ~edge).sum()):
            yield f"expected the predictions of {what} inputs, found others in {bad} rows"


def _steepness(model: Model, x: Tensor) -> tuple[float, float]:
    """Of the model at a point and beside it, which differ on an edge between linear pieces: the least and the most."""
    key = keys(0, torch.arange(3))
    beside = x + _NUDGE * normal(key, torch.zeros_like(key), 5, x.shape) * torch.tensor([0.0, 1, 1]).view(
        -1, *[1] * x.ndim
    )
    sizes = [_jacobian_norm(model, one) for one in beside.float()]
    return min(sizes), max(sizes)


def _jacobian_norm(model: Model, x: Tensor) -> float:
    at = x[None].to(model.device).requires_grad_()
    with model.borrowed(), torch.enable_grad():
        z = model.logits(at)[0]
        if len(z) <= _SCORES:
            rows = [torch.autograd.grad(s, at, retain_graph=True)[0].flatten().cpu().double().numpy() for s in z]
            return float(np.linalg.norm(np.stack(rows), 2))
        u = torch.nn.functional.one_hot(z.argmax(), len(z)).float()
        return max(_reached(z, at, u))


def _reached(z: Tensor, at: Tensor, u: Tensor) -> Iterator[float]:
    """||J^T u|| for directions u of the scores, from power iteration."""
    for _ in range(6):
        u.requires_grad_()
        (back,) = torch.autograd.grad(z, at, u, create_graph=True)
        yield float(back.detach().norm())
        (forth,) = torch.autograd.grad(back, u, back.detach(), retain_graph=True)
        u = torch.nn.functional.normalize(forth, dim=0).detach()


def _growth(proof: _Proof, world: World) -> Problems:
    m, config = proof.moved, proof.config
    x, moved, at = unpack_inputs(m["x"])[:_ASKED], m["moved"][:_ASKED], m["id"][:_ASKED]
    change = moved.double() - x.double()
    noise = _noise(keys(config.seed, at, 3), change)
    names = _once(proof, world)
    clean, *others = (_outputs(world.model, y.float(), names) for y in (x, moved, x + noise))
    yield from _differing(proof, "moved", clean, others, m)
    for k, name in enumerate(config.begun):
        if name in names:
            made = next(proof.parts.below(f"hidden/{k}"))
            change = made["changes"].double()[:_ASKED]
            clean = _outputs(world.model, x, names)
            pushed = [change, _noise(keys(config.seed, at, 4), change)]
            others = [_outputs(world.model, x, names, {name: p.float()}) for p in pushed]
            yield from _differing(proof, f"hidden/{k}", clean, others, made)


def _noise(key: Tensor, change: Tensor) -> Tensor:
    draw: Tensor = normal(key, torch.zeros_like(key), 0, change.shape[1:]).double()
    sizes: Tensor = change.reshape(len(draw), -1).norm(dim=1) / draw.reshape(len(draw), -1).norm(dim=1)
    return draw * sizes.view(-1, *[1] * (change.ndim - 1))


def _once(proof: _Proof, world: World) -> list[str]:
    """Operations that are a module of torch, which runs once, and nothing else."""
    modules = dict(world.model.net.named_modules())
    found = [
        n
        for n in proof.followed
        if n in modules
        and type(modules[n]).__module__.startswith("torch.nn.modules")
        and not any(other.startswith(f"{n}.") for other in proof.followed)
    ]
    seen = seen_by(world.model, proof.row, found)
    return [n for n in found if len(seen[n]) == 1]


def _outputs(
    model: Model, x: Tensor, names: Sequence[str], pushed: Mapping[str, Tensor] | None = None
) -> dict[str, Array]:
    """What modules return for x, some of which are pushed, and the input itself."""
    modules = dict(model.net.named_modules())

    def push(by: Tensor) -> Callable[..., Tensor]:
        def hook(module: nn.Module, args: Any, out: Tensor) -> Tensor:
            return out + by.to(out.device, out.dtype)

        return hook

    with ExitStack() as stack:
        for name, by in (pushed or {}).items():
            stack.callback(modules[name].register_forward_hook(push(by)).remove)
        seen = seen_by(model, x, names)
    return {INPUT: x.double().numpy(), **{name: seen[name][0][1].cpu().double().numpy() for name in names}}


def _differing(
    proof: _Proof, part: str, clean: Mapping[str, Array], others: Sequence[Mapping[str, Array]], made: Columns
) -> Problems:
    for k, i in enumerate(next(proof.parts.below(part))["steps"].tolist()):
        if (name := proof.followed[i]) not in clean:
            continue
        for key, other in zip(("adversarial", "noise"), others, strict=True):
            length = norms("l2", clean[name])
            again = norms("l2", other[name] - clean[name]) / np.where(length > 0, length, np.nan)
            stored = made[key][: len(again), k].numpy()
            if not np.allclose(again, stored, rtol=0.01, atol=1e-5, equal_nan=True):
                yield f"expected {key} perturbations after {name} in {part} as they are stored, found others"
