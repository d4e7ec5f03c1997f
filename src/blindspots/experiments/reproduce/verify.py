"""Proves a reproduction again: the stored networks are asked anew, sizes taken anew, and every cell recounted."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from sklearn.metrics import zero_one_loss
from torch import Tensor

from blindspots.experiments.reproduce.config import ReproduceConfig
from blindspots.experiments.reproduce.tables import ALL, Fed, Network, fed_in, numbers_in
from blindspots.experiments.reproduce.verdict import ROWS, SMALLEST, TABLE, ReproduceVerdict
from blindspots.models.model import Model
from blindspots.runs.again import Array, predictions, rms, share
from blindspots.runs.columns import check_columns
from blindspots.runs.experiment import Check
from blindspots.runs.metric import numbers_of
from blindspots.runs.store import Parts
from blindspots.runs.verify import differing
from blindspots.runs.world import World

ROUNDING = 1e-4  # between a root mean square in float32 and the same in float64
CALL = 256  # rows per call of a network
Problems = Iterator[str]


def checks(config: ReproduceConfig, verdict: ReproduceVerdict, parts: Parts, world: World) -> Iterator[Check]:
    """What `verify` looks at. Errors and intervals are those of scikit-learn and scipy, not the run's."""
    proof = _Proof(config, parts, world)
    yield Check("all rows are there, with all their columns", list(proof.shapes()))
    yield Check("the halves share no input that was attacked", list(proof.halves()))
    yield Check("changes lie in the box and have the sizes that are stored, line by line", list(proof.sizes()))
    yield Check("the stored networks say of all that they were fed what was stored", list(proof.answers()))
    yield differing("every number of the verdict follows from the parts", numbers_of(verdict), proof.numbers())
    if world.same.get("data") and world.same.get("test"):
        yield Check("rows and labels are those of the data", list(proof.rows_of_data()))
        yield Check("the stored networks say of all data what was stored", list(proof.errors()))


