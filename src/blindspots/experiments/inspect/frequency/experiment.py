"""How often errors occur near rows: in the worst case, on average, and with which probability."""

import math
from collections.abc import Callable, Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from blindspots.arguments import checked
from blindspots.batching import rows_per_call
from blindspots.data import Data
from blindspots.data.splits import shuffled
from blindspots.errors import InputError
from blindspots.experiments.inspect.frequency.certificates import radii
from blindspots.experiments.inspect.frequency.conclude import columns_of, concluded
from blindspots.experiments.inspect.frequency.config import LAWS, FrequencyConfig
from blindspots.experiments.inspect.frequency.evidence import Evidence, gather
from blindspots.experiments.inspect.frequency.findings import findings
from blindspots.experiments.inspect.frequency.laws import Ball, Bounds, Cube, Gaussian, Law, Sphere
from blindspots.experiments.inspect.frequency.planes import beyond
from blindspots.experiments.inspect.frequency.scoring import error_score
from blindspots.experiments.inspect.frequency.splitting import Splitting
from blindspots.experiments.inspect.frequency.verdict import FrequencyVerdict
from blindspots.experiments.inspect.frequency.worst import Found, nearest
from blindspots.experiments.inspect.threats import ball_of, with_threat
from blindspots.findings import Finding
from blindspots.fit import check_answers
from blindspots.models.first_look import as_model
from blindspots.models.model import Model
from blindspots.models.texts import TextModel
from blindspots.oracle import Oracle
from blindspots.packing import pack_inputs
from blindspots.problem import Need
from blindspots.random import keys
from blindspots.runs.entry import begin, rows_of
from blindspots.runs.experiment import Columns, Experiment, Made, Part, shards
from blindspots.runs.run import Watch
from blindspots.runs.store import Parts, Run
from blindspots.runs.world import Progress, World
from blindspots.sizes import check_noise

SHARD, _TOGETHER = 16, 8  # rows of a part, and those that are asked about at once
_RATES, _SEARCHES, _ALONG = range(3)  # what keys of a row are for
_BEYOND = 10.0  # standard deviations of noise that leave the bounds: as far as it ever reaches
_USUAL = 0.1  # of the range of the inputs: noise where nobody said it
_PASSES = 10_000  # of a row, about
_ROWS = 30  # that are measured where nobody said how many


class Frequencies(Run[FrequencyConfig, FrequencyVerdict]):
    """A finished study of rates."""

    def __repr__(self) -> str:
        told = [f"{name}: {m.value:.3g}" for name, m in self.verdict.metrics().items()]
        return f"Frequencies({', '.join(told)})"


@checked(model=as_model)
def frequency(
    model: Model | nn.Module | Callable[[Tensor], Any],
    x: Any = None,
    y: Any = None,
    *,
    data: Data | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    engine: str | None = None,
    watch: Watch | None = None,
    command: str | None = None,
    **settings: Any,
) -> Frequencies:
    """With which probability a random point near a row is an error, down to 1e-20, beside the nearest error.

    Random points are counted first, with the exact binomial interval; where less than ten hit, last particle splitting
    follows the score towards errors (Guyader, Hengartner and Matzner-Lober 2011), with the exact Poisson interval
    (Garwood 1936), or that of replicates which scatter more. Beside it the worst case, the nearest error of FAB (Croce
    and Hein 2020), and the average case, the mean score. The distance of the nearest error is compared with that of
    a flat boundary of the same rate (Ford et al. 2019, 1901.10513): far nearer, and splitting may have missed it.

    Args:
        model: any that classifies. One that gives labels alone is drawn from, and not split.
        x, y: inputs (N, ...) and labels (N,). Instead: `data` (see `as_data`).
        out, resume, engine, watch, command: as of `bs.evaluate`.
        settings: those of `FrequencyConfig`, such as law, threat, noise, frequency_rows, draws, particles, floor.

    Raises:
        InputError: the model reads texts or may reject, or the threat is no l2 or linf ball with a radius.
    """
    given = {"model": model, "data": rows_of(x, y, data)}
    done = begin("frequency", given, settings, out=out, resume=resume, engine=engine, watch=watch, command=command)
    return Frequencies(**vars(done))


