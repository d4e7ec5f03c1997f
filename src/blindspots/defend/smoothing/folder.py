"""The folder of a certification.

run.json               manifest, at the end the verdict and a seal
rows.safetensors       all rows (`record.COLUMNS`)
unfinished.safetensors the rows and radii that are done; gone when the run is finished
"""

import hashlib
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load, save

from blindspots.defend.smoothing.record import COLUMNS, CertifyFile, CertifyVerdict
from blindspots.errors import InputError
from blindspots.files import write_whole
from blindspots.journal import Columns, check_columns, opened, read_file, sealed, text_of


class Folder:
    """Writes a run folder. One that holds another run is refused, unless `resume` and the manifests agree.

    Attributes:
        finished: what run.json says if the run to be resumed has ended.
    """

    def __init__(self, path: Path, fresh: CertifyFile, resume: bool) -> None:
        self.path = path
        self.file, self.finished = opened(path, fresh, "certify", resume)
        if not (path / "run.json").exists():
            self._unfinished.unlink(missing_ok=True)

    @property
    def _unfinished(self) -> Path:
        return self.path / "unfinished.safetensors"

    def unfinished(self) -> Columns | None:
        """What `remember` wrote last, if anything."""
        return _read(self._unfinished) if self._unfinished.is_file() else None

    def remember(self, columns: Columns) -> None:
        """What is done so far. run.json appears with the first of it."""
        write_whole(self._unfinished, save(columns))
        if not (self.path / "run.json").exists():
            write_whole(self.path / "run.json", text_of(self.file))

    def conclude(self, columns: Columns, verdict: CertifyVerdict) -> CertifyFile:
        """Write the rows, and the verdict with its seal."""
        content = save({name: t.contiguous() for name, t in columns.items()})
        write_whole(self.path / "rows.safetensors", content)
        digest = hashlib.sha256(content).hexdigest()
        self.file = sealed(self.file.model_copy(update={"verdict": verdict, "rows_sha256": digest}))
        write_whole(self.path / "run.json", text_of(self.file))
        self._unfinished.unlink(missing_ok=True)
        return self.file


def read_certify_file(folder: Path) -> CertifyFile:
    """run.json of a certification. Raises InputError when it is missing or something else."""
    return read_file(CertifyFile, folder, "certify")


def read_rows(folder: Path, file: CertifyFile) -> Columns:
    """The columns of a finished run. Raises InputError when they are missing, or not the bytes that were sealed."""
    path = folder / "rows.safetensors"
    if not path.is_file():
        raise InputError(f"expected {path}, which a finished run keeps, but it is missing: restore it or run again")
    if hashlib.sha256(path.read_bytes()).hexdigest() != file.rows_sha256:
        raise InputError(f"expected the bytes that run.json recorded in {path}, found others: restore it or run again")
    columns = _read(path)
    return check_columns(columns, COLUMNS, path)


def _read(path: Path) -> Columns:
    try:
        return load(path.read_bytes())
    except SafetensorError as error:
        raise InputError(
            f"expected a whole safetensors file at {path}, got: {error}: restore it, or delete the folder and run again"
        ) from error
