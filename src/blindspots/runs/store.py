"""How a run is kept: files that are whole at every moment, sealed, and found again. Memory or a folder.

run.json              manifest, digests of the parts, verdict, seal: the same bytes for the same configuration
NAME.safetensors      a part; NAME.unfinished.safetensors: the state that an interrupted one goes on from
NAME/run.json, ...    a run inside the run
log.json              the command, when it began, seconds of every part: told, never compared
report.html           the page
"""

import json
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Generic

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load, save

from blindspots.errors import InputError
from blindspots.files import LEFT_BEHIND, make_folder, read_bytes, refuse_files_of_others
from blindspots.records import Record
from blindspots.runs.changes import changes
from blindspots.runs.experiment import C, Columns, Part, V, kind
from blindspots.runs.folder import Files, Folder
from blindspots.runs.seals import ZEROS, sealed, sealed_part, sha256

_UNFINISHED = ".unfinished"
LOG, RUN = "log.json", "run.json"


class MadeBy(Record):
    """With what and where a run was made, as far as that decides its bits."""

    blindspots: str
    torch: str
    python: str
    machine: str
    device: str
    threads: int


class Manifest(Record):
    """Everything that decides the bits of a run. Going on refuses a manifest that differs."""

    kind: str
    made_by: MadeBy
    config: dict[str, Any]
    world: dict[str, dict[str, Any]]  # of models and data: names, digests, shapes


class RunFile(Record):
    """The whole of run.json."""

    manifest: Manifest
    parts: dict[str, str] = {}  # noqa: RUF012 - SHA-256 of each; of a run inside the run that of its run.json
    exports: dict[str, str] = {}  # noqa: RUF012 - SHA-256 of files for people
    verdict: dict[str, Any] | None = None
    seal: str = ZEROS

    @property
    def id(self) -> str:
        """SHA-256 of the manifest: what the parts of the run are sealed with."""
        return sha256(json.dumps(self.manifest.model_dump(mode="json"), sort_keys=True).encode())

    @property
    def text(self) -> bytes:
        return sealed((self.model_dump_json(indent=2) + "\n").encode())


class Log(Record):
    """What a run says of its making."""

    command: str | None = None
    started: str = ""  # ISO 8601, UTC
    engine: str = ""
    seconds: dict[str, float] = {}  # noqa: RUF012 - of every part
    timing: dict[str, dict[str, float]] = {}  # noqa: RUF012 - what else a part measured of itself, by part and name

    @property
    def total(self) -> float:
        """Seconds of all parts, one after the other."""
        return sum(self.seconds.values())


def made_by(device: str, threads: int) -> MadeBy:
    """This machine, here and now."""
    return MadeBy(
        blindspots=version("blindspots"), torch=torch.__version__, python=platform.python_version(),
        machine=f"{platform.system()} {platform.machine()}", device=device, threads=threads,
    )  # fmt: skip


# ------------------------------------------------------------------ parts


