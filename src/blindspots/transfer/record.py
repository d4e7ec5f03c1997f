"""What a transfer run leaves behind, as data, and its folder.

run.json                     manifest, finished shards with their digests, at the end the verdict
shards/00000.safetensors     the clean rows and what every model says of them (`CLEAN`)
shards/00001.safetensors     one source after the other: its examples, and what every model says of them (`SOURCE`)
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from safetensors.torch import save
from torch import Tensor

from blindspots.files import make_folder, write_whole
from blindspots.findings import Finding
from blindspots.journal import Columns, begun, check_columns, read_file, read_shard, sealed, shard_path, text_of
from blindspots.records import DataRecord, Interval, ModelRecord, Record, Share
from blindspots.verdict import Provenance, Sealed, ShardRecord

CLEAN = {
    "x": "(n, ...) input: uint8 where every value is k / 255 exactly, else float32",
    "y": "(n,) int64 label",
    "prediction": "(models, n) int64, -1 where a score is not finite",
}
SOURCE = {
    "adversarial": "(n, ...) float32 what was fed to the models: rows without an example as the best attempt",
    "target": "(n,) int64 target class, -1 where there is none",
    "own_clean": "(n,) int64 the source's prediction on the clean input",
    "own": "(n,) int64 the source's prediction on what was fed",
    "found": "(n,) bool: an example was found before it was amplified, or the source was wrong at first",
    "norm": "(n,) float32 size of the change in the threat's own norm",
    "rms": "(n,) float32 root mean square of the change",
    "noise_rms": "(n,) float32 root mean square of the noise",
    "prediction": "(models, n) int64 on what was fed, -1 where a score is not finite",
    "noise_prediction": "(models, n) int64 on the noise of the same size",
    "cost": "(2,) int64 forwards and backwards that the search took",
}


class SourceRecord(Record):
    """For whom examples were made, and how."""

    name: str
    members: list[int]  # places of the models whose scores are averaged; one: the model itself
    attack: str  # the constructor call
    access: str  # what the attack looks at: gradients, scores or labels
    queries: int | None  # labels that its substitute was trained from; None: no substitute


class TransferManifest(Provenance):
    """Everything that decides the bits of a run. Resuming refuses a manifest that differs."""

    kind: Literal["transfer"] = "transfer"
    models: list[ModelRecord]
    resized: list[tuple[int, int] | None]  # per model: the size that it is given; None: that of the data
    labels: list[list[int | None] | None]  # per model: the label of each of its outputs; None: as they are
    data: DataRecord
    trained_on: DataRecord | None  # what `--split` divided among the models
    threat: str
    amplify: float | None
    targeted: bool
    targets: str | None
    restarts: int
    sources: list[SourceRecord]
    chunk: int
    slots: int
    part_rows: int


class Matrices(Record):
    """Rows: whom the examples were made for; columns: the model that they were fed to. Shares of all rows if not said.

    An error is another answer than the label. `agreement`: it is also the wrong class that the source itself gives.
    """

    sources: list[str]
    error: list[list[float]]
    error_interval: list[list[Interval]]
    error_of_right: list[list[Share]]  # of the rows that both got right at first
    agreement: list[list[float]]
    agreement_interval: list[list[Interval]]
    agreement_of_errors: list[list[Share]]  # of the rows that both get wrong
    targeted: list[list[Share]] | None  # the target is reached, of the rows that the model did not take for it anyway
    noise: list[list[float]]  # error under noise as large, row by row, as the source's changes
    noise_interval: list[list[Interval]]
    noise_p_value: list[list[float]]  # one-sided sign test: noise would do as well, by the rows on which they differ
    distortion: list[float]  # mean root mean square of the changes, over the rows that were changed
    noise_distortion: list[float]
    norm: list[float]  # mean size in the threat's own norm, over the rows that were changed
    changed: list[int]  # rows
    found: list[Share]  # the source is fooled before anything is amplified; towards classes: of the rows as above
    forwards: list[int]
    backwards: list[int]
    seconds: list[float]  # to make the examples; feeding them is in `Verdict.seconds` alone


class TransferVerdict(Matrices):
    """`sources` are the models here; what was made for their averages is in `ensemble`.

    `ensemble`: its first source is the average of all models with gradients; where there are three or more of them,
    the next ones leave one out each, so that the column of that model is an attack without any access to it.
    """

    models: list[str]
    rows: int
    clean_error: list[Share]
    ensemble: Matrices | None
    total_seconds: float
    findings: list[Finding]


class TransferFile(Sealed):
    """The whole of run.json."""

    manifest: TransferManifest
    shards: list[ShardRecord]
    verdict: TransferVerdict | None
    seal: str | None


def read_transfer_file(folder: Path) -> TransferFile:
    """run.json of a transfer run. Raises InputError when it is missing or not what `transfer` writes."""
    return read_file(TransferFile, folder, "transfer")


def read_part(folder: Path, file: TransferFile, index: int) -> Columns:
    """The clean rows (0), or what was made for source `index` - 1. Raises InputError: they are not whole."""
    record = file.shards[index]
    return check_columns(read_shard(folder, record), SOURCE if index else CLEAN, shard_path(folder, record))


class Folder:
    """Writes a run folder while the run goes on: whole at every moment.

    Args:
        path: created if need be. A folder that holds another run is refused, unless `resume` and the manifests agree.
    """

    def __init__(self, path: Path, file: TransferFile, resume: bool) -> None:
        self.path = path
        self.file = begun(path, file, "transfer", resume)
        make_folder(path / "shards")
        for draft in [*path.glob("*.draft"), *path.glob("shards/*.draft")]:  # of a process that was killed
            draft.unlink(missing_ok=True)

    @property
    def finished(self) -> int:
        """How many shards are on the disk."""
        return len(self.file.shards)

    def shard(self, index: int) -> Columns:
        return read_part(self.path, self.file, index)

    def save(self, columns: Mapping[str, Tensor], seconds: list[float]) -> None:
        """Add the next shard."""
        name, content = f"{self.finished:05d}.safetensors", save({k: t.contiguous() for k, t in columns.items()})
        write_whole(self.path / "shards" / name, content)
        rows = columns["prediction"].shape[1]
        record = ShardRecord(name=name, rows=rows, sha256=hashlib.sha256(content).hexdigest(), seconds=seconds)
        self.file = self.file.model_copy(update={"shards": [*self.file.shards, record]})
        if self.finished > 1:  # what cannot run fails at its first source, and leaves no run.json behind
            self._write()

    def conclude(self, verdict: TransferVerdict) -> TransferFile:
        """Write the verdict and seal the file."""
        self.file = sealed(self.file.model_copy(update={"verdict": verdict}))
        self._write()
        return self.file

    def _write(self) -> None:
        write_whole(self.path / "run.json", text_of(self.file))
