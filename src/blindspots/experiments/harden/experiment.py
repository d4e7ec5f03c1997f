"""A model is evaluated, trained against an adversary, and evaluated by attacks that it was not trained on."""

import os
import statistics
import sys
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.single_device import SingleDeviceStrategy
from torch import Tensor, nn

from blindspots.arguments import checked
from blindspots.ball import Ball
from blindspots.data import Data, Dataset, as_data, notes_of, one_of
from blindspots.data.names import telling
from blindspots.errors import InputError
from blindspots.experiments.evaluate.config import EvaluateConfig
from blindspots.experiments.evaluate.experiment import Evaluation
from blindspots.experiments.evaluate.setup import threat_of
from blindspots.experiments.harden.batches import Split, fitting, split
from blindspots.experiments.harden.card import CARD, card
from blindspots.experiments.harden.checks import Checks
from blindspots.experiments.harden.conclude import conclude
from blindspots.experiments.harden.config import HardenConfig
from blindspots.experiments.harden.controls import control_recipes, trained_control
from blindspots.experiments.harden.export import PROGRAM, program_file, to_evaluation, weights, written
from blindspots.experiments.harden.log import TensorBoard, as_csv
from blindspots.experiments.harden.prepare import check_rows, frozen_part, trainable
from blindspots.experiments.harden.recipe import Recipe, read_recipe, threats_of
from blindspots.experiments.harden.rows import divide
from blindspots.experiments.harden.study import Pair
from blindspots.experiments.harden.trainer import Trainer, lay_out
from blindspots.experiments.harden.training import Told, TrainingLoop
from blindspots.experiments.harden.verdict import WEIGHTS, HardenVerdict
from blindspots.findings import Finding
from blindspots.models.binding import names_of
from blindspots.models.first_look import as_model
from blindspots.models.load import load_program
from blindspots.models.model import Model, to_device
from blindspots.models.text_files import DESCRIPTION, WEIGHTS_FILE, built
from blindspots.models.texts import TextModel
from blindspots.pictures import is_image
from blindspots.runs.entry import begin
from blindspots.runs.experiment import Columns, Experiment, Made, Part
from blindspots.runs.findings import packed, unpacked
from blindspots.runs.folder import Folder
from blindspots.runs.run import Watch
from blindspots.runs.store import Parts, Run
from blindspots.runs.world import Progress, World
from blindspots.sizes import check_radius
from blindspots.threat import Threat
from blindspots.threats import as_padded_threat

TESTED_ON = {"digits": "digits", "reviews-training": "reviews"}  # the test rows of embedded data
_TIMED_STEPS, _TIMED_TIMES = 100, 8  # of the natural epoch that the cost is compared with


@dataclass(frozen=True)
class Hardened(Run[HardenConfig, HardenVerdict]):
    """A finished run.

    Attributes:
        model: the hardened network, on the device of the given one.
    """

    model: Model

    def __repr__(self) -> str:
        v = self.verdict
        return (
            f"Hardened(robust_accuracy={v.before.robust_accuracy:.4f} -> {v.after.robust_accuracy:.4f}, clean_accuracy="
            f"{v.before.clean_accuracy:.4f} -> {v.after.clean_accuracy:.4f}, recipe={self.config.recipe!r})"
        )

    @cached_property
    def before(self) -> Evaluation:
        """The evaluation of the given model."""
        return Evaluation(**vars(self.parts.run("before")))

    @cached_property
    def after(self) -> Evaluation:
        """The evaluation of the hardened one."""
        return Evaluation(**vars(self.parts.run("after")))


