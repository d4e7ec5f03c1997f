"""To run an experiment: make the parts that are not there yet, and conclude. The same call goes on after any end."""

import os
import time
from collections import ChainMap, Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from blindspots.engine.threads import set_threads
from blindspots.errors import InputError
from blindspots.models.foreign import own_state
from blindspots.runs.config import Config
from blindspots.runs.executors import Executor, Serial, Tell
from blindspots.runs.experiment import Columns, Experiment, Part, kind
from blindspots.runs.folder import Files, Folder
from blindspots.runs.pace import Pace, chosen
from blindspots.runs.seals import sha256
from blindspots.runs.store import (
    LOG,
    RUN,
    Log,
    Manifest,
    Parts,
    Run,
    RunFile,
    begun,
    check_free,
    log_of,
    made_by,
    opened,
    threads_of,
)
from blindspots.runs.world import Progress, World

Watch = Callable[[Progress], None]
TRIES = 3  # of a part whose worker is lost
EVERY = 2.0  # seconds between two states that are kept


@dataclass(frozen=True)
class How:
    """How a run is carried out: what changes none of its bits.

    Args:
        files: where it is kept; a folder or memory.
        resume: go on with the run that lies there, or begin it.
        engine: "serial", "processes" or "processes:N"; None: what is faster for the model.
        watch: is told how far the run has come.
        say: hears what else is worth a line.
        command: how a shell would repeat the run.
        every: seconds between two states of a part that are kept.
    """

    files: Files = field(default_factory=dict)
    resume: bool = False
    engine: str | None = None
    watch: Watch = lambda progress: None
    say: Callable[[str], None] = lambda text: None
    command: str | None = None
    every: float = field(default_factory=lambda: EVERY)


def run(name: str, config: Config, given: Mapping[str, Any] | None = None, how: How | None = None) -> Run[Any, Any]:
    """Run an experiment.

    Args:
        name: of its kind.
        config: all of its settings.
        given: Python objects in the place of models, data or settings, by the names of their fields.

    Raises:
        InputError: it cannot be done; a folder that holds another run is refused, what was there stays.
        SystemExit: in all processes of torchrun but the first, once the parts that are made together are made.
    """
    how = _following(how or How()) if follows() else how or How()
    experiment: Experiment[Any, Any] = kind(name, config).load("experiment")()
    with own_state():
        world = World(config, given, say=how.say)
        world.home = _home(how.files, "")
        try:
            return _run(_Begun(experiment, config, world, how, "", None))
        finally:
            world.close()


def _home(files: Files, at: str) -> Path | None:
    """Where a run lies, if that is a folder."""
    return files.path / at if isinstance(files, Folder) else None


def follows() -> bool:
    """Whether this is one of several processes of torchrun, and not the first of them."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and int(os.environ.get("RANK", "0")) > 0


def _following(how: How) -> How:
    """Silent; it reads what is there, and writes to memory."""
    return How(ChainMap({}, how.files), resume=True)


@dataclass(frozen=True)
class _Begun:
    """A run before its first part. `pace`: that of the run around it."""

    experiment: Experiment[Any, Any]
    config: Config
    world: World
    how: How
    at: str
    pace: Pace | None


def _run(b: _Begun) -> Run[Any, Any]:
    files, experiment, world = b.how.files, b.experiment, b.world
    check_free(files, b.at, b.how.resume)  # before anything is asked that costs money
    config = experiment.fitted(b.config, world)
    world.config = config
    listed = experiment.parts(config, world)
    if follows():
        listed = [part for part in listed if part.name in experiment.together]
    asked = config.threads or (threads_of(files, b.at) if b.how.resume else None)
    independent = sum(not part.run for part in listed)
    passes = experiment.passes(config, world)
    pace = b.pace or chosen(_engine(b.how), asked, world, independent, passes)
    with set_threads(pace.threads) as threads:
        config = config.model_copy(update={"threads": threads})
        world.config = config
        records = {name: record.model_dump(mode="json") for name, record in world.records().items()}
        manifest = Manifest(
            kind=experiment.name, made_by=made_by(world.device, threads), config=config.model_dump(mode="json"),
            world=records,
        )  # fmt: skip
        file = begun(files, b.at, RunFile(manifest=manifest), b.how.resume)
        if file.verdict is None:
            if pace.said and b.pace is None:
                b.how.say(pace.said)
            with _closing(pace.executor, unless=b.pace is not None):
                _made(_Making(b, pace, config, file, listed))
        if follows():
            raise SystemExit(0)  # the first process does the rest, alone
        return opened(files, b.at)


def _engine(how: How) -> str | None:
    """Memory is this process's alone."""
    if isinstance(how.files, Folder):
        return how.engine
    if how.engine not in (None, "serial"):
        raise InputError(f"expected a run folder for {how.engine}, which other processes can write to: pass out=...")
    return "serial"


