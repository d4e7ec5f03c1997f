"""Detectors are fitted, tested on attacks that they never saw, and attacked by those who know them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from blindspots.arguments import checked
from blindspots.attacks import Attack
from blindspots.ball import Ball
from blindspots.batching import rows_per_call
from blindspots.crafting import Plan, craft
from blindspots.data import Data, Dataset, as_data, load_data, one_of, part_of
from blindspots.errors import InputError
from blindspots.experiments.detect import overhead
from blindspots.experiments.detect.batches import TestsBatches, p_values
from blindspots.experiments.detect.chosen import SMALLEST, TEST, TRAIN, check, chosen, smallest
from blindspots.experiments.detect.conclude import Array, Evidence, OfDetector, conclude
from blindspots.experiments.detect.config import DetectConfig
from blindspots.experiments.detect.detectors.detector import Detector, Examples
from blindspots.experiments.detect.detectors.file import save
from blindspots.experiments.detect.findings import findings, left_out
from blindspots.experiments.detect.guarded import Guarded, guard
from blindspots.experiments.detect.loading import fitted_of, guarded, pair_of
from blindspots.experiments.detect.rows import Split, columns, split
from blindspots.experiments.detect.score import scored
from blindspots.experiments.detect.verdict import DetectVerdict
from blindspots.experiments.evaluate.config import EvaluateConfig
from blindspots.experiments.evaluate.experiment import Evaluation
from blindspots.findings import Finding
from blindspots.fit import check_even, check_lengths
from blindspots.models.first_look import as_model, first_look
from blindspots.models.model import Model
from blindspots.objective import Objective
from blindspots.oracle import Oracle
from blindspots.packing import packed_text, unpack_inputs, unpacked_text
from blindspots.runs.entry import begin
from blindspots.runs.experiment import Columns, Experiment, Part
from blindspots.runs.run import Watch
from blindspots.runs.store import Parts, Run
from blindspots.runs.world import Progress, World
from blindspots.sizes import check_radius
from blindspots.threats import as_plain_threat

_TOGETHER = 1024  # rows that attacks take at once


@dataclass(frozen=True)
class Detection(Run[DetectConfig, DetectVerdict]):
    """A finished run, and the model that it is about."""

    model: Model

    def __repr__(self) -> str:
        v, auc = self.verdict, "none" if self.verdict.auc is None else f"{self.verdict.auc:.4f}"  # none: of a guard
        return (
            f"Detection(detector={v.detector!r}, auc={auc}, adaptive_accuracy={v.adaptive_accuracy:.4f}, "
            f"clean={v.clean.share:.4f}, robust={v.robust.share:.4f}, rows={v.rows})"
        )

    def guarded(self, name: str | None = None) -> Guarded:
        """The model with a detector, by default the one that the verdict speaks of: the same, plus "reject"."""
        return guarded(self, self.model, name or self.verdict.detector)


@checked(threat=as_plain_threat, model=as_model)
def detect(
    model: Model | nn.Module | Callable[[Tensor], Any],
    x: Any = None,
    y: Any = None,
    *,
    threat: Ball,
    detector: str | Detector | Sequence[str | Detector] | None = None,
    data: Data | None = None,
    test: Data | None = None,
    train_attack: Sequence[str | Attack] | None = None,
    test_attack: Sequence[str | Attack] | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    engine: str | None = None,
    watch: Watch | None = None,
    command: str | None = None,
    **settings: Any,
) -> Detection:
    """Fit detectors of adversarial examples, and say what they are worth to an adversary who knows them.

    A detector is fitted on clean rows and on what `train_attack` makes of them, its threshold is set on clean rows of
    their own, and it is measured on rows that it never saw, on what `test_attack` makes of them within half, all and
    twice the radius. Only examples that fool the model count, of rows that it gets right. Then model and detector are
    attacked as one: an adversary wins only with a wrong class that is not rejected, and a clean row that is rejected
    counts as wrong (Carlini and Wagner 2017, arXiv 1705.07263).

    Args:
        model: a `Model`, or a network whose inputs lie in [0, 1] and which returns logits (B, C).
        x, y: inputs (N, ...) within the model's bounds, and labels (N,). Instead: `data` (see `as_data`).
        threat: with a radius, e.g. `Linf(8 / 255)`.
        detector: one or several, objects or words such as "density:bandwidth=0.5"; None: all that can be fitted.
        test: the rows to measure on; None: two fifths of `data`, by lot.
        train_attack, test_attack: objects or words such as "pgd:steps=40"; None: `chosen.TRAIN` and `chosen.TEST`.
        out: run folder to write; None: keep everything in memory.
        resume: go on with the run in `out`, or begin it. A resumed run has the bits of one that was never stopped.
        engine: "serial", "processes" or "processes:N"; None: what is faster for the model.
        watch: is told how far the run has come.
        command: what to put in the report as the way to repeat the run.
        settings: those of `DetectConfig`, such as fpr, fit, rows, protocol, bare_protocol, seed, threads, chunk.

    Raises:
        InputError: something that was given cannot be used, or nothing fools the model; the sentence says what to do.
    """
    rows, measured = one_of(x, y, data), None if test is None else _opened(test, settings.pop("rows", None))
    named = [detector] if isinstance(detector, str | Detector) else detector
    given = {
        "model": model, "data": rows, "test": measured, "threat": threat, "train_attack": train_attack,
        "test_attack": test_attack, "detector": None if named is None else list(map(str, named)),
    }  # fmt: skip
    if measured is not None:
        settings["rows"] = len(measured)
    done = begin("detect", given, settings, out=out, resume=resume, engine=engine, watch=watch, command=command)
    return Detection(**vars(done), model=first_look(as_model(model), rows))


def _opened(test: Data, rows: int | None) -> Dataset:
    if isinstance(test, str | Path):
        return load_data(test, rows)
    if rows is not None:
        raise InputError("expected rows with the name of test, got them with data that are opened: pass fewer rows")
    return as_data(test)


class Detect(Experiment[DetectConfig, DetectVerdict]):
    name = "detect"
    Config, Verdict = DetectConfig, DetectVerdict

    def fitted(self, config: DetectConfig, world: World) -> DetectConfig:
        threat = chosen(config, world).threat
        check(world.model)
        check_even(world.model, "a detector")
        check_lengths(world.data, "a detector")
        check_radius(threat.within(*world.model.bounds), world.data.shape)
        _ = _split(config, world)
        return config.model_copy(
            update={
                "train_attack": config.train_attack or TRAIN[threat.name],
                "test_attack": config.test_attack or TEST[threat.name],
                "chunk": rows_per_call("cascade", world.data.shape, world.model.device, config.chunk),
            }
        )

    def parts(self, config: DetectConfig, world: World) -> list[Part]:
        found, bare = chosen(config, world), _attacking(config, world, config.bare_protocol)
        learning = any(d.learns_from_attacks for d in found.detectors.values())
        return [
            Part("rows"),
            *(Part(f"examples/{name}", ("rows",)) for name in found.tests),
            Part("bare", ("rows",), run=bare),
            Part("distortion/bare", ("rows",), run=_minimising(config, world)),
            *[Part("training")] * learning,
            *(
                Part(f"detectors/{name}", ("training",) * d.learns_from_attacks)
                for name, d in found.detectors.items()
            ),
        ]  # fmt: skip

    def further(self, config: DetectConfig, world: World, parts: Parts) -> list[Part]:
        fitted = [name for name in chosen(config, world).detectors if not _why(parts, name)]
        if not fitted:
            told = [f for name in chosen(config, world).detectors for f in [left_out(name, _why(parts, name))]]
            raise InputError(f"expected a detector that can be fitted, found none: {told[-1].saw}")
        return [part for name in fitted for part in self._measured(config, world, name)]

    def _measured(self, config: DetectConfig, world: World, name: str) -> list[Part]:
        """What is made of a detector that could be fitted."""
        examples = tuple(f"examples/{attack}" for attack in chosen(config, world).tests)
        fit, pair = f"detectors/{name}", (f"detectors/{name}", f"scores/{name}")
        batches = Part(f"batches/{name}", ("rows", *examples, fit, f"adaptive/{name}"))
        return [
            Part(f"scores/{name}", ("rows", "bare", *examples, fit)),
            Part(f"adaptive/{name}", ("rows", *pair), run=_attacking(config, world, config.protocol, name)),
            Part(f"pairs/{name}", (fit, f"adaptive/{name}")),
            *[batches] * chosen(config, world).detectors[name].tests_batches,
            Part(f"distortion/{name}", ("rows", *pair), run=_minimising(config, world, name)),
            Part(f"overhead/{name}", ("rows", *pair)),
        ]

    def make(self, config: DetectConfig, world: World, part: Part, needs: Parts, kept: Columns | None) -> Columns:
        what, _, name = part.name.partition("/")
        made: Columns = getattr(_Making(config, world, part, needs), what)(name)
        return made

    def inside(self, config: DetectConfig, world: World, part: Part, needs: Parts) -> Mapping[str, Any]:
        what, _, name = part.name.partition("/")
        model = pair_of(needs, world.model, name) if name not in ("", "bare") else world.model
        x, y = _measured_rows(needs)
        source, found = _source(world), chosen(config, world)
        if what != "distortion":
            return {"model": model, "data": part_of(source, x, y, source.name)}
        first = part_of(source, x[: config.distortion_rows], y[: config.distortion_rows], source.name)
        return {"model": model, "data": first, "protocol": smallest(found.threat)}

    def conclude(self, config: DetectConfig, world: World, parts: Parts) -> DetectVerdict:
        return conclude(evidence(config, world, parts), of_detectors(config, world, parts))

    def findings(self, config: DetectConfig, world: World, verdict: DetectVerdict, parts: Parts) -> list[Finding]:
        found = chosen(config, world)
        reasons = {name: _why(parts, name) for name in found.detectors}
        return [
            *check_radius(found.threat.within(*world.model.bounds), world.data.shape),
            *found.findings(),
            *world.notes,
            *_split(config, world).findings,
            *(left_out(name, why) for name, why in reasons.items() if why),
            *findings(verdict, config.fpr, len(parts["rows"]["threshold_y"])),
        ]

    def exports(self, config: DetectConfig, world: World, verdict: DetectVerdict, parts: Parts) -> Mapping[str, bytes]:
        return {"detector.safetensors": parts[f"detectors/{verdict.detector}"]["file"].numpy().tobytes()}


def _split(config: DetectConfig, world: World) -> Split:
    return world.once("split", lambda: split(world.data, world.rows.get("test"), config.fit, config.rows, config.seed))


def _source(world: World) -> Dataset:
    """The data that the measured rows are from."""
    return world.rows.get("test", world.data)


def _why(parts: Parts, name: str) -> str:
    """Why a detector could not be fitted; "" where it could."""
    return unpacked_text(parts[f"detectors/{name}"]["left_out"])


# ------------------------------------------------------------------ runs inside the run


def _attacking(config: DetectConfig, world: World, protocol: str, name: str = "") -> tuple[str, EvaluateConfig]:
    return "evaluate", _inner(config, world, name, protocol, config.threat)


def _minimising(config: DetectConfig, world: World, name: str = "") -> tuple[str, EvaluateConfig]:
    threat = chosen(config, world).threat
    return "evaluate", _inner(config, world, name, "smallest", threat.name)


def _inner(config: DetectConfig, world: World, name: str, protocol: str, threat: str) -> EvaluateConfig:
    """Its model and its rows are given as objects: see `inside`."""
    model = f"{config.model} guarded by {name}" if name else config.model
    return EvaluateConfig(
        whole=True,
        model=model,
        data=_source(world).name,
        threat=threat,
        protocol=protocol,
        seed=config.seed,
        chunk=config.chunk,
    )


# ------------------------------------------------------------------ parts


class _Making:
    """One part; every method makes those of its name."""

    def __init__(self, config: DetectConfig, world: World, part: Part, needs: Parts) -> None:
        self.config, self.world, self.part, self.needs = config, world, part, needs
        self.model, self.split, self.chosen = world.model, _split(config, world), chosen(config, world)
        self.chunk = config.chunk or 1

    def _tell(self, said: str) -> None:
        self.world.tell(Progress(self.part.name, said))

    def _predicted(self, x: Tensor) -> Tensor:
        """What the model says of inputs (N, *shape): (N,) on the CPU."""
        oracle = Oracle(self.model, chunk=self.chunk)
        with oracle.session():
            return oracle.logits(x.to(oracle.device)).argmax(1).cpu()

    def _crafted(self, attack: Attack, radius: float, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """What an attack on the model alone makes of every row, searched to its end, and what the model says of it."""
        threat = self.chosen.threat.within(*self.model.bounds)
        threat = type(threat)(radius, threat.lo, threat.hi)
        plan = Plan(threat, Objective(), None, 1, self.config.seed, 128, _TOGETHER)
        moved = craft(Oracle(self.model, chunk=self.chunk), attack, plan, x, y).moved
        return moved, self._predicted(moved)

    def rows(self, _: str) -> Columns:
        self._tell("asking the model about the clean rows")
        return {**columns(self.split), "prediction": self._predicted(self.split.test[0])}

    def examples(self, name: str) -> Columns:
        """(radii, n, ...) examples of a test attack, and (radii, n) predictions."""
        x, y = _measured_rows(self.needs)
        made = []
        for radius in self.chosen.radii:
            self._tell(f"attacking within {radius:g}")
            made.append(self._crafted(self.chosen.tests[name], radius, x, y))
        return {"adversarial": torch.stack([m for m, _ in made]), "prediction": torch.stack([p for _, p in made])}

    def training(self, _: str) -> Columns:
        """What the training attacks make of the fit rows that the model gets right, where it fools the model."""
        x, y = self.split.fit
        right = self._predicted(x) == y
        x, y, made = x[right], y[right], []
        for name, attack in self.chosen.train.items():
            self._tell(f"attacking with {name}")
            moved, prediction = self._crafted(attack, self.chosen.radius, x, y)
            made.append((moved[prediction != y], y[prediction != y]))
        return {"x": torch.cat([m for m, _ in made]), "y": torch.cat([labels for _, labels in made])}

    def detectors(self, name: str) -> Columns:
        """A fitted detector, or where it was not asked for by name, why it could not be fitted."""
        self._tell("fitting")
        detector = self.chosen.detectors[name]
        try:
            learned = self._learned_from(detector)
            content, why = save(detector.fit(self.model, Examples(*self.split.fit), learned, self.config.seed)), ""
        except InputError as error:
            if self.config.detector:
                raise
            content, why = b"", str(error)
        return {"file": _bytes(content), "left_out": packed_text(why)}

    def _learned_from(self, detector: Detector) -> Examples | None:
        if not detector.learns_from_attacks:
            return None
        made = self.needs["training"]
        if len(made["y"]):
            return Examples(made["x"], made["y"])
        if not detector.needs_attacks:
            return None
        raise InputError(
            f"expected training attacks that fool the model within {self.chosen.threat.spec}, got none on "
            f"{len(self.split.fit[1])} rows: there is nothing to learn from, so allow a larger change"
        )

    def scores(self, name: str) -> Columns:
        self._tell("scoring")
        fitted, rows = fitted_of(self.needs, self.model, name), self.needs["rows"]
        pair = guard(self.model, fitted, unpack_inputs(rows["threshold_x"]), self.config.fpr)
        made = [self.needs[f"examples/{attack}"]["adversarial"] for attack in self.chosen.tests]
        bare = Evaluation(**vars(self.needs.run("bare")))
        return {
            "pair": torch.tensor([pair.threshold, pair.scale], dtype=torch.float64),
            "clean": scored(fitted, unpack_inputs(rows["x"]), self.chunk),
            "attacks": torch.stack([torch.stack([scored(fitted, x, self.chunk) for x in xs]) for xs in made]),
            "bare": scored(fitted, bare.adversarial, self.chunk),
        }

    def pairs(self, name: str) -> Columns:
        """What the detector says of the examples that fool the pair."""
        return {"score": scored(fitted_of(self.needs, self.model, name), _passing(self.needs, name), self.chunk)}

    def batches(self, name: str) -> Columns:
        """p-values of whole batches."""
        self._tell("testing batches")
        test, rows = fitted_of(self.needs, self.model, name), self.needs["rows"]
        assert isinstance(test, TestsBatches)
        right, at = rows["prediction"] == rows["y"], self.chosen.radii.index(self.chosen.radius)
        made = {attack: self.needs[f"examples/{attack}"] for attack in self.chosen.tests}
        fooling = {a: e["adversarial"][at][right & (e["prediction"][at] != rows["y"])] for a, e in made.items()}
        fooling["adaptive"] = _passing(self.needs, name)
        return p_values(test, unpack_inputs(rows["x"])[right], fooling, self.config.seed)

    def overhead(self, name: str) -> Columns:
        """What can be counted; what can only be timed goes to the log."""
        self._tell("measuring")
        pair, x = pair_of(self.needs, self.model, name), unpack_inputs(self.needs["rows"]["x"])
        self.world.timing.update(overhead.timed(self.model, pair, x))
        return overhead.counted(self.model, pair, x)


def _bytes(content: bytes) -> Tensor:
    return torch.frombuffer(bytearray(content), dtype=torch.uint8) if content else torch.zeros(0, dtype=torch.uint8)


def _measured_rows(parts: Parts) -> tuple[Tensor, Tensor]:
    rows = parts["rows"]
    return unpack_inputs(rows["x"]), rows["y"]


def _passing(parts: Parts, name: str) -> Tensor:
    """The examples (k, ...) that fool model and detector together."""
    return torch.cat([shard["adversarial"] for shard in parts.run(f"adaptive/{name}").parts.below("shards")])


# ------------------------------------------------------------------ what `conclude` counts


def evidence(config: DetectConfig, world: World, parts: Parts) -> Evidence:
    """Of the measured rows."""
    rows, found = parts["rows"], chosen(config, world)
    fooled = torch.stack([parts[f"examples/{name}"]["prediction"] != rows["y"] for name in found.tests])
    return Evidence(
        found.threat, list(found.tests), found.radii, SMALLEST[found.threat.name], rows["y"].numpy(),
        rows["prediction"].numpy(), fooled.numpy(), _outcome(parts, "bare"), _norms(parts, "bare"),
    )  # fmt: skip


def of_detectors(config: DetectConfig, world: World, parts: Parts) -> dict[str, OfDetector]:
    """Of every detector that could be fitted."""
    detectors = chosen(config, world).detectors
    return {name: _of(parts, name, d) for name, d in detectors.items() if not _why(parts, name)}


def _of(parts: Parts, name: str, detector: Detector) -> OfDetector:
    scores = {column: t.numpy() for column, t in parts[f"scores/{name}"].items()}
    pair = {**_outcome(parts, f"adaptive/{name}"), "score": parts[f"pairs/{name}"]["score"].numpy()}
    batches = parts[f"batches/{name}"] if detector.tests_batches else {}
    costs = overhead.record(parts[f"overhead/{name}"])
    return OfDetector(detector, scores, pair, batches, _norms(parts, name), costs)


def _outcome(parts: Parts, name: str) -> dict[str, Array]:
    """Row by row: right at first, broken, and how near the nearest example is."""
    shards = parts.run(name).parts.joined("shards")
    return {column: shards[column].numpy() for column in ("right", "won", "norm")}


def _norms(parts: Parts, name: str) -> Array:
    norms: Array = Evaluation(**vars(parts.run(f"distortion/{name}"))).norms.numpy()
    return norms
