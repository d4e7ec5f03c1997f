"""The folder of a run: written so that it is whole at every moment, read so that nothing in it is believed unseen.

    run.json                     manifest, list of finished shards with their digests, at the end the verdict
    shards/00012.safetensors     all rows of a shard (see `SHARD`)
    unfinished.safetensors       the stages already run on the shard that was interrupted

Every file is written to a draft, flushed to the disk and renamed.
"""

import hashlib
import json
import platform
import re
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from itertools import zip_longest
from pathlib import Path
from typing import Any, TypeVar

import torch
from pydantic import BaseModel, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from blindspots.errors import InputError
from blindspots.files import make_folder, read_bytes, refuse_files_of_others, write_whole
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


EVALUATION = "evaluation"  # the kind of a run whose manifest does not name one
_COMMANDS = {EVALUATION: "evaluate"}
LEFT_BEHIND = (  # what a run that was killed before its run.json was written may leave
    "*.draft", "shards", "unfinished.safetensors", "search.safetensors", "rows.safetensors", "pictures.safetensors",
    "fault.txt",
)  # fmt: skip
_ENTRIES = {"limits": ("row budget", "forwards", "backwards", "seconds")}
_FORM = re.compile(r"\((.*?)\) (\w+)")  # of an entry of `SHARD`: dimensions and type
_LONGEST = 60  # signs of a value in a sentence
DRAFTS = ("run.json.*.draft", "unfinished.safetensors.*.draft", "shards/*.safetensors.*.draft")


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
    content = read_bytes(path, f"the run.json that `blindspots {command}` writes")
    _refuse_what_is_no_number(content, path)
    try:
        return kind.model_validate_json(content)
    except ValidationError as error:
        if (found := kind_of(folder)) != _kind(kind):
            raise InputError(
                f"expected a run of `blindspots {command}` in {folder}, found one of `blindspots "
                f"{_COMMANDS.get(found, found)}`: name another folder"
            ) from error
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "its first bytes"
        raise InputError(
            f"expected {path} as `blindspots {command}` writes it, but {where} is wrong ({first['msg']}): "
            "restore it or run again"
        ) from error


def _refuse_what_is_no_number(content: bytes, path: Path) -> None:
    """JSON has no NaN, but its readers take it."""

    def refuse(token: str) -> None:
        raise InputError(f"expected finite numbers in {path}, got {token}: restore it or run again")

    try:
        json.loads(content, parse_constant=refuse)
    except InputError:
        raise
    except (ValueError, RecursionError):
        return  # whoever reads it as a run says what is wrong


def _kind(file: type[Sealed]) -> str:
    """What `kind_of` says of such a run.json."""
    manifest = file.model_fields["manifest"].annotation
    assert manifest is not None
    field = manifest.model_fields.get("kind")
    return str(field.default) if field else EVALUATION


def begun(folder: Path, fresh: F, command: str, resume: bool) -> F:
    """`fresh`, or, without verdict and seal, the run that the folder holds and that may go on.

    Raises InputError: it holds a run and none is to be resumed, one whose manifest differs, or files of others.
    """
    if not (folder / "run.json").exists():
        refuse_files_of_others(folder, LEFT_BEHIND)
        return fresh
    if not resume:
        raise InputError(
            f"expected a new folder, but {folder} holds a run: resume it with --resume or name another folder"
        )
    old = read_file(type(fresh), folder, command)
    if changed := "; ".join(_changes(old.manifest, fresh.manifest)):
        raise InputError(
            f"expected the run in {folder} to be the same as this one, but {changed}: use what it was begun with, or "
            "another folder"
        )
    return old.model_copy(update={"verdict": None, "seal": None})


def _changes(before: BaseModel, now: BaseModel) -> Iterator[str]:
    """ "the seed changed from 0 to 1", "the data changed (rows: 500 then, 400 now)": what differs, in words."""
    for name in type(now).model_fields:
        old, new = getattr(before, name), getattr(now, name)
        if old == new:
            continue
        parts = list(_parts(old, new, names=_ENTRIES.get(name, ())))
        if parts:
            yield f"the {_in_words(name)} changed ({', '.join(parts)})"
        else:
            yield f"the {_in_words(name)} changed from {_brief(old)} to {_brief(new)}"


