"""The folder of a run: written so that it is whole at every moment, read so that nothing in it is believed unseen.

    run.json                     manifest, list of finished shards with their digests, at the end the verdict
    shards/00012.safetensors     all rows of a shard (see `SHARD`)
    unfinished.safetensors       the stages already run on the shard that was interrupted

Every file is written to a draft, flushed to the disk and renamed.
"""

import hashlib
import json
import os
import platform
import re
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from blindspots.errors import InputError
from blindspots.verdict import Manifest, RunFile, Sealed, ShardRecord, Verdict

Columns = dict[str, Tensor]
F = TypeVar("F", bound=Sealed)

SHARD = {
    "id": "(n,) int64 place of the row in the data",
    "y": "(n,) int64 label",
    "x": "(n, ...) input: uint8 where every value is k / 255 exactly, else float32",
    "prediction": "(n,) int64 on the clean input, -1 where it was rejected",
    "confidence": "(n,) float32 probability of that prediction",
    "right": "(n,) bool",
    "won": "(n,) bool: right at first, and an adversarial example was found",
    "result": "(n,) uint8, see engine.result.Result",
    "target": "(n,) int64 class that the row was to be taken for, or one of several that it was; -1 if there is none",
    "stage": "(n,) int16 index of the stage that broke the row, -1",
    "norm": "(n,) float32 distance of the nearest adversarial example, inf where there is none",
    "margin": "(n,) float32 lowest margin seen inside the threat",
    "forwards": "(n,) int64",
    "backwards": "(n,) int64",
    "broken": "(k,) int64 positions of the won rows",
    "adversarial": "(k, ...) float32 the example with the lowest margin; in an unbounded threat the nearest one",
    "nearest": "(k, ...) float32 the example with the smallest norm",
    "adversarial_prediction": "(k,) int64",
    "adversarial_confidence": "(k,) float32, NaN where the model had stopped answering",
    "prediction_8bit": "(k,) int64 after rounding to 8 bits, -1 where it was rejected, or not asked any more",
    "stage_counts": "(stages, 4) int64: rows entered, won, forwards, backwards",
    "unbilled": "(2,) int64 forwards and backwards for padding and confirmation",
}


DRAFTS = ("run.json.*.draft", "unfinished.safetensors.*.draft", "shards/*.safetensors.*.draft")


def write_whole(path: Path, content: bytes) -> None:
    """Write `content` so that `path` holds either what it held before or all of it, also when the power fails."""
    draft = path.with_name(f"{path.name}.{os.getpid()}.draft")
    try:
        with draft.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:
        raise InputError(
            f"expected to write {len(content):,} bytes to {path}, got: {error.strerror}. "
            "What was there before is untouched: make room or name another folder, then --resume"
        ) from error
    finally:
        draft.unlink(missing_ok=True)


def provenance(device: str, threads: int, seed: int) -> dict[str, Any]:
    """The fields of `Provenance` for a run made here and now."""
    return {
        "blindspots": version("blindspots"),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "device": device,
        "threads": threads,
        "seed": seed,
    }


def text_of(file: Sealed) -> bytes:
    """What is written to run.json."""
    return (file.model_dump_json(indent=2) + "\n").encode()


def seal(content: bytes) -> str:
    """SHA-256 (hex) over the bytes of run.json with null in the place of its seal, which stands at the very end."""
    bare = re.sub(rb'"seal": "[0-9a-f]{64}"\n}\n\Z', b'"seal": null\n}\n', content)
    return hashlib.sha256(bare).hexdigest()


def sealed(file: F) -> F:
    """The file with its seal."""
    return file.model_copy(update={"seal": seal(text_of(file.model_copy(update={"seal": None})))})


def read_run_file(folder: Path) -> RunFile:
    """run.json of a run folder. Raises InputError when it is missing or not what `evaluate` writes."""
    return read_file(RunFile, folder, "evaluate")


