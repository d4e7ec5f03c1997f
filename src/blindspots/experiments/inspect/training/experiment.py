"""Small networks, trained with one thing changed at a time: what do robustness, distance and transfer depend on?"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from blindspots.arguments import checked
from blindspots.ball import Ball
from blindspots.data import Data, as_data
from blindspots.data.splits import refuse_overlap, shuffled
from blindspots.errors import InputError
from blindspots.experiments.inspect.threats import ball_of, with_threat
from blindspots.experiments.inspect.training.autoencoder import fit
from blindspots.experiments.inspect.training.conclude import conclude
from blindspots.experiments.inspect.training.config import TrainingConfig
from blindspots.experiments.inspect.training.findings import findings
from blindspots.experiments.inspect.training.levels import (
    BASELINE,
    COPIES,
    Level,
    architecture,
    levels,
    selected,
    trained,
)
from blindspots.experiments.inspect.training.measure import examples, resilience, told
from blindspots.experiments.inspect.training.verdict import TrainingVerdict
from blindspots.experiments.transfer.models import restored, weights_of
from blindspots.experiments.transfer.trained import class_count
from blindspots.experiments.transfer.training import arrays
from blindspots.findings import Finding
from blindspots.models.first_look import as_model
from blindspots.models.model import Model
from blindspots.models.texts import TextModel
from blindspots.packing import pack_inputs, unpack_inputs
from blindspots.runs.entry import begin, rows_of
from blindspots.runs.experiment import Columns, Experiment, Made, Part
from blindspots.runs.run import Watch
from blindspots.runs.store import Parts, Run
from blindspots.runs.world import Progress, World

SHOWN = 6  # rows whose reconstructions are kept


class Training(Run[TrainingConfig, TrainingVerdict]):
    """A finished study of training."""

    def __repr__(self) -> str:
        return f"Training({len(self.verdict.networks)} networks, {', '.join(self.config.factor)})"


@checked(model=as_model, training_data=as_data)
def training(
    model: Model | nn.Module | Callable[[Tensor], Any],
    x: Any = None,
    y: Any = None,
    *,
    data: Data | None = None,
    training_data: Data | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    engine: str | None = None,
    watch: Watch | None = None,
    command: str | None = None,
    **settings: Any,
) -> Training:
    """How robust accuracy, distance and transfer go with the training set and the network.

    Szegedy et al. 2013 (1312.6199) ask why examples generalise over networks and training sets, and find an
    autoencoder more resilient. Here networks are trained with one thing changed at a time (`factor`), several of each
    kind, and every measure gets a trend with its interval.

    Args:
        model: reads the reconstructions of the autoencoder; it is not trained.
        x, y: inputs (N, ...) in [0, 1] to judge by, and labels (N,). Instead: `data` (see `as_data`).
        training_data: rows to train on; None: the other digits, of other data half of the rows, by lot.
        out, resume, engine, watch, command: as of `bs.evaluate`.
        settings: those of `TrainingConfig`, such as factor, network, repeats, training_steps, threat, seed.

    Raises:
        InputError: inputs do not lie in [0, 1], a row is in training and judging rows, a factor does not
            fit the network.
    """
    given = {"model": model, "data": rows_of(x, y, data), "training_data": training_data}
    done = begin("training", given, settings, out=out, resume=resume, engine=engine, watch=watch, command=command)
    return Training(**vars(done))


class TrainingStudy(Experiment[TrainingConfig, TrainingVerdict]):
    name = "training"
    Config, Verdict = TrainingConfig, TrainingVerdict

    def fitted(self, config: TrainingConfig, world: World) -> TrainingConfig:
        if isinstance(world.named("model"), TextModel):
            raise InputError(
                f"expected a model of numbers, got {world.named('model').name}, which reads texts: leave out --part "
                "training"
            )
        config = config.model_copy(update={"threat": with_threat(config, world)})
        x, y = _training(config, world)
        if ball_of(config, world).bounds != (0.0, 1.0) or float(x.min()) < 0 or float(x.max()) > 1:
            raise InputError("expected inputs in [0, 1], for which the networks are built, got others: scale them")
        levels(config, world.data.shape)
        return config.model_copy(update={"class_count": class_count(y, world.data.name)})

    def parts(self, config: TrainingConfig, world: World) -> list[Part]:
        networks = _networks(config, world)
        made = [
            part
            for name in networks
            for part in (Part(f"trained/{name}"), Part(f"examples/{name}", ("rows", f"trained/{name}")))
        ]
        return [Part("rows"), *made, *map(_answers, networks), Part("autoencoder", ("rows",))]

    def make(self, config: TrainingConfig, world: World, part: Part, needs: Parts, kept: Columns | None) -> Made:
        making = _Making(config, world, part, needs)
        what = {
            "rows": making.rows, "trained": making.trained, "examples": making.examples, "answers": making.answers,
            "autoencoder": making.autoencoder,
        }  # fmt: skip
        return what[part.name.partition("/")[0]]()

    def conclude(self, config: TrainingConfig, world: World, parts: Parts) -> TrainingVerdict:
        return conclude(parts, _networks(config, world))

    def findings(self, config: TrainingConfig, world: World, verdict: TrainingVerdict, parts: Parts) -> list[Finding]:
        return [*world.notes, *findings(config, verdict)]


def _networks(config: TrainingConfig, world: World) -> dict[str, tuple[Level, int]]:
    """Every level and repeat, by the name of its parts."""
    every = levels(config, world.data.shape)
    return {f"{level.key}/{i}": (level, i) for level in every for i in range(config.repeats)}


def _reference(name: str) -> str:
    """Whose examples a network is fed: the first network of the baseline, whose own come from the second."""
    return f"{BASELINE}/{int(name == f'{BASELINE}/0')}"


def _answers(name: str) -> Part:
    other = _reference(name)
    return Part(f"answers/{name}", tuple(f"{kind}/{one}" for kind in ("trained", "examples") for one in (name, other)))


def _training(config: TrainingConfig, world: World) -> tuple[Tensor, Tensor]:
    """The rows to train on."""
    if "training_data" in world.rows:
        refuse_overlap(world.rows["training_data"], world.data)
        return arrays(world.rows["training_data"])
    x, y = arrays(world.data)
    at = shuffled(len(x), config.seed, 1)[len(x) // 2 :]
    return x[at], y[at]


def _judging(config: TrainingConfig, world: World) -> Tensor:
    """Places in the data of the rows to judge by, by lot."""
    order = shuffled(len(world.data), config.seed, 1)
    left = order if "training_data" in world.rows else order[: len(order) // 2]
    return left[: config.judged].sort().values


class _Making:
    """One part of a run."""

    def __init__(self, config: TrainingConfig, world: World, part: Part, needs: Parts) -> None:
        self.config, self.world, self.needs = config, world, needs
        self.kind, _, self.name = part.name.partition("/")
        self.shape = world.data.shape

    def _tell(self, said: str) -> None:
        self.world.tell(Progress(f"{self.kind}/{self.name}".rstrip("/"), said))

    def rows(self) -> Columns:
        at = _judging(self.config, self.world)
        found = [self.world.data.rows(i, i + 1) for i in at.tolist()]
        x, y = (torch.cat(columns) for columns in zip(*found, strict=True))
        return {"id": at, "y": y, "x": pack_inputs(x)}

    def _judged(self) -> tuple[Tensor, Tensor]:
        rows = self.needs["rows"]
        return unpack_inputs(rows["x"]), rows["y"]

    def trained(self) -> Columns:
        c, (level, repeat) = self.config, _networks(self.config, self.world)[self.name]
        x, y = selected(level, *_training(c, self.world), c.class_count, c.seed)
        self._tell(f"training {level.factor} {level.name}, network {repeat + 1} of {c.repeats}")
        model = trained(level, x, y, c.class_count, c.seed, repeat, c.training_steps)
        rows = len(y) // (1 + COPIES if level.copies else 1)
        return {"rows": torch.tensor([rows]), **{f"net/{name}": t for name, t in weights_of(model).items()}}

    def _network(self, name: str) -> Model:
        level, _ = _networks(self.config, self.world)[name]
        weights = {k.removeprefix("net/"): t for k, t in self.needs[f"trained/{name}"].items() if k != "rows"}
        return restored(architecture(level.network), self.shape, self.config.class_count, weights)

    def examples(self) -> Columns:
        self._tell("attacking it")
        return examples(self._network(self.name), self._ball, *self._judged(), self.config.seed)

    @property
    def _ball(self) -> Ball:
        return ball_of(self.config, self.world)

    def answers(self) -> Columns:
        other = _reference(self.name)
        own, others = (self.needs[f"examples/{name}"] for name in (self.name, other))
        return told(self._network(self.name), self._network(other), own, others)

    def autoencoder(self) -> Columns:
        self._tell("training an autoencoder")
        c, (x, _) = self.config, self._judged()
        net = fit(_training(c, self.world)[0], c.seed, c.training_steps)
        ball = self._ball
        assert ball.radius is not None
        found = resilience(net, self.world.model, ball, x, ball.radius, SHOWN, c.seed)
        return {**found, **{f"net/{name}": t.clone() for name, t in net.state_dict().items()}}
