"""A study of pictures, proved again: each is shown to the models anew, by hooks and transformations of its own."""

from collections.abc import Iterator
from io import BytesIO
from typing import Any
from zlib import crc32

import numpy as np
import torch
from PIL import Image
from scipy.ndimage import convolve
from scipy.special import softmax
from scipy.stats import pearsonr, percentileofscore
from torch import Tensor

from blindspots.experiments.inspect.pictures.config import PicturesConfig
from blindspots.experiments.inspect.pictures.verdict import (
    ANSWERS,
    BESIDE,
    FOOLING,
    JUDGED,
    MATCHED,
    PICTURES,
    PicturesVerdict,
)
from blindspots.experiments.inspect.verify_layers import answered, by_unit
from blindspots.models.model import Model
from blindspots.packing import unpacked_text
from blindspots.random import keys, normal
from blindspots.records import clopper_pearson
from blindspots.runs.columns import check_columns
from blindspots.runs.experiment import Check
from blindspots.runs.metric import numbers_of
from blindspots.runs.store import Parts
from blindspots.runs.verify import differing, note
from blindspots.runs.world import World

Problems = Iterator[str]
Array = np.ndarray[Any, Any]
_TABLES = {
    "answers": ANSWERS, "pictures": PICTURES, "matched": MATCHED, "judged": JUDGED, "beside": BESIDE,
    "fooling": FOOLING,
}  # fmt: skip
_CHUNK = 64
_ASKED = 4  # rows of the data that are asked again
_CLOSE = 1e-3  # of the spread of the data: other numbers of rows per call, and sums in another order
_BINOMIAL = np.array([[1, 2, 1], [2, 4, 2], [1, 2, 1]]) / 16


def checks(config: PicturesConfig, verdict: PicturesVerdict, parts: Parts, world: World) -> Iterator[Check]:
    """What `verify` looks at."""
    proof = _Proof(config, parts)
    yield Check("all parts are there, with all their columns", list(proof.shapes()))
    yield Check("the rows beside the pictures are those that excite the same thing most", list(proof.tops()))
    yield Check("correlations with units of the independent network follow from what both answered",
                list(proof.correlations()))  # fmt: skip
    yield Check("the PNG files hold the pictures, level by level", list(proof.files()))
    yield differing("every number of the verdict follows from the parts", numbers_of(verdict), proof.numbers())
    if not (world.same.get("data") and all(world.same.get(name) for name in config.models())):
        yield note("Models or data are not at hand, so no picture was shown to them again.")
        return
    asking = _Asking(proof, world)
    yield Check("every picture excites what it was made for as it is stored", list(asking.pictures()))
    yield Check(f"{_ASKED} rows of the data answer as it is stored", list(asking.rows()))
    yield Check("other networks see in the pictures what is stored", list(asking.others()))
    yield Check("images made from nothing are taken for their classes as it is stored", list(asking.fooling()))


