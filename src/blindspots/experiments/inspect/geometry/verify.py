"""A study of geometry, proved again: numbers recounted by other code, models asked again at a sample of points."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from scipy.ndimage import maximum_filter, minimum_filter
from scipy.spatial.distance import cdist
from scipy.stats import rankdata
from torch import Tensor

from blindspots.ball import Ball
from blindspots.data.splits import shuffled
from blindspots.experiments.inspect.geometry.config import GeometryConfig
from blindspots.experiments.inspect.geometry.recount import Recount, plain
from blindspots.experiments.inspect.geometry.verdict import (
    ANGLES,
    BOUNDARY,
    CROSSINGS,
    CURVATURE,
    FEATURES,
    MOVED,
    REACH,
    ROWS,
    SLICE,
    SUBSPACE,
    UNIVERSAL,
    GeometryVerdict,
)
from blindspots.models.model import Model
from blindspots.random import keys, normal, randint, uniform
from blindspots.rows import Around
from blindspots.runs.again import SLACK, Array, predictions
from blindspots.runs.columns import check_columns
from blindspots.runs.experiment import Check, Columns
from blindspots.runs.metric import numbers_of
from blindspots.runs.store import Parts
from blindspots.runs.verify import differing, note
from blindspots.runs.world import World
from blindspots.threats import parse_threat

Problems = Iterator[str]
_TABLES = {
    "rows": ROWS, "moved": MOVED, "universal": UNIVERSAL, "crossings": CROSSINGS, "slices": SLICE,
    "curvature": CURVATURE, "boundary": BOUNDARY, "subspace": SUBSPACE, "angles": ANGLES, "features": FEATURES,
}  # fmt: skip
_ASKED = 4  # rows that are looked at again
_POINTS = 64  # of a slice
_FIRST = 16  # cells along each side that a slice begins with
_CLOSE = 1e-3  # between numbers of gradients: of other sizes of calls, and other orders of sums
_TURNED = 1e-5  # of a gradient's length: what rounding turns it by


def checks(config: GeometryConfig, verdict: GeometryVerdict, parts: Parts, world: World) -> Iterator[Check]:
    """What `verify` looks at."""
    for name in parts:
        check_columns(parts[name], _TABLES[name.partition("/")[0]], name)
    proof = _Proof(config, parts, world)
    yield Check("all parts are there, with all their columns", list(proof.shapes()))
    yield Check("random orders came out again", list(proof.orders()))
    yield Check("relabelled rows have the labels that their rule gives", list(proof.labels()))
    yield Check("points of slices that nobody asked about lie among points of their class", list(proof.filled()))
    yield differing(
        "every number of the verdict follows from the parts", numbers_of(verdict), proof.recount.numbers()
    )  # fmt: skip
    if not all(world.same.get(name) for name in ("data", *config.models())):
        yield note("Models or data are not at hand, so no answers were asked again.")
        return
    yield Check("the models answer the rows as it is stored", list(proof.answers()))
    yield Check(f"{_ASKED} ways of every kind lead where they should, through the classes stored", list(proof.ways()))
    yield Check(f"the model says at {_POINTS} points of every slice what was drawn", list(proof.slices()))
    yield Check("gradients, boundaries and angles came out again on a few rows", list(proof.gradients()))


class _Proof:
    def __init__(self, config: GeometryConfig, parts: Parts, world: World) -> None:
        self.config, self.parts, self.world = config, parts, world
        self.rows = plain(parts["rows"])
        n = len(self.rows["at"])
        self.shown = shuffled(n, config.seed, 4).numpy()
        self.recount = Recount(parts, self.shown)
        self.few = torch.from_numpy(np.unique(np.linspace(0, n - 1, _ASKED).astype(int)))
        self.at = parts["rows"]["at"][self.few]

    @property
    def threat(self) -> Ball:
        threat = parse_threat(self.config.threat or "")
        assert isinstance(threat, Ball)
        return threat.within(*self.world.model.box)

    def _x(self, places: Any = None) -> Tensor:
        wanted = self.at if places is None else places
        return torch.cat([self.world.data.rows(int(i), int(i) + 1)[0] for i in wanted])

    def _ask(self, model: Model, x: Tensor) -> tuple[Tensor, Tensor]:
        assert self.config.chunk
        if not len(x):
            return torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.bool)
        return predictions(model, x, self.config.chunk, self.config.seed)

    def _differs(self, model: Model, x: Tensor, said: Any) -> bool:
        found, edge = self._ask(model, x)
        return not bool(((found == torch.as_tensor(said)) | edge).all())

    # -------------------------------------------------------------- from what is stored

    def shapes(self) -> Problems:
        total, n = self.parts.begun.manifest.world["data"]["rows"], len(self.rows["at"])
        at = self.rows["at"]
        if n != self.config.geometry_rows or (np.diff(at) <= 0).any() or at[0] < 0 or at[-1] >= total:
            yield f"expected {self.config.geometry_rows} different rows of {total}, found {n}"
        if sorted(shuffled(total, self.config.seed, 2)[:n].tolist()) != at.tolist():
            yield "expected the rows that the lot gives, found others"
        for name in self.parts:
            sizes = {len(v) for k, v in self.parts[name].items() if k in ("moved", "labels", "slope", "cosine", "half")}
            if not sizes <= {n}:
                yield f"expected {n} rows in {name}, found {sizes}"

    def orders(self) -> Problems:
        if "boundary" in self.parts:
            c = plain(self.parts["boundary"])
            yield from self._order(c["distance"][c["found"]], self.rows["odds"][c["found"]], c["null"], "boundary")
        if "angles" in self.parts:
            made = plain(self.parts["angles"])
            for source, target, name in (("model", "against", "null_forth"), ("against", "model", "null_back")):
                cosine, fooled = self.recount.transferred(source, target)
                yield from self._order(cosine, fooled.astype(float), made[name], "angles")

    def _order(self, a: Array, b: Array, null: Array, where: str) -> Problems:
        """Spearman's correlations of shuffled pairs; 0 where nothing varies."""
        if len(null) != self.config.permutations:
            yield f"expected {self.config.permutations} random orders in {where}, found {len(null)}"
        if not len(a):
            return
        key = keys(self.config.seed, torch.arange(len(null)), 31)
        orders = uniform(key, torch.zeros_like(key), 0, (len(a),)).numpy().argsort(1, kind="stable")
        first, second = (rankdata(v) - (len(a) + 1) / 2 for v in (a, b))
        size = np.sqrt((first**2).sum() * (second**2).sum())
        again = second[orders] @ first / size if size else np.zeros(len(null))
        if not np.allclose(again, null, atol=1e-9):
            yield f"expected other correlations in random orders in {where}"

    def labels(self) -> Problems:
        for name in (n for n in self.parts if n.startswith("features/")):
            c = plain(self.parts[name])
            key = keys(self.config.seed, torch.arange(len(c["y"])), 41)
            by_lot = randint(key, torch.zeros_like(key), 0, int(c["classes"][0]), ()).numpy()
            expected = (c["y"] + 1) % int(c["classes"][0]) if name.endswith("shifted") else by_lot
            if not np.array_equal(expected, c["target"]):
                yield f"expected other new labels in {name}"

    def filled(self) -> Problems:
        for name in (n for n in self.parts if n.startswith("slices/")):
            c = plain(self.parts[name])
            by_model = c["asked"] & (c["label"] >= 0)
            if int(by_model.sum()) != int(c["forwards"][0]):
                yield f"expected {int(by_model.sum())} forwards in {name}, found {int(c['forwards'][0])}"
            if not _surrounded(c["label"], c["asked"]):
                yield f"expected points in {name} to be of the class of those asked around them, found another"

    # -------------------------------------------------------------- asked again

    def answers(self) -> Problems:
        x, y = zip(*(self.world.data.rows(int(i), int(i) + 1) for i in self.rows["at"]), strict=True)
        if torch.cat(y).tolist() != self.rows["y"].tolist():
            yield "expected the labels of the data, found others"
        if self._differs(self.world.model, torch.cat(x), self.rows["prediction"]):
            yield "expected what the model says of the rows, found other classes"
        if self.config.against and self._differs(self.world.seen("against"), torch.cat(x), self.rows["second_opinion"]):
            yield "expected what the other model says of the rows, found other classes"
        scores = _scores(self.world.model, self._x())
        best, second = scores.topk(2, 1).values.T
        told = self.parts["rows"]
        odds = best - scores.topk(scores.shape[1], 1).values[:, 1:].logsumexp(1)
        for said, again in (("gap", best - second), ("odds", odds), ("confidence", odds.sigmoid())):
            if not np.allclose(told[said][self.few], again, atol=_CLOSE, rtol=_CLOSE):
                yield f"expected another {said} of the rows"
        for name in (n for n in self.parts if n.startswith("features/")):
            if self.parts[name]["truth"].tolist() != self._labels():
                yield f"expected the labels of all rows in {name}, found others"

    def _labels(self) -> list[int]:
        data = self.world.data
        return [int(y) for i in range(0, len(data), 256) for y in data.rows(i, min(i + 256, len(data)))[1]]

    def ways(self) -> Problems:
        for name in (n for n in self.parts if n.startswith("moved/")):
            yield from self._moved(name)
        for name in (n for n in self.parts if n.startswith("crossings/")):
            x, ends, at = self._ends(name.rpartition("/")[2])
            seen = self.parts[name]["labels"][at]
            steps = seen.shape[1]
            for k in (1, steps // 2, steps):
                there = ends if k == steps else x + (k / steps) * (ends - x)
                if self._differs(self.world.model, there, seen[:, k - 1]):
                    yield f"expected the classes on the ways of {name}, found others at step {k}"

    def _moved(self, name: str) -> Problems:
        made, x = self.parts[name], self._x(self.rows["at"])
        change = self.threat.measured(made["moved"].numpy(), x.numpy())
        radius, box = self.threat.radius or 0.0, self.threat.whole
        if (change > radius * (1 + SLACK) + 1e-6).any() or not bool(box.holds(made["moved"]).all()):
            yield f"expected all of {name} inside the threat, found one that is not"
        for column in ("model", "against"):
            if column in self.config.models() and self._differs(
                self.world.seen(column), made["moved"][self.few], made[column][self.few]
            ):
                yield f"expected what {column} says of {name}, found other classes"

    def _ends(self, kind: str) -> tuple[Tensor, Tensor, Tensor]:
        """Inputs, ends of their ways, and their places among the measured rows."""
        x, at = self._x(), self.few
        if kind in ("adversarial", "against"):
            part = "moved/model" if kind == "adversarial" else "moved/against"
            return x, self.parts[part]["moved"][at], at
        if kind == "rows":
            return self._rivals()
        if kind == "universal":
            made = self.parts["universal"]
            direction = made["directions"][made["half"][at]]
        else:
            key = keys(self.config.seed, self.at, 11)
            direction = self.threat.steepest(normal(key, torch.zeros_like(key), 0, x.shape[1:]))
        radius = torch.full((len(x),), self.threat.radius or 0.0)
        step = radius.view(-1, *[1] * (x.ndim - 1)) * direction
        return x, self.threat.project(x + step, Around(x, radius)), at

    def _rivals(self) -> tuple[Tensor, Tensor, Tensor]:
        every, labels = self._x(self.rows["at"]), self.rows["prediction"]
        flat = every.flatten(1).double().numpy()
        far = cdist(flat[self.few.numpy()], flat)
        far[labels[self.few.numpy()][:, None] == labels] = np.inf
        some = torch.from_numpy(np.isfinite(far).any(1))
        at, others = self.few[some], every[torch.from_numpy(far.argmin(1))][some]
        x = every[at]
        size = np.maximum(self.threat.measured(others.numpy(), x.numpy()), 1e-12)
        part = torch.from_numpy(np.minimum(1, (self.threat.radius or 0.0) / size)).float()
        return x, x + part.view(-1, *[1] * (x.ndim - 1)) * (others - x), at

    def slices(self) -> Problems:
        for name in (n for n in self.parts if n.startswith("slices/")):
            yield from self._slice(name, self.parts[name])

    def _slice(self, name: str, c: Columns) -> Problems:
        u, v = (c[k].double() for k in ("u", "v"))
        row = int(self.rows["at"][self.shown[int(name.split("/")[1])]])
        if not torch.equal(self.world.data.rows(row, row + 1)[0][0], c["x"]):
            yield f"expected the input of row {row} in {name}, found another"
        if abs(float((u * v).sum())) > _CLOSE * float(u.square().sum()) or abs(float(u.norm() / v.norm()) - 1) > _CLOSE:
            yield f"expected axes of {name} that are orthogonal and equally long, found others"
        side = len(c["label"])
        ticks = torch.linspace(-REACH, REACH, side)
        key = keys(self.config.seed, torch.arange(_POINTS), row)
        i, j = (
            torch.cat([randint(key, torch.zeros_like(key), s, side, ()), torch.tensor([side // 2])]) for s in (0, 1)
        )
        wide = [-1, *[1] * c["x"].ndim]
        points = c["x"] + ticks[i].view(wide) * c["u"] + ticks[j].view(wide) * c["v"]
        yield from self._measured(name, c, points, i, j)
        may = c["asked"][i, j] & (c["label"][i, j] >= 0)
        if self._differs(self.world.model, points[may], c["label"][i, j][may]):
            yield f"expected the classes of the model in {name}, found others"

    def _measured(self, name: str, c: Columns, points: Tensor, i: Tensor, j: Tensor) -> Problems:
        size = self.threat.measured(points.numpy(), c["x"][None].numpy()) / (self.threat.radius or 1.0)
        if not np.allclose(size, c["size"][i, j], atol=_CLOSE, rtol=_CLOSE):
            yield f"expected other sizes of the changes in {name}"
        beyond = (points - self.threat.whole.clip(points)).abs().flatten(1).amax(1)
        sure = (beyond == 0) | (beyond > 2e-6 * self.threat.span)
        if not torch.equal((beyond == 0)[sure], c["valid"][i, j][sure]):
            yield f"expected other points of {name} in the box"
        ends = c["ends"].double()
        if ends[0, 1].abs() > _CLOSE or not bool(ends.isfinite().all()):
            yield f"expected the first way of {name} along its first axis"

    # -------------------------------------------------------------- gradients

    def gradients(self) -> Problems:
        if not self.recount.slopes:
            return
        x = self._x()
        y, rival = (self.parts["rows"][k][self.few] for k in ("prediction", "rival"))
        own = _slope(self.world.model, x, y, rival)
        yield from self._curved(x, y, rival, own)
        yield from self._near(x)
        yield from self._counted(own)
        if "angles" in self.parts:
            others = _slope(self.world.seen("against"), x, y, rival)
            cosine = (own * others).sum(1) / (own.norm(dim=1) * others.norm(dim=1)).clamp_min(1e-30)
            if not np.allclose(self.parts["angles"]["cosine"][self.few], cosine, atol=_CLOSE):
                yield "expected other angles between the gradients of both models"

    def _curved(self, x: Tensor, y: Tensor, rival: Tensor, own: Tensor) -> Problems:
        c = self.parts["curvature"]
        if not np.allclose(c["slope"][self.few], own.norm(dim=1), rtol=_CLOSE):
            yield "expected other lengths of gradients"
        way = self.parts["moved/model"]["moved"][self.few] - x
        z = way / way.flatten(1).norm(dim=1).clamp_min(1e-30).view(-1, *[1] * (x.ndim - 1))
        size = own.norm(dim=1)
        for k, h in enumerate(c["lengths"].tolist()):
            turned = (_slope(self.world.model, x + h * z, y, rival) - own).norm(dim=1) / h
            said = c["adversarial"][self.few, k]
            known = said.isfinite()
            slack = _CLOSE * turned + _TURNED * size / h
            if bool(((said - turned).abs() > slack)[known].any()):
                yield f"expected gradients to turn otherwise at h = {h:g}"

    def _near(self, x: Tensor) -> Problems:
        c = self.parts["boundary"]
        if not np.allclose(c["normals"].double().norm(dim=1), 1, atol=1e-5):
            yield "expected unit vectors to the boundary"
        found = c["found"][self.few]
        place = (c["found"].cumsum(0) - 1)[self.few][found]
        far = c["distance"][self.few][found].float()
        # x + d n rounds, and the point lies on the boundary: a little farther is surely beyond it
        there = x[found] + (1.001 * far).view(-1, *[1] * (x.ndim - 1)) * c["normals"][place].view(-1, *x.shape[1:])
        said, edge = self._ask(self.world.model, there)
        if bool(((said == self.parts["rows"]["prediction"][self.few][found]) & ~edge).any()):
            yield "expected another class beyond the nearest boundary, found the row's own"

    def _counted(self, own: Tensor) -> Problems:
        c = self.parts["subspace"]
        gap = self.parts["rows"]["gap"].double().clamp_min(1e-30)
        promised = (c["length"] * c["slope"] / gap) ** 2
        bounded = promised.clamp_max(float(own.shape[1])).floor().long()
        if not torch.equal(bounded, c["predicted"]):
            yield "expected other numbers of orthogonal directions"
        if bool((c["tried"] != bounded.clamp_max(self.config.orthogonal)).any() or (c["crossed"] > c["tried"]).any()):
            yield "expected as many directions to be tried as are promised, found others"


def _scores(model: Model, x: Tensor) -> Tensor:
    with model.borrowed(), torch.no_grad():
        return model.logits(x.to(model.device)).double().cpu()


def _slope(model: Model, x: Tensor, y: Tensor, other: Tensor) -> Tensor:
    """The gradient (B, D) of z_y - z_other."""
    with model.borrowed(), torch.enable_grad():
        at = x.to(model.device).detach().requires_grad_()
        scores = model.logits(at)
        pairs = torch.arange(len(y))
        (slope,) = torch.autograd.grad((scores[pairs, y] - scores[pairs, other]).sum(), at)
    return slope.double().cpu().flatten(1)


def _surrounded(label: Array, asked: Array) -> bool:
    """Whether every point that nobody asked about lies in a cell whose corners were asked and agree, and where points
    of another class begin, all were asked.
    """
    sure, size, side = asked.copy(), 2, len(label)
    while size <= max((side - 1) // _FIRST, 2):
        for i, j in np.argwhere(asked[: side - 1 : size, : side - 1 : size]) * size:
            here, ends = (slice(i, i + size + 1), slice(j, j + size + 1)), (slice(None, None, size),) * 2
            if asked[here][ends].all() and (label[here][ends] == label[i, j]).all():
                sure[here] |= label[here] == label[i, j]
        size *= 2
    border = maximum_filter(label, 3, mode="nearest") != minimum_filter(label, 3, mode="nearest")
    return bool(sure.all() and asked[border].all())
