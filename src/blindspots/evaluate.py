"""The main job: from a model and data to a verdict, in memory or in a run folder that can be resumed."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from blindspots.arguments import Checked, checked
from blindspots.attacks import Attack, as_attack
from blindspots.batching import is_large, rows_in_flight, rows_per_call, rows_per_shard
from blindspots.data import Data, Dataset, one_of
from blindspots.diagnose import diagnose
from blindspots.engine.cascade import Cascade, Live, Stage, Start, is_targeted
from blindspots.engine.jobs import Samples
from blindspots.engine.loop import Allowance, Settings, patience_of
from blindspots.engine.result import Result
from blindspots.engine.shard import LOOKS_AFTER, shard_columns
from blindspots.engine.targets import Targets, as_targets
from blindspots.engine.threads import set_threads
from blindspots.errors import InputError
from blindspots.findings import Finding
from blindspots.fit import ACCESS, affords, check_fit
from blindspots.goal import Goal, LossName
from blindspots.journal import Columns, Journal, provenance, threads_of
from blindspots.models.binding import bound
from blindspots.models.first_look import LOOKED_AT, as_model, first_look
from blindspots.models.foreign import own_state
from blindspots.models.model import Model
from blindspots.oracle import Oracle
from blindspots.packing import unpack_inputs
from blindspots.preflight import NOT_EXAMINED, Preflight, examine
from blindspots.problem import Need
from blindspots.protocols import USUAL, Protocol
from blindspots.protocols import protocol as named_protocol
from blindspots.records import DataRecord, ModelRecord, Share
from blindspots.sizes import check_radius
from blindspots.threat import Threat, as_threat
from blindspots.verdict import Manifest, RunFile, ShardRecord, Verdict, conclude
from blindspots.verdict import Stage as StageRecord

Precision = Literal["float32", "bf16"]
CUSTOM = "custom"  # the name of a protocol that has none
PREFLIGHT_ROWS, PREFLIGHT_ROWS_LARGE = 64, 16  # a dozen forwards each: seconds on a photograph


@dataclass(frozen=True)
class Options(Checked):
    """How a run is carried out. All but `threads` and the budgets leave the protocol as it is.

    Args:
        seed: decides all randomness.
        slots: rows in flight; None: by the size of an input.
        chunk: rows per call of the network, the same in every call; None: by the size of an input.
        shard_rows: rows per shard; None: by the size of an input. Rows of different shards never meet.
        threads: CPU threads; None: what is free, or what the run that is resumed was begun with.
        precision: "bf16" crafts under bfloat16 autocast; every success is confirmed in float32.
        channels_last, compile: memory layout, and torch.compile of the network.
        draws: over how many answers of a randomised model every look is averaged; None: what the protocol says.
        row_budget: forwards + backwards that one row may cost.
        max_forwards, max_backwards, max_seconds: what the run may cost; passes are never exceeded, those of preflight
            apart. A limit in seconds gives up determinism.
    """

    seed: int = 0
    slots: int | None = None
    chunk: int | None = None
    shard_rows: int | None = None
    threads: int | None = None
    precision: Precision = "float32"
    channels_last: bool = False
    compile: bool = False
    draws: int | None = None
    row_budget: int | None = None
    max_forwards: int | None = None
    max_backwards: int | None = None
    max_seconds: float | None = None

    def __post_init__(self) -> None:
        for name in ("slots", "chunk", "shard_rows", "threads", "draws", "row_budget", "max_forwards", "max_backwards"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"expected {name} of at least 1, got {value}: give a positive number or leave it out")


@dataclass(frozen=True)
class Progress:
    """What a run tells while it goes on. `standing` of `begun` rows have not fallen yet: an upper bound."""

    rows: int
    begun: int
    standing: int
    finished: int
    stage: str
    entered: int
    left: int
    seconds: float


Watch = Callable[[Progress], None]


class Evaluation(Checked):
    """A finished run: its verdict, and its rows on demand.

    Attributes:
        verdict: everything that run.json says.
        folder: the run folder, None for a run in memory.
    """

    def __init__(self, file: RunFile, shards: Sequence[Columns] | Journal, folder: Path | None) -> None:
        assert file.verdict is not None
        self.file, self.folder, self._shards = file, folder, shards
        self.verdict: Verdict = file.verdict

    def __repr__(self) -> str:
        v = self.verdict
        return (
            f"Evaluation(robust_accuracy={v.robust_accuracy:.4f}, interval=({v.interval[0]:.4f}, {v.interval[1]:.4f}), "
            f"clean_accuracy={v.clean_accuracy:.4f}, rows={v.rows}, threat={self.file.manifest.threat!r})"
        )

    def shards(self) -> Iterator[Columns]:
        """The columns of every shard, one after the other (`journal.SHARD` names them)."""
        if isinstance(self._shards, Journal):
            yield from (self._shards.shard(i) for i in range(self._shards.finished))
        else:
            yield from self._shards

    @property
    def robust_accuracy(self) -> float:
        return self.verdict.robust_accuracy

    @property
    def searched(self) -> Share:
        """The rows that stand after a search that ran to its end: what a gate should go by."""
        return self.verdict.searched

    @property
    def clean_accuracy(self) -> float:
        return self.verdict.clean_accuracy

    @property
    def interval(self) -> tuple[float, float]:
        return self.verdict.interval

    @property
    def forwards(self) -> int:
        return self.verdict.forwards

    @property
    def backwards(self) -> int:
        return self.verdict.backwards

    @property
    def findings(self) -> list[Finding]:
        return self.verdict.findings

    @cached_property
    def won(self) -> Tensor:
        """(N,) bool: right at first, and an adversarial example was found; in a targeted run, of the target class."""
        return self._column("won")

    @cached_property
    def norms(self) -> Tensor:
        """(N,) distance of each row's adversarial example; inf where none was found, 0 where the model was wrong."""
        return torch.where(self._column("right"), self._column("norm"), 0.0)

    @cached_property
    def results(self) -> list[Result]:
        """How the search for each row ended."""
        return [Result(r) for r in self._column("result").tolist()]

    @cached_property
    def adversarial(self) -> Tensor:
        """(N, *shape) float32: the adversarial example of each broken row, the clean input of every other one."""
        parts = []
        for columns in self.shards():
            x = unpack_inputs(columns["x"]).clone()
            x[columns["broken"]] = columns["adversarial"]
            parts.append(x)
        return torch.cat(parts)

    def _column(self, name: str) -> Tensor:
        return torch.cat([columns[name] for columns in self.shards()])


