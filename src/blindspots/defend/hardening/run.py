"""`harden`: a model is evaluated, trained against an adversary, and evaluated by attacks it was not trained on."""

import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.single_device import SingleDeviceStrategy
from torch import nn

from blindspots.arguments import Checked, checked
from blindspots.data import Data, Dataset, as_data, notes_of, one_of
from blindspots.data.names import telling
from blindspots.defend.hardening.batches import Split, fitting, split
from blindspots.defend.hardening.card import write_card
from blindspots.defend.hardening.checkpoint import Checkpoint
from blindspots.defend.hardening.checks import Checks
from blindspots.defend.hardening.controls import Outcome, claim, control_recipes, diverged, right_rows, run_control
from blindspots.defend.hardening.course import Course, Log, Told, weights_of
from blindspots.defend.hardening.export import export_model
from blindspots.defend.hardening.folder import TRAINING, Folder
from blindspots.defend.hardening.log import Logs
from blindspots.defend.hardening.prepare import check_rows, divide, frozen_part, trainable
from blindspots.defend.hardening.recipe import Recipe, read_recipe, threats_of
from blindspots.defend.hardening.record import HardenFile, HardenManifest, HardenVerdict, held_out_off
from blindspots.defend.hardening.study import study
from blindspots.defend.hardening.study_record import Study
from blindspots.defend.hardening.trainer import Trainer, lay_out
from blindspots.engine.threads import set_threads
from blindspots.errors import InputError
from blindspots.evaluate import Evaluation, Options, Progress, evaluate
from blindspots.findings import Finding
from blindspots.journal import provenance, threads_of
from blindspots.models.binding import bind, names_of
from blindspots.models.first_look import as_model, first_look
from blindspots.models.foreign import own_state
from blindspots.models.load import load_model
from blindspots.models.model import Model
from blindspots.pictures import is_image
from blindspots.records import DataRecord, ModelRecord
from blindspots.sizes import check_radius
from blindspots.threat import Threat, as_threat

STUDY_ROWS = 100
_TIMED_STEPS, _TIMED_TIMES = 100, 8  # of the natural epoch that the price is compared with


@dataclass(frozen=True)
class HardenOptions(Checked):
    """How a hardening run is carried out.

    Args:
        seed: decides all randomness.
        threads: CPU threads; None: what is free, or what the run that is resumed was begun with.
        precision: "bf16" trains under bfloat16 autocast; every evaluation is in float32.
    """

    seed: int = 0
    threads: int | None = None
    precision: Literal["float32", "bf16"] = "float32"


@dataclass(frozen=True)
class Watch(Checked):
    """Who is told what: what begins, its parts, epochs of the training, how far an evaluation is."""

    phase: Callable[[str], None] = lambda text: None
    detail: Callable[[str], None] = lambda text: None
    epoch: Callable[[Told], None] = lambda told: None
    evaluation: Callable[[Progress], None] = lambda progress: None


class Hardened:
    """A finished run.

    Attributes:
        file: what run.json says.
        model: the hardened model.
        before, after: the evaluations.
        folder: the run folder, None for a run in memory.
    """

    def __init__(
        self, file: HardenFile, model: Model, before: Evaluation, after: Evaluation, folder: Path | None
    ) -> None:
        assert file.verdict is not None
        self.file, self.model, self.before, self.after, self.folder = file, model, before, after, folder
        self.verdict: HardenVerdict = file.verdict

    def __repr__(self) -> str:
        v = self.verdict
        return (
            f"Hardened(robust_accuracy={v.before.robust_accuracy:.4f} -> {v.after.robust_accuracy:.4f}, clean_accuracy="
            f"{v.before.clean_accuracy:.4f} -> {v.after.clean_accuracy:.4f}, recipe={self.file.manifest.recipe!r})"
        )