def _parts(old: Any, new: Any, place: str = "", names: Sequence[str] = ()) -> Iterator[str]:
    """The entries of two records or two lists that differ; nothing where they are neither."""
    if isinstance(old, BaseModel) and isinstance(new, BaseModel):
        pairs = [(_in_words(k), getattr(old, k), getattr(new, k)) for k in type(new).model_fields]
    elif isinstance(old, list) and isinstance(new, list):
        named = [*names, *map(str, range(len(names) + 1, max(len(old), len(new)) + 1))]
        pairs = [(name, a, b) for name, (a, b) in zip(named, zip_longest(old, new), strict=False)]
    else:
        return
    for name, a, b in pairs:
        if a != b:
            at = f"{place} {name}".strip()
            yield from list(_parts(a, b, at)) or [f"{at}: {_brief(a)} then, {_brief(b)} now"]


def _in_words(field: str) -> str:
    program = field in ("blindspots", "torch", "python")
    return f"version of {field}" if program else field.replace("_", " ")


def _brief(value: Any) -> str:
    """A value in a sentence: digests by their beginning, what is long by both of its ends."""
    if isinstance(value, str) and re.fullmatch(r"[0-9a-f]{64}", value):
        return f"{value[:8]}…"
    text = "none" if value is None else value if isinstance(value, str) else f"{value}"
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST // 2]} … {text[-_LONGEST // 2 :]}"


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


def kind_of(folder: Path) -> str:
    """What kind of run a folder holds, from its manifest: "evaluation" where it does not say, or cannot be read."""
    try:
        return str(_manifest(folder).get("kind", EVALUATION))
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return EVALUATION  # whoever reads it as that says what is wrong


def _manifest(folder: Path) -> Any:
    return json.loads(read_bytes(folder / "run.json", "a run.json"))["manifest"]


def threads_of(folder: Path | None, resume: bool) -> int | None:
    """The threads that the run to be resumed was begun with, since they decide its bits; None: there is none."""
    if folder is None or not resume or not (folder / "run.json").is_file():
        return None
    try:
        return int(_manifest(folder)["threads"])
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
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


def check_columns(columns: Columns, kinds: Mapping[str, str], path: Path) -> Columns:
    """The columns, if they are those that a table such as `SHARD` describes, of these types, and of sizes that agree.

    Raises InputError otherwise.
    """
    if columns.keys() != kinds.keys():
        raise InputError(f"expected the columns {', '.join(kinds)} in {path}, found {', '.join(columns) or 'none'}")
    sizes: dict[str, tuple[int, ...]] = {}
    for name, kind in kinds.items():
        dims, dtype = _FORM.match(kind).groups()  # type: ignore[union-attr]
        right_type = str(columns[name].dtype) == f"torch.{dtype}" or dtype == "input"
        if not right_type or not _agrees(tuple(columns[name].shape), dims, sizes):
            found = f"{columns[name].dtype} of shape {tuple(columns[name].shape)}"
            raise InputError(f"expected ({dims}) {dtype} for {name} in {path}, found {found}: run again")
    places, (rows,) = columns.get("broken"), sizes.get("n", (0,))
    if places is not None and not bool(((places >= 0) & (places < rows)).all()):
        raise InputError(f"expected places of {rows:,} rows for broken in {path}, found others: run again")
    return columns


def _agrees(shape: tuple[int, ...], dims: str, sizes: dict[str, tuple[int, ...]]) -> bool:
    """Whether a shape fits "n, ..." or "stages, 4", every name standing for one size."""
    names = [name.strip() for name in dims.split(",") if name.strip()]
    firm = [name for name in names if name != "..."]
    if len(shape) < len(firm) or (len(shape) > len(firm) and "..." not in names):
        return False
    parts: dict[str, tuple[int, ...]] = {name: (size,) for name, size in zip(firm, shape, strict=False)}
    if "..." in names:
        parts["..."] = shape[len(firm) :]
    return all((int(n),) == size if n.isdigit() else sizes.setdefault(n, size) == size for n, size in parts.items())


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
        record = self.file.shards[index]
        return check_columns(read_shard(self.folder, record), SHARD, shard_path(self.folder, record))

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