@own_state()
@checked(threat=as_threat, model=as_model)
def evaluate(
    model: Model | nn.Module | Callable[[Tensor], Any],
    x: Any = None,
    y: Any = None,
    *,
    threat: Threat,
    protocol: str | Protocol | Sequence[Stage] | None = None,
    data: Data | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    options: Options | None = None,
    watch: Watch | None = None,
    command: str | None = None,
) -> Evaluation:
    """How often the model is right on inputs that an adversary may change within `threat`.

    Args:
        model: a `Model`, a network whose inputs lie in [0, 1] and which returns logits (B, C), a fitted scikit-learn
            classifier, or a name as `load_model` takes it.
        x, y: inputs (N, ...) within the model's bounds, and labels (N,), see `ArrayData`. Instead: `data`.
        threat: with a radius, e.g. `Linf(8 / 255)`. Its box is set to the model's bounds.
        protocol: one of `protocols.NAMES`, the path of a TOML file, or stages; None: "fast", or where the model shows
            no gradients "blackbox-scores" or "blackbox-labels".
        data: a dataset, as `load_data` opens it, its name, a torch `Dataset` or a `DataLoader` (see `as_data`). Labels
            that have names are matched to the model's classes by them (see `bind`).
        out: run folder to write; None: keep everything in memory.
        resume: go on with the run in `out`, or begin it.
        watch: is told how far the run has come.
        command: what to put in the report as the way to repeat the run.

    Raises:
        InputError: something that was given cannot be used; the sentence says what to do.
    """
    given = one_of(x, y, data)
    model = as_model(model)
    threat = threat.within(*model.bounds)
    if protocol is not None:
        _protocol(protocol, threat, model)  # what does not fit is refused before the network is called
    rows = bound(model, given)
    model = first_look(model, rows)
    chosen = _protocol(protocol, threat, model)
    doubts = check_radius(threat, rows.shape)
    run = _Run(model, rows, threat, chosen, options or Options(), watch or (lambda progress: None))
    if protocol is None and _useful(model) is not Need.GRAD:
        run.notes.append(_instead(model, chosen.name))
    run.notes.extend(doubts)
    return run.carry_out(None if out is None else Path(out), resume, command)