@own_state()
@checked(threat=as_threat, model=as_model)
def harden(
    model: Model | nn.Module,
    x: Any = None,
    y: Any = None,
    *,
    threat: Threat,
    recipe: str | Recipe = "fast",
    epochs: int | None = None,
    data: Data | None = None,
    test: Data | None = None,
    test_rows: int | None = None,
    extra: Data | None = None,
    from_scratch: bool = False,
    controls: bool = True,
    study_rows: int = STUDY_ROWS,
    protocol: str = "fast",
    out: str | Path | None = None,
    resume: bool = False,
    options: HardenOptions | None = None,
    watch: Watch | None = None,
    command: str | None = None,
) -> Hardened:
    """Train a copy of a model against an adversary, and say honestly what that did to it.

    Args:
        model: a `Model`, or a network whose inputs lie in [0, 1] and which returns logits (B, C). It stays as it is.
        x, y: rows to train on: inputs (N, ...) within the model's bounds, and labels (N,). Instead: `data`.
        threat: with a radius, e.g. `Linf(8 / 255)`: what is trained against, and what before and after are judged by.
        recipe: one of `recipe.names()`, a TOML file, or a `Recipe`.
        epochs: instead of the recipe's.
        test: rows that judge and are never trained on; None: a fifth of the data by lot.
        test_rows: how many of them at most where they are drawn from the data.
        extra: extra or generated rows, of which every batch gets the recipe's share.
        from_scratch: begin with fresh weights instead of the given ones.
        controls: train the same network naturally, with noise and with augmentation, for as many epochs.
        study_rows: test rows of the side studies (other norms, other attacks, transfer, corruptions); 0: none.
        protocol: of the evaluations before and after.
        out: run folder to write; None: keep everything in memory.
        resume: go on with the run in `out`, or begin it: the same bits as if it had not been interrupted.
        watch: is told how far the run has come.
        command: what to put in the report as the way to repeat the run.

    Raises:
        InputError: something that was given cannot be used, or training diverged; the sentence says what to do.
        SystemExit: under torchrun, in all processes but the first, once the training has ended.
    """
    model = as_model(model)
    others = (None if rows is None else as_data(rows) for rows in (test, extra))
    given, judged_by, more = bind(model, one_of(x, y, data), *others)
    model = first_look(model, given)
    asked = options or HardenOptions()
    bounded = threat.within(*model.bounds)
    check_radius(bounded, given.shape)
    training, judging = divide(given, judged_by, test_rows, asked.seed)
    chosen = read_recipe(recipe) if isinstance(recipe, str) else recipe
    for one in threats_of(chosen, bounded):
        check_radius(one, given.shape)
        if one.radius == 0:
            raise InputError(f"expected a radius above 0 to train against, got {one.spec}: nothing could be changed")
    run = _Run(
        model, training, judging, more, bounded, recipe if isinstance(recipe, str) else "custom",
        chosen if epochs is None else chosen.lasting(epochs), from_scratch, controls,
        min(study_rows, len(judging)), protocol, asked, watch or Watch(),
    )  # fmt: skip
    return run.carry_out(None if out is None else Path(out), resume, command)


