"""Proves a universal run again: the stored perturbations are put on the rows anew, no search has a say."""

import json
from collections.abc import Iterable, Iterator

import numpy as np
import torch
from safetensors.torch import load
from torch import Tensor

from blindspots.ball import parse_ball
from blindspots.data.splits import Rows, divide
from blindspots.errors import InputError
from blindspots.experiments.universal import verdict as tables
from blindspots.experiments.universal.config import UniversalConfig
from blindspots.experiments.universal.verdict import UniversalVerdict
from blindspots.experiments.universal.verify_numbers import Numbers, sizes
from blindspots.models.model import Model
from blindspots.random import keys, normal, sign
from blindspots.runs.again import EDGE, SLACK
from blindspots.runs.columns import check_columns
from blindspots.runs.experiment import Check, Columns
from blindspots.runs.metric import numbers_of
from blindspots.runs.store import Parts
from blindspots.runs.verify import differing, note
from blindspots.runs.world import World

_TABLES = {
    "preflight": {"findings": "(n,) uint8 JSON"}, "search": tables.FOUND, "fit": tables.ROWS, "heldout": tables.ROWS,
    "shown": tables.SHOWN, "controls": tables.CONTROLS, "norms": tables.NORMS, "images": tables.AGAIN,
    "several": tables.AGAIN, "models": tables.OTHER, "cross": tables.MADE, "crossed": tables.CROSSED,
    "geometry": tables.GEOMETRY,
}  # fmt: skip
_GIVEN = "That the searches find these perturbations was not shown: what they found was taken, and tried again."
_NORMALS = "The normals of the geometry, its span and the norm of its random vectors were taken as they are stored."
Problems = Iterator[str]


def checks(config: UniversalConfig, verdict: UniversalVerdict, parts: Parts, world: World) -> Iterator[Check]:
    """What `verify` looks at. Rates, intervals and spectra are those of scipy and scikit-learn."""
    for name in parts:
        check_columns(parts[name], _TABLES[name.partition("/")[0]], name)
    proof, records = _Proof(config, parts, world), [parts.begun.manifest.world[n] for n in ("model", *config.others)]
    yield Check("all perturbations are of the threat's size, and the file is the one that was found", [
        *proof.sizes(), *proof.file(),
    ])  # fmt: skip
    numbers = Numbers(config, parts, [r["name"] for r in records], [r["digest"] for r in records])
    yield differing("every number of the verdict follows from the parts", numbers_of(verdict), numbers.all(verdict))
    yield note(_GIVEN)
    if config.geometry:
        yield note(_NORMALS)
    if not all(world.same.get(name) for name in config.models()) or not all(world.same.values()):
        return
    if any(name not in world.same for name in config.datasets()):
        yield note("The data are not at hand, so no perturbation was tried again.")
        return
    yield Check("the rows are those that were drawn by lot, and no input is in both parts", list(proof.rows()))
    yield Check("random changes came out again", list(proof.random()))
    for what, problems in proof.looks():
        world.say(f"asking about {what}")
        yield Check(f"{what} came out again", list(problems))