@checked(threat=as_threat, attack=as_attack, targets=as_targets, model=as_model)
def attack(
    model: Model | nn.Module | Callable[[Tensor], Any],
    x: Any = None,
    y: Any = None,
    attack: Attack | None = None,
    *,
    threat: Threat,
    data: Data | None = None,
    loss: LossName | None = None,
    targeted: bool = False,
    targets: Targets | None = None,
    restarts: int = 1,
    start: Start | None = None,
    to_the_end: bool = False,
    out: str | Path | None = None,
    resume: bool = False,
    options: Options | None = None,
    watch: Watch | None = None,
    command: str | None = None,
) -> Evaluation:
    """Run one attack. A threat without a radius asks for the smallest distance.

    Args:
        attack: e.g. `PGD(steps=40)`.
        loss: what it descends; None: its own usual one.
        targeted: only the target class counts as a success. Otherwise `targets` direct the search, and any wrong
            class counts.
        targets: a rule such as `Closest()`, `LeastLikely()`, `RandomClass()`.
        restarts: how often each search is tried.
        start: where searches begin: "clean", or "other" for the nearest other image that the model takes for what is
            wanted; None: where the attack says.
        to_the_end: rows go on after their first success, as an example that is to fool other models has to. Searches
            for the smallest distance always do.

    The other arguments and the errors are those of `evaluate`.
    """
    if attack is None:
        raise InputError("expected an attack, got none: pass e.g. bs.attacks.PGD(steps=40)")
    if targeted and targets is None:
        raise InputError("expected targets for a targeted attack, got none: pass e.g. targets=Closest()")
    goal = Goal(targeted, targets is not None and not targeted, loss or attack.loss)
    stage = Stage(
        type(attack).__name__, attack, "the attack that was asked for", goal, targets, restarts, start,
        stop_early=False if to_the_end else None,
    )  # fmt: skip
    protocol = Protocol(CUSTOM, (stage,), literal=loss is not None)
    return evaluate(
        model, x, y, threat=threat, protocol=protocol, data=data, out=out, resume=resume, options=options, watch=watch,
        command=command,
    )  # fmt: skip


def _protocol(given: str | Protocol | Sequence[Stage] | None, threat: Threat, model: Model) -> Protocol:
    """The protocol for the threat. Raises InputError: one of its attacks does not fit, or needs more than is shown."""
    if given is None or isinstance(given, str):
        chosen = named_protocol(given or USUAL[_useful(model)], threat)
    else:
        chosen = given if isinstance(given, Protocol) else Protocol(CUSTOM, tuple(given))
    if not chosen.stages:
        raise InputError("expected a protocol of at least one stage, got none: nothing would be searched")
    able = USUAL[model.access]
    for stage in chosen.stages:
        if isinstance(given, str) and not affords(model.access, stage.attack):
            raise InputError(
                f"expected a protocol for a model that gives {ACCESS[model.access]} alone, got {given!r}, whose stage "
                f"{stage.name!r} needs {ACCESS[stage.attack.need]}: use {able!r}, which is taken where none is named"
            )
        check_fit(stage.attack, threat, model.access, stage.goal)
    return chosen


def _useful(model: Model) -> Need:
    return Need.VALUE if model.flat else model.access


def _instead(model: Model, protocol: str) -> Finding:
    return Finding(
        code="protocol-chosen",
        severity="note",
        saw=f"The model gives no gradients, or none but 0, so protocol {protocol!r} was run in place of 'fast'.",
        do="Where its weights are at hand, evaluate those, too: gradients find more.",
    )


def _replaced(stages: Sequence[str], classes: int) -> Finding:
    form = "its untargeted form" if classes == 3 else "the margin"
    needed = "The targeted DLR loss needs 4 classes" if classes == 3 else "The DLR loss needs 3 classes"
    return Finding(
        code="loss-replaced",
        severity="note",
        saw=f"{needed} and the model has {classes}, so {form} took its place in {', '.join(stages)}.",
        do="Nothing: what was run stands under stages, with the loss of each.",
    )