def read_file(kind: type[F], folder: Path, command: str) -> F:
    """run.json of a run folder that `command` wrote. Raises InputError when it is missing or something else."""
    path = folder / "run.json"
    if not path.is_file():
        raise InputError(
            f"expected a run folder with a run.json, found none at {path}: name one that `blindspots {command}` wrote"
        )
    try:
        return kind.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "its first bytes"
        raise InputError(
            f"expected {path} as `blindspots {command}` writes it, but {where} is wrong ({first['msg']}): "
            "restore it or run again"
        ) from error


def begun(folder: Path, fresh: F, command: str, resume: bool) -> F:
    """`fresh`, or, without verdict and seal, the run that the folder holds and that may go on.

    Raises InputError: it holds a run and none is to be resumed, or one whose manifest differs.
    """
    if not (folder / "run.json").exists():
        return fresh
    if not resume:
        raise InputError(
            f"expected a new folder, but {folder} holds a run: resume it with --resume or name another folder"
        )
    old = read_file(type(fresh), folder, command)
    for field in type(fresh.manifest).model_fields:
        before, now = getattr(old.manifest, field), getattr(fresh.manifest, field)
        if before != now:
            raise InputError(
                f"expected the run in {folder} to be the same as this one, but its {field} is {before!r} "
                f"and now it is {now!r}: use what it was begun with, or another folder"
            )
    return old.model_copy(update={"verdict": None, "seal": None})


def opened(folder: Path, fresh: F, command: str, resume: bool) -> tuple[F, F | None]:
    """The run that goes on in the folder, as `begun` says, and what run.json says if it has ended.

    The folder is there afterwards, without the drafts of a process that was killed.
    """
    file = begun(folder, fresh, command, resume)
    old = read_file(type(fresh), folder, command) if (folder / "run.json").exists() else None
    make_folder(folder)
    for draft in folder.glob("*.draft"):
        draft.unlink(missing_ok=True)
    return file, old if getattr(old, "verdict", None) is not None else None


def unfinished(folder: Path, command: str) -> InputError:
    """What is said to whoever asks for the report of a run that has not ended."""
    return InputError(
        f"expected a finished run, but {folder} has no verdict yet: finish it with `blindspots {command} ... --resume` "
        "and ask for the report again"
    )


def make_folder(folder: Path) -> None:
    """Create it if need be. Raises InputError where that cannot be done."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"expected a folder to write the run to, got {folder}: {error.strerror}. Name another one"
        ) from error


def kind_of(folder: Path) -> str:
    """What kind of run a folder holds, from its manifest: "evaluation" where it does not say, or cannot be read."""
    try:
        manifest = json.loads((folder / "run.json").read_bytes())["manifest"]
        return str(manifest.get("kind", "evaluation"))
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return "evaluation"  # whoever reads it as that says what is wrong


def threads_of(folder: Path | None, resume: bool) -> int | None:
    """The threads that the run to be resumed was begun with, since they decide its bits; None: there is none."""
    if folder is None or not resume or not (folder / "run.json").is_file():
        return None
    try:
        return int(json.loads((folder / "run.json").read_bytes())["manifest"]["threads"])
    except (ValueError, LookupError, TypeError):
        return None  # whoever takes the run up says what is wrong with it


def shard_path(folder: Path, record: ShardRecord) -> Path:
    """Where a shard lies; whatever run.json says, inside the run folder."""
    return folder / "shards" / Path(record.name).name


def read_shard(folder: Path, record: ShardRecord) -> Columns:
    """The columns of a shard. Raises InputError when it is missing, changed or unreadable."""
    path = shard_path(folder, record)
    if not path.is_file():
        raise InputError(f"expected the shard {path} that run.json lists, but it is missing: restore it or run again")
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != record.sha256:
        raise InputError(f"expected the bytes that run.json recorded in {path}, found others: restore it or run again")
    return _unpack(path, content)


def _unpack(path: Path, content: bytes, remedy: str = "restore it or run again") -> Columns:
    try:
        return load(content)
    except SafetensorError as error:
        raise InputError(f"expected a whole safetensors file at {path}, got: {error}: {remedy}") from error


def pack_inputs(x: Tensor) -> Tensor:
    """Images that came from 8 bits are stored as 8 bits; anything else as it is."""
    levels = (x * 255).round()
    exact = bool(((levels >= 0) & (levels <= 255)).all()) and torch.equal(levels / 255, x)
    return levels.to(torch.uint8) if exact else x.contiguous()


def unpack_inputs(x: Tensor) -> Tensor:
    """The float32 inputs of a shard's column `x`."""
    return x.float() / 255 if x.dtype is torch.uint8 else x


