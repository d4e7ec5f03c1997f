"""How every part of the study is made."""

import torch
from torch import Tensor

from blindspots.attacks import Attack, SuperDeepFool
from blindspots.ball import Ball
from blindspots.data.splits import cut, shuffled
from blindspots.errors import InputError
from blindspots.experiments.inspect.geometry import axes, local, slices
from blindspots.experiments.inspect.geometry.config import GeometryConfig
from blindspots.experiments.inspect.geometry.features import learner_of, taught
from blindspots.experiments.inspect.geometry.sight import Sight, has_gradients
from blindspots.experiments.inspect.geometry.statistics import permuted, ranks
from blindspots.experiments.transfer.training import arrays
from blindspots.experiments.universal.geometry import random_gram
from blindspots.experiments.universal.nearest import nearest
from blindspots.runs.experiment import Columns, Part
from blindspots.runs.store import Parts
from blindspots.runs.world import Progress, World

MEASURED, _HALVES, _SHOWN = 2, 3, 4  # numbers of lots
_SPARE = 51, 52  # streams
NOBODY = -1


class Making:
    """One part of the study."""

    def __init__(
        self, config: GeometryConfig, world: World, part: Part, needs: Parts, threat: Ball, attack: Attack | None
    ) -> None:
        self.config, self.world, self.part, self.needs = config, world, part, needs
        self.threat, self.attack, self.seed = threat, attack, config.seed
        assert config.chunk
        self.sight = Sight(world.model, config.chunk)
        self.other = Sight(world.seen("against"), config.chunk) if config.against else None

    def made(self) -> Columns:
        """Its columns."""
        kind = self.part.name.partition("/")[0]
        self._tell(kind)
        if kind == "features":
            return self.features()
        with self.sight.session():
            columns: Columns = getattr(self, kind)()
        return columns

    def _tell(self, said: str) -> None:
        self.world.tell(Progress(self.part.name, said, rows=len(self.part.rows)))

    # -------------------------------------------------------------- rows

    def rows(self) -> Columns:
        """What the models make of the rows."""
        data, wanted = self.world.data, self.config.geometry_rows or 0
        at = cut(shuffled(len(data), self.seed, MEASURED), wanted)[0]
        pairs = [data.rows(i, i + 1) for i in at.tolist()]
        x = torch.cat([x for x, _ in pairs])
        scores = self.sight.scores(x)
        if odd := int((~scores.isfinite().all(1)).sum()):
            raise InputError(
                f"expected scores that are numbers, got others for {odd} of {len(x)} rows, which have no region: leave "
                "these rows out, or mend the model"
            )
        top = scores.topk(2, 1)
        return {
            "at": at, "y": torch.cat([y for _, y in pairs]), "prediction": scores.argmax(1),
            "rival": scores.scatter(1, scores.argmax(1, keepdim=True), -torch.inf).argmax(1),
            "confidence": scores.softmax(1).amax(1), "odds": _odds(scores), "gap": top.values[:, 0] - top.values[:, 1],
            "second_opinion": self._second(x),
        }  # fmt: skip

    def _second(self, x: Tensor) -> Tensor:
        if self.other is None:
            return torch.full((len(x),), NOBODY)
        with self.other.session():
            return self.other.labels(x)

    @property
    def known(self) -> Columns:
        return self.needs["rows"]

    def _x(self) -> Tensor:
        """(n, *shape)"""
        return torch.cat([self.world.data.rows(i, i + 1)[0] for i in self.known["at"].tolist()])

    def moved(self) -> Columns:
        """Adversarial examples for a model, and what both say of them."""
        own = self.part.name.endswith("/model")
        sight, y = (self.sight, "prediction") if own else (self.other, "second_opinion")
        assert sight
        assert self.attack
        x = self._x()
        with sight.session():
            moved = axes.adversarial(sight, self.attack, self.threat, x, self.known[y], self.seed)
        return {"moved": moved, "model": self.sight.labels(moved), "against": self._second(moved)}

    def universal(self) -> Columns:
        """Two directions, each from the other half of the rows."""
        x, n = self._x(), len(self.known["at"])
        half = shuffled(n, self.seed, _HALVES) % 2
        made = axes.universal(self.threat, x, self.needs["moved/model"]["moved"], half)
        return {"half": half, "directions": made}

    # -------------------------------------------------------------- ways and slices

    def _ends(self, kind: str, x: Tensor, rows: Tensor) -> Tensor:
        """Where ways of a kind lead from inputs x, which are those of `rows` among the measured ones."""
        at = self.known["at"][rows]
        if kind in ("adversarial", "against"):
            return self.needs["moved/model" if kind == "adversarial" else "moved/against"]["moved"][rows]
        if kind == "universal":
            made = self.needs["universal"]
            return axes.towards(self.threat, x, made["directions"][made["half"][rows]])
        direction = axes.random_direction(self.threat, at, x.shape[1:], self.seed, second=kind == "second")
        return axes.towards(self.threat, x, direction)

    def crossings(self) -> Columns:
        """The classes along the ways of a kind, of all rows."""
        kind, x = self.part.name.rpartition("/")[2], self._x()
        every = torch.arange(len(x))
        if kind != "rows":
            return {"labels": axes.along(self.sight, x, self._ends(kind, x, every))}
        others = axes.nearest_other(x, self.known["prediction"])
        some = (others >= 0).nonzero()[:, 0]
        labels = torch.full((len(x), axes.STEPS), NOBODY)
        if len(some):
            labels[some] = axes.along(self.sight, x[some], axes.to_rows(self.threat, x[some], x[others[some]]))
        return {"labels": labels}

    def slices(self) -> Columns:
        """One slice through a row."""
        kind, chosen = str(self.part.settings["kind"]), self._shown(int(self.part.settings["row"]))
        x = self.world.data.rows(*self._span(chosen))[0]
        first, second = self._axes(kind)
        ends = torch.cat([self._ends(name, x, chosen) for name in (first, second)])
        spare = torch.cat([local.noise(self.known["at"][chosen], x.shape[1:], self.seed, s) for s in _SPARE])
        length = local.full_length(self.threat, x[0].numel())
        plane = slices.plane(x[0], ends[0], ends[1], length * spare)
        columns = slices.slice_through(self.sight, self.threat, plane, self.config.resolution)
        return {**columns, "ends": slices.coordinates(plane, ends)}

    def _axes(self, kind: str) -> tuple[str, str]:
        return ("adversarial", kind) if has_gradients(self.world.model) else ("random", "second")

    def _shown(self, i: int) -> Tensor:
        """The place among the measured rows of the i-th that is drawn, by lot."""
        return lot_of_shown(len(self.known["at"]), self.seed)[i : i + 1]

    def _span(self, chosen: Tensor) -> tuple[int, int]:
        at = int(self.known["at"][chosen])
        return at, at + 1

    # -------------------------------------------------------------- gradients

    def curvature(self) -> Columns:
        """How far gradients turn along the adversarial and a random direction."""
        x, k = self._x(), self.known
        full = local.full_length(self.threat, x[0].numel())
        lengths = [float(h * full) for h in self.config.curvature_scales]
        z = local.unit(self.needs["moved/model"]["moved"] - x)
        random = local.turned(k["at"], x.shape[1:], self.seed)
        y, rival = k["prediction"], k["rival"]
        return {
            "lengths": torch.tensor(lengths, dtype=torch.float64),
            "slope": self.sight.slopes(x, y, rival).double().norm(dim=1),
            "adversarial": local.secants(self.sight, x, y, rival, z, lengths),
            "random": local.secants(self.sight, x, y, rival, random, lengths),
        }

    def boundary(self) -> Columns:
        """The nearest points of another class in l2, by SuperDeepFool."""
        x, y = self._x(), self.known["prediction"]
        there = nearest(self.world.model, x, y, SuperDeepFool(), self.sight.oracle.chunk)
        way = (there - x).flatten(1).double()
        beyond = self.sight.labels(there)
        found = beyond != y
        distance = way.norm(dim=1).masked_fill(~found, torch.inf)
        normals = local.unit(way[found]).float()
        near = distance[found]
        return {
            "found": found, "distance": distance, "beyond": beyond.masked_fill(~found, NOBODY), "normals": normals,
            "random_gram": random_gram(len(normals), x[0].numel(), self.seed),
            "null": permuted(ranks(near), ranks(self.known["odds"][found]), self.config.permutations, self.seed),
        }  # fmt: skip

    def subspace(self) -> Columns:
        """How many orthogonal directions lead to another class at the l2 length of a full step."""
        x, k = self._x(), self.known
        size = x[0].numel()
        length = local.full_length(self.threat, size)
        slopes = self.sight.slopes(x, k["prediction"], k["rival"])
        steep = slopes.double().norm(dim=1)
        predicted = local.count_linear(steep, k["gap"], length, size)
        tried = predicted.clamp_max(self.config.orthogonal)
        crossed = [self._crossed(x, slopes, i, int(n), length) for i, n in enumerate(tried)]
        return {
            "length": torch.tensor([length], dtype=torch.float64), "slope": steep, "predicted": predicted,
            "tried": tried, "crossed": torch.tensor(crossed, dtype=torch.int64),
        }  # fmt: skip

    def _crossed(self, x: Tensor, slopes: Tensor, i: int, count: int, length: float) -> int:
        if not count:
            return 0
        directions = local.orthogonal(slopes[i], count, int(self.known["at"][i]), self.seed)
        return int(local.crossed(self.sight, x[i], int(self.known["prediction"][i]), directions, length).sum())

    def angles(self) -> Columns:
        """Cosines of both models' gradients, and their correlation with transfer in random orders."""
        assert self.other
        x, k = self._x(), self.known
        own = self.sight.slopes(x, k["prediction"], k["rival"])
        with self.other.session():
            others = self.other.slopes(x, k["prediction"], k["rival"])
        cosine = local.cosines(own, others)
        return {
            "cosine": cosine, "random": local.random_cosines(own, k["at"], self.seed),
            "null_forth": self._null(cosine, "model", "against"), "null_back": self._null(cosine, "against", "model"),
        }  # fmt: skip

    def _null(self, cosine: Tensor, source: str, target: str) -> Tensor:
        fooled, counted = transferred(self.known, self.needs[f"moved/{source}"], source, target)
        return permuted(ranks(cosine[counted]), ranks(fooled[counted]), self.config.permutations, self.seed)

    # -------------------------------------------------------------- features

    def features(self) -> Columns:
        """A network that learns from relabelled examples."""
        c, world, rows = self.config, self.world, self.world.rows
        learner = learner_of(c.learner, world.model)
        assert c.chunk
        return taught(
            world.model, self.threat, str(self.part.settings["kind"]), arrays(rows["training_data"]),
            arrays(world.data), learner, c.learning_steps, c.seed, _for_training(c.chunk), self._tell,
        )  # fmt: skip


def _odds(scores: Tensor) -> Tensor:
    """ln p / (1 - p) of the largest class (B,), which does not saturate as p does."""
    ordered: Tensor = scores.double().sort(dim=1, descending=True).values
    return ordered[:, 0] - ordered[:, 1:].logsumexp(1)


def lot_of_shown(rows: int, seed: int) -> Tensor:
    """In which order rows are drawn: places among the measured ones."""
    return shuffled(rows, seed, _SHOWN)


def _for_training(chunk: int) -> int:
    """All rows take all steps, so calls may be larger."""
    return 4 * chunk


def transferred(rows: Columns, moved: Columns, source: str, target: str) -> tuple[Tensor, Tensor]:
    """Whose examples fool the target, too (n,), and which rows count: both models are right, the source is fooled."""
    right = (rows["prediction"] == rows["y"]) & (rows["second_opinion"] == rows["y"])
    return moved[target] != rows["y"], right & (moved[source] != rows["y"])