class _Proof:
    def __init__(self, config: ReproduceConfig, parts: Parts, world: World) -> None:
        self.config, self.parts, self.world = config, parts, world
        for kind, table in (("rows", ROWS), ("smallest", SMALLEST), ("tables", TABLE)):
            for name in parts:
                if name.partition("/")[0] == kind:
                    check_columns(parts[name], table, name)
        self.rows = parts["rows"]
        y, half = self.rows["y"], self.rows["half"]
        self.labels = {"train": y, "P1": y[half == 0], "P2": y[half == 1], "test": self.rows["held_y"]}
        shape = tuple(self.rows["x"].shape[1:])
        self.models = [n.restored(config, shape, parts[f"trained/{i}"]) for i, n in enumerate(ALL, 1)]

    def _attacked(self, network: Network) -> tuple[Tensor, Tensor]:
        of = ("x", "train") if network.on == "all" else ("held_x", "test")
        x = self.rows[of[0]]
        return x, self.labels[of[1]][: len(x)]

    def _smallest(self) -> Iterator[tuple[int, str, dict[str, Tensor]]]:
        for name in self.parts:
            kind, _, rest = name.partition("/")
            if kind == "smallest":
                yield int(rest.partition("/")[0]) - 1, name, self.parts[name]

    def shapes(self) -> Problems:
        world, c = self.parts.begun.manifest.world, self.config
        for name, x, y in (("data", "x", "y"), ("test", "held_x", "held_y")):
            rows = world[name]["rows"]
            if len(self.rows[y]) != rows or len(self.rows[x]) != min(rows, c.rows):
                yield f"expected {rows} labels of {name} and the first {min(rows, c.rows)} rows, found others"
        for i, name, made in self._smallest():
            if made["moved"].shape != self._attacked(ALL[i])[0].shape:
                yield f"expected as many changed rows as are attacked in {name}, found {len(made['moved'])}"
        for i, network in enumerate(ALL, 1):
            said = {name: len(one) for name, one in self.parts[f"errors/{i}"].items()}
            if said != {name: len(self.labels[name]) for name in network.judged_on}:
                yield f"expected answers on {', '.join(network.judged_on)} in errors/{i}, found others"

    def halves(self) -> Problems:
        """As far as it can be seen: by the training rows that were attacked."""
        x, half = self.rows["x"].flatten(1).numpy(), self.rows["half"][: len(self.rows["x"])].tolist()
        first = {row.tobytes() for row, of in zip(x, half, strict=True) if of == 0}
        if any(row.tobytes() in first for row, of in zip(x, half, strict=True) if of == 1):
            yield "expected halves that share no input, found one in both"

    # -------------------------------------------------------------- sizes and answers

    def sizes(self) -> Problems:
        for i, name, made in self._smallest():
            x, _ = self._attacked(ALL[i])
            if made["moved"].min() < 0 or made["moved"].max() > 1:
                yield f"expected changed rows in the box from 0 to 1 in {name}, found values outside"
            if not _near(x, made["moved"], made["rms"]):
                yield f"expected changes of the sizes that were stored in {name}, found others"
        for table in (2, 4):
            lines = fed_in(table, self.config, self.parts)
            for line, stored in zip(lines, self.parts[f"tables/{table}"]["rms"], strict=True):
                if not _near(lines[0].rows, line.rows, stored):
                    yield f"expected the line {line.name!r} of Table {table} with the sizes that were stored"
                if line.in_box and (line.rows.min() < 0 or line.rows.max() > 1):
                    yield f"expected the line {line.name!r} of Table {table} in the box, found values outside"

    def answers(self) -> Problems:
        for i, name, made in self._smallest():
            x, _ = self._attacked(ALL[i])
            yield from _said(self.models[i], x, made["clean"], f"the unchanged rows of {name}")
            yield from _said(self.models[i], made["moved"], made["prediction"], name)
        for table in (2, 4):
            self.world.say(f"asking all networks about Table {table}")
            for line, stored in zip(
                fed_in(table, self.config, self.parts), self.parts[f"tables/{table}"]["prediction"], strict=True
            ):
                for k, said in zip(numbers_in(table), stored, strict=True):
                    yield from _said(self.models[k - 1], line.rows, said, f"the line {line.name!r} of Table {table}")

    def rows_of_data(self) -> Problems:
        for name, x, y in (("data", "x", "y"), ("test", "held_x", "held_y")):
            data = self.world.rows[name]
            _, labels = data.rows(0, len(data))
            if not (
                torch.equal(labels, self.rows[y]) and torch.equal(data.rows(0, len(self.rows[x]))[0], self.rows[x])
            ):
                yield f"expected the labels and the first rows of {data.name}, found others"

    def errors(self) -> Problems:
        training, test = (data.rows(0, len(data))[0] for data in (self.world.rows["data"], self.world.rows["test"]))
        half = self.rows["half"]
        known = {"train": training, "P1": training[half == 0], "P2": training[half == 1], "test": test}
        for i, network in enumerate(ALL):
            self.world.say(f"asking {network.title(self.config.class_count)} about all rows")
            for name, stored in self.parts[f"errors/{i + 1}"].items():
                yield from _said(self.models[i], known[name], stored, name)

    # -------------------------------------------------------------- counted again

    def numbers(self) -> dict[str, Any]:
        """The verdict, cell by cell."""
        networks = [self._network(i) for i in range(1, 1 + len(ALL))]
        first = numbers_in(4).start - 1
        return {
            "networks": networks[:first], "table_2": self._table(2), "halves": networks[first:],
            "table_4": self._table(4),
        }  # fmt: skip

    def _network(self, number: int) -> dict[str, Any]:
        network, model, said = ALL[number - 1], self.models[number - 1], self.parts[f"errors/{number}"]
        other = "nearest" if self.config.targets == "random" else "random"
        return {
            "name": network.title(self.config.class_count),
            "spec": network.word,
            "trained_on": network.on,
            "parameters": sum(int(np.prod(t.shape)) for t in self.parts[f"trained/{number}"].values()),
            "digest": model.digest,
            "errors": {
                name: _cell(said[name], self.labels[name], figure)
                for name, figure in zip(network.judged_on, network.figures, strict=False)
            },
            "distances": [self._distance(number, rule) for rule in (self.config.targets, other)],
            "published_rms": network.figures[-1],
        }

    def _distance(self, number: int, rule: str) -> dict[str, Any]:
        made = {name: t.numpy() for name, t in self.parts[f"smallest/{number}/{rule}"].items()}
        y = self._attacked(ALL[number - 1])[1].numpy()
        sizes = made["rms"].astype(np.float64)
        right = sizes[made["clean"] == y]
        left = len(y) - int(zero_one_loss(y, made["prediction"], normalize=False))
        return {
            "targets": rule, "rms": float(right.mean()) if right.size else 0.0, "rms_of_all": float(sizes.mean()),
            "left": share(left, len(y)),
        }  # fmt: skip

    def _table(self, number: int) -> dict[str, Any]:
        stored, networks = self.parts[f"tables/{number}"], [ALL[i - 1] for i in numbers_in(number)]
        _, y = self._attacked(networks[0])
        told = zip(fed_in(number, self.config, self.parts), stored["prediction"], stored["rms"], strict=True)
        return {
            "fed_to": [network.title(self.config.class_count) for network in networks],
            "lines": [_line(line, said, sizes.numpy().astype(np.float64), y) for line, said, sizes in told],
        }


def _line(line: Fed, said: Tensor, sizes: Array, y: Tensor) -> dict[str, Any]:
    figures = list(line.published) if line.published else [None] * len(said)
    changed = sizes[np.flatnonzero(sizes)]
    return {
        "name": line.name,
        "group": line.group,
        "rms": float(np.mean(changed)) if changed.size else 0.0,
        "published_rms": line.rms_published,
        "in_box": line.in_box,
        "cells": [_cell(one, y, figure) for one, figure in zip(said, figures, strict=True)],
    }


def _cell(said: Tensor, y: Tensor, figure: float | None) -> dict[str, Any]:
    errors = int(zero_one_loss(y.numpy(), said.numpy(), normalize=False))
    return {"share": share(errors, len(y)), "published": None if figure is None else figure / 100}


def _near(x: Tensor, moved: Tensor, stored: Tensor) -> bool:
    sizes = rms((moved.double() - x.double()).numpy())
    return bool(np.allclose(sizes, stored.numpy(), rtol=ROUNDING, atol=1e-7))


def _said(model: Model, x: Tensor, stored: Tensor, what: str) -> Problems:
    """The network's answers, but where rounding decides between the two best scores."""
    said, edge = predictions(model, x, CALL, 0)
    differ = int(((said != stored) & ~edge).sum())
    if differ:
        yield f"expected {model.name} to say of {what} what was stored, but predictions differ on {differ:,} rows"