class _Run:
    """One call of `evaluate`."""

    def __init__(
        self, model: Model, data: Dataset, threat: Threat, protocol: Protocol, options: Options, watch: Watch
    ) -> None:
        self.model, self.data, self.threat, self.name = model, data, threat, protocol.name
        self.protocol, self.stages = protocol, protocol.stages
        self.draws = options.draws or protocol.draws
        self.watch, self.standing = watch, 0
        self.notes: list[Finding] = []  # on what was chosen
        self.looked = 0  # forwards that it took to choose
        self.options = _fitted(options, data.shape, model.device, len(protocol.stages))
        self.began = time.monotonic()

    def carry_out(self, folder: Path | None, resume: bool, command: str | None) -> Evaluation:
        with set_threads(self.options.threads or threads_of(folder, resume)) as threads:
            self._bind()
            manifest = self._manifest(threads)
            started = datetime.now(UTC).isoformat(timespec="seconds")
            if folder is None:
                return self._in_memory(RunFile(
                    manifest=manifest, command=command, started=started, shards=[], verdict=None, seal=None
                ))  # fmt: skip
            return self._in_folder(Journal(folder, manifest, command, started, resume), folder)

    def _bind(self) -> None:
        """Take the losses that are defined for the model's classes: how many there are takes a look."""
        if self.protocol.literal or all(stage.goal.loss != "dlr" for stage in self.stages):
            return
        oracle = Oracle(self.model, chunk=self.options.chunk or 1)
        with oracle.session():
            classes = oracle.logits(self.data.rows(0, 1)[0].to(oracle.device)).shape[1] - self.model.rejects
        self.looked = oracle.forwards
        bound = self.protocol.for_classes(classes).stages
        if changed := [new.name for new, old in zip(bound, self.stages, strict=True) if new != old]:
            self.notes.append(_replaced(list(dict.fromkeys(changed)), classes))
        self.stages = bound

    def _in_memory(self, file: RunFile) -> Evaluation:
        shards: list[Columns] = []
        seconds: list[list[float]] = []

        def keep(columns: Columns, took: list[float]) -> None:
            shards.append(columns)
            seconds.append(took)

        preflight = self._search(_Behind(), keep, lambda: None, lambda columns: None)
        records = [
            ShardRecord(name="", rows=len(c["id"]), sha256="", seconds=s) for c, s in zip(shards, seconds, strict=True)
        ]
        file = file.model_copy(update={"shards": records})
        return Evaluation(file.model_copy(update={"verdict": self._verdict(shards, file, preflight)}), shards, None)

    def _in_folder(self, journal: Journal, folder: Path) -> Evaluation:
        behind = _Behind.of(journal.shard(i) for i in range(journal.finished))

        def keep(columns: Columns, took: list[float]) -> None:
            self._check_service(folder)
            journal.save(columns, took)

        def remember(columns: Mapping[str, Tensor]) -> None:
            self._check_service(folder)
            journal.save_unfinished(columns)

        preflight = self._search(behind, keep, journal.unfinished, remember)
        columns = (journal.shard(i) for i in range(journal.finished))
        file = journal.conclude(self._verdict(columns, journal.file, preflight))
        return Evaluation(file, journal, folder)

    def _check_service(self, folder: Path) -> None:
        """A folder waits for a service that comes back; a run in memory ends with what it has."""
        service = self.model.service
        if service and service.silent:
            raise InputError(
                f"expected answers from {self.model.name}, got {service.failure} whenever it was asked: what was "
                f"finished before is kept in {folder}, so go on with --resume once it answers"
            )

    def _search(
        self,
        behind: "_Behind",
        keep: Callable[[Columns, list[float]], None],
        unfinished: Callable[[], Mapping[str, Tensor] | None],
        remember: Callable[[Mapping[str, Tensor]], None],
    ) -> Preflight:
        """All shards but those that are `behind`."""
        options = self.options
        assert options.chunk is not None
        assert options.slots is not None
        assert options.shard_rows is not None
        oracle = Oracle(
            self.model,
            bf16=options.precision == "bf16",
            channels_last=options.channels_last,
            compile=options.compile,
            chunk=options.chunk,
            draws=self.draws,
        )
        cascade = Cascade(
            oracle,
            self.threat,
            self.stages,
            seed=options.seed,
            settings=Settings(options.slots, row_budget=options.row_budget, patience=patience_of(self.model.device)),
        )
        self._check_budget(oracle)
        oracle.forwards, oracle.backwards = behind.forwards, behind.backwards
        self._oracle, self.standing = oracle, behind.standing
        with oracle.session():
            preflight = self._preflight()
            for start in range(behind.shards * options.shard_rows, len(self.data), options.shard_rows):
                stop = min(start + options.shard_rows, len(self.data))
                cascade.watch = self._teller(start)
                cascade.allowance = self._allowance(oracle, start, stop)
                samples = self._samples(start, stop)
                running, board, seconds = cascade.stages_of(samples, unfinished()), None, []
                while True:
                    try:
                        remember(next(running))
                    except StopIteration as end:
                        board, seconds = end.value
                        break
                assert board is not None
                columns = shard_columns(oracle, samples, board)
                self.standing += _standing(columns)
                keep(columns, seconds)
        return preflight

    def _preflight(self) -> Preflight:
        if self.model.service:
            return Preflight([NOT_EXAMINED], 0, 0)
        rows = PREFLIGHT_ROWS_LARGE if is_large(self.data.shape) else PREFLIGHT_ROWS
        seen = examine(self.model, *self.data.rows(0, min(rows, len(self.data))), seed=self.options.seed)
        first = min(LOOKED_AT, len(self.data))
        return replace(seen, forwards=seen.forwards + first, backwards=seen.backwards + first)

    def _samples(self, start: int, stop: int) -> Samples:
        x, y = (t.to(self.model.device) for t in self.data.rows(start, stop))
        return Samples.within(self.threat, torch.arange(start, stop, device=x.device), x, y)

    def _teller(self, start: int) -> Callable[[Live], None]:
        def tell(live: Live) -> None:
            begun, standing = start + live.rows, self.standing + live.standing
            seconds = time.monotonic() - self.began
            self.watch(Progress(len(self.data), begun, standing, start, live.stage, live.entered, live.left, seconds))

        return tell

    def _check_budget(self, oracle: Oracle) -> None:
        limit, needed = self.options.max_forwards, oracle.cost(len(self.data)) * (1 + LOOKS_AFTER)
        if limit is not None and limit < needed:
            raise InputError(
                f"expected max_forwards of at least {needed} for {len(self.data)} rows, got {limit}: every row is "
                f"looked at once and every success {LOOKS_AFTER} times more, so raise it or take fewer rows"
            )

    def _allowance(self, oracle: Oracle, start: int, stop: int) -> Allowance:
        """What the search of the rows from `start` to `stop` may cost: what has to be looked at later is kept back."""
        o, rows = self.options, len(self.data)
        later = oracle.cost(stop - start) * LOOKS_AFTER + oracle.cost(rows - stop) * (1 + LOOKS_AFTER)
        forwards = None if o.max_forwards is None else o.max_forwards - later
        deadline = None if o.max_seconds is None else self.began + o.max_seconds
        return Allowance(forwards, o.max_backwards, deadline)

    def _manifest(self, threads: int) -> Manifest:
        o, model, data = self.options, self.model, self.data
        assert o.slots is not None
        assert o.shard_rows is not None
        assert o.chunk is not None
        return Manifest(
            **provenance(str(model.device), threads, o.seed),
            model=ModelRecord.of(model),
            data=DataRecord.of(data),
            threat=self.threat.spec,
            protocol=self.name,
            stages=[repr(stage) for stage in self.stages],
            slots=o.slots,
            chunk=o.chunk,
            shard_rows=o.shard_rows,
            precision=o.precision,
            channels_last=o.channels_last,
            compile=o.compile,
            draws=self.draws,
            limits=[o.row_budget, o.max_forwards, o.max_backwards, o.max_seconds],
        )  # fmt: skip

    def _verdict(self, shards: Any, file: RunFile, preflight: Preflight) -> Verdict:
        stages = [
            StageRecord(
                name=s.name, attack=repr(s.attack), why=s.why, rows=0, won=0, forwards=0, backwards=0, seconds=0
            )
            for s in self.stages
        ]
        seconds = [record.seconds for record in file.shards]
        names = {int(r): r.name.lower() for r in Result}
        looked = (preflight.forwards + self.looked, preflight.backwards)
        verdict = conclude(shards, stages, seconds, names, looked, is_targeted(self.stages))
        findings = [
            *preflight.findings,
            *self.model.notes,
            *self.data.notes,
            *self.notes,
            *diagnose(verdict, self.stages, self._oracle),
        ]
        return verdict.model_copy(update={"findings": findings})


@dataclass(frozen=True)
class _Behind:
    """What the finished shards of an interrupted run come to: how many, rows that stand, what the oracle computed."""

    shards: int = 0
    standing: int = 0
    forwards: int = 0
    backwards: int = 0

    @classmethod
    def of(cls, shards: Iterable[Columns]) -> "_Behind":
        total = torch.zeros(4, dtype=torch.int64)
        for c in shards:
            billed = torch.stack([c["forwards"].sum(), c["backwards"].sum()])
            total += torch.cat([torch.tensor([1, _standing(c)]), billed + c["unbilled"]])
        return cls(*total.tolist())


def _standing(columns: Columns) -> int:
    return int((columns["right"] & ~columns["won"]).sum())


def _fitted(options: Options, shape: tuple[int, ...], device: torch.device, stages: int) -> Options:
    """Fill in slots, chunk and shard size for inputs of this shape."""
    chunk = rows_per_call("search" if stages == 1 else "cascade", shape, device, options.chunk)
    slots = rows_in_flight(shape, device, chunk, options.slots)
    return replace(options, chunk=chunk, slots=slots, shard_rows=rows_per_shard(shape, slots, options.shard_rows))