@dataclass(frozen=True)
class Parts(Mapping[str, Columns]):
    """The parts of one run that have these names, read when asked for.

    Attributes:
        at: "", or below which name a run inside a run lies: that of its part, and a slash.
        begun: what run.json says while the run goes on; it is written with the first part.
        digests: of a finished run: what was written has to be the same still.
    """

    files: Files
    at: str
    begun: RunFile
    names: tuple[str, ...]
    digests: Mapping[str, str] | None = None

    def __getitem__(self, name: str) -> Columns:
        content = self._content(name) if name in self.names else None
        if content is None or (self.digests is not None and self.digests.get(name) != sha256(content)):
            raise InputError(f"expected {self.at}{name} as it was written, found it gone or changed: run again")
        return _unpacked(content, f"{self.at}{name}")

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)

    def __contains__(self, name: object) -> bool:
        return name in self.names

    def below(self, name: str) -> Iterator[Columns]:
        """All shards of a name, one after the other."""
        yield from (self[one] for one in self if one.startswith(f"{name}/"))

    def joined(self, name: str) -> Columns:
        """All shards of a name as one."""
        every = list(self.below(name))
        return {column: torch.cat([c[column] for c in every]) for column in every[0]}

    def run(self, name: str) -> "Run[Any, Any]":
        """A run that is a part of this one."""
        return opened(self.files, f"{self.at}{name}/")

    def only(self, names: Sequence[str]) -> "Parts":
        """Fewer of them."""
        return Parts(self.files, self.at, self.begun, tuple(names), self.digests)

    def kept(self, name: str) -> Columns | None:
        """None: nothing there, or not what this run wrote. What is pure can be made again."""
        content = self._content(name)
        return None if content is None else _unpacked(content, f"{self.at}{name}")

    def begin(self) -> None:
        """Write run.json, unless it is there: before the first part, or the first file of a run inside this one."""
        if f"{self.at}{RUN}" not in self.files:
            self.files[f"{self.at}{RUN}"] = self.begun.text

    def keep(self, name: str, columns: Columns) -> None:
        """Write a part, or the state of an unfinished one."""
        self.begin()
        # one key of metadata: safetensors shuffles several, and bytes would differ from process to process
        content = save({key: t.contiguous() for key, t in columns.items()}, {"seal": ZEROS})
        self.files[self.file(name)] = sealed_part(content, self.begun.id, name)

    def keep_state(self, name: str, columns: Columns) -> None:
        """What an interrupted part goes on from."""
        self.keep(f"{name}{_UNFINISHED}", columns)

    def state(self, name: str) -> Columns | None:
        """What `keep_state` wrote last, if anything."""
        return self.kept(f"{name}{_UNFINISHED}")

    def forget_state(self, name: str) -> None:
        self.files.pop(self.file(f"{name}{_UNFINISHED}"), None)

    def digest(self, part: Part) -> str:
        """SHA-256 of what is there now."""
        name = f"{self.at}{part.name}/{RUN}" if part.run else self.file(part.name)
        return sha256(self.files.get(name, b""))

    def file(self, name: str) -> str:
        """Where a part lies."""
        return f"{self.at}{name}.safetensors"

    def _content(self, name: str) -> bytes | None:
        content = self.files.get(self.file(name))
        return content if content and sealed_part(content, self.begun.id, name) == content else None


def _unpacked(content: bytes, name: str) -> Columns:
    try:
        return load(content)
    except SafetensorError as error:
        raise InputError(
            f"expected a whole safetensors file for {name}, got: {error}: restore it or run again"
        ) from error


# ------------------------------------------------------------------ runs


@dataclass(frozen=True)
class Run(Generic[C, V]):
    """A finished run.

    Attributes:
        verdict: what it concluded.
        config: its settings, all filled in.
        manifest: with what and where it was made, and what model and data it saw.
        parts: everything that was made, by name.
        log: how long that took.
        files: all its files; `folder` is where they lie, None in memory.
    """

    config: C
    verdict: V
    manifest: Manifest
    parts: Parts
    exports: Mapping[str, str]
    log: Log

    @property
    def files(self) -> Files:
        return self.parts.files

    @property
    def folder(self) -> Path | None:
        files = self.parts.files
        return files.path / self.parts.at if isinstance(files, Folder) else None

    @property
    def findings(self) -> list[Any]:
        return self.verdict.findings

    @property
    def seconds(self) -> float:
        """It took, not counting what was done between its parts; of several processes the sum."""
        return self.log.total


def opened(files: Files, at: str = "") -> Run[Any, Any]:
    """Raises InputError unless a finished run lies there."""
    file = read_run(files, at)
    if file.verdict is None:
        raise InputError(
            f"expected a finished run in {place(files, at)}, which has no verdict yet: go on with --resume"
        )
    found = kind(file.manifest.kind)
    try:
        config = found.load("config")(**file.manifest.config)
        verdict = found.of(config).load("verdict")(**file.verdict)
    except ValidationError as error:
        raise _changed(files, at, error) from error
    bare = file.model_copy(update={"parts": {}, "exports": {}, "verdict": None})
    parts = Parts(files, at, bare, tuple(file.parts), file.parts)
    return Run(config, verdict, file.manifest, parts, file.exports, log_of(files, at))