@checked(threat=as_padded_threat, model=as_model)
def harden(
    model: Model | nn.Module,
    x: Any = None,
    y: Any = None,
    *,
    threat: Threat,
    recipe: str | Recipe | None = None,
    data: Data | None = None,
    test: Data | None = None,
    extra: Data | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    engine: str | None = None,
    watch: Watch | None = None,
    command: str | None = None,
    **settings: Any,
) -> Hardened:
    """Train a copy of a model against an adversary, and say honestly what that did to it.

    Args:
        model: a `Model`, or a network whose inputs lie in [0, 1] and which returns logits (B, C). It stays as it is.
        x, y: rows to train on: inputs (N, ...) within the model's bounds, and labels (N,). Instead: `data`.
        threat: with a radius, e.g. `Linf(8 / 255)` or "words:0.15": what is trained against, and what before and after
            are judged by.
        recipe: one of `recipe.names()`, a TOML file, or a `Recipe`; None: "fast", or "sampled" for texts.
        test: rows that judge and are never trained on; None: a fifth of the data by lot.
        extra: extra or generated rows, of which every batch gets the recipe's share.
        out: run folder to write; None: keep everything in memory.
        resume: go on with the run in `out`, or begin it: the same bits as if it had not been interrupted.
        engine: "serial", "processes" or "processes:N"; None: "serial".
        watch: is told how far the run has come.
        command: what to put in the report as the way to repeat the run.
        settings: those of `HardenConfig`: epochs, from_scratch, precision, test_rows, protocol, controls, study_rows,
            seed, device, threads, chunk.

    Raises:
        InputError: something that was given cannot be used, or training diverged; the sentence says what to do.
        SystemExit: under torchrun, in all processes but the first, once the training has ended.
    """
    model = as_model(model)
    custom = {"recipe": "custom", "settings": recipe.model_dump_json()} if isinstance(recipe, Recipe) else {}
    given = {
        "model": model, "threat": threat.spec, "padding": getattr(threat, "padding", None), "data": one_of(x, y, data),
        "test": None if test is None else as_data(test), "extra": None if extra is None else as_data(extra),
        **({"recipe": recipe} if isinstance(recipe, str) else custom),
    }  # fmt: skip
    done = begin("harden", given, settings, out=out, resume=resume, engine=engine, watch=watch, command=command)
    trained = trainable(model, from_scratch=False, seed=0)
    trained.forget()
    trained.net.load_state_dict(weights_in(done.parts["training"]))
    to_evaluation(trained.net)
    return Hardened(**vars(done), model=trained)