class Journal:
    """Writes a run folder while the run goes on. What cannot run leaves no run.json behind: it is first written with
    what the first stage found. A finished run that is resumed keeps its verdict until the next one is there.

    Args:
        folder: created if need be. A folder that holds another run is refused, unless `resume` and the manifests agree.
    """

    def __init__(self, folder: Path, manifest: Manifest, command: str | None, started: str, resume: bool) -> None:
        self.folder = folder
        fresh = RunFile(manifest=manifest, command=command, started=started, shards=[], verdict=None, seal=None)
        self.file = begun(folder, fresh, "evaluate", resume)
        make_folder(folder / "shards")
        self._clean_up()

    @property
    def _begun(self) -> bool:
        return (self.folder / "run.json").exists()

    def _clean_up(self) -> None:
        """Remove what a process that was killed left half written, and what belongs to no run."""
        for draft in DRAFTS:
            for path in self.folder.glob(draft):
                path.unlink(missing_ok=True)
        if not self._begun:
            self._unfinished.unlink(missing_ok=True)

    def _write(self) -> None:
        write_whole(self.folder / "run.json", text_of(self.file))

    @property
    def finished(self) -> int:
        """How many shards, from the first one, are on the disk as they were recorded."""
        return len(self.file.shards)

    def shard(self, index: int) -> Columns:
        return read_shard(self.folder, self.file.shards[index])

    def save(self, columns: Mapping[str, Tensor], seconds: list[float]) -> None:
        """Add the next shard."""
        name = f"{self.finished:05d}.safetensors"
        content = save(_compact(columns))
        write_whole(self.folder / "shards" / name, content)
        record = ShardRecord(
            name=name, rows=len(columns["id"]), sha256=hashlib.sha256(content).hexdigest(), seconds=seconds
        )
        self.file = self.file.model_copy(update={"shards": [*self.file.shards, record]})
        self._write()
        self._unfinished.unlink(missing_ok=True)

    @property
    def _unfinished(self) -> Path:
        return self.folder / "unfinished.safetensors"

    def save_unfinished(self, columns: Mapping[str, Tensor]) -> None:
        """Remember how far the shard in hand has come; overwritten at the next call, gone when the shard is saved."""
        if not self._begun:
            self._write()
        write_whole(self._unfinished, save(_compact(columns), {"shard": str(self.finished)}))

    def unfinished(self) -> Columns | None:
        """What `save_unfinished` wrote for the shard that is now in hand, if anything."""
        if not self._unfinished.is_file():
            return None
        content = self._unfinished.read_bytes()
        columns = _unpack(self._unfinished, content, "delete it, then the shard in hand begins again")
        belongs = _metadata(content).get("shard") == str(self.finished)
        return columns if belongs else None

    def conclude(self, verdict: Verdict) -> RunFile:
        """Write the verdict and seal the file."""
        self.file = sealed(self.file.model_copy(update={"verdict": verdict}))
        self._write()
        return self.file


def _compact(columns: Mapping[str, Tensor]) -> Columns:
    return {name: t.contiguous() for name, t in columns.items()}


def _metadata(content: bytes) -> dict[str, Any]:
    length = int.from_bytes(content[:8], "little")
    header: dict[str, Any] = json.loads(content[8 : 8 + length])
    return dict(header.get("__metadata__", {}))
