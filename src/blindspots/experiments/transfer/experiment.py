"""The transfer experiment: examples for every model, fed to all of them."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from blindspots.arguments import checked
from blindspots.attacks import Attack, as_attack
from blindspots.batching import rows_per_shard
from blindspots.crafting import Plan, craft
from blindspots.data import Data, Dataset, as_data, is_dataset
from blindspots.data.splits import refuse_overlap
from blindspots.engine.targets import Targets, as_targets
from blindspots.errors import InputError
from blindspots.experiments.transfer.adapt import check_labels
from blindspots.experiments.transfer.changes import fed, noise_beside, size
from blindspots.experiments.transfer.config import Source, TransferConfig
from blindspots.experiments.transfer.findings import findings
from blindspots.experiments.transfer.matrix import clean_errors, matrices
from blindspots.experiments.transfer.models import opened, owner, weights_of
from blindspots.experiments.transfer.sources import (
    attack_of,
    check_amplified,
    fitting_models,
    goal_of,
    targets_of,
    with_sources,
)
from blindspots.experiments.transfer.substitute import restored, train_substitute
from blindspots.experiments.transfer.texts import read_by, said_of, threat_of
from blindspots.experiments.transfer.trained import class_count, train_on_half
from blindspots.experiments.transfer.verdict import TransferVerdict, made_for
from blindspots.findings import Finding
from blindspots.models.first_look import as_model, first_look
from blindspots.models.foreign import seed_everything
from blindspots.models.model import Model
from blindspots.oracle import Oracle
from blindspots.packing import pack_inputs, unpack_inputs
from blindspots.runs.entry import begin, rows_of
from blindspots.runs.experiment import Columns, Experiment, Part, shards
from blindspots.runs.run import Watch
from blindspots.runs.store import Parts, Run
from blindspots.runs.world import Progress, World
from blindspots.sizes import check_radius
from blindspots.threat import Threat
from blindspots.threats import as_plain_threat, parse_threat

_INITIAL = 150  # rows that a substitute begins with, as in Papernot et al. 2017
_PASSES = 40  # about what a row takes: the default's steps, twice, and its answers


class Transferred(Run[TransferConfig, TransferVerdict]):
    """A finished run."""

    def __repr__(self) -> str:
        return f"Transferred(models={self.models}, rows={self.verdict.rows}, threat={self.config.threat!r})"

    @property
    def models(self) -> list[str]:
        return self.verdict.models

    @property
    def error(self) -> list[list[float]]:
        """Row i, column j: the share of all rows that model j gets wrong once they were changed to fool model i."""
        return self.verdict.error

    @property
    def clean(self) -> Columns:
        """The clean rows and what the models say of them, see `verdict.CLEAN`."""
        return self.parts["clean"]

    def source(self, name: str) -> Columns:
        """What was made for a source, by its name, and what came of it: see `verdict.SOURCE` and `ANSWERS`."""
        return made_for(self.parts, self._number(name))

    def adversarial(self, name: str) -> Tensor:
        """(N, *shape) float32: what was made for a source and fed to all models."""
        moved = self.parts.joined(f"sources/{self._number(name)}")["moved"]
        return fed(unpack_inputs(self.clean["x"]), moved, self.config.amplify, said_of(self.config))

    def _number(self, name: str) -> int:
        names = [source.name for source in self.config.sources]
        if name not in names:
            raise InputError(f"expected a source among {', '.join(names)}, got {name!r}: use one of these")
        return 1 + names.index(name)


@checked(threat=as_plain_threat, attack=as_attack)
def transfer(
    models: Sequence[Any],
    x: Any = None,
    y: Any = None,
    *,
    threat: Threat,
    data: Data | None = None,
    attack: Attack | None = None,
    targets: Targets | str | None = None,
    test: Data | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    engine: str | None = None,
    watch: Watch | None = None,
    command: str | None = None,
    **settings: Any,
) -> Transferred:
    """How often an example that was made for one model fools the others (Szegedy et al. 2013, section 4.2).

    Every row is attacked on its label and for every model, and what comes out is fed to all models, and so is noise of
    the same size. Searches go on after their first success. With a radius, rows that withstand are fed as the point
    with the lowest margin that was found in the ball; without one, rows without an example are fed as they are, and so
    are rows that the source gets wrong without any change.

    Args:
        models: two or more: `Model`s, networks whose inputs lie in [0, 1] and which return logits (B, C), or fitted
            scikit-learn classifiers. Those with gradients are attacked with them, those that give scores or labels
            alone by queries, or by way of a substitute. With split="disjoint": words for architectures.
        x, y: inputs (N, ...) within the models' bounds, and labels (N,). Instead: `data` (see `as_data`).
        threat: with a radius, e.g. `Linf(8 / 255)`, or without one, e.g. `L2()`, for the smallest distance. Of texts
            e.g. `Words(0.15)`; their candidates are the same for all models, so none can be a model's own words.
        attack: for the models that give what it needs; None: MIFGSM with a radius, FMN without. The others get the
            first of Square, OnePixel, RayS, HopSkipJump, GeoDA, SaltAndPepper that fits; models of texts Greedy, or
            Sampling where they show labels alone.
        targets: the rule; None: if `targeted` a random wrong class, the same for all models.
        test: with split="disjoint", the rows to attack; `data` are those to train on.
        out: run folder to write; None: keep everything in memory.
        resume: go on with the run in `out`, or begin it. A resumed run has the bits of one that was never stopped.
        engine: "serial", "processes" or "processes:N"; None: what is faster for the models.
        watch: is told how far the run has come.
        command: what to put in the report as the way to repeat the run.
        settings: those of `TransferConfig`, such as targeted, restarts, ensemble, surrogate, amplify, seed, threads;
            resize takes (height, width) or {name: (height, width)}, labels {name: [label of output 0, ...]}, too.

    Raises:
        InputError: something that was given cannot be used; the sentence says what to do.
    """
    if targets is not None:
        as_targets(targets)
    held_out: Any = test if test is None or isinstance(test, str) else as_data(test)
    given = {
        "model": list(models) if settings.get("split") is not None else [as_model(m) for m in models],
        "data": rows_of(x, y, data),
        "test": held_out,
        "threat": threat,
        "attack": attack,
        "targets": targets,
        **({"rows": len(held_out)} if is_dataset(held_out) else {}),
    }
    done = begin("transfer", given, settings, out=out, resume=resume, engine=engine, watch=watch, command=command)
    return Transferred(**vars(done))


class Transfer(Experiment[TransferConfig, TransferVerdict]):
    name = "transfer"
    Config, Verdict = TransferConfig, TransferVerdict

    def fitted(self, config: TransferConfig, world: World) -> TransferConfig:
        threat, data = world.thing("threat", parse_threat), world.rows[config.attacked]
        check_amplified(config.amplify, threat)
        if config.split:
            refuse_overlap(world.rows["data"], data)
            _, y = world.rows["data"].rows(0, len(world.rows["data"]))
            config = config.model_copy(update={"class_count": class_count(y, world.rows["data"].name)})
        return with_sources(fitting_models(config, world, data), world, data)

    def passes(self, config: TransferConfig, world: World) -> float:
        rows = len(world.rows[config.attacked])
        return 0.0 if config.split else float(rows * len(config.sources) * config.restarts * _PASSES)

    def parts(self, config: TransferConfig, world: World) -> list[Part]:
        rows = range(len(world.rows[config.attacked]))
        count = 2 * len(config.model) if config.split else 0
        trained = [Part(f"trained/{i}", settings={"number": i}) for i in range(1, count + 1)]
        known = tuple(part.name for part in trained)
        listed = [*trained, Part("clean", known, rows)]
        for i, source in enumerate(config.sources, 1):
            copies = [Part(f"substitutes/{i}", known, settings={"number": i})] if source.queries else []
            needs = (*known, *(part.name for part in copies))
            made = [
                Part(part.name, needs, part.rows, settings={"number": i})
                for part in shards(f"sources/{i}", len(rows), _part_rows(config, world))
            ]
            found = Part(f"answers/{i}", (*known, *(part.name for part in made)), rows, settings={"number": i})
            listed += [*copies, *made, found]
        return listed

    def make(self, config: TransferConfig, world: World, part: Part, needs: Parts, kept: Columns | None) -> Columns:
        return _Making(config, world, part, needs).made()

    def conclude(self, config: TransferConfig, world: World, parts: Parts) -> TransferVerdict:
        clean, names = parts["clean"], [source.name for source in config.sources]
        y, prediction, count = clean["y"], clean["prediction"], len(config.names)
        made = [_without_inputs(made_for(parts, i)) for i in range(1, len(names) + 1)]
        averages = matrices(names[count:], y, prediction, made[count:]) if names[count:] else None
        return TransferVerdict(
            **dict(matrices(names[:count], y, prediction, made[:count])),
            models=config.names,
            rows=len(y),
            clean_error=clean_errors(y, prediction),
            ensemble=averages,
        )

    def findings(self, config: TransferConfig, world: World, verdict: TransferVerdict, parts: Parts) -> list[Finding]:
        data, models = world.rows[config.attacked], _models(config, world, parts)
        noted = [(name, note) for name, model in zip(config.names, models, strict=True) for note in model.notes]
        notes = [note.model_copy(update={"saw": f"{name}: {note.saw}"}) for name, note in noted]
        digests = [model.digest for model in models]
        return [
            *check_radius(threat_of(config, world), data.shape),
            *notes,
            *data.notes,
            *findings(config, digests, verdict),
        ]


def _part_rows(config: TransferConfig, world: World) -> int:
    return rows_per_shard(world.rows[config.attacked].shape, config.slots or 1)


def _models(config: TransferConfig, world: World, parts: Parts) -> list[Model]:
    """All models, with the weights of their parts where they are trained."""

    def opening() -> list[Model]:
        data = world.rows[config.attacked]
        weights = [parts[name] for name in parts if name.startswith("trained/")]
        return [first_look(model, data) for model in opened(config, world, data.shape, weights)]

    return world.once("models", opening)


def _without_inputs(columns: Columns) -> Columns:
    return {name: t for name, t in columns.items() if name != "moved"}


# ------------------------------------------------------------------ one part of it


class _Making:
    """One part of a run."""

    def __init__(self, config: TransferConfig, world: World, part: Part, needs: Parts) -> None:
        self.config, self.world, self.part, self.needs = config, world, part, needs
        self.data: Dataset = world.rows[config.attacked]

    def made(self) -> Columns:
        kind = self.part.name.partition("/")[0]
        making = {
            "trained": self.trained, "clean": self.clean, "substitutes": self.substitute, "sources": self.examples,
            "answers": self.answers,
        }  # fmt: skip
        return making[kind]()

    def _tell(self, said: str) -> None:
        self.world.tell(Progress(self.part.name, said, 0, len(self.part.rows)))

    @cached_property
    def models(self) -> list[Model]:
        return _models(self.config, self.world, self.needs)

    @property
    def number(self) -> int:
        return int(self.part.settings["number"])

    @property
    def source(self) -> Source:
        return self.config.sources[self.number - 1]

    @property
    def threat(self) -> Threat:
        return threat_of(self.config, self.world)

    def _rows(self) -> tuple[Tensor, Tensor]:
        return self.data.rows(self.part.rows.start, self.part.rows.stop)

    def trained(self) -> Columns:
        c = self.config
        data = self.world.rows["data"]
        return weights_of(train_on_half(c.model, self.number - 1, data, c.seed, c.training_steps, self._tell))

    def clean(self) -> Columns:
        self._tell("looking at the clean rows")
        x, y = self._rows()
        check_labels(y, self.config.class_count)
        return {"x": pack_inputs(x), "y": y, "prediction": self._predictions(x)}

    def substitute(self) -> Columns:
        queries = self.source.queries
        assert queries
        self._tell(f"training a substitute of {self.source.name}")
        first, _ = self.data.rows(0, min(_INITIAL, queries, len(self.data)))
        target = owner(self.source, self.models)
        return weights_of(train_substitute(target, first, queries=queries, seed=self.config.seed).model)

    def examples(self) -> Columns:
        c = self.config
        self._tell(f"making examples for {self.source.name}")
        on = self._crafted_on()
        targets = self.world.thing("targets", lambda _: targets_of(c))
        threat = read_by(self.threat, on)
        plan = Plan(threat, goal_of(c), targets, c.restarts, c.seed, c.slots or 1, len(self.part.rows))
        made = craft(
            self._oracle(on), attack_of(c, self.world, on.access), plan, *self._rows(), first=self.part.rows.start
        )
        return {"moved": made.moved, "target": made.target, "cost": torch.tensor([[made.forwards, made.backwards]])}

    def _crafted_on(self) -> Model:
        fooled = owner(self.source, self.models)
        if self.source.queries is None:
            return fooled
        weights = self.needs[f"substitutes/{self.number}"]
        return restored(fooled, tuple(self.data.shape), self.config.class_count, weights)

    def answers(self) -> Columns:
        self._tell(f"feeding all models what was made for {self.source.name}")
        (x, y), made = self._rows(), self.needs.joined(f"sources/{self.number}")
        fooled, target, moved = owner(self.source, self.models), made["target"], made["moved"]
        shown = fed(x, moved, self.config.amplify, self.threat)
        noisy = noise_beside(x, shown, self.config.seed, self.number, self.threat)
        found = self._prediction(fooled, moved)
        return {
            "own_clean": self._prediction(fooled, x),
            "own": found if shown is moved else self._prediction(fooled, shown),
            "found": torch.where(target >= 0, found == target, found != y),
            "norm": self.threat.distance(shown, x),
            "rms": size(x, shown, self.threat),
            "noise_rms": size(x, noisy, self.threat),
            "prediction": self._predictions(shown),
            "noise_prediction": self._predictions(noisy),
        }

    def _oracle(self, model: Model) -> Oracle:
        return Oracle(model, chunk=self.config.chunk or 1)

    def _predictions(self, x: Tensor) -> Tensor:
        return torch.stack([self._prediction(model, x) for model in self.models])

    def _prediction(self, model: Model, x: Tensor) -> Tensor:
        oracle = self._oracle(model)
        with oracle.session():
            seed_everything(self.config.seed)  # inside the session: for models that answer at random
            return answers(oracle.logits(x))


def answers(logits: Tensor) -> Tensor:
    """(N,) int64 predictions on the CPU, -1 where a score is not finite."""
    return torch.where(logits.isfinite().all(1), logits.argmax(1), -1).cpu()