def log_of(files: Files, at: str = "") -> Log:
    """What the run says of its making; nothing where that is gone or cannot be read."""
    try:
        return Log.model_validate_json(files.get(f"{at}{LOG}", b"{}"))
    except ValidationError:
        return Log()


def read_run(files: Files, at: str = "") -> RunFile:
    """run.json. Raises InputError when it is missing, or is not what this version writes."""
    where = place(files, at)
    content = _run_bytes(files, at)
    if not content:
        raise InputError(f"expected a run folder with a run.json, found none in {where}: name one that a run wrote")
    try:
        plain = json.loads(content, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"expected a run.json in {where}, but it is no JSON ({error}): restore it or run again"
        ) from error
    _refuse_old(plain, where)
    try:
        return RunFile.model_validate_json(content)
    except ValidationError as error:
        raise _changed(files, at, error) from error


def _run_bytes(files: Files, at: str) -> bytes:
    if isinstance(files, Folder):
        path = files.path / at / RUN
        return read_bytes(path, "a run.json") if path.exists() else b""
    return files.get(f"{at}{RUN}", b"")


def _no_number(token: str) -> None:
    raise ValueError(f"{token} is no number")


def _refuse_old(plain: Any, where: str) -> None:
    manifest = plain.get("manifest") if isinstance(plain, dict) else None
    made_by = manifest.get("made_by", manifest) if isinstance(manifest, dict) else None
    found = made_by.get("blindspots") if isinstance(made_by, dict) else None
    if isinstance(found, str) and found.split(".")[:2] != version("blindspots").split(".")[:2]:
        raise InputError(
            f"expected a run of blindspots {version('blindspots')} in {where}, found one of {found}: read it with that "
            f"version (pip install blindspots=={found}), or run its command again"
        )


def _changed(files: Files, at: str, error: ValidationError) -> InputError:
    first = error.errors()[0]
    where = ".".join(map(str, first["loc"])) or "its first bytes"
    return InputError(
        f"expected run.json in {place(files, at)} as blindspots writes it, but {where} is wrong ({first['msg']}): "
        "restore it or run again"
    )


def place(files: Files, at: str = "") -> str:
    """How sentences call where a run lies."""
    return str(files.path / at) if isinstance(files, Folder) else f"memory{at and ' at ' + at}"


# ------------------------------------------------------------------ to begin, or to go on


def begun(files: Files, at: str, fresh: RunFile, resume: bool) -> RunFile:
    """The run that lies there and is the same as `fresh`, or `fresh`.

    Raises:
        InputError: a run lies there and none is to be resumed, or it differs, or there are files of others.
    """
    check_free(files, at, resume)
    if isinstance(files, Folder):
        make_folder(files.path / at)
    for draft in [name for name in files if name.startswith(at) and name.endswith(".draft")]:
        files.pop(draft, None)  # of a process that was killed
    if f"{at}{RUN}" not in files:
        return fresh
    old = read_run(files, at)
    if changed := "; ".join(changes(old.manifest.model_dump(mode="json"), fresh.manifest.model_dump(mode="json"))):
        raise InputError(
            f"expected the run in {place(files, at)} to be the same as this one, but {changed}: use what it was begun "
            "with, or another folder"
        )
    return old


def check_free(files: Files, at: str, resume: bool) -> None:
    """Raises InputError: a run lies there and none is to be resumed, or there are files of others."""
    if f"{at}{RUN}" in files:
        if not resume:
            raise InputError(
                f"expected a new folder, but {place(files, at)} holds a run: resume it with --resume or name another "
                "folder"
            )
    elif isinstance(files, Folder):
        refuse_files_of_others(files.path / at, LEFT_BEHIND)


def threads_of(files: Files, at: str = "") -> int | None:
    """The threads that the run there was begun with, since they decide its bits; None: there is none."""
    try:
        return read_run(files, at).manifest.made_by.threads if f"{at}{RUN}" in files else None
    except InputError:
        return None  # whoever takes the run up says what is wrong with it