class FrequencyStudy(Experiment[FrequencyConfig, FrequencyVerdict]):
    name = "frequency"
    Config, Verdict = FrequencyConfig, FrequencyVerdict

    def fitted(self, config: FrequencyConfig, world: World) -> FrequencyConfig:
        model, shape = _numeric(world.named("model")), world.data.shape
        low, high = world.model.bounds
        asked = config.law or (("ball",) if config.noise is None else ("ball", "noise"))
        chunk = config.chunk or min(rows_per_call("search", shape, model.device), _TOGETHER * config.replicates)
        config = config.model_copy(
            update={
                "threat": with_threat(config, world), "noise": config.noise or _USUAL * (high - low), "law": asked,
                "frequency_rows": min(config.frequency_rows or _ROWS, len(world.data)),
                "splitting": config.splitting and world.model.access is not Need.LABEL, "chunk": chunk,
            }
        )  # fmt: skip
        for name in asked:
            law_of(name, config, world)
        _radii(world)  # refused before the first part
        _ = _doubts(config, world)
        return config

    def passes(self, config: FrequencyConfig, world: World) -> float:
        return float((config.frequency_rows or 0) * len(config.law) * (config.draws + _PASSES * config.splitting))

    def parts(self, config: FrequencyConfig, world: World) -> list[Part]:
        kinds = ["rows", *(f"{kind}/{name}" for kind in ("nearest", "rates") for name in config.law)]
        listed = [part for kind in kinds for part in shards(kind, config.frequency_rows or 0, SHARD)]
        return [replace(p, needs=(f"rows/{p.name[-5:]}",)) if p.name.startswith("rates/") else p for p in listed]

    def make(self, config: FrequencyConfig, world: World, part: Part, needs: Parts, kept: Columns | None) -> Made:
        making = _Making(config, world, part, needs)
        if part.name.startswith("rows/"):
            return making.rows()
        return making.nearest() if part.name.startswith("nearest/") else making.rates(kept)

    def conclude(self, config: FrequencyConfig, world: World, parts: Parts) -> FrequencyVerdict:
        ids = parts.joined("rows")["id"]
        tables = [
            concluded(
                name, law_of(name, config, world), parts.joined(f"rates/{name}"), parts.joined(f"nearest/{name}"), ids,
                config.particles, config.walk,
            )
            for name in config.law
        ]  # fmt: skip
        costs = [part["cost"] for kind in ("nearest", "rates") for part in parts.below(kind)]
        forwards, backwards = torch.stack(costs).sum(0).tolist()
        return FrequencyVerdict(tables=tables, forwards=forwards, backwards=backwards)

    def findings(self, config: FrequencyConfig, world: World, verdict: FrequencyVerdict, parts: Parts) -> list[Finding]:
        return [*_doubts(config, world), *world.notes, *findings(config, verdict, parts)]


def _numeric(model: Model) -> Model:
    if isinstance(model, TextModel):
        raise InputError(
            f"expected a model of numbers, got {model.name}, which reads texts: texts have no ball to draw from, so "
            "leave out --part frequency"
        )
    check_answers(model, "rates of errors")
    return model


def law_of(name: str, config: FrequencyConfig, world: World) -> Law:
    """A law by its name. Raises InputError: the threat is no ball that can be drawn from."""
    if name == "noise":
        assert config.noise is not None
        return Gaussian(config.noise)
    ball = ball_of(config, world)
    assert ball.radius is not None
    kinds: dict[tuple[str, str], Callable[..., Law]] = {
        ("ball", "linf"): Cube,
        ("ball", "l2"): Ball,
        ("sphere", "l2"): Sphere,
    }
    if (name, ball.name) not in kinds:
        able = "l2" if name == "sphere" else "linf or l2"
        raise InputError(
            f"expected a threat of {able} for points {LAWS[name]}, got {ball.spec}: name one, such as --threat l2:0.5"
        )
    return kinds[name, ball.name](ball.radius, ball.bounds)


def _radii(world: World) -> Tensor:
    """Of all rows of the data: those of another part that ran before, else those of a file."""
    found: Tensor = world.thing("certified", lambda path: radii(path, len(world.data)))
    return found


def chosen(config: FrequencyConfig, world: World) -> Tensor:
    """Places in the data of the rows that are measured, by lot, in their order."""
    return shuffled(len(world.data), config.seed, 1)[: config.frequency_rows].sort().values


def _doubts(config: FrequencyConfig, world: World) -> list[Finding]:
    if "noise" not in config.law:
        return []
    assert config.noise is not None
    return check_noise(config.noise, world.model.bounds, world.data.shape)


