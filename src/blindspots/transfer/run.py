"""The transfer experiment: examples for every model, fed to all of them, in memory or in a run folder."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from blindspots.arguments import checked
from blindspots.attacks import Attack, as_attack
from blindspots.batching import rows_in_flight, rows_per_call, rows_per_shard
from blindspots.crafting import Plan, craft, fitting
from blindspots.data import Data, Dataset, as_data, one_of
from blindspots.engine.targets import RandomClass, Targets, as_targets
from blindspots.engine.threads import set_threads
from blindspots.errors import InputError
from blindspots.findings import Finding
from blindspots.goal import Goal
from blindspots.journal import Columns, provenance, threads_of
from blindspots.models.ensemble import Ensemble
from blindspots.models.first_look import as_model, first_look
from blindspots.models.foreign import own_state, seed_everything
from blindspots.models.model import Model
from blindspots.naming import numbered
from blindspots.oracle import Oracle
from blindspots.packing import pack_inputs, unpack_inputs
from blindspots.problem import Need
from blindspots.random import keys
from blindspots.records import DataRecord, ModelRecord
from blindspots.sizes import check_radius
from blindspots.threat import Threat, as_threat
from blindspots.transfer.adapt import Adapted, LabelsOf, Size, Sizes, adapted, check_labels, matched
from blindspots.transfer.changes import amplified, noise, rms
from blindspots.transfer.matrix import clean_errors, matrices
from blindspots.transfer.record import (
    Folder,
    Matrices,
    SourceRecord,
    TransferFile,
    TransferManifest,
    TransferVerdict,
)
from blindspots.transfer.remarks import remarks
from blindspots.transfer.substitute import train_substitute
from blindspots.verdict import ShardRecord

_INITIAL = 150  # rows that a substitute begins with, as in Papernot et al. 2017
_NOISE = -1  # tells the draws of the noise from those of the attacks
_ACCESS = {Need.LABEL: "labels", Need.VALUE: "scores"}


@dataclass(frozen=True)
class Told:
    """What a run tells of a source: when it is begun, `row` is None, and when every model has seen its examples."""

    number: int  # from 1
    sources: int
    record: SourceRecord
    row: Matrices | None


Watch = Callable[[Told], None]


class Transfer:
    """A finished run.

    Attributes:
        verdict: everything that run.json says of it.
        folder: the run folder, None for a run in memory.
    """

    def __init__(self, file: TransferFile, store: "Folder | _Memory", folder: Path | None) -> None:
        assert file.verdict is not None
        self.file, self.folder, self._store = file, folder, store
        self.verdict: TransferVerdict = file.verdict

    def __repr__(self) -> str:
        return f"Transfer(models={self.models}, rows={self.verdict.rows}, threat={self.file.manifest.threat!r})"

    @property
    def models(self) -> list[str]:
        return self.verdict.models

    @property
    def error(self) -> list[list[float]]:
        """Row i, column j: the share of all rows that model j gets wrong once they were changed to fool model i."""
        return self.verdict.error

    @property
    def findings(self) -> list[Finding]:
        return self.verdict.findings

    @cached_property
    def clean(self) -> Columns:
        """The clean rows and what the models say of them (`record.CLEAN`)."""
        return self._store.shard(0)

    def source(self, name: str) -> Columns:
        """What was made for a source, by its name, and what came of it (`record.SOURCE`)."""
        names = [s.name for s in self.file.manifest.sources]
        if name not in names:
            raise InputError(f"expected a source among {', '.join(names)}, got {name!r}: use one of these")
        return self._store.shard(1 + names.index(name))

    def adversarial(self, name: str) -> Tensor:
        """(N, *shape) float32: what was made for a source and fed to all models."""
        return self.source(name)["adversarial"]


@own_state()
@checked(threat=as_threat, attack=as_attack, targets=as_targets)
def transfer(
    models: Sequence[Any],
    x: Any = None,
    y: Any = None,
    *,
    threat: Threat,
    attack: Attack | None = None,
    data: Data | None = None,
    amplify: float | None = None,
    targeted: bool = False,
    targets: Targets | None = None,
    restarts: int = 1,
    ensemble: bool = False,
    surrogate: int | None = None,
    resize: Sizes | Size | None = None,
    labels: LabelsOf | None = None,
    trained_on: Data | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    seed: int = 0,
    threads: int | None = None,
    chunk: int | None = None,
    slots: int | None = None,
    watch: Watch | None = None,
    command: str | None = None,
) -> Transfer:
    """How often an example that was made for one model fools the others (Szegedy et al. 2013, section 4.2).

    Every row is attacked on its label and for every model, and what comes out is fed to all models, and so is noise of
    the same size. Searches go on after their first success. With a radius, rows that withstand are fed as the point
    with the lowest margin that was found in the ball; without one, rows without an example are fed as they are, and so
    are rows that the source gets wrong without any change.

    Args:
        models: two or more: `Model`s, networks whose inputs lie in [0, 1] and which return logits (B, C), or fitted
            scikit-learn classifiers. Those with gradients are attacked with them, those that give scores or labels
            alone by queries, or by way of a substitute.
        x, y: inputs (N, ...) within the models' bounds, and labels (N,). Instead: `data` (see `as_data`).
        threat: with a radius, e.g. `Linf(8 / 255)`, or without one, e.g. `L2()`, for the smallest distance.
        attack: for the models that give what it needs; None: MIFGSM with a radius, FMN without. The others get the
            first of Square, OnePixel, RayS, HopSkipJump, GeoDA, SaltAndPepper that fits.
        amplify: without a radius, changes are brought to this root mean square, then cut off by the box, before they
            are fed: sizes as in Szegedy et al. 2013, table 4 (whose printed formula gives other ones: `changes`).
        targeted: towards one class per row; its rate on the other models is `verdict.targeted`.
        targets: the rule; None: a random wrong class, the same for all models.
        restarts: searches per row; the best is fed.
        ensemble: also make examples for the average logits of all models with gradients (Liu et al. 2017), and for
            those of all but one, for every one.
        surrogate: make the examples of models without gradients on a substitute, trained from so many labels of theirs.
        resize: the size of images that a model is given: (height, width) for models that do not take the data's, or
            {name: (height, width)}.
        labels: {name: [label of output 0, of output 1, ...]} for models with other classes or another order; where
            classes have names, they are matched by them.
        trained_on: the rows that the models were trained on, if known, for the record.
        out: run folder to write; None: keep everything in memory.
        resume: go on with the run in `out`, or begin it; a source is the unit.
        seed: decides all randomness.
        threads: CPU threads; None: what is free, or what the run that is resumed was begun with.
        chunk: rows per call of a network, the same in every call; None: by the size of an input.
        slots: rows in flight; None: by the size of an input.
        watch: is told of every source, when it is begun and when it is done.
        command: what to put in the report as the way to repeat the run.

    Raises:
        InputError: something that was given cannot be used; the sentence says what to do.
    """
    _check(threat, amplify, targeted, targets, restarts, surrogate)
    given = [as_model(m) for m in models]
    names = numbered(m.name for m in given)
    data, labels = matched(given, names, one_of(x, y, data), labels)
    sizes: Sizes | None = {None: resize} if isinstance(resize, tuple) else resize
    fitted = [first_look(m, data) for m in adapted(given, names, data, sizes, labels)]
    check_radius(threat.within(*fitted[0].bounds), data.shape)
    goal = Goal(targeted, targets is not None and not targeted)
    rule = RandomClass(seed) if targeted and targets is None else targets
    setup = _Setup(
        fitted, names, data, threat.within(*fitted[0].bounds), attack, goal, rule, restarts, amplify, ensemble,
        surrogate, None if trained_on is None else as_data(trained_on), seed, *_fitted(data, fitted, chunk, slots),
    )  # fmt: skip
    folder = None if out is None else Path(out)
    with set_threads(threads or threads_of(folder, resume)) as used:
        return _Run(setup, used, watch or (lambda told: None)).carry_out(folder, resume, command)


def _check(
    threat: Threat, amplify: float | None, targeted: bool, targets: Targets | None, restarts: int, surrogate: int | None
) -> None:
    if amplify is not None and (threat.radius is not None or not amplify > 0):
        raise InputError(
            f"expected a positive root mean square to amplify to, and a threat without a radius, got {amplify} and "
            f"{threat.spec}: amplified changes leave every ball, so write {threat.name} alone"
        )
    for what, value in (("restarts", restarts), ("queries of a substitute", surrogate)):
        if value is not None and value < 1:
            raise InputError(f"expected {what} of at least 1, got {value}: give a positive number")


def _fitted(data: Dataset, models: Sequence[Model], chunk: int | None, slots: int | None) -> tuple[int, int, int]:
    """Rows per call, rows in flight and rows per search; one model on an accelerator decides for all."""
    device = next((m.device for m in models if m.device.type != "cpu"), models[0].device)
    chunk = rows_per_call("search", data.shape, device, chunk)
    slots = rows_in_flight(data.shape, device, chunk, slots)
    return chunk, slots, rows_per_shard(data.shape, slots)


@dataclass(frozen=True)
class _Setup:
    models: list[Model]
    names: list[str]
    data: Dataset
    threat: Threat
    attack: Attack | None
    goal: Goal
    targets: Targets | None
    restarts: int
    amplify: float | None
    ensemble: bool
    surrogate: int | None
    trained_on: Dataset | None
    seed: int
    chunk: int
    slots: int
    part_rows: int

    @property
    def notes(self) -> list[Finding]:
        """What was recognised of the models, each with its name."""
        return [
            note.model_copy(update={"saw": f"{name}: {note.saw}"})
            for model, name in zip(self.models, self.names, strict=True)
            for note in model.notes
        ]


@dataclass(frozen=True)
class _Source:
    record: SourceRecord
    owner: Model  # the model that is to be fooled
    attack: Attack


class _Memory:
    """Keeps what a `Folder` would write."""

    def __init__(self, file: TransferFile) -> None:
        self.file = file
        self._shards: list[Columns] = []

    @property
    def finished(self) -> int:
        return len(self._shards)

    def shard(self, index: int) -> Columns:
        return self._shards[index]

    def save(self, columns: Columns, seconds: list[float]) -> None:
        self._shards.append(columns)
        record = ShardRecord(name="", rows=columns["prediction"].shape[1], sha256="", seconds=seconds)
        self.file = self.file.model_copy(update={"shards": [*self.file.shards, record]})

    def conclude(self, verdict: TransferVerdict) -> TransferFile:
        self.file = self.file.model_copy(update={"verdict": verdict})
        return self.file


class _Run:
    """One call of `transfer`."""

    def __init__(self, setup: _Setup, threads: int, watch: Watch) -> None:
        self.setup, self.threads, self.watch = setup, threads, watch
        self.sources = list(_sources(setup))
        self.plan = Plan(
            setup.threat, setup.goal, setup.targets, setup.restarts, setup.seed, setup.slots, setup.part_rows
        )
        self.oracles = [self._oracle(m) for m in setup.models]

    def _oracle(self, model: Model) -> Oracle:
        return Oracle(model, chunk=self.setup.chunk)

    def carry_out(self, folder: Path | None, resume: bool, command: str | None) -> Transfer:
        started = datetime.now(UTC).isoformat(timespec="seconds")
        blank = TransferFile(
            manifest=self._manifest(), command=command, started=started, shards=[], verdict=None, seal=None
        )
        store = _Memory(blank) if folder is None else Folder(folder, blank, resume)
        x, y = self.setup.data.rows(0, len(self.setup.data))
        if not store.finished:
            self._look_first(store, x, y)
        clean = store.shard(0)["prediction"]
        for number in range(store.finished, len(self.sources) + 1):
            source = self.sources[number - 1]
            self._tell(number, None)
            columns, seconds = self._source(source, number, x, y)
            store.save(columns, seconds)
            self._tell(number, matrices([source.record.name], y, clean, [columns], seconds[:1]))
        return Transfer(store.conclude(self._verdict(store, y)), store, folder)

    def _tell(self, number: int, row: Matrices | None) -> None:
        self.watch(Told(number, len(self.sources), self.sources[number - 1].record, row))

    def _look_first(self, store: "Folder | _Memory", x: Tensor, y: Tensor) -> None:
        began = time.monotonic()
        with self.oracles[0].session():
            classes = self.oracles[0].logits(x[:1]).shape[1]
        check_labels(y, classes)
        prediction = torch.stack(list(self._predictions(x)))
        store.save({"x": pack_inputs(x), "y": y, "prediction": prediction}, [time.monotonic() - began])

    def _predictions(self, x: Tensor) -> Iterator[Tensor]:
        yield from (_prediction(oracle, x, self.setup.seed) for oracle in self.oracles)

    def _source(self, source: _Source, number: int, x: Tensor, y: Tensor) -> tuple[Columns, list[float]]:
        began, setup = time.monotonic(), self.setup
        made = craft(self._oracle(self._crafted_on(source, x)), source.attack, self.plan, x, y)
        crafted = time.monotonic()
        owner = self._oracle(source.owner)
        moved = self._amplified(x, made.moved)
        plain = _prediction(owner, made.moved, setup.seed)
        noisy = self._noise(x, moved, number)
        columns = {
            "adversarial": moved,
            "target": made.target,
            "own_clean": _prediction(owner, x, setup.seed),
            "own": plain if moved is made.moved else _prediction(owner, moved, setup.seed),
            "found": torch.where(made.target >= 0, plain == made.target, plain != y),
            "norm": setup.threat.norm(moved - x),
            "rms": rms(x, moved),
            "noise_rms": rms(x, noisy),
            "prediction": torch.stack(list(self._predictions(moved))),
            "noise_prediction": torch.stack(list(self._predictions(noisy))),
            "cost": torch.tensor([made.forwards, made.backwards]),
        }
        return columns, [crafted - began, time.monotonic() - crafted]

    def _crafted_on(self, source: _Source, x: Tensor) -> Model:
        if source.record.queries is None:
            return source.owner
        first = x[: min(_INITIAL, source.record.queries)]
        return train_substitute(source.owner, first, queries=source.record.queries, seed=self.setup.seed).model

    def _amplified(self, x: Tensor, moved: Tensor) -> Tensor:
        if self.setup.amplify is None:
            return moved
        threat = self.setup.threat
        return amplified(x, moved, self.setup.amplify).clamp(threat.lo, threat.hi)

    def _noise(self, x: Tensor, moved: Tensor, number: int) -> Tensor:
        return noise_of(x, moved, self.setup.seed, number, self.setup.threat, self.setup.part_rows)

    def _manifest(self) -> TransferManifest:
        s = self.setup
        return TransferManifest(
            **provenance(", ".join(dict.fromkeys(str(m.device) for m in s.models)), self.threads, s.seed),
            models=[
                ModelRecord(spec=m.spec, name=name, digest=m.digest, parameters=m.parameters, bounds=m.bounds)
                for m, name in zip(s.models, s.names, strict=True)
            ],
            resized=[m.size if isinstance(m, Adapted) else None for m in s.models],
            labels=[list(m.labels) if isinstance(m, Adapted) and m.labels else None for m in s.models],
            data=DataRecord.of(s.data),
            trained_on=None if s.trained_on is None else DataRecord.of(s.trained_on),
            threat=s.threat.spec,
            amplify=s.amplify,
            targeted=s.goal.targeted,
            targets=None if s.targets is None else repr(s.targets),
            restarts=s.restarts,
            sources=[source.record for source in self.sources],
            chunk=s.chunk,
            slots=s.slots,
            part_rows=s.part_rows,
        )

    def _verdict(self, store: "Folder | _Memory", y: Tensor) -> TransferVerdict:
        verdict = conclude(store.file, store.shard)
        doubts = check_radius(self.setup.threat, self.setup.data.shape)
        found = [*doubts, *self.setup.notes, *self.setup.data.notes, *remarks(store.file.manifest, verdict)]
        return verdict.model_copy(update={"findings": found})


def noise_of(x: Tensor, moved: Tensor, seed: int, number: int, threat: Threat, rows: int) -> Tensor:
    """The noise that stands beside source `number` (from 1), `rows` of it at a time: (N, ...)."""
    id = torch.arange(len(x))
    key = keys(seed, id, torch.full_like(id, number), torch.full_like(id, _NOISE))
    starts = range(0, len(x), rows)
    return torch.cat([noise(x[i : i + rows], moved[i : i + rows], key[i : i + rows], threat) for i in starts])


def conclude(file: TransferFile, shard: Callable[[int], Columns]) -> TransferVerdict:
    """Count a verdict, without findings, from the columns of all shards, one after the other."""
    clean, count = shard(0), len(file.manifest.models)
    y, prediction = clean["y"], clean["prediction"]
    names = [s.name for s in file.manifest.sources]
    small = [_without_inputs(shard(1 + i)) for i in range(len(names))]
    seconds = [record.seconds[0] for record in file.shards[1:]]
    of_models = matrices(names[:count], y, prediction, small[:count], seconds[:count])
    averages = matrices(names[count:], y, prediction, small[count:], seconds[count:]) if names[count:] else None
    return TransferVerdict(
        **dict(of_models),
        models=[m.name for m in file.manifest.models],
        rows=len(y),
        clean_error=clean_errors(y, prediction),
        ensemble=averages,
        total_seconds=round(sum(sum(record.seconds) for record in file.shards), 3),
        findings=[],
    )


def _without_inputs(columns: Columns) -> Columns:
    return {name: t for name, t in columns.items() if name != "adversarial"}


def clean_inputs(columns: Columns) -> Tensor:
    """(N, ...) float32 of the shard of clean rows."""
    return unpack_inputs(columns["x"])


def _prediction(oracle: Oracle, x: Tensor, seed: int) -> Tensor:
    with oracle.session():
        seed_everything(seed)  # inside the session: for models that answer at random
        return answers(oracle.logits(x))


def answers(logits: Tensor) -> Tensor:
    """(N,) int64 predictions on the CPU, -1 where a score is not finite."""
    return torch.where(logits.isfinite().all(1), logits.argmax(1), -1).cpu()


def _sources(setup: _Setup) -> Iterator[_Source]:
    """The models in their order, then their averages."""
    for i, (model, name) in enumerate(zip(setup.models, setup.names, strict=True)):
        queries = setup.surrogate if model.access is not Need.GRAD else None
        yield _as_source(setup, name, [i], model, queries)
    if setup.ensemble:
        yield from _averages(setup)


def _averages(setup: _Setup) -> Iterator[_Source]:
    members = [i for i, m in enumerate(setup.models) if m.access is Need.GRAD]
    if len(members) < 2:
        raise InputError(
            f"expected at least two models with gradients to average, got {len(members)}: leave --ensemble out"
        )
    groups = {f"average of {len(members)}": members}
    if len(members) > 2:
        groups |= {f"all but {setup.names[i]}": [j for j in members if j != i] for i in members}
    for name, group in groups.items():
        yield _as_source(setup, name, group, Ensemble([setup.models[i] for i in group]), None)


def _as_source(setup: _Setup, name: str, members: list[int], owner: Model, queries: int | None) -> _Source:
    access = owner.access if queries is None else Need.GRAD
    attack = fitting(setup.attack, setup.threat, access, setup.goal)
    shown = "gradients of a substitute" if queries else _ACCESS.get(access, "gradients")
    return _Source(
        SourceRecord(name=name, members=members, attack=repr(attack), access=shown, queries=queries), owner, attack
    )