class _Proof:
    """What follows from the parts alone."""

    def __init__(self, config: PicturesConfig, parts: Parts) -> None:
        self.config, self.parts = config, parts
        self.world = parts.begun.manifest.world

    def shapes(self) -> Problems:
        rows, wanted = self.world["data"]["rows"], self._wanted()
        if missing := wanted ^ set(self.parts):
            yield f"expected the parts {', '.join(sorted(wanted))}, found others: {', '.join(sorted(missing))}"
        for name in self.parts:
            columns = check_columns(self.parts[name], _TABLES[name.partition("/")[0]], name)
            if name.startswith("answers") and len(columns["values"]) != rows:
                yield f"expected answers to {rows} rows in {name}, found {len(columns['values'])}"

    def _wanted(self) -> set[str]:
        c, found = self.config, set[str]()
        for i, name in enumerate(c.groups):
            found |= {f"answers/{i}", f"pictures/{i}"} | ({f"matched/{i}"} if c.against else set())
            if name == "class":
                found |= ({f"judged/{i}"} if c.against else set()) | ({f"beside/{i}"} if c.beside else set())
        if c.fooling:
            found |= {"fooling/cppn"} | ({"fooling/gradient"} if c.groups else set())
        return found

    def tops(self) -> Problems:
        for i in range(len(self.config.groups)):
            made = self.parts[f"answers/{i}"]
            values, top = made["values"].numpy(), made["top"].numpy()
            if not np.array_equal(np.take_along_axis(values.T, top, 1), -np.sort(-values.T, 1)[:, : top.shape[1]]):
                yield f"expected the rows with the largest values beside the pictures of group {i}, found others"

    def correlations(self) -> Problems:
        for i in range(len(self.config.groups) if self.config.against else 0):
            own, other = self.parts[f"answers/{i}"]["values"].double().numpy(), self.parts[f"matched/{i}"]
            for t in range(own.shape[1]):
                a, b = own[:, t], other["values"][:, t].double().numpy()
                again = float(pearsonr(a, b)[0]) if np.ptp(a) and np.ptp(b) else 0.0
                if abs(again - float(other["correlation"][t])) > _CLOSE:
                    yield f"expected a correlation of {again:.6g} for picture {t} of group {i}, found another"

    def files(self) -> Problems:
        for name, levels in self._files():
            pixels = np.asarray(Image.open(BytesIO(self.parts.files[f"{self.parts.at}{name}"])))
            flat = levels.numpy().reshape(-1, *levels.shape[-2:])
            if not np.array_equal(pixels.reshape(*flat.shape[1:], -1).transpose(2, 0, 1), flat):
                yield f"expected the picture that was judged in {name}, found another"

    def _files(self) -> Iterator[tuple[str, Tensor]]:
        for i, name in enumerate(self.config.groups):
            folder = f"pictures/{i}-{name.partition('@')[0]}"
            for t, target in enumerate(self.parts[f"answers/{i}"]["targets"].tolist()):
                for k, one in enumerate(self.parts[f"pictures/{i}"]["levels"][t], 1):
                    yield f"{folder}/{target}-{k}.png", one
        for way in (name.split("/")[1] for name in self.parts if name.startswith("fooling")):
            for label, one in zip(self.config.numbers, self.parts[f"fooling/{way}"]["levels"], strict=True):
                yield f"fooling/{way}/{label}.png", one

    # -------------------------------------------------------------- the verdict

    def numbers(self) -> dict[str, Any]:
        ways = [way for way in ("gradient", "cppn") if f"fooling/{way}" in self.parts]
        return {
            "rows": self.world["data"]["rows"], "independent": self.world.get("against", {}).get("name", ""),
            "groups": [self._group(i, name) for i, name in enumerate(self.config.groups)],
            "recognised": list(self._recognised()), "fooling": [self._fooling(way) for way in ways],
        }  # fmt: skip

    def _group(self, i: int, name: str) -> dict[str, Any]:
        kind, _, layer = name.partition("@")
        targets = self.parts[f"answers/{i}"]["targets"].tolist()
        return {"kind": kind, "layer": layer, "pictures": [self._picture(i, t, u) for t, u in enumerate(targets)]}

    def _picture(self, i: int, t: int, target: int) -> dict[str, Any]:
        made = {k: v[t].double().numpy() for k, v in self.parts[f"pictures/{i}"].items()}
        values = self.parts[f"answers/{i}"]["values"][:, t].double().numpy()
        best, middle, top = int(np.argmax(made["value"])), float(np.quantile(values, 0.5)), float(np.sort(values)[-1])
        reached = float(made["value"][best])
        return {
            "target": target, "reached": reached, "top": top, "quantile": _share_below(values, reached),
            "reach": (reached - middle) / (top - middle) if top > middle else None,
            "kept": _left(made["unseen"][best], middle, reached), "top_kept": _left(made["top_unseen"], middle, top),
            "says": int(made["says"][best]), "matched": self._matched(i, t, best),
        }  # fmt: skip

    def _matched(self, i: int, t: int, best: int) -> dict[str, Any] | None:
        if not self.config.against:
            return None
        c = self.parts[f"matched/{i}"]
        return {
            "layer": unpacked_text(c["names"]).split("\n")[int(c["layer"][t])], "unit": int(c["unit"][t]),
            "correlation": float(c["correlation"][t]),
            "quantile": _share_below(c["values"][:, t].double().numpy(), float(c["reached"][t, best])),
        }  # fmt: skip

    def _recognised(self) -> Iterator[dict[str, Any]]:
        if not (self.config.against and "class" in self.config.groups):
            return
        i = self.config.groups.index("class")
        own, judge = self.parts[f"pictures/{i}"]["says"], self.parts[f"judged/{i}"]["says"]
        told = [("model", own, judge)]
        if self.config.beside:
            told += [("beside", self.parts[f"beside/{i}"]["says"], self.parts[f"beside/{i}"]["second"])]
        for which, says, second in told:
            right, self_right = (self._share(answers.numpy()) for answers in (second, says))
            yield {"made_on": self.world[which]["name"], "right": right, "own": self_right}

    def _share(self, says: Array) -> dict[str, Any]:
        hits = sum(int(c == label) for row, label in zip(says, self.config.numbers, strict=True) for c in row)
        return {"hits": hits, "rows": says.size, "share": hits / says.size,
                "interval": list(clopper_pearson(hits, says.size))}  # fmt: skip

    def _fooling(self, way: str) -> dict[str, Any]:
        c = self.parts[f"fooling/{way}"]
        second = [None if int(s) < 0 else float(p) for p, s in zip(c["second"], c["second_says"], strict=True)]
        columns = (self.config.numbers, c["confidence"].tolist(), c["confidence_8bit"].tolist(), second,
                   c["second_says"].tolist())  # fmt: skip
        names = ("label", "confidence", "confidence_8bit", "second", "second_says")
        return {"way": way, "images": [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]}