class _Making:
    """One part: rows, the errors nearest to them under a law, or their rates under it."""

    def __init__(self, config: FrequencyConfig, world: World, part: Part, needs: Parts) -> None:
        self.config, self.world, self.part, self.needs = config, world, part, needs
        self.name = part.name.split("/")[1]
        self.ids = chosen(config, world)

    def rows(self) -> Columns:
        x, y = self._data(self.part.rows)
        proved = _radii(self.world)[self._places(self.part.rows)]
        return {"id": self._places(self.part.rows), "y": y, "x": pack_inputs(x), "certified": proved}

    def _data(self, rows: range) -> tuple[Tensor, Tensor]:
        found = [self.world.data.rows(i, i + 1) for i in self._places(rows).tolist()]
        return torch.cat([x for x, _ in found]), torch.cat([y for _, y in found])

    def _places(self, rows: range) -> Tensor:
        return self.ids[rows.start : rows.stop]

    @property
    def _law(self) -> Law:
        return law_of(self.name, self.config, self.world)

    def _key(self, rows: range, purpose: int) -> Tensor:
        return keys(self.config.seed, self._places(rows), purpose, list(LAWS).index(self.name))

    def _oracle(self) -> Oracle:
        return Oracle(self.world.model, chunk=self.config.chunk or 1)

    # -------------------------------------------------------------- the worst case

    def nearest(self) -> Columns:
        self._tell("searching the nearest errors", 0)
        law, oracle, (x, y) = self._law, self._oracle(), self._data(self.part.rows)
        first, seed = self.part.rows.start, int(self._key(self.part.rows[:1], _SEARCHES)[0] >> 1)

        found = nearest(oracle, law, self._bounds(law), x, y, first, seed)
        reach, plane = zip(*(self._plane(law, x, found, i) for i in range(len(y))), strict=True)
        return {
            "nearest": found.nearest, "distance": found.distance,
            "reach": torch.tensor(reach, dtype=torch.float64), "plane": torch.tensor(plane, dtype=torch.float64),
            "cost": torch.tensor([oracle.forwards, oracle.backwards]),
        }  # fmt: skip

    def _plane(self, law: Law, x: Tensor, found: Found, i: int) -> tuple[float, float]:
        """How far the one is that touches the boundary, and the rate beyond; NaN where none is known."""
        normal = found.outwards[i].double() / found.outwards[i].double().norm()
        if not normal.isfinite().all() or not 0 < found.distance[i] < math.inf:
            return math.nan, math.nan
        reach = float((found.nearest[i] - x[i]).double().flatten() @ normal.flatten())
        return reach, beyond(law, x[i], normal, reach, int(self._key(self.part.rows[i : i + 1], _ALONG)[0]))

    def _bounds(self, law: Law) -> Bounds:
        """Where the law reaches: noise leaves the bounds of inputs, and so does the search beside it."""
        low, high = self.world.model.bounds
        return law.box or (low - _BEYOND * law.size, high + _BEYOND * law.size)

    # -------------------------------------------------------------- rates

    def rates(self, done: Columns | None) -> Generator[Columns, None, Columns]:
        """Of some rows at a time; each depends on its own key alone."""
        first = 0 if done is None else len(done["wrong"])
        for start in range(first, len(self.part.rows), _TOGETHER):
            self._tell("counting errors", start)
            done = _longer(done, self._some(self.part.rows[start : start + _TOGETHER]))
            yield done
        assert done is not None
        return done

    def _some(self, rows: range) -> Columns:
        c, oracle, (x, y) = self.config, self._oracle(), self._data(rows)
        how = Splitting(c.particles, c.replicates, c.walk, c.floor) if c.splitting else None
        x, y, key = (t.to(oracle.device) for t in (x, y, self._key(rows, _RATES)))
        proved = self._certified(rows).to(oracle.device)
        with oracle.session():
            found = gather(error_score(oracle, y), x, self._law, key, draws=c.draws, splitting=how, certified=proved)
        return {**columns_of(list(map(self._scored, found)), c.replicates), "cost": torch.tensor([oracle.forwards, 0])}

    def _certified(self, rows: range) -> Tensor:
        """Of some rows; under noise, which no ball holds, a radius proves nothing unless it is infinite."""
        kept: Tensor = self.needs[f"rows/{self.part.name[-5:]}"]["certified"]
        return kept[rows.start - self.part.rows.start :][: len(rows)]

    def _scored(self, found: Evidence) -> Evidence:
        """Without a mean where only labels are known: it would say no more than the rate."""
        labels = self.world.model.access is Need.LABEL
        return found.model_copy(update={"mean": None, "error": None}) if labels else found

    def _tell(self, said: str, done: int) -> None:
        self.world.tell(Progress(self.part.name, said, done, len(self.part.rows)))


def _longer(done: Columns | None, more: Columns) -> Columns:
    if done is None:
        return more
    return {name: done[name] + t if name == "cost" else torch.cat([done[name], t]) for name, t in more.items()}