@dataclass
class _Run:
    """One call of `harden`; its fields are the arguments."""

    model: Model
    data: Dataset
    test: Dataset
    extra: Dataset | None
    threat: Threat
    name: str  # of the recipe
    recipe: Recipe
    from_scratch: bool
    controls: bool
    study_rows: int
    protocol: str
    options: HardenOptions
    watch: Watch

    def __post_init__(self) -> None:
        self.threats = threats_of(self.recipe, self.threat)
        self.own = self._beginning()
        self.own.class_names = names_of(self.model) or telling(self.data.class_names)
        self.parts = split(self.data, self.options.seed, self.extra)
        for rows in (self.data, self.test, *([self.extra] if self.extra else [])):
            check_rows(self.own, rows)
        self.began = time.monotonic()

    def carry_out(self, path: Path | None, resume: bool, command: str | None) -> Hardened:
        with set_threads(self.options.threads or threads_of(path, resume)) as threads:
            self.fabric = _fabric(self.own.device, self.options.precision)
            self.processes = self.fabric.world_size
            self.fresh = HardenFile(
                manifest=self._manifest(threads), command=command,
                started=datetime.now(UTC).isoformat(timespec="seconds"), verdict=None, seal=None,
            )  # fmt: skip
            self.evaluating = Options(seed=self.options.seed, threads=threads)
            self.folder = Folder(path, self.fresh, resume) if path and self.fabric.is_global_zero else None
            self.fabric.barrier()
            if self.folder and self.folder.finished:
                return Hardened(self.folder.finished, self._final(), self.before, self.after, path)
            return self._found_out(Checkpoint(path / TRAINING) if path else None)

    def _found_out(self, checkpoint: Checkpoint | None) -> Hardened:
        if self.fabric.world_size == 1:
            _ = self.before  # with several processes the others would wait for it
        log, natural = self._train(checkpoint)
        if not self.fabric.is_global_zero:
            raise SystemExit(0)  # the first process does the rest, alone
        self.fabric = _fabric(self.own.device, self.options.precision, alone=True)
        exported = export_model(self.own, tuple(self.data.shape), self.folder.path) if self.folder else []
        verdict = self._verdict(log, natural, exported)
        file = self.fresh.model_copy(update={"verdict": verdict})
        if self.folder:
            file = self.folder.conclude(verdict)
            write_card(file, self.folder.path)
        return Hardened(file, self._final(), self.before, self.after, self.folder.path if self.folder else None)

    @cached_property
    def before(self) -> Evaluation:
        return self._evaluated(self.model, "before")

    @cached_property
    def after(self) -> Evaluation:
        return self._evaluated(self._final(), "after")

    def _evaluated(self, model: Model, name: str) -> Evaluation:
        out = self.folder.path / name if self.folder else None
        self.watch.phase(f"Evaluating {model.name} on {len(self.test):,} test rows, {self.threat.spec}")
        command = f"blindspots evaluate {model.spec} --data {self.test.spec} --threat {self.threat.spec}"
        return evaluate(
            model, data=self.test, threat=self.threat, protocol=self.protocol, out=out,
            resume=out is not None and (out / "run.json").exists(), options=self.evaluating,
            watch=self.watch.evaluation, command=command if model.spec and self.test.spec else None,
        )  # fmt: skip

    def _final(self) -> Model:
        """What was trained, as others will load it: from the program that was written, where there is one."""
        program = self.folder.path / "model.pt2" if self.folder else None
        if program is None or not program.is_file():
            return self.own
        return load_model(str(program))

    def _train(self, checkpoint: Checkpoint | None) -> tuple[Log, float]:
        """Train, and leave the best weights in `self.own`; the seconds of an epoch without an adversary come along."""
        frozen = frozen_part(self.own)
        which = f"; {frozen[0].saw}" if frozen else ""
        self.watch.phase(f"Training by the recipe {self.name} on {len(self.parts.training):,} rows{which}")
        trainer = Trainer(self.fabric, self.own, self.parts, self.threat, self.recipe, self.options.seed)
        checks = Checks(
            self.parts.held_out, self.parts.training, self.threats, self.own.bounds, self.fabric.device,
            self.options.seed,
        )  # fmt: skip
        before = checkpoint.read() if checkpoint else None
        keep = checkpoint.now_and_then if checkpoint and self.folder else lambda *args: None
        course = Course(trainer, checks, self.recipe, keep, before)
        logs, natural = Logs(self.folder.path if self.folder else None, course.log.history), self._natural()
        for told in course.run():
            natural.after(told.done)
            self.watch.epoch(told)
            logs.add(told.epoch, course.log.history)
        logs.close()
        if checkpoint and self.folder:
            checkpoint.write(trainer.state(), course.kept, course.log)
        lay_out(self.own.net, torch.contiguous_format)
        self.own.net.load_state_dict(weights_of(course.best))
        return course.log, natural.seconds

    def _natural(self) -> "_NaturalEpochs":
        """The same loop without an adversary on a copy: at most so many of an epoch's steps."""
        size = fitting(self.recipe.batch, len(self.parts.training))
        rows = min(len(self.parts.training), _TIMED_STEPS * size)
        few = Split(self.parts.training[:rows], self.parts.held_out)
        recipe = self.recipe.naturally(batch=size)
        trainer = Trainer(self.fabric, self._beginning(), few, self.threat, recipe, self.options.seed)
        return _NaturalEpochs(trainer, len(self.parts.training) / rows, max(1, self.recipe.epochs // _TIMED_TIMES))

    def _beginning(self) -> Model:
        """The network as it was before training."""
        return trainable(self.model, from_scratch=self.from_scratch, seed=self.options.seed)

    def _verdict(self, log: Log, natural: float, findings: list[Finding]) -> HardenVerdict:
        outcomes, said = self._controls() if self.controls else ([], [])
        right = right_rows(self._final(), self.test).tolist()
        before, after = self.before.verdict, self.after.verdict
        found = self._study() if self.study_rows else None
        chosen = [e.closer for e in log.history if e.epoch == log.best_epoch][-1]
        assert chosen is not None
        return HardenVerdict(
            before=before,
            after=after,
            epochs=len(log.seconds),
            best_epoch=log.best_epoch,
            held_out=chosen,
            held_out_off=held_out_off(chosen, after) if self.threats == (self.threat,) else None,
            seconds=round(sum(log.seconds), 3),
            seconds_epoch=statistics.median(log.seconds),
            seconds_natural_epoch=natural,
            seconds_checks=round(log.seconds_checks, 3),
            seconds_total=round(time.monotonic() - self.began, 3),
            peak_memory=_peak_memory(self.fabric.device),
            history=log.history,
            events=log.events,
            controls=[outcome.control for outcome in outcomes],
            claim=claim(right, outcomes),
            study=found,
            findings=[*self.model.notes, *notes_of(self.data, self.extra), *frozen_part(self.own), *findings, *said],
        )

    def _study(self) -> Study:
        o = self.evaluating
        self.watch.phase(f"Other norms, attacks, transfer and corruptions on {self.study_rows} test rows")
        found, tensors = study(
            self.model, self._final(), self.test, self.threat, self.study_rows, o.seed, self.watch.detail, o.threads
        )
        if self.folder:
            self.folder.save_study(tensors)
        return found

    def _controls(self) -> tuple[list[Outcome], list[Finding]]:
        done = self.folder.controls() if self.folder else []
        findings = []
        for name, (what, recipe) in control_recipes(self.recipe, is_image(self.data.shape)).items():
            if any(outcome.control.name == name for outcome in done):
                continue
            self.watch.phase(f"Control: {what}")
            outcome = run_control(
                name, what, recipe, self.fabric, self._beginning(), self.parts, self.threat, self.test,
                self.evaluating,
            )  # fmt: skip
            if outcome is None:
                findings.append(diverged(name))
            else:
                done.append(outcome)
                if self.folder:
                    self.folder.save_controls(done)
        return done, findings

    def _manifest(self, threads: int) -> HardenManifest:
        o = self.options
        return HardenManifest(
            **provenance(str(self.own.device), threads, o.seed),
            model=ModelRecord.of(self.model),
            data=DataRecord.of(self.data),
            test=DataRecord.of(self.test),
            extra=None if self.extra is None else DataRecord.of(self.extra),
            held_out=len(self.parts.held_out),
            threat=self.threat.spec,
            recipe=self.name,
            settings=self.recipe.model_dump_json(),
            from_scratch=self.from_scratch,
            protocol=self.protocol,
            precision=o.precision,
            devices=self.processes,
            controls=self.controls,
            study_rows=self.study_rows,
        )


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


def _peak_memory(device: torch.device) -> int | None:
    """Bytes: of a GPU what was allocated at most, else what the process held at most; None where nobody counts."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if not find_spec("resource"):
        return None
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


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