# ------------------------------------------------------------------ parts


class Outcome(NamedTuple):
    """Of a part that is made: its SHA-256, the seconds it took, and what it measured of itself."""

    digest: str
    seconds: float
    timing: dict[str, float]


@dataclass(frozen=True)
class Task:
    """One part to be made, anywhere: names and numbers only. Its bytes go to the files, its digest comes back."""

    kind: str
    world: World
    parts: Parts
    part: Part
    threads: int
    every: float

    def __call__(self, tell: Tell) -> Outcome:
        began = time.monotonic()
        with own_state(), set_threads(self.threads):
            world = _here(self.world, self.parts.begun)
            world.tell, world.timing = tell, {}
            experiment: Experiment[Any, Any] = kind(self.kind, world.config).load("experiment")()
            needs = self.parts.only(self.part.needs)
            made = experiment.make(world.config, world, self.part, needs, self.parts.state(self.part.name))
            self.parts.keep(self.part.name, made if isinstance(made, dict) else self._through(made))
        self.parts.forget_state(self.part.name)
        return Outcome(self.parts.digest(self.part), time.monotonic() - began, world.timing)

    def _through(self, states: Any) -> Columns:
        """Keep a state of a long part now and then, until it is made."""
        due = time.monotonic() + self.every
        while True:
            try:
                state = next(states)
            except StopIteration as end:
                columns: Columns = end.value
                return columns
            if time.monotonic() >= due:
                self.parts.keep_state(self.part.name, state)
                due = time.monotonic() + self.every


_worlds = dict[str, World]()  # of a worker: models are opened once, not for every part


def _here(world: World, file: RunFile) -> World:
    if not world.sent:
        return world
    if file.id not in _worlds:
        _worlds.clear()
        found = {name: record.model_dump(mode="json") for name, record in world.records().items()}
        if found != file.manifest.world:
            raise InputError("expected to open the models and data of the run by their names, got others: use serial")
        _worlds[file.id] = world
    return _worlds[file.id]


@dataclass(frozen=True)
class _Making:
    """What is left to do of a run."""

    begun: _Begun
    pace: Pace
    config: Config
    file: RunFile
    listed: Sequence[Part]
    since: float = field(default_factory=time.monotonic)

    @property
    def parts(self) -> Parts:
        b = self.begun
        return Parts(b.how.files, b.at, self.file, tuple(part.name for part in self.listed))


def _made(m: _Making) -> None:
    b = m.begun
    experiment, config, world = b.experiment, m.config, b.world
    log = _log(m)
    digests = _digests(m, log, {})
    if more := experiment.further(config, world, replace(m.parts, digests=digests)):
        m = replace(m, listed=[*m.listed, *more])
        digests = _digests(m, log, digests)
    if follows():
        return
    parts = m.parts
    for name in parts:  # states of parts that were written by who then was killed
        parts.forget_state(name)
    parts = replace(parts, digests=digests)
    verdict = experiment.conclude(config, world, parts)
    verdict = verdict.model_copy(update={"findings": experiment.findings(config, world, verdict, parts)})
    exports = experiment.exports(config, world, verdict, parts)
    for name, content in exports.items():
        parts.files[f"{b.at}{name}"] = content
    written = {name: sha256(content) for name, content in exports.items()}
    done = m.file.model_copy(update={"parts": digests, "exports": written, "verdict": verdict.model_dump(mode="json")})
    parts.files[f"{b.at}{RUN}"] = done.text