def _share_below(values: Array, reached: float) -> float:
    return float(percentileofscore(values, reached, kind="weak")) / 100


def _left(unseen: Array, middle: float, reached: float) -> float | None:
    return float(np.mean(unseen - middle)) / (reached - middle) if reached > middle else None


class _Asking:
    """What models say of the pictures now."""

    def __init__(self, proof: _Proof, world: World) -> None:
        self.config, self.parts, self.data, self.world = proof.config, proof.parts, world.data, world
        self.model = world.model
        self.lo, self.hi = (np.asarray(bound, np.float32) for bound in self.model.box)

    def _inputs(self, levels: Tensor) -> Array:
        return np.asarray(self.lo + levels.numpy().astype(np.float32) / 255 * (self.hi - self.lo))

    # -------------------------------------------------------------- pictures

    def pictures(self) -> Problems:
        for i in range(len(self.config.groups)):
            made, answers = self.parts[f"pictures/{i}"], self.parts[f"answers/{i}"]
            near = _CLOSE * float(np.ptp(answers["values"].numpy()))
            levels = made["levels"].flatten(0, 1)
            own = np.arange(len(made["levels"])).repeat(made["levels"].shape[1])
            x = self._inputs(levels)
            yield from self._agree(i, x, own, made["value"].flatten(), near, "reach")
            for u, (name, changed) in enumerate(self._unseen(x)):
                yield from self._agree(i, changed, own, made["unseen"][..., u].flatten(), near, f"keep under {name}")
            top = np.concatenate([self.data.rows(row, row + 1)[0].numpy() for row in answers["top"][:, 0].tolist()])
            for u, (name, changed) in enumerate(self._unseen(top)):
                rows = np.arange(len(top))
                yield from self._agree(i, changed, rows, made["top_unseen"][:, u], near, f"keep of rows under {name}")
            if not np.array_equal(self._scores(self.model, x).argmax(1), made["says"].flatten().numpy()):
                yield f"expected the classes that pictures of group {i} are taken for, found others"

    def _agree(self, i: int, x: Array, own: Array, stored: Tensor, near: float, what: str) -> Problems:
        again = self._values(i, x)[np.arange(len(x)), own]
        if not np.allclose(again, stored.numpy(), atol=near, rtol=_CLOSE):
            worst = int(np.abs(again - stored.numpy()).argmax())
            yield f"expected pictures of group {i} to {what} {again[worst]:.6g}, found {float(stored[worst]):.6g}"

    def _unseen(self, x: Array) -> Iterator[tuple[str, Array]]:
        """By formulas of their own, on pictures in [0, 1]."""
        image = (x - self.lo) / (self.hi - self.lo)
        flat = image.reshape(len(x), -1, *x.shape[-2:])
        key = keys(self.config.seed, torch.arange(len(x)))
        noise = normal(key, torch.zeros_like(key), 0, flat.shape[1:]).numpy().reshape(x.shape)
        blurred = np.stack([[convolve(c, _BINOMIAL, mode="nearest") for c in one] for one in flat]).reshape(x.shape)
        changed = {
            "blur": blurred, "noise": np.clip(image + 0.1 * noise, 0, 1), "less contrast": 0.2 + 0.6 * image,
            "darker": np.maximum(image - 0.15, 0), "brighter": np.minimum(image + 0.15, 1),
            "four levels": np.rint(3 * image) / 3,
        }  # fmt: skip
        for name, y in changed.items():
            yield name, (self.lo + y * (self.hi - self.lo)).astype(np.float32)

    def _values(self, i: int, x: Array) -> Array:
        """(B, T) of every objective of a group."""
        kind, _, layer = self.config.groups[i].partition("@")
        targets = self.parts[f"answers/{i}"]["targets"].numpy()
        if kind == "class":
            return np.asarray(self._scores(self.model, x)[:, targets])
        asked = torch.from_numpy(x)
        if kind == "caricature":
            rows = torch.cat([self.data.rows(row, row + 1)[0] for row in targets])
            v, out = (answered(self.model, layer, some).reshape(len(some), -1) for some in (rows, asked))
            return np.asarray(out.reshape(len(x), -1) @ (v / np.linalg.norm(v, axis=1, keepdims=True).clip(1e-12)).T)
        units = by_unit(self.model, layer, asked)
        flat = units.reshape(*units.shape[:2], -1)
        if kind == "direction":
            return np.asarray(flat.mean(2) @ self._directions(i, flat.shape[1], len(targets)))
        where = [size // 2 for size in units.shape[2:]]
        read = units[(..., *where)] if kind == "unit" else flat.mean(2)
        return np.asarray(read[:, targets])

    def _directions(self, i: int, units: int, count: int) -> Array:
        key = keys(self.config.seed, torch.tensor([0]), crc32(self.config.groups[i].encode()))
        q, r = np.linalg.qr(normal(key, torch.zeros_like(key), 0, (units, count))[0].double().numpy())
        return np.asarray(q * np.sign(np.diag(r)))

    def _scores(self, model: Model, x: Array) -> Array:
        parts = [torch.from_numpy(x[k : k + _CHUNK]) for k in range(0, len(x), _CHUNK)]
        with model.borrowed(), torch.no_grad():
            return np.concatenate([model.logits(part.to(model.device)).cpu().numpy() for part in parts])

    def rows(self) -> Problems:
        n = len(self.data)
        for row in sorted({0, n // 3, n // 2, n - 1})[:_ASKED]:
            x, _ = self.data.rows(row, row + 1)
            for i in range(len(self.config.groups)):
                stored = self.parts[f"answers/{i}"]["values"].numpy()
                if not np.allclose(
                    self._values(i, x.numpy())[0], stored[row], atol=_CLOSE * np.ptp(stored), rtol=_CLOSE
                ):
                    yield f"expected what row {row} answers to group {i}, found other numbers"

    # -------------------------------------------------------------- others

    def others(self) -> Problems:
        second = self.world.seen("against") if self.config.against else None
        for i, name in enumerate(self.config.groups):
            levels = self.parts[f"pictures/{i}"]["levels"]
            if second:
                yield from self._matched(i, second, self._inputs(levels.flatten(0, 1)), levels.shape[1])
            if name == "class" and second:
                yield from self._judged(second, levels, self.parts[f"judged/{i}"]["says"])
            if name == "class" and self.config.beside:
                made = self.parts[f"beside/{i}"]
                yield from self._judged(self.world.seen("beside"), made["levels"], made["says"])
                yield from self._judged(second, made["levels"], made["second"]) if second else ()

    def _judged(self, model: Model, levels: Tensor, says: Tensor) -> Problems:
        lo, hi = (np.asarray(bound, np.float32) for bound in model.box)
        x = (lo + levels.flatten(0, 1).numpy().astype(np.float32) / 255 * (hi - lo)).astype(np.float32)
        if not np.array_equal(self._scores(model, x).argmax(1), says.flatten().numpy()):
            yield f"expected what {model.name} takes the pictures of classes for, found other classes"

    def _matched(self, i: int, other: Model, x: Array, each: int) -> Problems:
        c = self.parts[f"matched/{i}"]
        names, rows = unpacked_text(c["names"]).split("\n"), len(self.data)
        asked = np.concatenate([self.data.rows(row, row + 1)[0].numpy() for row in (0, rows // 2, rows - 1)])
        for t, (layer, unit) in enumerate(zip(c["layer"].tolist(), c["unit"].tolist(), strict=True)):
            shown = np.concatenate([asked, x[t * each : (t + 1) * each]])
            again = self._unit(other, names[layer], shown)[:, unit]
            stored = np.concatenate([c["values"][[0, rows // 2, rows - 1], t].numpy(), c["reached"][t].numpy()])
            if not np.allclose(again, stored, atol=_CLOSE * float(np.ptp(c["values"][:, t].numpy())), rtol=_CLOSE):
                yield f"expected what unit {unit} of {names[layer] or 'the scores'} answers, found other numbers"

    def _unit(self, other: Model, layer: str, x: Array) -> Array:
        if not layer:
            return self._scores(other, x)
        units = by_unit(other, layer, torch.from_numpy(x))
        return np.asarray(units.reshape(*units.shape[:2], -1).mean(2))

    # -------------------------------------------------------------- from nothing

    def fooling(self) -> Problems:
        second = self.world.seen("against") if self.config.against else None
        classes = np.array(self.config.numbers)
        for name in (name for name in self.parts if name.startswith("fooling")):
            c = self.parts[name]
            x = self._inputs(c["levels"])
            yield from self._sure(self.model, x, classes, c["confidence_8bit"], f"{name}, of 8 bits")
            floats = (self.lo + c["x"].numpy() * (self.hi - self.lo)).astype(np.float32)
            yield from self._sure(self.model, floats, classes, c["confidence"], name)
            if not np.array_equal(np.rint(c["x"].numpy() * 255), c["levels"].numpy()):
                yield f"expected the images of {name} rounded to 8 bits, found others"
            if second:
                yield from self._sure(second, x, classes, c["second"], f"{name}, by {second.name}")
                if not np.array_equal(self._scores(second, x).argmax(1), c["second_says"].numpy()):
                    yield f"expected what {second.name} takes the images of {name} for, found other classes"

    def _sure(self, model: Model, x: Array, classes: Array, stored: Tensor, where: str) -> Problems:
        again = softmax(self._scores(model, x).astype(np.float64), axis=1)[np.arange(len(x)), classes]
        if not np.allclose(again, stored.numpy(), atol=_CLOSE):
            yield f"expected the confidences of {where} to be as the model has them now, found others"