class _Proof:
    def __init__(self, config: UniversalConfig, parts: Parts, world: World) -> None:
        self.config, self.parts, self.world = config, parts, world
        self.threat = parse_ball(config.threat)
        self.radius = float(self.threat.radius or 0)
        self.bounds: tuple[float, float] = tuple(parts.begun.manifest.world["model"]["bounds"])
        self.v, self.controls = parts["search"]["v"], parts["controls"]

    # -------------------------------------------------------------- from the parts

    def sizes(self) -> Problems:
        found = {name: parts["v"] for name, parts in self.parts.items() if "v" in parts}
        for name, v in found.items():
            largest = float(sizes(self.config.threat, v.numpy()).max())
            if not largest <= self.radius * (1 + SLACK):
                yield f"expected perturbations of at most {self.radius:g} in {name}, found one of {largest:g}"
        least = float(sizes(self.config.threat, self.controls["v"].numpy()).min())
        if least < self.radius * (1 - SLACK):
            yield f"expected controls of the norm {self.radius:g}, found one of {least:g}"

    def file(self) -> Problems:
        content = self.parts.files.get(f"{self.parts.at}perturbation.safetensors", b"")
        if not content:
            return  # the frame says that it is gone
        said = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]
        c, (lo, hi) = self.config, self.bounds
        wanted = (str(c.per_class), "" if c.target is None else str(c.target), repr(float(lo)), repr(float(hi)))
        if tuple(said[name] for name in ("per_class", "target", "lo", "hi")) != wanted:
            yield f"expected a perturbation.safetensors for {wanted}, found {said}"
        if parse_ball(said["threat"]).radius != self.threat.radius or not torch.equal(load(content)["v"], self.v):
            yield "expected in perturbation.safetensors what the search found, found another perturbation"

    # -------------------------------------------------------------- from the data

    def rows(self) -> Problems:
        held = self.world.rows.get("heldout", self.config.heldout)
        assert not isinstance(held, str)
        division = divide(self.world.data, self.config.fit or 0, held, self.config.seed)
        self.fit, self.held = division.fit, division.heldout
        for name, rows in (("fit", self.fit), ("heldout", self.held)):
            stored = self.parts.joined(name)
            if not torch.equal(stored["row"], rows.at):
                raise InputError(f"expected the {len(rows):,} {name} rows that the seed draws, found other rows")
            if not torch.equal(stored["y"], rows.take(torch.arange(len(rows)))[1]):
                yield f"expected the labels of the data in {name}, found others"
        if set(self.fit.digests()) & set(self.held.digests()):
            yield "expected held-out inputs that are no fit rows, found some that are"

    def random(self) -> Problems:
        """Signs and directions, drawn and scaled by hand."""
        key, shape = keys(self.config.seed, torch.arange(1)), tuple(self.v.shape[1:])
        drawn = (sign(key, torch.zeros_like(key), 21, shape), normal(key, torch.zeros_like(key), 22, shape))
        stored = dict(zip(self.controls["kind"].tolist(), self.controls["v"], strict=True))
        for kind, draw in enumerate(drawn):
            exact = draw[0].double() * self.radius / float(sizes(self.config.threat, draw.numpy())[0])
            if kind not in stored or not np.allclose(stored[kind], exact, rtol=1e-4, atol=1e-6 * self.radius):
                yield f"expected the {tables.CONTROLS_NAMED[kind]} that the seed draws, found another change"

    # -------------------------------------------------------------- from the model

    def looks(self) -> Iterator[tuple[str, Problems]]:
        """What was said of rows, and what speaks against it."""
        yield "what the perturbation does to fit rows", self._rows("fit", self.fit)
        yield "what it does to held-out rows", self._rows("heldout", self.held)
        yield "the rows that are shown", self._shown()
        yield "what controls do", self._each("controls", self.controls["v"], self.controls["moved"])
        if "norms" in self.parts:
            yield "what it does when it is scaled", self._norms()
        for name in [n for n in self.parts if n.startswith(("images/", "several/"))]:
            yield f"what {name} does", self._moved(name, self.world.model, self.parts[name]["v"], self.parts[name])
        for name in [n for n in self.parts if n.startswith(("models/", "crossed/"))]:
            yield f"what {name} says", self._other(name)
        if "geometry" in self.parts:
            yield "what random vectors do", self._geometry()

    @property
    def _clean(self) -> Tensor:
        """(n,) of the held-out rows, which decides the perturbation of each where there is one per class."""
        return self.parts.joined("heldout")["clean"]

    def _rows(self, name: str, rows: Rows) -> Problems:
        c, model = self.parts.joined(name), self.world.model
        yield from self._against(name, model, rows, None, c["clean"], c["clean"])
        yield from self._against(f"{name} with it", model, rows, self.v, c["clean"], c["moved"])
        yield from self._against(f"{name} unclipped", model, rows, self.v, c["clean"], c["unclipped"], clip=False)

    def _moved(self, name: str, model: Model, v: Tensor, stored: Columns) -> Problems:
        yield from self._against(name, model, self.held, v, self._clean, stored["moved"])

    def _each(self, name: str, vs: Iterable[Tensor], stored: Tensor) -> Problems:
        for v, moved in zip(vs, stored, strict=True):
            yield from self._against(name, self.world.model, self.held, v[None], self._clean, moved)

    def _norms(self) -> Problems:
        c = self.parts["norms"]
        for v, column in ((self.v, "moved"), (self._random, "random")):
            size = float(sizes(self.config.threat, v.numpy())[0]) or 1.0
            yield from self._each(f"norms, {column}", [(v * (r / size))[0] for r in c["radius"].tolist()], c[column])

    @property
    def _random(self) -> Tensor:
        return self.controls["v"][self.controls["kind"] == 0]

    def _other(self, name: str) -> Problems:
        kind, _, number = name.partition("/")
        networks = ["model", *self.config.others]
        model, c = self.world.seen(networks[int(number)]), self.parts[name]
        yield from self._against(name, model, self.held, None, c["clean"], c["clean"])
        if kind == "models":
            pairs = [(self.v, c["moved"]), (self._random, c["random"])]
        else:
            pairs = list(zip([self.v, *(made["v"] for made in self.parts.below("cross"))], c["moved"], strict=True))
        for v, moved in pairs:
            yield from self._against(name, model, self.held, v, c["clean"], moved)

    def _shown(self) -> Problems:
        c, held = self.parts["shown"], self.parts.joined("heldout")
        at = {row: i for i, row in enumerate(held["row"].tolist())}
        places = torch.tensor([at[row] for row in c["row"].tolist()])
        x, y = self.held.take(places)
        group = held["clean"][places] if len(self.v) > 1 else torch.zeros_like(places)
        moved = (x + self.v[group]).clamp(*self.bounds)
        same = torch.equal(x, c["x"]) and torch.equal(y, c["y"]) and torch.allclose(moved, c["moved"], atol=1e-6)
        if not same or not torch.equal(c["prediction"], held["clean"][places]):
            yield "expected held-out rows as they are, found others in shown"
        for name, inputs, prediction in (("", x, "prediction"), ("moved_", moved, "moved_prediction")):
            likely = _logits(self.world.model, inputs).softmax(1)
            off = (likely.gather(1, c[prediction][:, None])[:, 0] - c[f"{name}confidence"]).abs()
            if bool((off > 1e-4).any()):
                yield f"expected other probabilities for {int((off > 1e-4).sum())} shown rows"

    def _geometry(self) -> Problems:
        """The draws of the whole space, which ask nothing of the boundary."""
        c, seed = self.parts["geometry"], self.config.seed
        places = torch.arange(len(c["clean"]))
        if not torch.equal(c["clean"], self._clean[: len(places)]):
            yield "expected the first held-out rows in geometry, found others"
        key = keys(seed, places, 3, 1)
        draw = normal(key, torch.zeros_like(key), 0, (int(c["dimensions"]),))
        change = (draw * (float(c["norm"]) / draw.norm(dim=1, keepdim=True))).view(-1, *self.v.shape[1:])
        x = self.held.take(places)[0]
        logits = self._answers(self.world.model, (x + change).clamp(*self.bounds))
        yield from _other_classes("geometry", logits, c["random"])

    def _against(
        self, name: str, model: Model, rows: Rows, v: Tensor | None, clean: Tensor, stored: Tensor, clip: bool = True
    ) -> Problems:
        """Predictions of rows with `v` (groups, *shape), or of the rows as they are, against those that were stored."""
        logits = []
        for places in rows.blocks():
            x = rows.take(places)[0]
            if v is not None:
                x = x + v[clean[places] if len(v) > 1 else torch.zeros_like(places)]
                x = x.clamp(*self.bounds) if clip else x
            logits.append(self._answers(model, x))
        yield from _other_classes(name, torch.cat(logits), stored)

    def _answers(self, model: Model, x: Tensor) -> Tensor:
        return torch.cat([_logits(model, part) for part in torch.split(x, self.config.chunk or 1)])


def _logits(model: Model, x: Tensor) -> Tensor:
    with model.borrowed(), torch.no_grad():
        return model.logits(x.to(model.device)).float().cpu()


def _other_classes(name: str, logits: Tensor, stored: Tensor) -> Problems:
    """One sentence on rows with another prediction, but for those where rounding decides."""
    two = logits.topk(2, 1)
    edge = two.values[:, 0] - two.values[:, 1] <= EDGE * logits.abs().amax(1)
    bad = (two.indices[:, 0] != stored) & ~edge
    if bool(bad.any()):
        first = int(bad.nonzero()[0, 0])
        yield (
            f"expected class {int(two.indices[first, 0])} in row {first} of {name}, found {int(stored[first])}; "
            f"{int(bad.sum())} of {len(stored)} rows differ"
        )