@contextmanager
def _closing(executor: Executor, unless: bool) -> Iterator[None]:
    """What is written stays written; the executor of a run around this one goes on."""
    try:
        yield
    finally:
        if not unless:
            executor.close()


def _log(m: _Making) -> Log:
    old = log_of(m.begun.how.files, m.begun.at)
    started = old.started or datetime.now(UTC).isoformat(timespec="seconds")
    return old.model_copy(
        update={"command": m.begun.how.command or old.command, "started": started, "engine": str(m.pace.executor)}
    )


def _digests(m: _Making, log: Log, known: Mapping[str, str]) -> dict[str, str]:
    """Of all parts, once those that were missing are made; `known`: those of which it is certain already."""
    b, executor, parts = m.begun, m.pace.executor, m.parts
    left = {part.name: part for part in m.listed}
    new = [part for name, part in left.items() if name not in known and not part.run]
    done = {**known, **{part.name: parts.digest(part) for part in new if parts.kept(part.name) is not None}}
    waiting, flying, lost = [part for name, part in left.items() if name not in done], 0, Counter[str]()
    tell = _teller(m, left, done)
    tell(Progress(""))
    while len(done) < len(left):
        ready = [part for part in waiting if all(need in done for need in part.needs)]
        for part in [p for p in ready if not p.run][: executor.slots - flying]:
            waiting.remove(part)
            executor.submit(part.name, Task(b.experiment.name, b.world, parts, part, m.pace.threads, b.how.every))
            flying += 1
        if flying:
            name, outcome = executor.next(tell)
            flying -= 1
        elif ready:  # only runs inside the run can be made now: they have the executor to themselves
            waiting.remove(ready[0])
            name, outcome = ready[0].name, _inner(m, ready[0], parts, tell)
        else:
            raise AssertionError(f"the parts {[part.name for part in waiting]} need each other")
        if outcome is None:
            lost[name] += 1
            waiting.insert(0, left[name])
            _check_lost(name, lost[name])
            continue
        done[name] = outcome.digest
        _note(m, log, name, outcome)
        tell(Progress(name))
    return {name: done[name] for name in left}


def _check_lost(name: str, times: int) -> None:
    if times == TRIES:
        raise InputError(
            f"expected {name} to be made, but {TRIES} workers died of it: give them more memory, or use --engine "
            "serial to see what happens"
        )


def _note(m: _Making, log: Log, name: str, outcome: Outcome) -> None:
    """What a part took, in the log."""
    log.seconds[name] = round(outcome.seconds, 3)
    if outcome.timing:
        log.timing[name] = {what: round(value, 4) for what, value in outcome.timing.items()}
    m.begun.how.files[f"{m.begun.at}{LOG}"] = (log.model_dump_json(indent=2) + "\n").encode()


def _teller(m: _Making, left: Mapping[str, Part], done: Mapping[str, str]) -> Watch:
    counted = any(part.rows for part in left.values())  # rows, or where no part is about rows, parts
    weight = {name: len(part.rows) if counted else 1 for name, part in left.items()}
    total = sum(weight.values())

    def tell(progress: Progress) -> None:
        finished = sum(weight[name] for name in done)
        now = time.monotonic() - m.since
        m.begun.how.watch(replace(
            progress, made=len(done), parts=len(left), total=total, finished=finished, seconds=now,
            part=f"{m.begun.at}{progress.part}",
        ))  # fmt: skip

    return tell


def _inner(m: _Making, part: Part, parts: Parts, tell: Watch) -> Outcome:
    assert part.run
    b, (name, config) = m.begun, part.run
    experiment: Experiment[Any, Any] = kind(name, config).load("experiment")()
    given = b.experiment.inside(m.config, b.world, part, parts.only(part.needs))
    at = f"{b.at}{part.name}/"
    parts.begin()
    how = replace(b.how, resume=True, command=None)
    world = World(config, given, say=b.how.say)
    world.home = _home(b.how.files, at)
    pace = m.pace if not world.unsendable() else Pace(Serial(), m.pace.threads)
    _run(_Begun(experiment, config, world, how, at, pace))
    return Outcome(parts.digest(part), log_of(b.how.files, at).total, {})