class Harden(Experiment[HardenConfig, HardenVerdict]):
    name = "harden"
    Config, Verdict = HardenConfig, HardenVerdict
    together = frozenset({"training"})

    # -------------------------------------------------------------- before the first part

    def fitted(self, config: HardenConfig, world: World) -> HardenConfig:
        if "data" not in world.given:
            test = config.test or TESTED_ON.get(config.data)
            config = config.model_copy(update={"training": True, "test": test})
        recipe = recipe_of(config)
        world.config = config = config.model_copy(
            update={
                "epochs": recipe.epochs,
                "padding": _padding(config, world),
                "settings": recipe.model_dump_json(),
                "devices": int(os.environ.get("WORLD_SIZE", "1")),
            }
        )
        training, judged = _Training(config, world), judging_rows(world)  # the model's first look comes first
        _check(training, judged)
        return config.model_copy(update={"study_rows": min(config.study_rows, len(judged))})

    def parts(self, config: HardenConfig, world: World) -> list[Part]:
        recipe, judged = recipe_of(config), judging_rows(world)
        names = control_recipes(recipe, _of_pictures(config, world)) if config.controls else ()
        return [
            Part("training", rows=range(recipe.epochs)),
            Part("program", needs=("training",)),
            *(Part(f"controls/{name.replace(' ', '-')}", settings={"name": name}) for name in names),
            *([Part("study", needs=("training", "program"))] if config.study_rows else []),
            Part("before", run=("evaluate", _evaluation(config, world.model, judged))),
            Part("after", needs=("training", "program"), run=("evaluate", _evaluation(config, None, judged))),
        ]

    def inside(self, config: HardenConfig, world: World, part: Part, needs: Parts) -> Mapping[str, Any]:
        model = world.model if part.name == "before" else hardened(config, world, needs)
        return {"model": model, "data": judging_rows(world)}

    # -------------------------------------------------------------- parts

    def make(self, config: HardenConfig, world: World, part: Part, needs: Parts, kept: Columns | None) -> Made:
        training = _Training(config, world)
        if part.name == "training":
            return training.run(kept, needs)
        if part.name == "program":
            own = trained_network(training.own(), needs)
            program, said = written(own, world.data.shape)
            return {"program": _bytes(program), "findings": packed(said)}
        if part.name == "study":
            x, y = judging_rows(world).rows(0, config.study_rows)
            tell = lambda said: world.tell(Progress("study", said))  # noqa: E731
            after, threat = hardened(config, world, needs), training.ball
            return Pair(world.model, after, x, y, threat, config.seed, config.chunk, tell).columns()
        name = str(part.settings["name"])
        what, recipe = control_recipes(training.recipe, _of_pictures(config, world))[name]
        world.tell(Progress(part.name, what))
        fabric = _fabric(world.model.device, config.precision, alone=True)
        own, judged = training.own(), judging_rows(world)
        return trained_control(recipe, fabric, own, training.rows, training.ball, judged, config.seed)

    # -------------------------------------------------------------- the end

    def conclude(self, config: HardenConfig, world: World, parts: Parts) -> HardenVerdict:
        training = _Training(config, world)
        own = threats_of(training.recipe, training.threat) == (training.threat,)
        whats = control_recipes(training.recipe, _of_pictures(config, world)) if config.controls else {}
        return conclude(parts, training.threat, training.recipe.epochs, {k: w for k, (w, _) in whats.items()}, own)

    def findings(self, config: HardenConfig, world: World, verdict: HardenVerdict, parts: Parts) -> list[Finding]:
        lost = [name for name in parts if name.startswith("controls/") and parts[name]["diverged"]]
        return [
            *world.model.notes,
            *notes_of(world.data, world.rows.get("extra")),
            *frozen_part(_Training(config, world).own()),
            *unpacked(parts["program"]["findings"]),
            *(_diverged(name.removeprefix("controls/").replace("-", " ")) for name in lost),
        ]

    def exports(self, config: HardenConfig, world: World, verdict: HardenVerdict, parts: Parts) -> Mapping[str, bytes]:
        program = bytes(parts["program"]["program"].tolist())
        tested = parts.run("before").manifest.world["data"]
        return {
            WEIGHTS_FILE: weights(weights_in(parts["training"])),
            **({program_file(config.of_texts): program} if program else {}),
            CARD: card(parts.begun.manifest, config, verdict, tested).encode(),
            "log.csv": as_csv(verdict.history),
        }


# ------------------------------------------------------------------ the world


def recipe_of(config: HardenConfig) -> Recipe:
    """The recipe that is named, lasting as long as was asked for.

    Raises InputError: there is none, or it says something that cannot be done.
    """
    recipe = Recipe.model_validate_json(config.settings) if config.settings else read_recipe(config.recipe)
    return recipe if config.epochs is None else recipe.lasting(config.epochs)


def training_rows(world: World) -> Dataset:
    """Rows to train on."""
    return _divided(world)[0]


def judging_rows(world: World) -> Dataset:
    """Rows that judge."""
    return _divided(world)[1]


def _divided(world: World) -> tuple[Dataset, Dataset]:
    config = world.config
    assert isinstance(config, HardenConfig)
    return world.once("rows", lambda: divide(world.data, world.rows.get("test"), config.test_rows, config.seed))


def _check(training: "_Training", judged: Dataset) -> None:
    """Raises InputError: these cannot be trained on, or by, or against."""
    world, own = training.world, training.own()
    check_radius(training.threat, world.data.shape)
    for one in threats_of(training.recipe, training.threat):
        check_radius(one, world.data.shape)
        if one.radius == 0:
            raise InputError(f"expected a radius above 0 to train against, got {one.spec}: nothing could be changed")
    _ = training.rows
    for rows in (training_rows(world), judged, *([world.rows["extra"]] if "extra" in world.rows else [])):
        check_rows(own, rows)


def _padding(config: HardenConfig, world: World) -> float | None:
    """What fills up shorter rows: of any data, where nothing was said."""
    own = (getattr(rows, "padding", None) for rows in world.rows.values())
    return config.padding if config.padding is not None else next((value for value in own if value is not None), None)


def _of_pictures(config: HardenConfig, world: World) -> bool:
    return config.padding is None and is_image(world.data.shape)


def _evaluation(config: HardenConfig, model: Model | None, judged: Dataset) -> EvaluateConfig:
    """Of the given model, or of the hardened one."""
    return EvaluateConfig(
        whole=True,
        model=f"{Path(config.model).name}-hardened" if model is None else config.model,
        data=judged.spec or judged.name, rows=len(judged), layout=getattr(judged, "layout", None),
        classes=config.classes, threat=config.threat, padding=config.padding,
        candidates=config.candidates, protocol=config.protocol,
        seed=config.seed, device=config.device, threads=config.threads, chunk=config.chunk,
    )  # fmt: skip


def weights_in(columns: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Of the part "training" or of a control, by the names of the network's own state."""
    return {name.removeprefix(WEIGHTS): t for name, t in columns.items() if name.startswith(WEIGHTS)}


def trained_network(own: Model, needs: Parts) -> Model:
    """The model with the best weights."""
    lay_out(own.net, torch.contiguous_format)
    own.forget()
    own.net.load_state_dict(weights_in(needs["training"]))
    return own


def hardened(config: HardenConfig, world: World, needs: Parts) -> Model:
    """What was trained, as others will load it: from its program, where there is one."""
    program = bytes(needs["program"]["program"].tolist())
    if not program:
        return trained_network(_Training(config, world).own(), needs)
    if isinstance(world.model, TextModel):
        model: Model = built(program, weights_in(needs["training"]), DESCRIPTION)
    else:
        model = load_program(program, PROGRAM)
    to_device(model.net, world.model.device)
    return model


def _bytes(content: bytes) -> Tensor:
    return torch.frombuffer(bytearray(content), dtype=torch.uint8) if content else torch.zeros(0, dtype=torch.uint8)


def _diverged(name: str) -> Finding:
    return Finding(
        code="control-diverged", severity="note",
        saw=f"The control {name!r} diverged: its loss was not finite in too many steps.",
        do="Use a recipe with a smaller learning rate if its figure is wanted.",
    )  # fmt: skip


# ------------------------------------------------------------------ training


class _Training:
    """The part "training", and what controls have in common with it."""

    def __init__(self, config: HardenConfig, world: World) -> None:
        self.config, self.world, self.recipe = config, world, recipe_of(config)
        _ = world.model  # its first look comes first
        self.threat = threat_of(world)

    @property
    def ball(self) -> Ball:
        """The threat of studies and controls, which are not made for texts."""
        assert isinstance(self.threat, Ball)
        return self.threat

    def own(self) -> Model:
        """A copy of the network as it is before training."""
        c, world = self.config, self.world
        own = trainable(world.model, from_scratch=c.from_scratch, seed=c.seed)
        own.class_names = names_of(world.model) or telling(world.data.class_names)
        return own

    @cached_property
    def rows(self) -> Split:
        """Rows that are trained on, and those that choose the best epoch."""
        return split(training_rows(self.world), self.config.seed, self.world.rows.get("extra"))

    def run(self, kept: Columns | None, needs: Parts) -> Generator[Columns, None, Columns]:
        """Train, epoch by epoch, to the best weights."""
        own = self.own()
        fabric = _fabric(own.device, self.config.precision)
        loop = self._loop(fabric, own, kept)
        natural, board = self._natural_epochs(fabric), TensorBoard(_place(fabric, needs), loop.log.history)
        for told in loop.run():
            natural.after(told.done)
            board.add(told.epoch)
            self.world.tell(Progress("training", _said(told), told.done, told.epochs))
            yield loop.state
        board.close()
        self.world.timing.update(_timing(loop, natural, fabric.device))
        return loop.columns

    def _loop(self, fabric: Fabric, own: Model, kept: Columns | None) -> TrainingLoop:
        seed, rows = self.config.seed, self.rows
        threats = threats_of(self.recipe, self.threat)
        trainer = Trainer(fabric, own, rows, self.threat, self.recipe, seed)
        checks = Checks(rows.held_out, rows.training, threats, own.bounds, fabric.device, seed)
        return TrainingLoop(trainer, checks, self.recipe, kept)

    def _natural_epochs(self, fabric: Fabric) -> "_NaturalEpochs":
        """The same loop without an adversary on a copy: at most so many of an epoch's steps."""
        rows = self.rows.training
        size = fitting(self.recipe.batch, len(rows))
        first = min(len(rows), _TIMED_STEPS * size)
        few = Split(rows[:first], self.rows.held_out)
        trainer = Trainer(fabric, self.own(), few, self.threat, self.recipe.naturally(batch=size), self.config.seed)
        return _NaturalEpochs(trainer, len(rows) / first, max(1, self.recipe.epochs // _TIMED_TIMES))


class _NaturalEpochs:
    """Times epochs without an adversary between those with one, so that both meet the same machine."""

    def __init__(self, trainer: Trainer, scale: float, every: int) -> None:
        self._trainer, self._scale, self._every = trainer, scale, every
        self._took: list[float] = []
        trainer.run_epoch()  # warms up

    def after(self, epoch: int) -> None:
        if epoch % self._every == 0 and len(self._took) < _TIMED_TIMES:
            self._took.append(self._trainer.run_epoch().seconds)

    @property
    def seconds(self) -> float:
        """Of a whole epoch, the median."""
        if not self._took:  # the training had ended before this attempt
            self.after(0)
        return statistics.median(self._took) * self._scale


def _said(told: Told) -> str:
    """ "epoch 12 of 40: held-out rows 97.7 % right, 71.5 % under attack" """
    e = told.epoch
    if e is None:
        return f"epoch {told.done} of {told.epochs}"
    shares = f"{100 * e.clean.share:.1f} % right, {100 * e.robust.share:.1f} % under attack"
    return f"epoch {told.done} of {told.epochs}: held-out rows {shares}{'; ' if e.note else ''}{e.note}"


def _timing(loop: TrainingLoop, natural: _NaturalEpochs, device: torch.device) -> dict[str, float]:
    """Seconds: of all epochs, of one (median), of one without an adversary, of the checks; and bytes of memory."""
    seconds, memory = loop.log.seconds, _peak_memory(device)
    return {
        "epochs": sum(seconds), "epoch": statistics.median(seconds), "natural_epoch": natural.seconds,
        "checks": loop.log.seconds_checks, **({} if memory is None else {"peak_memory": float(memory)}),
    }  # fmt: skip


def _peak_memory(device: torch.device) -> int | None:
    """Bytes: of a GPU what was allocated at most, else what the process held at most; None where nobody counts."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if not find_spec("resource"):
        return None
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _place(fabric: Fabric, needs: Parts) -> Path | None:
    """Where events for TensorBoard go."""
    return needs.files.path / needs.at if isinstance(needs.files, Folder) and fabric.is_global_zero else None


def _fabric(device: torch.device, precision: str, *, alone: bool = False) -> Fabric:
    """On the model's device; on several processes where torchrun started them, unless `alone`."""
    local, world = int(os.environ.get("LOCAL_WORLD_SIZE", "1")), int(os.environ.get("WORLD_SIZE", "1"))
    together = world > 1 and not alone
    fabric = Fabric(
        accelerator=device.type,
        devices=local if together else [device.index or 0] if device.type == "cuda" else 1,
        num_nodes=world // local if together else 1,
        strategy="ddp" if together else SingleDeviceStrategy(device),
        precision="bf16-mixed" if precision == "bf16" else "32-true",
    )
    fabric.launch()
    return fabric
